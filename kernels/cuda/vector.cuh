// 16-byte loads and stores. A kernel takes V, the elements of one access, as a template argument and steps by
// V; the launcher picks V = 16 / sizeof(element) where every pointer and every row starts on 16 bytes, else V
// = 1.
#ifndef ER_CUDA_VECTOR_CUH
#define ER_CUDA_VECTOR_CUH
#include <stddef.h>
#include <stdint.h>

template <typename T, int V> struct alignas(sizeof(T) * V) er_pack { T at[V]; };

template <int V, typename T> static __device__ __forceinline__ er_pack<T, V> er_load(const T *p) {
    return *reinterpret_cast<const er_pack<T, V> *>(p);
}

template <int V, typename T> static __device__ __forceinline__ void er_store(T *p, const er_pack<T, V> &v) {
    *reinterpret_cast<er_pack<T, V> *>(p) = v;
}

// NULL, an absent argument, is in nobody's way.
template <class... P> static inline bool er_aligned(const P *...p) {
    return (((uintptr_t)p | ...) & 15) == 0;
}
#endif
