// NumPy .npz archives: what the reference keeps its covariances in. Reader: stored and deflated members,
// ZIP64, data descriptors, npy v1-v3, '<f4' '<f8' '<f2' '<i8' '<i4' and '<U*'; anything else (pickles above
// all) is refused. Writer: numpy's own layout.
#ifndef ER_NPZ_H
#define ER_NPZ_H
#include <stddef.h>
#include <stdint.h>
#include "io/base/status.h"

#define ER_NPY_MAX_RANK 8

typedef enum er_npy_type { ER_NPY_F4, ER_NPY_F8, ER_NPY_F2, ER_NPY_I8, ER_NPY_I4, ER_NPY_U } er_npy_type;
typedef struct er_npy {
    er_npy_type type;
    int rank;                         // 0 .. ER_NPY_MAX_RANK
    uint64_t shape[ER_NPY_MAX_RANK];  // row-major; a Fortran-ordered matrix is transposed on reading
    uint64_t elements;
    uint64_t item_bytes;  // 4 * characters for ER_NPY_U (UTF-32LE)
    void *data;           // owned; host order
} er_npy;
void er_npy_free(er_npy *a);  // its data; the struct is the caller's

typedef struct er_npz er_npz;  // an open archive
er_status er_npz_open(er_npz **out, const char *path);
er_status er_npz_read(er_npy *out, er_npz *z, const char *member);  // without ".npy"; ENOENT when absent
size_t er_npz_count(const er_npz *z);
const char *er_npz_name(const er_npz *z, size_t i);  // in archive order; ".npy" at its end is left out
void er_npz_close(er_npz *z);

typedef struct er_npz_writer er_npz_writer;
er_status er_npz_create(er_npz_writer **out, const char *path);  // temp beside path, renamed by finish
// Its shape counts, not `elements`
er_status er_npz_add(er_npz_writer *w, const char *member, const er_npy *a);
er_status er_npz_finish(er_npz_writer *w);
void er_npz_writer_free(er_npz_writer *w);  // without finish: removes the temp
#endif
