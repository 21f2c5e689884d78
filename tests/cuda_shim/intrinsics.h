// What device code may call: barriers, warp collectives, atomics, and the arithmetic that has CUDA's names.
// Overloads are those of CUDA and no more, so that code which compiles here compiles there.
#ifndef SHIM_INTRINSICS_H
#define SHIM_INTRINSICS_H

enum shim_op { SHIM_BAR, SHIM_SYNCWARP, SHIM_IDX, SHIM_UP, SHIM_DOWN, SHIM_XOR, SHIM_BALLOT };

struct shim_here {  // a call in device code, for reports
    const char *file;
    int line;
    void barrier(void) const;
    // Of the lanes of `mask`, each with its own `in` and `arg`; `width` splits the warp into segments.
    uint64_t warp(shim_op op, unsigned mask, uint64_t in, int arg, int width) const;

    void syncwarp(unsigned mask = 0xffffffffu) const { (void)warp(SHIM_SYNCWARP, mask, 0, 0, 32); }
    unsigned ballot(unsigned mask, int p) const { return (unsigned)warp(SHIM_BALLOT, mask, p != 0, 0, 32); }
    int any(unsigned mask, int p) const { return ballot(mask, p) != 0; }
    int all(unsigned mask, int p) const { return ballot(mask, !p) == 0; }
    template <class T> T move(shim_op op, unsigned mask, T v, int arg, int width) const {
        static_assert(sizeof(T) == 4 || sizeof(T) == 8, "CUDA shuffles move 4 or 8 bytes");
        static_assert(std::is_arithmetic_v<T>, "CUDA shuffles move numbers");
        uint64_t bits = 0;
        memcpy(&bits, &v, sizeof v);
        bits = warp(op, mask, bits, arg, width);
        memcpy(&v, &bits, sizeof v);
        return v;
    }
    template <class T> T shfl(unsigned mask, T v, int lane, int width = 32) const {
        return move(SHIM_IDX, mask, v, lane, width);
    }
    template <class T> T shfl_up(unsigned mask, T v, unsigned by, int width = 32) const {
        return move(SHIM_UP, mask, v, (int)by, width);
    }
    template <class T> T shfl_down(unsigned mask, T v, unsigned by, int width = 32) const {
        return move(SHIM_DOWN, mask, v, (int)by, width);
    }
    template <class T> T shfl_xor(unsigned mask, T v, int with, int width = 32) const {
        return move(SHIM_XOR, mask, v, with, width);
    }
};
#define SHIM_HERE (shim_here{__FILE__, __LINE__})
#define __syncthreads SHIM_HERE.barrier
#define __syncwarp SHIM_HERE.syncwarp
#define __ballot_sync SHIM_HERE.ballot
#define __any_sync SHIM_HERE.any
#define __all_sync SHIM_HERE.all
#define __shfl_sync SHIM_HERE.shfl
#define __shfl_up_sync SHIM_HERE.shfl_up
#define __shfl_down_sync SHIM_HERE.shfl_down
#define __shfl_xor_sync SHIM_HERE.shfl_xor

// ---- atomics: relaxed, as CUDA's are ----

#define SHIM_ATOMIC(name, T, result)                                                                         \
    static inline T name(T *p, T v) {                                                                        \
        T was, next;                                                                                         \
        __atomic_load(p, &was, __ATOMIC_RELAXED);                                                            \
        do next = result;                                                                                    \
        while (!__atomic_compare_exchange(p, &was, &next, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));       \
        return was;                                                                                          \
    }
#define SHIM_ATOMIC_ORDERED(T)                                                                               \
    SHIM_ATOMIC(atomicMin, T, v < was ? v : was)                                                             \
    SHIM_ATOMIC(atomicMax, T, v > was ? v : was)
SHIM_ATOMIC(atomicAdd, float, was + v)
SHIM_ATOMIC(atomicAdd, double, was + v)
SHIM_ATOMIC(atomicAdd, int, (int)((unsigned)was + (unsigned)v))
SHIM_ATOMIC(atomicAdd, unsigned, was + v)
SHIM_ATOMIC(atomicAdd, unsigned long long, was + v)
SHIM_ATOMIC_ORDERED(int)
SHIM_ATOMIC_ORDERED(unsigned)
SHIM_ATOMIC_ORDERED(long long)
SHIM_ATOMIC_ORDERED(unsigned long long)
SHIM_ATOMIC(atomicExch, float, v)
SHIM_ATOMIC(atomicExch, int, v)
SHIM_ATOMIC(atomicExch, unsigned, v)
SHIM_ATOMIC(atomicExch, unsigned long long, v)
SHIM_ATOMIC(atomicOr, int, was | v)
SHIM_ATOMIC(atomicOr, unsigned, was | v)
static inline unsigned atomicCAS(unsigned *p, unsigned expected, unsigned v) {
    __atomic_compare_exchange(p, &expected, &v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    return expected;
}
#undef SHIM_ATOMIC_ORDERED
#undef SHIM_ATOMIC

// ---- arithmetic ----

template <class To, class From> static inline To shim_bits(From v) {
    static_assert(sizeof(To) == sizeof(From), "the same bits");
    To out;
    memcpy(&out, &v, sizeof out);
    return out;
}
static inline unsigned __float_as_uint(float x) { return shim_bits<unsigned>(x); }
static inline int __float_as_int(float x) { return shim_bits<int>(x); }
static inline float __uint_as_float(unsigned x) { return shim_bits<float>(x); }
static inline float __int_as_float(int x) { return shim_bits<float>(x); }
static inline long long __double_as_longlong(double x) { return shim_bits<long long>(x); }
static inline double __longlong_as_double(long long x) { return shim_bits<double>(x); }

static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
template <class T> static inline T __ldg(const T *p) { return *p; }

// Macros, because glibc declares functions of some of these names.
#define __expf(x) expf(x)
#define __logf(x) logf(x)
static inline float __fdividef(float a, float b) { return a / b; }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }

#define SHIM_ORDERED(T)                                                                                      \
    static inline T min(T a, T b) { return b < a ? b : a; }                                                  \
    static inline T max(T a, T b) { return a < b ? b : a; }
SHIM_ORDERED(int)
SHIM_ORDERED(unsigned)
SHIM_ORDERED(long)
SHIM_ORDERED(unsigned long)
SHIM_ORDERED(long long)
SHIM_ORDERED(unsigned long long)
#undef SHIM_ORDERED
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }
#endif
