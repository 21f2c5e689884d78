// Private to io/: the header of an .npy member.
#ifndef ER_NPY_H
#define ER_NPY_H
#include <stdbool.h>
#include "io/npz.h"

#define ER_NPY_PREAMBLE 10u  // magic, version, length of a version 1 header
#define ER_NPY_MAX_HEADER 65536u

// Reads the dict literal numpy writes: type, order, shape; elements and item_bytes follow. EUNSUPPORTED names
// what it cannot be.
er_status er_npy_parse_header(er_npy *a, bool *fortran, const char *text, size_t len, const char *name);
// Magic to newline of a version 1 header as numpy lays it out; returns its length (a multiple of 64), or 0
// when `a` makes no sense.
size_t er_npy_format_header(char out[1024], const er_npy *a);
// The shape's product times item_bytes; false on overflow.
bool er_npy_bytes(uint64_t *elements, uint64_t *bytes, const er_npy *a);
#endif
