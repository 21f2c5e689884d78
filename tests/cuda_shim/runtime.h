// Between the parts of the fake runtime: calls that fail (runtime.cpp), memory.cpp and streams.cpp.
#ifndef SHIM_RUNTIME_H
#define SHIM_RUNTIME_H
#include "fibers.h"
#include "shim.h"

enum : size_t { SHARED = 48u << 10, SHARED_OPTIN = 227u << 10 };

extern bool shim_dead;  // see shim_die_at
cudaError_t shim_fail(cudaError_t e);
#define FALLIBLE()                                                                                           \
    do {                                                                                                     \
        cudaError_t e_ = shim_call();                                                                        \
        if (e_ != cudaSuccess) return shim_fail(e_);                                                         \
    } while (0)

size_t shim_capacity(void);
bool shim_on_device(const void *p);
void shim_check_pinned(const char *what, const void *p, size_t n);
// Device work runs between the two; they nest.
void shim_enter(void);
void shim_leave(void);

void shim_drain_all(void);
void shim_lose_all(void);  // all that is queued

int shim_memory_leaks(void);
int shim_stream_leaks(void);
#endif
