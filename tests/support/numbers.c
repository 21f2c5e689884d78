// Numbers for tests, and how far those of a device are from them.
#include <float.h>

#include "tests/support/guard.h"
#include "tests/test.h"

double *test_doubles(uint64_t *seed, size_t n, double scale) {
    double *x = malloc((n ? n : 1) * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) x[i] = (double)(float)(test_uniform(seed) * scale);
    return x;
}

float *test_narrow(const double *x, size_t n) {
    float *y = malloc((n ? n : 1) * sizeof *y);
    assert_non_null(y);
    for (size_t i = 0; i < n; i++) y[i] = (float)x[i];
    return y;
}

float *guard_put_narrow(er_device *d, const double *x, size_t n) {
    float *host = test_narrow(x, n), *dev = guard_put(d, host, n * sizeof *host);
    free(host);
    return dev;
}

double guard_error(er_device *d, const float *dev, const double *expected, size_t n) {
    if (!n) return 0;
    float *host = malloc(n * sizeof *host);
    assert_non_null(host);
    guard_get(d, host, dev, n * sizeof *host);
    double e = test_rel_error(host, expected, n) / (double)FLT_EPSILON;
    free(host);
    return e;
}
