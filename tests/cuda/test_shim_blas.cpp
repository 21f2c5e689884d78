// The shim's cuBLAS, cuBLASLt and cuSOLVER against plain loops, and what they must refuse.
#include <cublasLt.h>
#include <cublas_v2.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cusolverDn.h>
#include <vector>
#include "tests/cuda/dies.h"
#include "tests/cuda_shim/shim.h"

#define OK_(call) assert_int_equal(call, 0)
typedef std::vector<double> matrix;

static cudaStream_t stream;
static cublasHandle_t blas;
static cublasLtHandle_t lt;
static cusolverDnHandle_t solver;
static uint64_t seed = 5;

static int setup(void **) {
    OK_(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    OK_(cublasCreate(&blas)), OK_(cublasSetStream(blas, stream));
    OK_(cublasLtCreate(&lt));
    OK_(cusolverDnCreate(&solver)), OK_(cusolverDnSetStream(solver, stream));
    return 0;
}
static int teardown(void **) {
    OK_(cublasDestroy(blas)), OK_(cublasLtDestroy(lt)), OK_(cusolverDnDestroy(solver));
    OK_(cudaStreamDestroy(stream));
    return shim_leaks();
}

static matrix random_matrix(size_t n) {
    matrix x(n);
    for (double &v : x) v = test_uniform(&seed);
    return x;
}
static void *to_device(const void *from, size_t bytes) {
    void *p = nullptr;
    OK_(cudaMalloc(&p, bytes));
    OK_(cudaMemcpyAsync(p, from, bytes, cudaMemcpyHostToDevice, stream));
    OK_(cudaStreamSynchronize(stream));
    return p;
}
static double *to_device(const matrix &x) { return (double *)to_device(x.data(), x.size() * 8); }
static matrix from_device(const double *p, size_t n) {
    matrix x(n);
    OK_(cudaMemcpyAsync(x.data(), p, n * 8, cudaMemcpyDeviceToHost, stream));
    OK_(cudaStreamSynchronize(stream));
    return x;
}

// Rounds `x` to the type, as the device will see it, and puts it there.
static void *narrowed(matrix &x, cudaDataType type, bool tf32) {
    std::vector<unsigned short> half(x.size());
    std::vector<float> single(x.size());
    for (size_t i = 0; i < x.size(); i++) {
        single[i] = (float)x[i];
        half[i] = type == CUDA_R_16F ? __half_as_ushort(__float2half_rn(single[i]))
                                     : __bfloat16_as_ushort(__float2bfloat16_rn(single[i]));
        if (type == CUDA_R_16F) x[i] = (double)__half2float(__ushort_as_half(half[i]));
        else if (type == CUDA_R_16BF) x[i] = (double)__bfloat162float(__ushort_as_bfloat16(half[i]));
        else x[i] = (double)single[i];
        int e;
        if (tf32) x[i] = frexp(x[i], &e), x[i] = ldexp(nearbyint(ldexp(x[i], 11)), e - 11);
    }
    return type == CUDA_R_32F ? to_device(single.data(), x.size() * 4) : to_device(half.data(), x.size() * 2);
}

enum { M = 5, N = 7, K = 11, LD = 13 };

static double at(const matrix &x, bool trans, size_t i, size_t j) {
    return trans ? x[i * LD + j] : x[j * LD + i];
}

// |got - (alpha op(A) op(B) + beta C)| / |..|, all with LD.
static double error_of(const matrix &a, bool ta, const matrix &b, bool tb, double alpha, double beta,
    const matrix &c, const float *got) {
    double d = 0, s = 0;
    for (size_t j = 0; j < N; j++)
        for (size_t i = 0; i < M; i++) {
            double sum = 0;
            for (size_t k = 0; k < K; k++) sum += at(a, ta, i, k) * at(b, tb, k, j);
            sum = alpha * sum + (beta == 0 ? 0 : beta * c[j * LD + i]);
            double off = (double)got[j * LD + i] - sum;
            d += off * off, s += sum * sum;
        }
    return sqrt(d / s);
}

static void gemm_case(cudaDataType type, cublasComputeType_t compute, bool ta, bool tb, bool keep) {
    matrix a = random_matrix(LD * LD), b = random_matrix(LD * LD), c = random_matrix(LD * LD);
    bool tf32 = compute == CUBLAS_COMPUTE_32F_FAST_TF32;
    void *dev_a = narrowed(a, type, tf32), *dev_b = narrowed(b, type, tf32), *dev_c = nullptr;
    std::vector<float> got(LD * LD);
    float alpha = 0.75f, beta = keep ? -0.5f : 0;
    if (keep) dev_c = narrowed(c, CUDA_R_32F, false);
    else OK_(cudaMalloc(&dev_c, LD * LD * 4));  // NaNs
    OK_(cublasGemmEx(blas, ta ? CUBLAS_OP_T : CUBLAS_OP_N, tb ? CUBLAS_OP_T : CUBLAS_OP_N, M, N, K, &alpha,
        dev_a, type, LD, dev_b, type, LD, &beta, dev_c, CUDA_R_32F, LD, compute, CUBLAS_GEMM_DEFAULT));
    float was = alpha;
    alpha = NAN;  // read at the call
    OK_(cudaMemcpyAsync(got.data(), dev_c, LD * LD * 4, cudaMemcpyDeviceToHost, stream));
    OK_(cudaStreamSynchronize(stream));
    BELOW(error_of(a, ta, b, tb, (double)was, (double)beta, c, got.data()), 4e-7);
    for (size_t i = M; i < LD; i++) assert_true(keep ? got[i] == (float)c[i] : isnan(got[i]) != 0);
    OK_(cudaFree(dev_a)), OK_(cudaFree(dev_b)), OK_(cudaFree(dev_c));
}

static void test_gemm(void **) {
    const cudaDataType types[] = {CUDA_R_32F, CUDA_R_16BF, CUDA_R_16F};
    for (int k = 0; k < 8; k++) {
        for (cudaDataType type : types) gemm_case(type, CUBLAS_COMPUTE_32F, k & 1, k & 2, k & 4);
        gemm_case(CUDA_R_32F, CUBLAS_COMPUTE_32F_PEDANTIC, k & 1, k & 2, k & 4);
        gemm_case(CUDA_R_32F, CUBLAS_COMPUTE_32F_FAST_TF32, k & 1, k & 2, k & 4);
    }
}

static void test_gemm_refuses(void **) {
    float one = 1, *p = nullptr;
    OK_(cudaMalloc(&p, 256));
    auto call = [&](int lda, cudaDataType ta, cudaDataType tc, cublasComputeType_t compute) {
        return cublasGemmEx(blas, CUBLAS_OP_N, CUBLAS_OP_N, 4, 4, 4, &one, p, ta, lda, p, CUDA_R_16F, 4, &one,
            p + 32, tc, 4, compute, CUBLAS_GEMM_DEFAULT);
    };
    assert_int_equal(call(3, CUDA_R_16F, CUDA_R_32F, CUBLAS_COMPUTE_32F), CUBLAS_STATUS_INVALID_VALUE);
    assert_int_equal(call(4, CUDA_R_16BF, CUDA_R_32F, CUBLAS_COMPUTE_32F), CUBLAS_STATUS_NOT_SUPPORTED);
    assert_int_equal(call(4, CUDA_R_16F, CUDA_R_16F, CUBLAS_COMPUTE_32F), CUBLAS_STATUS_NOT_SUPPORTED);
    assert_int_equal(
        call(4, CUDA_R_16F, CUDA_R_32F, CUBLAS_COMPUTE_32F_FAST_TF32), CUBLAS_STATUS_NOT_SUPPORTED);
    assert_int_equal(cublasSetWorkspace(blas, (char *)p + 16, 64), CUBLAS_STATUS_INVALID_VALUE);
    shim_fail_at(1);
    assert_int_equal(call(4, CUDA_R_16F, CUDA_R_32F, CUBLAS_COMPUTE_32F), CUBLAS_STATUS_EXECUTION_FAILED);
    assert_string_equal(
        cublasGetStatusName(CUBLAS_STATUS_EXECUTION_FAILED), "CUBLAS_STATUS_EXECUTION_FAILED");
    shim_fail_at(0);
    OK_(call(4, CUDA_R_16F, CUDA_R_32F, CUBLAS_COMPUTE_32F));
    OK_(cudaFree(p));
}

// ---- fp64 ----

static void test_doubles(void **) {
    matrix a = random_matrix(LD * LD), b = random_matrix(LD * LD), c = random_matrix(LD * LD);
    double *dev_a = to_device(a), *dev_b = to_device(b), *dev_c = nullptr, alpha = 2, zero = 0, one = 1;
    OK_(cudaMalloc(&dev_c, LD * LD * 8));
    for (int k = 0; k < 4; k++) {
        bool ta = k & 1, tb = k & 2;
        OK_(cublasDgemm_64(blas, ta ? CUBLAS_OP_T : CUBLAS_OP_N, tb ? CUBLAS_OP_T : CUBLAS_OP_N, M, N, K,
            &alpha, dev_a, LD, dev_b, LD, &zero, dev_c, LD));
        matrix got = from_device(dev_c, LD * LD);
        for (size_t j = 0; j < N; j++)
            for (size_t i = 0; i < M; i++) {
                double sum = 0;
                for (size_t l = 0; l < K; l++) sum += 2 * at(a, ta, i, l) * at(b, tb, l, j);
                NEAR(got[j * LD + i], sum, 1e-14);
            }
    }
    for (int k = 0; k < 4; k++) {  // one triangle of A A^T or A^T A, the other as it was
        bool trans = k & 1, upper = k & 2;
        OK_(cudaMemsetAsync(dev_c, 0xff, LD * LD * 8, stream));
        OK_(cublasDsyrk(blas, upper ? CUBLAS_FILL_MODE_UPPER : CUBLAS_FILL_MODE_LOWER,
            trans ? CUBLAS_OP_T : CUBLAS_OP_N, N, K, &alpha, dev_a, LD, &zero, dev_c, LD));
        matrix got = from_device(dev_c, LD * LD);
        for (size_t j = 0; j < N; j++)
            for (size_t i = 0; i < N; i++) {
                double sum = 0;
                for (size_t l = 0; l < K; l++) sum += 2 * at(a, trans, i, l) * at(a, trans, j, l);
                if (upper ? i <= j : i >= j) NEAR(got[j * LD + i], sum, 1e-14);
                else assert_true(isnan(got[j * LD + i]));
            }
    }
    for (size_t i = 0; i < LD; i++) a[i * LD + i] += 4;
    OK_(cudaMemcpyAsync(dev_a, a.data(), LD * LD * 8, cudaMemcpyHostToDevice, stream));
    OK_(cublasDtrsm(blas, CUBLAS_SIDE_LEFT, CUBLAS_FILL_MODE_LOWER, CUBLAS_OP_T, CUBLAS_DIAG_NON_UNIT, M, N,
        &one, dev_a, LD, dev_b, LD));
    matrix x = from_device(dev_b, LD * LD);
    for (size_t j = 0; j < N; j++)
        for (size_t i = 0; i < M; i++) {
            double sum = 0;
            for (size_t l = i; l < M; l++) sum += a[i * LD + l] * x[j * LD + l];
            NEAR(sum, b[j * LD + i], 1e-14);
        }
    OK_(cudaFree(dev_a)), OK_(cudaFree(dev_b)), OK_(cudaFree(dev_c));
}

// ---- Cholesky ----

template <class T> static void cholesky_case(cudaDataType type, double bound) {
    enum { ORDER = 9, SIDES = 3 };
    std::vector<T> a(ORDER * LD), b(SIDES * LD), x(SIDES * LD);
    for (T &v : a) v = (T)test_uniform(&seed);
    for (T &v : b) v = (T)test_uniform(&seed);
    for (size_t i = 0; i < ORDER; i++) a[i * LD + i] += (T)ORDER;
    size_t on_device = 0, on_host = 0;
    T *dev_a = (T *)to_device(a.data(), a.size() * sizeof(T)),
      *dev_b = (T *)to_device(b.data(), b.size() * sizeof(T));
    int *info = nullptr, host_info[2] = {-1, -1};
    void *buffer = nullptr;
    cusolverDnParams_t params;
    OK_(cusolverDnCreateParams(&params));
    OK_(cusolverDnXpotrf_bufferSize(
        solver, params, CUBLAS_FILL_MODE_LOWER, ORDER, type, dev_a, LD, type, &on_device, &on_host));
    assert_true(on_device > 0 && on_host == 0);
    OK_(cudaMalloc(&buffer, on_device)), OK_(cudaMalloc(&info, 8));
    auto factor = [&](size_t bytes) {
        return cusolverDnXpotrf(solver, params, CUBLAS_FILL_MODE_LOWER, ORDER, type, dev_a, LD, type, buffer,
            bytes, NULL, 0, info);
    };
    assert_int_equal(factor(on_device - 1), CUSOLVER_STATUS_INVALID_VALUE);
    shim_fail_at(1);
    assert_int_equal(factor(on_device), CUSOLVER_STATUS_INTERNAL_ERROR);
    shim_fail_at(0);
    OK_(factor(on_device));
    OK_(cusolverDnXpotrs(
        solver, params, CUBLAS_FILL_MODE_LOWER, ORDER, SIDES, type, dev_a, LD, type, dev_b, LD, info + 1));
    OK_(cudaMemcpyAsync(x.data(), dev_b, x.size() * sizeof(T), cudaMemcpyDeviceToHost, stream));
    OK_(cudaMemcpyAsync(host_info, info, 8, cudaMemcpyDeviceToHost, stream));
    assert_true(host_info[0] == -1 && x[0] == 0);  // nothing has run
    OK_(cudaStreamSynchronize(stream));
    assert_true(host_info[0] == 0 && host_info[1] == 0);
    for (size_t s = 0; s < SIDES; s++)
        for (size_t i = 0; i < ORDER; i++) {
            double sum = 0;
            for (size_t j = 0; j < ORDER; j++)
                sum += (double)a[i > j ? j * LD + i : i * LD + j] * (double)x[s * LD + j];
            NEAR(sum, b[s * LD + i], bound);
        }
    a[3 * LD + 3] = -1;
    OK_(cudaMemcpyAsync(dev_a, a.data(), a.size() * sizeof(T), cudaMemcpyHostToDevice, stream));
    OK_(factor(on_device));
    OK_(cudaMemcpyAsync(host_info, info, 8, cudaMemcpyDeviceToHost, stream));
    OK_(cudaStreamSynchronize(stream));
    assert_int_equal(host_info[0], 4);  // the pivot, from 1
    OK_(cusolverDnDestroyParams(params));
    OK_(cudaFree(dev_a)), OK_(cudaFree(dev_b)), OK_(cudaFree(buffer)), OK_(cudaFree(info));
}

static void test_cholesky(void **) {
    cholesky_case<double>(CUDA_R_64F, 1e-14);
    cholesky_case<float>(CUDA_R_32F, 1e-5);
}

// ---- cuBLASLt ----

static void lt_case(cudaDataType type, bool with_bias, bool keep) {
    matrix a = random_matrix(LD * LD), b = random_matrix(LD * LD), c = random_matrix(LD * LD),
           bias = random_matrix(M);
    void *dev_a = narrowed(a, type, false), *dev_b = narrowed(b, type, false),
         *dev_c = narrowed(c, CUDA_R_32F, false), *dev_bias = narrowed(bias, CUDA_R_32F, false),
         *dev_d = nullptr, *workspace = nullptr;
    std::vector<float> got(LD * LD);
    float alpha = 0.5f, beta = keep ? 1.0f : 0.0f;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t la, lb, lc;
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t found;
    cublasOperation_t t = CUBLAS_OP_T;
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    size_t most = 1024;
    int n_found = 0;
    OK_(cudaMalloc(&dev_d, LD * LD * 4)), OK_(cudaMalloc(&workspace, most));
    OK_(cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    OK_(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSA, &t, sizeof t));
    if (with_bias) {
        OK_(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue));
        OK_(cublasLtMatmulDescSetAttribute(
            desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &dev_bias, sizeof dev_bias));
    }
    OK_(cublasLtMatrixLayoutCreate(&la, type, K, M, LD)),
        OK_(cublasLtMatrixLayoutCreate(&lb, type, K, N, LD));
    OK_(cublasLtMatrixLayoutCreate(&lc, CUDA_R_32F, M, N, LD));
    OK_(cublasLtMatmulPreferenceCreate(&preference));
    OK_(cublasLtMatmulPreferenceSetAttribute(
        preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most, sizeof most));
    assert_int_equal(
        cublasLtMatmulAlgoGetHeuristic(lt, desc, la, lb, la, lc, preference, 1, &found, &n_found),
        CUBLAS_STATUS_INVALID_VALUE);
    OK_(cublasLtMatmulAlgoGetHeuristic(lt, desc, la, lb, lc, lc, preference, 1, &found, &n_found));
    assert_true(n_found == 1 && found.workspaceSize <= most);
    OK_(cublasLtMatmul(lt, desc, &alpha, dev_a, la, dev_b, lb, &beta, dev_c, lc, dev_d, lc, &found.algo,
        workspace, found.workspaceSize, stream));
    OK_(cudaMemcpyAsync(got.data(), dev_d, LD * LD * 4, cudaMemcpyDeviceToHost, stream));
    OK_(cudaStreamSynchronize(stream));
    for (size_t j = 0; with_bias && j < N; j++)
        for (size_t i = 0; i < M; i++) got[j * LD + i] -= (float)bias[i];
    BELOW(error_of(a, true, b, false, 0.5, (double)beta, c, got.data()), 1e-6);
    OK_(cublasLtMatmulDescDestroy(desc)), OK_(cublasLtMatmulPreferenceDestroy(preference));
    OK_(cublasLtMatrixLayoutDestroy(la)), OK_(cublasLtMatrixLayoutDestroy(lb)),
        OK_(cublasLtMatrixLayoutDestroy(lc));
    for (void *p : {dev_a, dev_b, dev_c, dev_d, dev_bias, workspace}) OK_(cudaFree(p));
}

static void test_lt(void **) {
    for (int k = 0; k < 4; k++) lt_case(CUDA_R_16BF, k & 1, k & 2), lt_case(CUDA_R_32F, k & 1, k & 2);
}

// ---- what must not go unseen ----

static void bug(const char *which) {
    double one = 1, zero = 0, *p = nullptr, *big = nullptr;
    if (cudaMalloc(&p, (4 * 3 + 2) * 8) != cudaSuccess || cudaMalloc(&big, 1024) != cudaSuccess) return;
    bool is_a = !strcmp(which, "A"), is_b = !strcmp(which, "B"), is_c = !strcmp(which, "C");
    // 3 x 4 with columns 4 apart take 15 elements, one more than there are.
    (void)cublasDgemm(blas, CUBLAS_OP_N, CUBLAS_OP_N, 3, 4, 4, &one, is_a ? p : big, 4, is_b ? p : big, 4,
        &zero, is_c ? p : big, 4);
    if (!strcmp(which, "host"))
        (void)cublasDsyrk(blas, CUBLAS_FILL_MODE_LOWER, CUBLAS_OP_N, 1, 1, &one, &zero, 1, &zero, big, 1);
}

static void test_extents(void **) {
    dies(bug, "A", "cublasDgemm A: 120 bytes");
    dies(bug, "B", "cublasDgemm B: 128 bytes");
    dies(bug, "C", "cublasDgemm C: 120 bytes");
    dies(bug, "host", "cublasDsyrk A");
}

int main(void) {
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_gemm),
        TEST(test_gemm_refuses),
        TEST(test_doubles),
        TEST(test_cholesky),
        TEST(test_lt),
        TEST(test_extents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
