// CUDA's small vectors, with the alignment that makes a load of one a single instruction.
#ifndef SHIM_VECTOR_TYPES_H
#define SHIM_VECTOR_TYPES_H

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct uint3 {
    unsigned x, y, z;
};

#define SHIM_VECTOR(T, name)                                                                                 \
    struct alignas(2 * sizeof(T)) name##2 {                                                                  \
        T x, y;                                                                                              \
    };                                                                                                       \
    static inline name##2 make_##name##2(T x, T y) { return {x, y}; }
#define SHIM_VECTOR4(T, name)                                                                                \
    SHIM_VECTOR(T, name)                                                                                     \
    struct alignas(4 * sizeof(T)) name##4 {                                                                  \
        T x, y, z, w;                                                                                        \
    };                                                                                                       \
    static inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
SHIM_VECTOR4(float, float)
SHIM_VECTOR4(int, int)
SHIM_VECTOR4(unsigned, uint)
SHIM_VECTOR4(unsigned short, ushort)
SHIM_VECTOR(double, double)
#undef SHIM_VECTOR4
#undef SHIM_VECTOR
#endif
