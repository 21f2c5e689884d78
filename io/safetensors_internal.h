// An open safetensors file, for the two files that make one.
#ifndef ER_SAFETENSORS_INTERNAL_H
#define ER_SAFETENSORS_INTERNAL_H
#include "io/safetensors.h"

struct er_safetensors {
    char *path;
    int fd;         // -1 when parsed from memory
    bool borrowed;  // the descriptor is not closed here
    char head_digest[65];
    uint64_t file_size, data_begin;
    er_tensor *tensors;
    size_t count, capacity;
    char *names;  // all names, NUL-terminated
    size_t names_used;
    uint64_t *dims;  // all shapes
    size_t dims_used, dims_capacity;
};

// Fills in tensors, names and dims from the header; offsets count from the data's beginning. EFORMAT.
er_status er_safetensors_read_header(er_safetensors *s, const char *json, size_t len);
// The tensors must cover the data without hole, overlap or remainder. Sorts them and turns offsets into
// places in the file.
er_status er_safetensors_check_cover(er_safetensors *s, uint64_t data_begin);
// By offset, then size, then name: the order of er_safetensors_at.
int er_safetensors_compare(const void *a, const void *b);
#endif
