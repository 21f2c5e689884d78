// Between cuBLAS (blas.cpp) and cuBLASLt (lt.cpp).
#ifndef SHIM_BLAS_H
#define SHIM_BLAS_H
#include "cublas_v2.h"

// CBLAS is not instrumented: a matrix that runs past its allocation is seen here or nowhere.
void shim_check_matrix(
    const char *what, const void *p, int64_t rows, int64_t cols, int64_t ld, size_t element);

struct shim_matrix {  // column-major, on the device
    const void *p;
    cudaDataType type;
    cublasOperation_t op;
    int64_t ld;
};
struct shim_gemm {  // C [m, n] = alpha op(A) op(B) + beta C in fp32
    int64_t m, n, k;
    float alpha, beta;
    shim_matrix a, b;
    float *c;
    int64_t ldc;
    bool tf32;
};
cublasStatus_t shim_gemm_check(const char *what, const shim_gemm &g, cublasComputeType_t compute);
void shim_gemm_run(const shim_gemm &g);  // in a stream

// The first thing of a call with this handle.
#define SHIM_LIBRARY_CALL(library, handle, failure)                                                          \
    do {                                                                                                     \
        shim_handle_check(library, handle);                                                                  \
        if (shim_call() != cudaSuccess) return failure;                                                      \
    } while (0)
#endif
