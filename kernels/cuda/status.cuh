// Errors of CUDA, cuBLAS and cuSOLVER as ours. Compare io/base/status.h.
#ifndef ER_CUDA_STATUS_CUH
#define ER_CUDA_STATUS_CUH
#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <cusolverDn.h>
#include "io/base/status.h"

static inline er_status er_cuda_status(cudaError_t e, const char *what, const char *file, int line) {
    if (e == cudaSuccess) return ER_OK;
    (void)cudaGetLastError();  // leave no sticky error for an innocent later check to find
    return er_fail_(file, line, e == cudaErrorMemoryAllocation ? ER_ENOMEM : ER_EDEVICE, "%s: %s", what,
        cudaGetErrorString(e));
}

static inline er_status er_blas_status(cublasStatus_t e, const char *what, const char *file, int line) {
    if (e == CUBLAS_STATUS_SUCCESS) return ER_OK;
    return er_fail_(file, line, e == CUBLAS_STATUS_ALLOC_FAILED ? ER_ENOMEM : ER_EDEVICE, "%s: %s", what,
        cublasGetStatusString(e));
}

static inline er_status er_solver_status(cusolverStatus_t e, const char *what, const char *file, int line) {
    if (e == CUSOLVER_STATUS_SUCCESS) return ER_OK;
    return er_fail_(file, line, e == CUSOLVER_STATUS_ALLOC_FAILED ? ER_ENOMEM : ER_EDEVICE,
        "%s: cuSOLVER status %d", what, (int)e);
}

// For functions with `rc` and `out:`; in .cu files everything is declared before the first of these.
#define ER_CUDA(call) ER_TRY(er_cuda_status((call), #call, __FILE__, __LINE__))
#define ER_BLAS(call) ER_TRY(er_blas_status((call), #call, __FILE__, __LINE__))
#define ER_SOLVER(call) ER_TRY(er_solver_status((call), #call, __FILE__, __LINE__))
// The status of a launch, named after the op that makes it.
#define ER_LAUNCHED(launch) er_cuda_status((launch), __func__, __FILE__, __LINE__)
#endif
