// Second moments of keys: C = (1/N) sum k k^T per edited layer (uncentred), their cache and their exchange
// format. Fed with keys; knows no model. The engine decides which tokens to run.
#ifndef ER_COVARIANCE_H
#define ER_COVARIANCE_H
#include <stdint.h>
#include "kernels/device.h"

typedef struct er_second_moment {  // the running sum of one layer
    size_t dim;
    double *sum;        // [dev] [dim, dim]; C = sum / count. NULL while offloaded
    double *offloaded;  // host copy once it has been offloaded; a finished sum no longer changes
    uint64_t count;     // key rows added
    double filled;      // what er_second_moment_fill_dead added to the trace of the sum
} er_second_moment;

// A sum of no keys; er_second_moment_free frees it and whatever the readers below return. EARG, ENOMEM.
er_status er_second_moment_create(er_second_moment **out, er_device *dev, size_t dim);
void er_second_moment_free(er_device *dev, er_second_moment *m);
// Adds keys [tokens, dim] [dev] on and below the diagonal; scratch [dim, dim] fp32 [dev].
er_status er_second_moment_update(
    er_device *dev, er_second_moment *m, const float *keys, float *scratch, size_t tokens);
// Fills in what stands above the diagonal: once, after the last update and before anything else reads the
// sum.
er_status er_second_moment_finish(er_device *dev, er_second_moment *m);
// Dimensions that no key ever used are given the mean of the others' second moments, so that the sum has a
// factor: an edit may use them at the usual price. *dead: how many; 0 for keys wider than 46,340, whose sums
// stay as they are. For sums that are neither exported nor cached afterwards. Waits.
er_status er_second_moment_fill_dead(er_device *dev, er_second_moment *m, size_t *dead);
// A finished sum leaves the device for host memory, where others need the room, and comes back. Each does
// nothing when there is nothing to do; both wait.
er_status er_second_moment_offload(er_device *dev, er_second_moment *m);
er_status er_second_moment_restore(er_device *dev, er_second_moment *m);
// Forgets the host copy: the sum on the device has changed since.
void er_second_moment_changed(er_second_moment *m);
// Offloads moments [0 .. n-1] (NULLs are passed over) until `bytes` are free on the device and a quarter of
// it beside them.
er_status er_second_moment_evict(er_device *dev, er_second_moment *const *moments, size_t n, size_t bytes);

// The reference's .npz: members mom2.constructor, mom2.count, mom2.mom2 (raw sum, fp32 or fp64), sample_size.
// Import checks shape, symmetry, finiteness, diagonal >= 0 and count > 0 (EFORMAT names the entry), and warns
// of fewer than 10 dim rows. `sample_size` counts as the reference does, in documents.
er_status er_second_moment_export(
    const er_second_moment *m, er_device *dev, const char *path, int64_t sample_size, int as_f64);
er_status er_second_moment_import(er_second_moment **out, er_device *dev, const char *path, size_t dim);
er_status er_second_moment_count(uint64_t *out, const char *path);  // rows of such a file, without its sums

// One sum as a file of its own, fp64, in the same format and with the same checks but for the number of rows.
// ENOENT when absent.
er_status er_second_moment_load(er_second_moment **out, er_device *dev, const char *path, size_t dim);
er_status er_second_moment_save(const er_second_moment *m, er_device *dev, const char *path);

// The cache: DIR/<digest>.npz (fp64 sums, written whole). `digest` covers all the sum depends on: weights,
// tokenizer, layer, text, token budget, row length, precision. get: ENOENT when absent; a damaged file is
// EFORMAT naming it.
er_status er_second_moment_cache_get(
    er_second_moment **out, er_device *dev, const char *cache_dir, const char *digest, size_t dim);
er_status er_second_moment_cache_put(
    const er_second_moment *m, er_device *dev, const char *cache_dir, const char *digest);
#endif
