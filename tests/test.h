// What every test shares beside cmocka: status checks, norm-wise closeness, a fixed-seed generator.
#ifndef ER_TEST_H
#define ER_TEST_H
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "io/base/status.h"

#define OK(call)                                                                                             \
    do {                                                                                                     \
        er_status rc_ = (call);                                                                              \
        if (rc_ != ER_OK) fail_msg("%s: %s", #call, er_last_error());                                        \
    } while (0)
// The call must fail with `code` and its message must contain `part`.
#define FAILS(call, code, part)                                                                              \
    do {                                                                                                     \
        er_status rc_ = (call);                                                                              \
        if (rc_ != (code))                                                                                   \
            fail_msg("%s: status %d, expected %d (%s)", #call, (int)rc_, (int)(code), er_last_error());      \
        if (!strstr(er_last_error(), (part)))                                                                \
            fail_msg("%s: message '%s' lacks '%s'", #call, er_last_error(), (part));                         \
    } while (0)

static inline uint64_t test_next(uint64_t *s) {  // splitmix64
    uint64_t z = (*s += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}
static inline double test_uniform(uint64_t *s) {
    return (double)(test_next(s) >> 11) * 0x1p-53 * 2.0 - 1.0;
}  // [-1, 1)

// |a - b| / |b| over n elements, Frobenius; NaN anywhere gives NaN, which fails every bound below.
static inline double test_rel_error(const float *a, const double *b, size_t n) {
    double d = 0, s = 0;
    for (size_t i = 0; i < n; i++) d += ((double)a[i] - b[i]) * ((double)a[i] - b[i]), s += b[i] * b[i];
    return sqrt(d) / (sqrt(s) + 1e-300);
}
#define NEAR(a, b, tol)                                                                                      \
    do {                                                                                                     \
        double a_ = (double)(a), b_ = (double)(b);                                                           \
        if (!(fabs(a_ - b_) <= (double)(tol)))                                                               \
            fail_msg("%s = %.9g, expected %.9g within %.3g", #a, a_, b_, (double)(tol));                     \
    } while (0)
#define BELOW(x, bound)                                                                                      \
    do {                                                                                                     \
        double x_ = (double)(x);                                                                             \
        if (!(x_ <= (double)(bound))) fail_msg("%s = %.3g, bound %.3g", #x, x_, (double)(bound));            \
    } while (0)
#endif
