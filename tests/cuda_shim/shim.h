// What a test may ask of the shim, in C.
#ifndef SHIM_H
#define SHIM_H
#ifdef __cplusplus
extern "C" {
#endif
// "asc" (the start), "desc" or a seed: the order of threads, warps and blocks from here on. Also $SHIM_SCHED
// at start.
void shim_schedule(const char *order);
// The n-th fallible call from here on fails with "out of memory", once; 0: none. Launches count as calls.
void shim_fail_at(long n);
long shim_calls(void);  // fallible calls since shim_fail_at
int shim_leaks(void);   // device allocations and streams still alive; each is named on stderr
#ifdef __cplusplus
}
#endif
#endif
