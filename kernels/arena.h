// The one description of a stage's memory. A stage writes one function that takes all its buffers from an
// arena. Without a device the arena only counts, which is what memory plans print; with one it allocates, and
// gives all back at once.
//
//     static er_status describe(stage *s, er_arena *a, const er_arch *arch, size_t tokens) {
//         er_status rc = ER_OK;
//         ER_TRY(er_arena_take(a, &s->x, tokens * arch->hidden, sizeof *s->x));
//         ...
//     }
//     er_arena counted = {0};           // counted.bytes afterwards
//     er_arena bound = {.dev = dev};    // s->x is device memory afterwards
#ifndef ER_ARENA_H
#define ER_ARENA_H
#include "kernels/device.h"

typedef struct er_arena_block {
    void *p;
    size_t bytes;
    bool host;
} er_arena_block;

typedef struct er_arena {
    er_device *dev;            // NULL: count only, and set every pointer to NULL
    size_t bytes, host_bytes;  // taken so far, of the device and of the host (pinned where the device can)
    er_arena_block *block;     // [count] everything taken
    size_t count, capacity;
} er_arena;

// count elements of `element` bytes, not initialised; `slot` is the address of a pointer of any type. Nothing
// asked for gives a pointer all the same. ENOMEM when there is no room or a product or sum overflows: what
// was taken before stays taken.
er_status er_arena_take(er_arena *a, void *slot, size_t count, size_t element);
er_status er_arena_take_host(er_arena *a, void *slot, size_t count, size_t element);
// Gives everything back; the arena is empty and may be used again. Waits first when host memory is among it,
// since copies may be under way.
void er_arena_release(er_arena *a);
#endif
