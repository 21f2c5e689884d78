// cuBLASLt: D = alpha op(A) op(B) + beta C, with a bias a row of D if asked for.
#include "cublasLt.h"
#include "blas.h"
#include "fibers.h"

#define CALL(what, handle) SHIM_LIBRARY_CALL(what, handle, CUBLAS_STATUS_EXECUTION_FAILED)

struct cublasLtContext {
    int unused;
};
struct shim_lt_desc {
    cublasComputeType_t compute;
    cublasOperation_t op_a, op_b;
    cublasLtEpilogue_t epilogue;
    const float *bias;
    int32_t bias_type;
};
struct shim_lt_layout {
    cudaDataType type;
    uint64_t rows, cols;
    int64_t ld;
};
struct shim_lt_preference {
    uint64_t workspace;
};
enum : uint64_t { ALGO_MARK = 0x5348494d, ALGO_WORKSPACE = 256 };

template <class T> static cublasStatus_t make(const char *what, T **out, const T &value) {
    if (shim_call() != cudaSuccess) return CUBLAS_STATUS_EXECUTION_FAILED;
    *out = new T(value);
    shim_handle_made(what, *out);
    return CUBLAS_STATUS_SUCCESS;
}
template <class T> static cublasStatus_t unmake(const char *what, T *handle) {
    shim_handle_dropped(what, handle);
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}
template <class T> static cublasStatus_t take(T *to, const void *buf, size_t bytes) {
    if (bytes != sizeof *to) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(to, buf, sizeof *to);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) { return make("cublasLt", handle, {}); }
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) { return unmake("cublasLt", handle); }

cublasStatus_t cublasLtMatmulDescCreate(
    cublasLtMatmulDesc_t *desc, cublasComputeType_t computeType, cudaDataType_t scaleType) {
    if (scaleType != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
    return make("matmul desc", desc,
        {computeType, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, nullptr, CUDA_R_32F});
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) { return unmake("matmul desc", desc); }

cublasStatus_t cublasLtMatmulDescSetAttribute(
    cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attr, const void *buf, size_t bytes) {
    CALL("matmul desc", desc);
    switch (attr) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
        return take(&desc->op_a, buf, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
        return take(&desc->op_b, buf, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
        return take(&desc->epilogue, buf, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
        return take(&desc->bias, buf, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
        return take(&desc->bias_type, buf, bytes);
    }
    return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatrixLayoutCreate(
    cublasLtMatrixLayout_t *layout, cudaDataType type, uint64_t rows, uint64_t cols, int64_t ld) {
    return make("matrix layout", layout, {type, rows, cols, ld});
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    return unmake("matrix layout", layout);
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference) {
    return make("matmul preference", preference, {0});
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    return unmake("matmul preference", preference);
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
    cublasLtMatmulPreferenceAttributes_t attr, const void *buf, size_t bytes) {
    CALL("matmul preference", preference);
    if (attr == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) return take(&preference->workspace, buf, bytes);
    uint32_t alignment;
    return take(&alignment, buf, bytes);
}

// The product without its operands; its sizes must agree.
static cublasStatus_t describe(shim_gemm *g, const shim_lt_desc &t, const shim_lt_layout &a,
    const shim_lt_layout &b, const shim_lt_layout &c, const shim_lt_layout &d) {
    bool plain_a = t.op_a == CUBLAS_OP_N, plain_b = t.op_b == CUBLAS_OP_N;
    uint64_t m = plain_a ? a.rows : a.cols, k = plain_a ? a.cols : a.rows, n = plain_b ? b.cols : b.rows;
    if (k != (plain_b ? b.rows : b.cols) || c.rows != m || c.cols != n || d.rows != m || d.cols != n ||
        c.ld < (int64_t)m)
        return CUBLAS_STATUS_INVALID_VALUE;
    bool with_bias = t.epilogue == CUBLASLT_EPILOGUE_BIAS;
    if (c.type != CUDA_R_32F || d.type != CUDA_R_32F || (with_bias && t.bias_type != CUDA_R_32F) ||
        (!with_bias && t.epilogue != CUBLASLT_EPILOGUE_DEFAULT))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    *g = {(int64_t)m, (int64_t)n, (int64_t)k, 1, 0, {nullptr, a.type, t.op_a, a.ld},
        {nullptr, b.type, t.op_b, b.ld}, nullptr, d.ld, t.compute == CUBLAS_COMPUTE_32F_FAST_TF32};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
    cublasLtMatrixLayout_t Adesc, cublasLtMatrixLayout_t Bdesc, cublasLtMatrixLayout_t Cdesc,
    cublasLtMatrixLayout_t Ddesc, cublasLtMatmulPreference_t preference, int requestedAlgoCount,
    cublasLtMatmulHeuristicResult_t results[], int *returnAlgoCount) {
    CALL("cublasLt", handle);
    shim_gemm g;
    *returnAlgoCount = 0;
    cublasStatus_t rc = describe(&g, *desc, *Adesc, *Bdesc, *Cdesc, *Ddesc);
    if (rc != CUBLAS_STATUS_SUCCESS) return rc;
    if (requestedAlgoCount < 1) return CUBLAS_STATUS_INVALID_VALUE;
    size_t workspace = preference->workspace < ALGO_WORKSPACE ? 0 : (size_t)ALGO_WORKSPACE;
    results[0] = {{{ALGO_MARK, workspace}}, workspace, CUBLAS_STATUS_SUCCESS, 1, {}};
    *returnAlgoCount = 1;
    return CUBLAS_STATUS_SUCCESS;
}

static void run(const shim_gemm &g, const float *c, int64_t ldc, const float *bias) {
    for (int64_t j = 0; g.beta != 0 && c != g.c && j < g.n; j++)
        memcpy(g.c + j * g.ldc, c + j * ldc, (size_t)g.m * sizeof *c);
    shim_gemm_run(g);
    for (int64_t j = 0; bias && j < g.n; j++)
        for (int64_t i = 0; i < g.m; i++) g.c[j * g.ldc + i] += bias[i];
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha,
    const void *A, cublasLtMatrixLayout_t Adesc, const void *B, cublasLtMatrixLayout_t Bdesc,
    const void *beta, const void *C, cublasLtMatrixLayout_t Cdesc, void *D, cublasLtMatrixLayout_t Ddesc,
    const cublasLtMatmulAlgo_t *algo, void *workspace, size_t workspaceBytes, cudaStream_t stream) {
    CALL("cublasLt", handle);
    shim_gemm g;
    cublasStatus_t rc = describe(&g, *desc, *Adesc, *Bdesc, *Cdesc, *Ddesc);
    if (rc != CUBLAS_STATUS_SUCCESS) return rc;
    if (algo && (algo->data[0] != ALGO_MARK || algo->data[1] > workspaceBytes))
        return CUBLAS_STATUS_INVALID_VALUE;
    if ((uintptr_t)workspace % 256) return CUBLAS_STATUS_INVALID_VALUE;
    shim_check_device_ptr("cublasLtMatmul workspace", workspace, workspaceBytes);
    g.alpha = *(const float *)alpha, g.beta = *(const float *)beta;
    g.a.p = A, g.b.p = B, g.c = (float *)D;
    if ((rc = shim_gemm_check("cublasLtMatmul", g, desc->compute)) != CUBLAS_STATUS_SUCCESS) return rc;
    const float *c = (const float *)C,
                *bias = desc->epilogue == CUBLASLT_EPILOGUE_BIAS ? desc->bias : nullptr;
    int64_t ldc = Cdesc->ld;
    if (g.beta != 0) shim_check_matrix("cublasLtMatmul C", C, g.m, g.n, ldc, sizeof *c);
    if (desc->epilogue == CUBLASLT_EPILOGUE_BIAS)
        shim_check_matrix("cublasLtMatmul bias", bias, g.m, 1, g.m, sizeof *bias);
    (void)shim_enqueue("cublasLtMatmul", stream, [=] { run(g, c, ldc, bias); });
    return CUBLAS_STATUS_SUCCESS;
}
