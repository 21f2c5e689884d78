// cuSOLVER's Cholesky and eigenvectors on LAPACK.
#include "blas.h"
#include "cusolverDn.h"
#include "fibers.h"

#include <limits.h>
#include <algorithm>
#include <vector>

extern "C" {
void spotrf_(const char *uplo, const int *n, float *a, const int *lda, int *info);
void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info);
void spotrs_(const char *uplo, const int *n, const int *nrhs, const float *a, const int *lda, float *b,
    const int *ldb, int *info);
void dpotrs_(const char *uplo, const int *n, const int *nrhs, const double *a, const int *lda, double *b,
    const int *ldb, int *info);
void dsyevd_(const char *jobz, const char *uplo, const int *n, double *a, const int *lda, double *w,
    double *work, const int *lwork, int *iwork, const int *liwork, int *info);
}

struct cusolverDnContext {
    cudaStream_t stream;
};
struct cusolverDnParams {
    int unused;
};
#define CALL(handle) SHIM_LIBRARY_CALL("cusolver", handle, CUSOLVER_STATUS_INTERNAL_ERROR)

static bool fits(int64_t n, int64_t ld) { return n >= 0 && ld >= std::max<int64_t>(n, 1) && ld <= INT_MAX; }
static bool real(cudaDataType a, cudaDataType b) { return a == b && (a == CUDA_R_32F || a == CUDA_R_64F); }
static size_t size_of(cudaDataType type) { return type == CUDA_R_32F ? 4 : 8; }
static const char *letter(cublasFillMode_t uplo) { return uplo == CUBLAS_FILL_MODE_LOWER ? "L" : "U"; }
// Grows with n, so that one sized for another matrix is found too small.
static size_t workspace(int64_t n) { return 64 + 8 * (size_t)n; }

cusolverStatus_t cusolverDnCreate(cusolverDnHandle_t *handle) {
    if (shim_call() != cudaSuccess) return CUSOLVER_STATUS_INTERNAL_ERROR;
    *handle = new cusolverDnContext();
    shim_handle_made("cusolver", *handle);
    return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnDestroy(cusolverDnHandle_t handle) {
    shim_handle_dropped("cusolver", handle);
    delete handle;
    return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnSetStream(cusolverDnHandle_t handle, cudaStream_t stream) {
    CALL(handle);
    handle->stream = stream;
    return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnCreateParams(cusolverDnParams_t *params) {
    if (shim_call() != cudaSuccess) return CUSOLVER_STATUS_INTERNAL_ERROR;
    *params = new cusolverDnParams();
    shim_handle_made("cusolver params", *params);
    return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnDestroyParams(cusolverDnParams_t params) {
    shim_handle_dropped("cusolver params", params);
    delete params;
    return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnXpotrf_bufferSize(cusolverDnHandle_t handle, cusolverDnParams_t params,
    cublasFillMode_t, int64_t n, cudaDataType dataTypeA, const void *A, int64_t lda, cudaDataType computeType,
    size_t *workspaceInBytesOnDevice, size_t *workspaceInBytesOnHost) {
    CALL(handle);
    if (params) shim_handle_check("cusolver params", params);
    if (!fits(n, lda) || !real(dataTypeA, computeType)) return CUSOLVER_STATUS_INVALID_VALUE;
    shim_check_device_ptr("cusolverDnXpotrf_bufferSize", A, 0);
    *workspaceInBytesOnDevice = workspace(n), *workspaceInBytesOnHost = 0;
    return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnXpotrf(cusolverDnHandle_t handle, cusolverDnParams_t params, cublasFillMode_t uplo,
    int64_t n, cudaDataType dataTypeA, void *A, int64_t lda, cudaDataType computeType, void *bufferOnDevice,
    size_t workspaceInBytesOnDevice, void *, size_t, int *info) {
    CALL(handle);
    if (params) shim_handle_check("cusolver params", params);
    if (!fits(n, lda) || !real(dataTypeA, computeType) || !bufferOnDevice ||
        workspaceInBytesOnDevice < workspace(n))
        return CUSOLVER_STATUS_INVALID_VALUE;
    shim_check_matrix("cusolverDnXpotrf A", A, n, n, lda, size_of(dataTypeA));
    shim_check_matrix("cusolverDnXpotrf buffer", bufferOnDevice, (int64_t)workspaceInBytesOnDevice, 1, 1, 1);
    shim_check_matrix("cusolverDnXpotrf info", info, 1, 1, 1, sizeof *info);
    (void)shim_enqueue("cusolverDnXpotrf", handle->stream, [=] {
        int order = (int)n, ld = (int)lda;
        memset(bufferOnDevice, 0xff, workspaceInBytesOnDevice);
        *info = 0;
        if (dataTypeA == CUDA_R_64F) dpotrf_(letter(uplo), &order, (double *)A, &ld, info);
        else spotrf_(letter(uplo), &order, (float *)A, &ld, info);
    });
    return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnXpotrs(cusolverDnHandle_t handle, cusolverDnParams_t params, cublasFillMode_t uplo,
    int64_t n, int64_t nrhs, cudaDataType dataTypeA, const void *A, int64_t lda, cudaDataType dataTypeB,
    void *B, int64_t ldb, int *info) {
    CALL(handle);
    if (params) shim_handle_check("cusolver params", params);
    if (!fits(n, lda) || !fits(n, ldb) || nrhs < 0 || nrhs > INT_MAX || !real(dataTypeA, dataTypeB))
        return CUSOLVER_STATUS_INVALID_VALUE;
    shim_check_matrix("cusolverDnXpotrs A", A, n, n, lda, size_of(dataTypeA));
    shim_check_matrix("cusolverDnXpotrs B", B, n, nrhs, ldb, size_of(dataTypeB));
    shim_check_matrix("cusolverDnXpotrs info", info, 1, 1, 1, sizeof *info);
    (void)shim_enqueue("cusolverDnXpotrs", handle->stream, [=] {
        int order = (int)n, sides = (int)nrhs, ld_a = (int)lda, ld_b = (int)ldb;
        *info = 0;
        if (dataTypeA == CUDA_R_64F)
            dpotrs_(letter(uplo), &order, &sides, (const double *)A, &ld_a, (double *)B, &ld_b, info);
        else spotrs_(letter(uplo), &order, &sides, (const float *)A, &ld_a, (float *)B, &ld_b, info);
    });
    return CUSOLVER_STATUS_SUCCESS;
}

static bool eigen_fits(
    cusolverEigMode_t jobz, int64_t n, int64_t lda, cudaDataType a, cudaDataType w, cudaDataType compute) {
    return fits(n, lda) && jobz == CUSOLVER_EIG_MODE_VECTOR && a == CUDA_R_64F && w == CUDA_R_64F &&
           compute == CUDA_R_64F;
}

cusolverStatus_t cusolverDnXsyevd_bufferSize(cusolverDnHandle_t handle, cusolverDnParams_t params,
    cusolverEigMode_t jobz, cublasFillMode_t, int64_t n, cudaDataType dataTypeA, const void *A, int64_t lda,
    cudaDataType dataTypeW, const void *, cudaDataType computeType, size_t *workspaceInBytesOnDevice,
    size_t *workspaceInBytesOnHost) {
    CALL(handle);
    if (params) shim_handle_check("cusolver params", params);
    if (!eigen_fits(jobz, n, lda, dataTypeA, dataTypeW, computeType)) return CUSOLVER_STATUS_INVALID_VALUE;
    shim_check_device_ptr("cusolverDnXsyevd_bufferSize", A, 0);
    *workspaceInBytesOnDevice = workspace(n), *workspaceInBytesOnHost = 0;
    return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnXsyevd(cusolverDnHandle_t handle, cusolverDnParams_t params,
    cusolverEigMode_t jobz, cublasFillMode_t uplo, int64_t n, cudaDataType dataTypeA, void *A, int64_t lda,
    cudaDataType dataTypeW, void *W, cudaDataType computeType, void *bufferOnDevice,
    size_t workspaceInBytesOnDevice, void *, size_t, int *info) {
    CALL(handle);
    if (params) shim_handle_check("cusolver params", params);
    if (!eigen_fits(jobz, n, lda, dataTypeA, dataTypeW, computeType) || !bufferOnDevice ||
        workspaceInBytesOnDevice < workspace(n))
        return CUSOLVER_STATUS_INVALID_VALUE;
    shim_check_matrix("cusolverDnXsyevd A", A, n, n, lda, 8);
    shim_check_matrix("cusolverDnXsyevd W", W, n, 1, n, 8);
    shim_check_matrix("cusolverDnXsyevd buffer", bufferOnDevice, (int64_t)workspaceInBytesOnDevice, 1, 1, 1);
    shim_check_matrix("cusolverDnXsyevd info", info, 1, 1, 1, sizeof *info);
    (void)shim_enqueue("cusolverDnXsyevd", handle->stream, [=] {
        int order = (int)n, ld = (int)lda, query = -1, integers = 0;
        double least = 0;
        memset(bufferOnDevice, 0xff, workspaceInBytesOnDevice);
        *info = 0;
        dsyevd_("V", letter(uplo), &order, (double *)A, &ld, (double *)W, &least, &query, &integers, &query,
            info);
        int doubles = (int)least;
        std::vector<double> work((size_t)doubles);
        std::vector<int> iwork((size_t)integers);
        dsyevd_("V", letter(uplo), &order, (double *)A, &ld, (double *)W, work.data(), &doubles, iwork.data(),
            &integers, info);
    });
    return CUSOLVER_STATUS_SUCCESS;
}
