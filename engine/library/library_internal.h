// What the public functions share: a context for the length of a call, and options of other versions. Internal to engine/library/.
#ifndef ER_LIBRARY_INTERNAL_H
#define ER_LIBRARY_INTERNAL_H
#include <locale.h>

#include "engine/errata.h"
#include "io/base/listener.h"
#include "kernels/device.h"
#include "kernels/host_threads.h"

// A call in progress, and what its thread gets back when it ends.
typedef struct er_call {
    er_context *context;  // or NULL
    er_listener silent;   // listens where there is none
    er_listener *before;
    er_host_threads *threads;
    locale_t numbers, locale;  // of the call ("C", so that 0.5 is 0.5), and of the thread before
} er_call;

// EARG when the context serves another call. End it whenever begin succeeded.
er_status er_call_begin(er_call *call, er_context *context);
void er_call_end(er_call *call);

// Copies a caller's options, of whatever version its first member, `size`, tells, into `own` of `bytes`: what it is too old to know is
// 0. EARG below `least` bytes, the size of version 0.1.0; EUNSUPPORTED where it sets what is behind `bytes`.
er_status er_options_take(void *own, size_t bytes, const void *options, size_t least, const char *init);
// The device as the options of every function name it.
er_status er_device_take(er_device_options *out, const char *device, const char *precision, uint64_t threads,
    uint64_t memory_limit);
#endif
