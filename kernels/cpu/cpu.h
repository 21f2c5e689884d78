// Inside the CPU device. Outer functions split work over OpenMP threads; leaves are single-threaded loops
// over one row or one head, cloned for AVX2 and AVX-512 and chosen at load time, so that one binary runs well
// on any x86-64 machine.
#ifndef ER_CPU_H
#define ER_CPU_H
#include <omp.h>
#include "kernels/device.h"

// A thread-sanitized program cannot run instrumented resolvers, and three copies of sanitized code only cost
// time to build.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define ER_NO_CLONES
#endif
#endif
#if defined(__x86_64__) && defined(__linux__) && !defined(__SANITIZE_THREAD__) &&                            \
    !defined(__SANITIZE_ADDRESS__) && !defined(ER_NO_CLONES)
#define ER_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define ER_CLONES
#endif
// ISO mode switches off contraction to fused multiply-adds; these loops want them and their bounds allow for
// them.
#if defined(__clang__)
#pragma clang fp contract(fast)
#pragma clang diagnostic ignored "-Wpass-failed"
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=fast")
#endif
#define ER_INLINE static inline __attribute__((always_inline, unused))

typedef enum er_cpu_slot { ER_SCRATCH_SCORES, ER_SCRATCH_SPLIT, ER_SCRATCH_SLOTS } er_cpu_slot;
typedef struct er_onednn er_onednn;
// What multiplies bf16 numbers into fp32 sums: nothing, AVX512_BF16 dot products, or AMX tiles.
typedef enum er_bf16_unit { ER_BF16_NONE, ER_BF16_DOTS, ER_BF16_TILES } er_bf16_unit;

typedef struct er_cpu {
    er_device base;
    struct {
        void *at;
        size_t bytes;
    } scratch[ER_SCRATCH_SLOTS];
    er_onednn *dnn;  // NULL: not built in
    size_t taken;    // bytes of er_cpu_alloc() that are not released
    er_bf16_unit unit;
} er_cpu;

// Around every call of OpenBLAS, as short as can be: jobs of one process take turns there.
void er_cpu_blas_begin(const er_device *d);
void er_cpu_blas_end(void);
void er_cpu_blas_threads(int threads);  // of the process, for a device that is being opened

// Grow-only memory of the device; the contents do not survive growth.
er_status er_cpu_scratch(er_device *d, er_cpu_slot slot, size_t bytes, void **out);
static inline int er_cpu_thread(void) { return omp_get_thread_num(); }

// What this process may use: the least of the machine's memory, its control group's limit and ulimit -v.
typedef struct er_cpu_room {
    size_t total, available;
} er_cpu_room;
er_cpu_room er_cpu_room_now(void);

// The threads to compute with: `asked`, or where that is 0 one a processor; fewer, with a warning, where no
// more can be started. EARG above er_cpu_threads_most(): four times the processors, or 16.
#define ER_BLAS_BUFFER ((size_t)129 << 20)
er_status er_cpu_threads(int *out, int asked);
int er_cpu_threads_most(void);

// out [m, n] = a [m, k] op(b) + beta out, fp32, beta 0 or 1. op(b) is b [k, n], or the transpose of b [n, k].
// ENOMEM when the library has no memory for its buffers; `out` is then undefined.
er_status er_cpu_sgemm(er_device *d, bool trans_a, bool trans_b, size_t m, size_t n, size_t k, const float *a,
    size_t lda, const float *b, size_t ldb, float beta, float *out, size_t ldo);

struct er_weight {
    size_t d_out, d_in;
    er_dtype dtype;
    bool conv1d, editable;
    void *stored;  // the stored form in the stored layout
    float *f32;  // fp32 compute copy in the stored layout; is `stored` itself for F32. NULL until first used
    uint16_t *pack_fwd, *pack_bwd;  // bf16 compute copies for the tile unit (tiles.h). NULL until first used
};
er_status er_cpu_weight_f32(er_device *d, er_weight *w, const float **out);
er_status er_cpu_weight_pack(er_device *d, er_weight *w, bool backward, const uint16_t **out);

// oneDNN, kernels/cpu/onednn.c. open gives NULL when it is not built in.
er_status er_onednn_open(er_onednn **out);
void er_onednn_close(er_onednn *o);
// fp32 GEMM as er_cpu_sgemm; *done stays false where it is not built in or does not know this product: `out`
// is then untouched.
er_status er_onednn_sgemm(bool *done, er_onednn *o, bool trans_a, bool trans_b, size_t m, size_t n, size_t k,
    const float *a, size_t lda, const float *b, size_t ldb, float beta, float *out, size_t ldo);
const char *er_onednn_name(const er_onednn *o);  // "onednn 2.6.3"

// Every op, one family a file.
#define ER_OP(name, params, args) er_status er_cpu_##name params;
#define ER_SURE_OP(type, name, params, args) type er_cpu_##name params;
#include "kernels/ops.def"
#endif
