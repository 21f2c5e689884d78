// What a test may ask of the shim, in C.
#ifndef SHIM_H
#define SHIM_H
#include <stddef.h>
#ifdef __cplusplus
extern "C" {
#endif
// "asc" (the start), "desc" or a seed: the order of threads, warps and blocks from here on. Also $SHIM_SCHED
// at start.
void shim_schedule(const char *order);
// The n-th fallible call from here on fails, once; 0: none. Launches and calls of cuBLAS and cuSOLVER count.
void shim_fail_at(long n);
// What it fails with, a cudaError_t: "out of memory" (2) at the start. Libraries have errors of their own.
void shim_fail_with(int error);
// The n-th fallible call from here on and all that follow fail with "launch failure", as on a device that
// died: queued work is lost, frees still free. Ended by shim_fail_at.
void shim_die_at(long n);
long shim_calls(void);           // fallible calls since shim_fail_at or shim_die_at
void shim_memory(size_t bytes);  // of the device from here on; 1 GiB at the start
int shim_leaks(void);            // memory, streams, events and handles still alive; each is named on stderr
#ifdef __cplusplus
}
#endif
#endif
