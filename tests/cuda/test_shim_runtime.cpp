// The shim's runtime, against what CUDA promises: order of streams and events, memory and its limit, dynamic
// shared memory, warp intrinsics, the two 16-bit types, and a device that dies.
#include <cuda_runtime.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include "kernels/cuda/launch.cuh"
#include "tests/cuda/dies.h"
#include "tests/cuda_shim/shim.h"

#define CU(call) assert_int_equal(call, cudaSuccess)

static cudaStream_t a, b;

static int *device_ints(size_t n) {
    int *p = nullptr;
    CU(cudaMalloc(&p, n * sizeof *p));
    return p;
}

static int setup(void **) {
    CU(cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking));
    CU(cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking));
    return 0;
}
static int teardown(void **) {
    CU(cudaStreamDestroy(a));
    CU(cudaStreamDestroy(b));
    return shim_leaks();
}

// ---- streams and events ----

static void test_events_order_streams(void **) {
    int in[2] = {7, 8}, *p = device_ints(1), *out = nullptr;
    cudaEvent_t e;
    CU(cudaEventCreateWithFlags(&e, cudaEventDisableTiming));
    CU(cudaMallocHost(&out, 4 * sizeof *out));
    memset(out, 0, 4 * sizeof *out);
    CU(cudaMemsetAsync(p, 0, sizeof *p, a));
    CU(cudaStreamSynchronize(a));
    CU(cudaMemcpyAsync(p, &in[0], sizeof *p, cudaMemcpyHostToDevice, a));
    CU(cudaEventRecord(e, a));
    CU(cudaMemcpyAsync(p, &in[1], sizeof *p, cudaMemcpyHostToDevice, a));
    assert_int_equal(cudaEventQuery(e), cudaErrorNotReady);

    // Without a wait the other stream sees what was there before.
    CU(cudaMemcpyAsync(&out[0], p, sizeof *p, cudaMemcpyDeviceToHost, b));
    CU(cudaStreamSynchronize(b));
    assert_int_equal(out[0], 0);
    // With one it sees what was queued before the event, and nothing behind it.
    CU(cudaStreamWaitEvent(b, e, 0));
    CU(cudaMemcpyAsync(&out[1], p, sizeof *p, cudaMemcpyDeviceToHost, b));
    assert_int_equal(out[1], 0);
    CU(cudaStreamSynchronize(b));
    assert_int_equal(out[1], 7);
    CU(cudaEventQuery(e));
    assert_int_equal(cudaStreamQuery(a), cudaErrorNotReady);
    CU(cudaDeviceSynchronize());
    CU(cudaStreamQuery(a));

    CU(cudaMemcpyAsync(&out[2], p, sizeof *p, cudaMemcpyDeviceToHost, a));
    CU(cudaEventRecord(e, a));
    CU(cudaMemcpyAsync(&out[3], p, sizeof *p, cudaMemcpyDeviceToHost, a));
    CU(cudaEventSynchronize(e));
    assert_int_equal(out[2], 8), assert_int_equal(out[3], 0);  // up to the event and no further
    CU(cudaFree(p));
    CU(cudaFreeHost(out));
    CU(cudaEventDestroy(e));
}

// A waits for B, which waits for an earlier place in A.
static void test_events_cross(void **) {
    int one = 1, two = 2, out = 0, *p = device_ints(1);
    cudaEvent_t first, second, timing;
    float ms = -1;
    CU(cudaEventCreate(&first));
    CU(cudaEventCreate(&second));
    CU(cudaEventCreateWithFlags(&timing, cudaEventDisableTiming));
    CU(cudaMemcpyAsync(p, &one, sizeof one, cudaMemcpyHostToDevice, a));
    CU(cudaEventRecord(first, a));
    CU(cudaStreamWaitEvent(b, first, 0));
    CU(cudaMemcpyAsync(p, &two, sizeof two, cudaMemcpyHostToDevice, b));
    CU(cudaEventRecord(second, b));
    CU(cudaStreamWaitEvent(a, second, 0));
    CU(cudaMemcpyAsync(&out, p, sizeof out, cudaMemcpyDeviceToHost, a));
    assert_int_equal(cudaEventElapsedTime(&ms, first, second), cudaErrorNotReady);
    CU(cudaStreamSynchronize(a));
    assert_int_equal(out, 2);
    CU(cudaEventElapsedTime(&ms, first, second));
    assert_true(ms >= 0);
    assert_int_equal(cudaEventElapsedTime(&ms, timing, second), cudaErrorInvalidResourceHandle);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidResourceHandle);
    CU(cudaEventDestroy(first));
    CU(cudaEventDestroy(second));
    CU(cudaEventDestroy(timing));
    CU(cudaFree(p));
}

// ---- memory ----

static void test_memory_limit(void **) {
    size_t available = 0, total = 0;
    void *p = nullptr, *q = nullptr;
    shim_memory(10000);
    CU(cudaMalloc(&p, 6000));
    CU(cudaMemGetInfo(&available, &total));
    assert_int_equal(available, 4000), assert_int_equal(total, 10000);
    assert_int_equal(cudaMalloc(&q, 4001), cudaErrorMemoryAllocation);
    assert_int_equal(cudaPeekAtLastError(), cudaErrorMemoryAllocation);
    assert_int_equal(cudaGetLastError(), cudaErrorMemoryAllocation);
    CU(cudaPeekAtLastError());
    CU(cudaHostAlloc(&q, 20000, cudaHostAllocDefault));  // which is the host's
    CU(cudaFreeHost(q));
    CU(cudaMalloc(&q, 4000));
    CU(cudaFree(p));
    CU(cudaFree(q));
    CU(cudaMemGetInfo(&available, &total));
    assert_int_equal(available, 10000);
    shim_memory((size_t)1 << 30);
}

static void test_copy_2d(void **) {
    unsigned char in[3 * 8], out[3 * 5];
    char *p = nullptr;
    for (size_t i = 0; i < sizeof in; i++) in[i] = (unsigned char)i;
    CU(cudaMalloc(&p, 2 * 7 + 4));
    CU(cudaMemcpy2DAsync(p, 7, in, 8, 4, 3, cudaMemcpyHostToDevice, a));
    CU(cudaMemcpy2DAsync(out, 5, p, 7, 4, 3, cudaMemcpyDeviceToHost, a));
    CU(cudaStreamSynchronize(a));
    for (size_t i = 0; i < 12; i++) assert_int_equal(out[i / 4 * 5 + i % 4], in[i / 4 * 8 + i % 4]);
    CU(cudaFree(p));
}

static void test_device_says(void **) {
    cudaDeviceProp prop;
    int value = 0;
    CU(cudaGetDeviceProperties(&prop, 0));
    CU(cudaDeviceGetAttribute(&value, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0));
    assert_int_equal(value, prop.sharedMemPerBlockOptin);
    assert_int_equal(cudaSetDevice(1), cudaErrorInvalidDevice);
    assert_string_equal(cudaGetErrorName(cudaGetLastError()), "cudaErrorInvalidDevice");
    assert_string_equal(cudaGetErrorString(cudaErrorNoDevice), "no CUDA-capable device is detected");
}

// ---- kernels ----

static __global__ void k_rotate(int *out, const int *in, unsigned by) {
    ER_DYN_SMEM(int, s);
    s[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = s[(threadIdx.x + by) % blockDim.x];
}

static void test_dynamic_shared(void **) {
    enum { N = 64 };
    int in[N], out[N], *p = device_ints(N), *q = device_ints(N);
    for (int i = 0; i < N; i++) in[i] = i;
    CU(cudaMemcpyAsync(p, in, sizeof in, cudaMemcpyHostToDevice, a));
    CU(ER_LAUNCH_SMEM(k_rotate, 2, N, N * sizeof(int), a, q, p, 3u));
    CU(cudaMemcpyAsync(out, q, sizeof out, cudaMemcpyDeviceToHost, a));
    CU(cudaStreamSynchronize(a));
    for (int i = 0; i < N; i++) assert_int_equal(out[i], (i + 3) % N);
    assert_int_equal(ER_LAUNCH_SMEM(k_rotate, 1, N, (48u << 10) + 1, a, q, p, 3u), cudaErrorInvalidValue);
    assert_int_equal(
        cudaFuncSetAttribute(k_rotate, cudaFuncAttributeMaxDynamicSharedMemorySize, (227 << 10) + 1),
        cudaErrorInvalidValue);
    CU(cudaFuncSetAttribute(k_rotate, cudaFuncAttributeMaxDynamicSharedMemorySize, 227 << 10));
    CU(ER_LAUNCH_SMEM(k_rotate, 1, N, 227u << 10, a, q, p, 3u));
    CU(cudaStreamSynchronize(a));
    (void)cudaGetLastError();
    CU(cudaFree(p));
    CU(cudaFree(q));
}

// What k_rotate and k_warp would be without what orders their lanes: shuffles do not.
static __global__ void k_race(int *out, bool dynamic) {
    __shared__ int fixed[32];
    ER_DYN_SMEM(int, s);
    int *at = dynamic ? s : fixed, lane = (int)threadIdx.x;
    at[lane] = lane;
    lane = __shfl_xor_sync(0xffffffffu, lane, 1);
    out[lane] = at[(lane + 2) % 32];
}

// Lane i hands on to lane i + 1 through memory, with nothing but __syncwarp() in between.
static __global__ void k_warp(int *out) {
    __shared__ int s[64];
    int t = (int)threadIdx.x, lane = t % 32, sum = 0;
    for (int turn = 0; turn < 3; turn++) {
        s[t] = t + turn;
        __syncwarp();
        sum += s[t / 32 * 32 + (lane + 1) % 32];
        __syncwarp();
    }
    out[t] = sum;
    out[64 + t] = __shfl_sync(0xffffffffu, t, 5);
    out[128 + t] = __shfl_up_sync(0xffffffffu, t, 3u);
    out[192 + t] = __shfl_down_sync(0xffffffffu, t, 3u, 8);
    out[256 + t] = __any_sync(0xffffffffu, t == 40) + 2 * __all_sync(0xffffffffu, t >= 32);
}

static void test_warp_intrinsics(void **) {
    int out[320], *p = device_ints(320);
    CU(ER_LAUNCH(k_warp, 1, 64, a, p));
    CU(cudaMemcpyAsync(out, p, sizeof out, cudaMemcpyDeviceToHost, a));
    CU(cudaStreamSynchronize(a));
    for (int t = 0; t < 64; t++) {
        int base = t / 32 * 32, lane = t % 32;
        assert_int_equal(out[t], 3 * (base + (lane + 1) % 32) + 3);
        assert_int_equal(out[64 + t], base + 5);
        assert_int_equal(out[128 + t], lane < 3 ? t : t - 3);
        assert_int_equal(out[192 + t], lane % 8 < 5 ? t + 3 : t);
        assert_int_equal(out[256 + t], base ? 3 : 0);
    }
    CU(cudaFree(p));
}

static __global__ void k_atomics(unsigned long long *big, int *least, unsigned *most, float *sum) {
    atomicAdd(big, 1ull << 33);
    atomicMin(least, -(int)threadIdx.x);
    atomicMax(most, threadIdx.x);
    atomicAdd(sum, 0.5f);
}

static void test_atomics(void **) {
    struct {
        unsigned long long big;
        int least;
        unsigned most;
        float sum;
    } v = {1, 5, 0, 0}, *p = nullptr;
    CU(cudaMalloc(&p, sizeof v));
    CU(cudaMemcpyAsync(p, &v, sizeof v, cudaMemcpyHostToDevice, a));
    char *at = (char *)p;
    CU(ER_LAUNCH(k_atomics, 2, 96, a, (unsigned long long *)at, (int *)(at + 8), (unsigned *)(at + 12),
        (float *)(at + 16)));
    CU(cudaMemcpyAsync(&v, p, sizeof v, cudaMemcpyDeviceToHost, a));
    CU(cudaStreamSynchronize(a));
    assert_true(v.big == (192ull << 33) + 1 && v.least == -95 && v.most == 95 && v.sum == 96);
    CU(cudaFree(p));
}

// ---- 16-bit types: against the nearest of all their values ----

static double half_value(unsigned h) {
    unsigned e = h >> 10 & 31, m = h & 1023;
    return ldexp(e ? 1024 + m : m, (int)(e ? e : 1) - 25);
}
static double bf16_value(unsigned h) {
    unsigned e = h >> 7 & 255, m = h & 127;
    return ldexp(e ? 128 + m : m, (int)(e ? e : 1) - 134);
}

static void test_half_types(void **) {
    for (unsigned h = 0; h < 0x7c00; h++) {
        double x = half_value(h), next = half_value(h + 1), middle = (x + next) / 2;
        assert_true((double)__half2float(__ushort_as_half((unsigned short)h)) == x);
        assert_int_equal(__half_as_ushort(__float2half_rn((float)x)), h);
        assert_int_equal(__half_as_ushort(__float2half_rn((float)middle)), h + (h & 1));
        assert_int_equal(__half_as_ushort(__float2half_rn(nextafterf((float)middle, 0))), h);
        assert_int_equal(
            __half_as_ushort(__float2half_rn(-nextafterf((float)middle, 1e9f))), 0x8000 | (h + 1));
    }
    for (unsigned h = 0; h < 0x7f80; h++) {
        double x = bf16_value(h), middle = (x + bf16_value(h + 1)) / 2;
        assert_true((double)__bfloat162float(__ushort_as_bfloat16((unsigned short)h)) == x);
        assert_int_equal(__bfloat16_as_ushort(__float2bfloat16_rn((float)x)), h);
        assert_int_equal(__bfloat16_as_ushort(__float2bfloat16_rn((float)middle)), h + (h & 1));
        assert_int_equal(
            __bfloat16_as_ushort(__float2bfloat16_rn(-nextafterf((float)middle, 0))), 0x8000 | h);
    }
    assert_int_equal(__half_as_ushort(__float2half_rn(-INFINITY)), 0xfc00);
    assert_int_equal(__half_as_ushort(__float2half_rn(NAN)), 0x7fff);
    assert_int_equal(__bfloat16_as_ushort(__float2bfloat16_rn(INFINITY)), 0x7f80);
    assert_int_equal(__bfloat16_as_ushort(__float2bfloat16_rn(-NAN)), 0x7fff);
    assert_true(isnan(__half2float(__ushort_as_half(0xfe01))));
    assert_true(isinf(__half2float(__ushort_as_half(0x7c00))));
    float2 pair = __bfloat1622float2(__floats2bfloat162_rn(1.5f, -2));
    assert_true(pair.x == 1.5f && pair.y == -2);
}

// ---- what must not go unseen ----

static void bug(const char *which) {
    int *p = device_ints(16), *q = device_ints(32), *pinned = nullptr, host[16] = {0};
    if (cudaMallocHost(&pinned, sizeof host) != cudaSuccess) return;
    if (!strcmp(which, "overrun")) (void)ER_LAUNCH_SMEM(k_rotate, 1, 16, 60, a, p, p, 1u);
    if (!strcmp(which, "pinned")) (void)ER_LAUNCH_SMEM(k_rotate, 1, 16, 64, a, p, pinned, 1u);
    if (!strcmp(which, "past pinned")) (void)cudaMemcpyAsync(pinned + 1, p, 64, cudaMemcpyDeviceToHost, a);
    if (!strcmp(which, "twins")) (void)cudaFree(pinned);
    if (!strcmp(which, "touch")) host[0] = *p;
    if (!strcmp(which, "race")) (void)ER_LAUNCH_SMEM(k_race, 1, 32, 128, a, q, false);
    if (!strcmp(which, "dynamic race")) (void)ER_LAUNCH_SMEM(k_race, 1, 32, 128, a, q, true);
    (void)cudaStreamSynchronize(a);
    if (strstr(which, "race")) _exit(1);  // ThreadSanitizer reports it and lets it go on
    _exit(host[0] == 77 ? 1 : 0);
}

static void test_bugs_are_seen(void **) {
    dies(bug, "pinned", "is not device memory");
    dies(bug, "past pinned", "run past the end of their pinned memory");
    dies(bug, "twins", "was not allocated by its twin");
#ifdef HAS_ASAN
    dies(bug, "overrun", "heap-buffer-overflow");
    dies(bug, "touch", "use-after-poison");
#endif
#ifdef HAS_TSAN
    dies(bug, "race", "data race");
    dies(bug, "dynamic race", "data race");
#endif
    int e = cudaMemcpyAsync(&e, &e, 4, cudaMemcpyHostToDevice, a);
    assert_int_equal(e, cudaErrorInvalidMemcpyDirection);
    (void)cudaGetLastError();
}

static void test_dead_device(void **) {
    int one = 1, out = 0, *p = device_ints(1);
    shim_fail_with(cudaErrorNoDevice);
    shim_fail_at(1);
    assert_int_equal(cudaSetDevice(0), cudaErrorNoDevice);
    assert_int_equal(cudaGetLastError(), cudaErrorNoDevice);
    CU(cudaSetDevice(0));
    shim_fail_with(cudaErrorMemoryAllocation);

    shim_die_at(3);
    CU(cudaMemcpyAsync(p, &one, sizeof one, cudaMemcpyHostToDevice, a));
    CU(cudaMemcpyAsync(&out, p, sizeof one, cudaMemcpyDeviceToHost, a));
    assert_int_equal(cudaStreamSynchronize(a), cudaErrorLaunchFailure);
    assert_int_equal(cudaStreamSynchronize(a), cudaErrorLaunchFailure);
    assert_int_equal(cudaGetLastError(), cudaErrorLaunchFailure);
    assert_int_equal(cudaGetLastError(), cudaErrorLaunchFailure);
    assert_int_equal(cudaFree(p), cudaErrorLaunchFailure);
    shim_fail_at(0);
    CU(cudaGetLastError());
    assert_int_equal(out, 0);  // the work was lost
}

int main(void) {
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_events_order_streams),
        TEST(test_events_cross),
        TEST(test_memory_limit),
        TEST(test_copy_2d),
        TEST(test_device_says),
        TEST(test_dynamic_shared),
        TEST(test_warp_intrinsics),
        TEST(test_atomics),
        TEST(test_half_types),
        TEST(test_bugs_are_seen),
        TEST(test_dead_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
