// Inside covariance/: one .npz of sums, shared by the exchange format and the cache.
#ifndef ER_COVARIANCE_FILE_H
#define ER_COVARIANCE_FILE_H
#include "covariance/covariance.h"
#include "io/npz.h"

// Finite, diagonal >= 0, symmetric within what fp32 sums lose; then exactly symmetric. a [n, n] host.
er_status er_second_moment_symmetrise(double *a, size_t n, const char *path);
// The sums of an open archive, checked; EFORMAT names `path` and what is wrong.
er_status er_second_moment_read(
    er_second_moment **out, er_device *dev, er_npz *z, const char *path, size_t dim);
// All members at once; `digest` becomes one more member unless NULL.
er_status er_second_moment_write(const er_second_moment *m, er_device *dev, const char *path,
    int64_t sample_size, bool as_f64, const char *digest);
#endif
