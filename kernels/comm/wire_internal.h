// A communicator over a wire: its state, and what its two files share. Internal to kernels/comm/.
#ifndef ER_WIRE_INTERNAL_H
#define ER_WIRE_INTERNAL_H
#include <pthread.h>

#include "kernels/comm/device_sum.h"
#include "kernels/comm/wire.h"

typedef struct er_wire_comm {
    er_comm comm;  // first: what ranks are known by
    er_wire wire;
    er_comm_waits waits;
    er_status ended;  // what every collective returns from now on, or OK
    char message[ER_WIRE_MESSAGE];
    er_notice mine;
    uint32_t *beat;                   // [size] as last seen
    double *heard;                    // [size] when it last changed
    er_parcel *out, *in;              // [size]
    const er_device_sum *device_sum;  // NULL: through host memory
    void *device_state;
    double *room;  // of sums
    size_t room_size;
    double watched;  // when the others were last looked at
    pthread_t beater;
    bool beating, stop_beating;
    pthread_mutex_t lock;
    pthread_cond_t changed;
} er_wire_comm;

// ---- wire_waits.c ----

// The parcels out [n_out] and in [n_in] of w. Returns when all are through, or with the failure of a rank.
er_status er_wire_exchange(er_wire_comm *w, const char *what, uint32_t tag, size_t n_out, size_t n_in);
// The failure of any rank, while this one has waited in `what` since er_clock() was `since`.
er_status er_wire_watch(er_wire_comm *w, const char *what, double since);
// This rank has failed: all learn of it, and return the same.
er_status er_wire_fail(er_wire_comm *w, er_status rc);
er_status er_wire_as_it_ended(const er_wire_comm *w);  // once w->ended
// Signs of life, from a thread of their own.
er_status er_wire_beat_begin(er_wire_comm *w);
void er_wire_beat_end(er_wire_comm *w);
#endif
