// Between the two halves of the shim: the scheduler of a grid (fibers.cpp) and the fake runtime
// (runtime.cpp).
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
void shim_run_grid(const char *name, dim3 grid, dim3 block, const std::function<void()> &body);
#endif
