// What the public functions share: a context for the length of a call, and options of other versions.
// Internal to engine/library/.
#ifndef ER_LIBRARY_INTERNAL_H
#define ER_LIBRARY_INTERNAL_H
#include <locale.h>

#include "engine/errata.h"
#include "io/base/listener.h"
#include "io/base/warnings.h"
#include "kernels/device.h"
#include "kernels/host_threads.h"

// A call in progress, and what its thread gets back when it ends.
typedef struct er_call {
    er_context *context;  // or NULL
    er_listener silent;   // listens where there is none
    er_listener *before;
    er_warnings *outer;  // of a call that this one is made from within
    er_host_threads *threads;
    locale_t numbers, locale;  // of the call ("C", so that 0.5 is 0.5), and of the thread before
} er_call;

// EARG when the context serves another call. End it whenever begin succeeded, with what the call came to,
// which is returned.
er_status er_call_begin(er_call *call, er_context *context);
er_status er_call_end(er_call *call, er_status rc);

// Copies a caller's options into `own` of `bytes`. Their first member, `size`, tells how much of them the
// caller was compiled with: what is not among it is 0. EARG below `least` bytes, `init` naming what options
// begin as; EUNSUPPORTED where the caller sets what lies behind `bytes`, which only a newer library knows.
er_status er_options_take(void *own, size_t bytes, const void *options, size_t least, const char *init);
// The device as the options of every function name it.
er_status er_device_take(er_device_options *out, const char *device, const char *precision, uint64_t threads,
    uint64_t memory_limit);
#endif
