// The stored number types on the device: fp32, bf16 and fp16, widened to fp32 and rounded from it.
#ifndef ER_CUDA_NUMBER_CUH
#define ER_CUDA_NUMBER_CUH
#include <cuda_bf16.h>
#include <cuda_fp16.h>

static __device__ __forceinline__ float er_widen(float x) { return x; }
static __device__ __forceinline__ float er_widen(__nv_bfloat16 x) { return __bfloat162float(x); }
static __device__ __forceinline__ float er_widen(__half x) { return __half2float(x); }

// To nearest even. fp16 saturates: an activation beyond 65504 must not become infinite.
template <typename T> static __device__ __forceinline__ T er_narrow(float x);
template <> __device__ __forceinline__ float er_narrow<float>(float x) { return x; }
template <> __device__ __forceinline__ __nv_bfloat16 er_narrow<__nv_bfloat16>(float x) {
    return __float2bfloat16_rn(x);
}
template <> __device__ __forceinline__ __half er_narrow<__half>(float x) {
    return __float2half_rn(x > 65504.0f ? 65504.0f : x < -65504.0f ? -65504.0f : x);  // NaN stays
}
#endif
