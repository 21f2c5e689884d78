// cuBLAS on CBLAS.
#include "blas.h"
#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "fibers.h"

#include <cblas.h>
#include <limits.h>
#include <algorithm>
#include <vector>

struct cublasContext {
    cudaStream_t stream;
    cublasMath_t math;
    void *workspace;
    size_t workspace_bytes;
};
#define CALL(handle) SHIM_LIBRARY_CALL("cublas", handle, CUBLAS_STATUS_EXECUTION_FAILED)

// ---- operands ----

void shim_check_matrix(
    const char *what, const void *p, int64_t rows, int64_t cols, int64_t ld, size_t element) {
    if (rows <= 0 || cols <= 0) return;
    if (!p) shim_die("%s: no matrix", what);
    if ((uintptr_t)p % element) shim_die("%s: %p is not aligned to its elements", what, p);
    shim_check_device_ptr(what, p, (size_t)(ld * (cols - 1) + rows) * element);
}

static bool fits(int64_t n) { return n >= 0 && n <= INT_MAX; }
static bool leads(int64_t ld, int64_t rows) { return ld >= std::max<int64_t>(rows, 1) && ld <= INT_MAX; }
static CBLAS_TRANSPOSE cblas_op(cublasOperation_t t) { return t == CUBLAS_OP_N ? CblasNoTrans : CblasTrans; }
static CBLAS_UPLO cblas_uplo(cublasFillMode_t u) {
    return u == CUBLAS_FILL_MODE_LOWER ? CblasLower : CblasUpper;
}

// beta = 0 overwrites C whatever it holds, NaNs included; not every CBLAS has promised that.
template <class T> static void clear(T *c, int64_t m, int64_t n, int64_t ldc) {
    for (int64_t j = 0; j < n; j++) std::fill(c + j * ldc, c + j * ldc + m, (T)0);
}

static float to_tf32(float x) {
    uint32_t u = shim_bits<uint32_t>(x);
    if ((u & 0x7f800000u) == 0x7f800000u) return x;
    return shim_bits<float>((u + 0xfffu + (u >> 13 & 1)) & ~0x1fffu);
}

static float element(const void *p, cudaDataType type, int64_t i) {
    switch (type) {
    case CUDA_R_16BF:
        return __bfloat162float(((const __nv_bfloat16 *)p)[i]);
    case CUDA_R_16F:
        return __half2float(((const __half *)p)[i]);
    case CUDA_R_32F:
    case CUDA_R_64F:
        break;
    }
    return ((const float *)p)[i];
}

// rows x cols of it in fp32, without gaps between the columns.
static std::vector<float> widened(const shim_matrix &a, int64_t rows, int64_t cols, bool tf32) {
    std::vector<float> out((size_t)(rows * cols));
    for (int64_t j = 0; j < cols; j++)
        for (int64_t i = 0; i < rows; i++) {
            float x = element(a.p, a.type, j * a.ld + i);
            out[(size_t)(j * rows + i)] = tf32 ? to_tf32(x) : x;
        }
    return out;
}

// ---- fp32 products ----

static size_t size_of(cudaDataType type) { return type == CUDA_R_32F ? 4 : 2; }

cublasStatus_t shim_gemm_check(const char *what, const shim_gemm &g, cublasComputeType_t compute) {
    int64_t ra = g.a.op == CUBLAS_OP_N ? g.m : g.k, rb = g.b.op == CUBLAS_OP_N ? g.k : g.n;
    if (!fits(g.m) || !fits(g.n) || !fits(g.k) || !leads(g.a.ld, ra) || !leads(g.b.ld, rb) ||
        !leads(g.ldc, g.m))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (g.a.type != g.b.type || g.a.type == CUDA_R_64F || compute == CUBLAS_COMPUTE_64F ||
        (compute == CUBLAS_COMPUTE_32F_FAST_TF32 && g.a.type != CUDA_R_32F))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    shim_check_matrix(what, g.a.p, ra, g.m + g.k - ra, g.a.ld, size_of(g.a.type));
    shim_check_matrix(what, g.b.p, rb, g.k + g.n - rb, g.b.ld, size_of(g.b.type));
    shim_check_matrix(what, g.c, g.m, g.n, g.ldc, sizeof *g.c);
    return CUBLAS_STATUS_SUCCESS;
}

void shim_gemm_run(const shim_gemm &g) {
    if (!g.m || !g.n) return;
    int64_t ra = g.a.op == CUBLAS_OP_N ? g.m : g.k, rb = g.b.op == CUBLAS_OP_N ? g.k : g.n;
    const float *a = (const float *)g.a.p, *b = (const float *)g.b.p;
    int lda = (int)g.a.ld, ldb = (int)g.b.ld;
    std::vector<float> wide_a, wide_b;
    if (g.tf32 || g.a.type != CUDA_R_32F) {
        wide_a = widened(g.a, ra, g.m + g.k - ra, g.tf32), wide_b = widened(g.b, rb, g.k + g.n - rb, g.tf32);
        a = wide_a.data(), lda = (int)std::max<int64_t>(ra, 1);
        b = wide_b.data(), ldb = (int)std::max<int64_t>(rb, 1);
    }
    if (g.beta == 0) clear(g.c, g.m, g.n, g.ldc);
    cblas_sgemm(CblasColMajor, cblas_op(g.a.op), cblas_op(g.b.op), (int)g.m, (int)g.n, (int)g.k, g.alpha, a,
        lda, b, ldb, g.beta, g.c, (int)g.ldc);
}

// What the library leaves in its workspace is nobody's.
static void clobber(void *workspace, size_t bytes) {
    if (bytes) memset(workspace, 0xff, std::min(bytes, (size_t)4096));
}

cublasStatus_t cublasGemmEx_64(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb,
    int64_t m, int64_t n, int64_t k, const void *alpha, const void *A, cudaDataType Atype, int64_t lda,
    const void *B, cudaDataType Btype, int64_t ldb, const void *beta, void *C, cudaDataType Ctype,
    int64_t ldc, cublasComputeType_t computeType, cublasGemmAlgo_t) {
    CALL(handle);
    if (Ctype != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
    bool tf32 = Atype == CUDA_R_32F &&
                (computeType == CUBLAS_COMPUTE_32F_FAST_TF32 ||
                    (computeType == CUBLAS_COMPUTE_32F && (handle->math & 15) == CUBLAS_TF32_TENSOR_OP_MATH));
    shim_gemm g = {m, n, k, *(const float *)alpha, *(const float *)beta, {A, Atype, transa, lda},
        {B, Btype, transb, ldb}, (float *)C, ldc, tf32};
    cublasStatus_t rc = shim_gemm_check("cublasGemmEx", g, computeType);
    if (rc != CUBLAS_STATUS_SUCCESS) return rc;
    void *w = handle->workspace;
    size_t w_bytes = handle->workspace_bytes;
    (void)shim_enqueue("cublasGemmEx", handle->stream, [=] { clobber(w, w_bytes), shim_gemm_run(g); });
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m,
    int n, int k, const void *alpha, const void *A, cudaDataType Atype, int lda, const void *B,
    cudaDataType Btype, int ldb, const void *beta, void *C, cudaDataType Ctype, int ldc,
    cublasComputeType_t computeType, cublasGemmAlgo_t algo) {
    return cublasGemmEx_64(handle, transa, transb, m, n, k, alpha, A, Atype, lda, B, Btype, ldb, beta, C,
        Ctype, ldc, computeType, algo);
}

cublasStatus_t cublasSgemm(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m,
    int n, int k, const float *alpha, const float *A, int lda, const float *B, int ldb, const float *beta,
    float *C, int ldc) {
    return cublasGemmEx_64(handle, transa, transb, m, n, k, alpha, A, CUDA_R_32F, lda, B, CUDA_R_32F, ldb,
        beta, C, CUDA_R_32F, ldc, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
}

// ---- fp64 ----

cublasStatus_t cublasDgemm_64(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb,
    int64_t m, int64_t n, int64_t k, const double *alpha, const double *A, int64_t lda, const double *B,
    int64_t ldb, const double *beta, double *C, int64_t ldc) {
    CALL(handle);
    int64_t ra = transa == CUBLAS_OP_N ? m : k, rb = transb == CUBLAS_OP_N ? k : n;
    if (!fits(m) || !fits(n) || !fits(k) || !leads(lda, ra) || !leads(ldb, rb) || !leads(ldc, m))
        return CUBLAS_STATUS_INVALID_VALUE;
    shim_check_matrix("cublasDgemm A", A, ra, m + k - ra, lda, 8);
    shim_check_matrix("cublasDgemm B", B, rb, k + n - rb, ldb, 8);
    shim_check_matrix("cublasDgemm C", C, m, n, ldc, 8);
    double by = *alpha, keep = *beta;
    (void)shim_enqueue("cublasDgemm", handle->stream, [=] {
        if (!m || !n) return;
        if (keep == 0) clear(C, m, n, ldc);
        cblas_dgemm(CblasColMajor, cblas_op(transa), cblas_op(transb), (int)m, (int)n, (int)k, by, A,
            (int)lda, B, (int)ldb, keep, C, (int)ldc);
    });
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDgemm(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m,
    int n, int k, const double *alpha, const double *A, int lda, const double *B, int ldb, const double *beta,
    double *C, int ldc) {
    return cublasDgemm_64(handle, transa, transb, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc);
}

cublasStatus_t cublasDsyrk_64(cublasHandle_t handle, cublasFillMode_t uplo, cublasOperation_t trans,
    int64_t n, int64_t k, const double *alpha, const double *A, int64_t lda, const double *beta, double *C,
    int64_t ldc) {
    CALL(handle);
    int64_t ra = trans == CUBLAS_OP_N ? n : k;
    if (!fits(n) || !fits(k) || !leads(lda, ra) || !leads(ldc, n)) return CUBLAS_STATUS_INVALID_VALUE;
    shim_check_matrix("cublasDsyrk A", A, ra, n + k - ra, lda, 8);
    shim_check_matrix("cublasDsyrk C", C, n, n, ldc, 8);
    double by = *alpha, keep = *beta;
    (void)shim_enqueue("cublasDsyrk", handle->stream, [=] {
        if (!n) return;
        for (int64_t j = 0; keep == 0 && j < n; j++) {  // the other triangle keeps what it has
            if (uplo == CUBLAS_FILL_MODE_LOWER) clear(C + j * ldc + j, n - j, 1, ldc);
            else clear(C + j * ldc, j + 1, 1, ldc);
        }
        cblas_dsyrk(CblasColMajor, cblas_uplo(uplo), cblas_op(trans), (int)n, (int)k, by, A, (int)lda, keep,
            C, (int)ldc);
    });
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDsyrk(cublasHandle_t handle, cublasFillMode_t uplo, cublasOperation_t trans, int n,
    int k, const double *alpha, const double *A, int lda, const double *beta, double *C, int ldc) {
    return cublasDsyrk_64(handle, uplo, trans, n, k, alpha, A, lda, beta, C, ldc);
}

cublasStatus_t cublasDtrsm_64(cublasHandle_t handle, cublasSideMode_t side, cublasFillMode_t uplo,
    cublasOperation_t trans, cublasDiagType_t diag, int64_t m, int64_t n, const double *alpha,
    const double *A, int64_t lda, double *B, int64_t ldb) {
    CALL(handle);
    int64_t order = side == CUBLAS_SIDE_LEFT ? m : n;
    if (!fits(m) || !fits(n) || !leads(lda, order) || !leads(ldb, m)) return CUBLAS_STATUS_INVALID_VALUE;
    shim_check_matrix("cublasDtrsm A", A, order, order, lda, 8);
    shim_check_matrix("cublasDtrsm B", B, m, n, ldb, 8);
    double by = *alpha;
    (void)shim_enqueue("cublasDtrsm", handle->stream, [=] {
        if (!m || !n) return;
        cblas_dtrsm(CblasColMajor, side == CUBLAS_SIDE_LEFT ? CblasLeft : CblasRight, cblas_uplo(uplo),
            cblas_op(trans), diag == CUBLAS_DIAG_UNIT ? CblasUnit : CblasNonUnit, (int)m, (int)n, by, A,
            (int)lda, B, (int)ldb);
    });
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDtrsm(cublasHandle_t handle, cublasSideMode_t side, cublasFillMode_t uplo,
    cublasOperation_t trans, cublasDiagType_t diag, int m, int n, const double *alpha, const double *A,
    int lda, double *B, int ldb) {
    return cublasDtrsm_64(handle, side, uplo, trans, diag, m, n, alpha, A, lda, B, ldb);
}

// ---- handles ----

cublasStatus_t cublasCreate(cublasHandle_t *handle) {
    if (shim_call() != cudaSuccess) return CUBLAS_STATUS_EXECUTION_FAILED;
    *handle = new cublasContext();
    shim_handle_made("cublas", *handle);
#ifdef SHIM_TSAN
    openblas_set_num_threads(1);  // ThreadSanitizer knows nothing of how its threads wait for each other
#endif
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy(cublasHandle_t handle) {
    shim_handle_dropped("cublas", handle);
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream) {
    CALL(handle);
    handle->stream = stream, handle->workspace = nullptr,
    handle->workspace_bytes = 0;  // as the real one does
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace(cublasHandle_t handle, void *workspace, size_t bytes) {
    CALL(handle);
    if ((uintptr_t)workspace % 256) return CUBLAS_STATUS_INVALID_VALUE;
    shim_check_device_ptr("cublasSetWorkspace", workspace, bytes);
    handle->workspace = workspace, handle->workspace_bytes = workspace ? bytes : 0;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode) {
    CALL(handle);
    handle->math = mode;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetPointerMode(cublasHandle_t handle, cublasPointerMode_t mode) {
    CALL(handle);
    return mode == CUBLAS_POINTER_MODE_HOST ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}
