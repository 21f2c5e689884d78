// Between the parts of the shim: the scheduler of a grid (fibers.cpp), the fake runtime (runtime.h) and its
// libraries (blas.cpp, lt.cpp, solver.cpp).
#ifndef SHIM_FIBERS_H
#define SHIM_FIBERS_H
#include "cuda_runtime.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SHIM_ASAN
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(SHIM_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define ASAN(...) __VA_ARGS__
#else
#define ASAN(...)
#endif

[[noreturn]] void shim_die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
// Runs every block of the grid to its end, in the order of the schedule.
void shim_run_grid(const char *name, dim3 grid, dim3 block, size_t smem, const std::function<void()> &body);

// What a fallible call asks first. Not cudaSuccess: it must fail, see shim_fail_at.
cudaError_t shim_call(void);
// To run at the next sync that covers it. The stream must be an explicit one.
cudaError_t shim_enqueue(const char *what, cudaStream_t s, std::function<void()> work);
// Handles of libraries, counted by shim_leaks. Dropping one that is not alive is a bug of the caller.
void shim_handle_made(const char *what, const void *handle);
void shim_handle_dropped(const char *what, const void *handle);
void shim_handle_check(const char *what, const void *handle);
#endif
