// Any header is refused, or describes tensors that tile the data exactly. The last byte of the input says how
// much data the file pretends to have beyond what is there.
#include <stdlib.h>
#include "io/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    er_safetensors *s = NULL;
    uint64_t file_size = size + (size ? data[size - 1] : 0), end = 0;
    for (int pass = 0; pass < 2; pass++) {
        if (er_safetensors_parse(&s, (const char *)data, size, pass ? file_size : size, "input") != ER_OK)
            continue;
        uint64_t size_now = pass ? file_size : size;
        for (size_t i = 0; i < er_safetensors_count(s); i++) {
            const er_tensor *t = er_safetensors_at(s, i);
            uint64_t elements = 1;
            for (int k = 0; k < t->rank; k++) elements *= t->shape[k];
            if (elements != t->elements || elements * er_dtype_bits(t->dtype) != 8 * t->bytes) abort();
            if (t->rank > ER_MAX_RANK || (i > 0 && t->offset != end)) abort();
            end = t->offset + t->bytes;
            if (end > size_now || end < t->offset) abort();
        }
        if (er_safetensors_count(s) > 0 && end != size_now) abort();
        er_safetensors_free(s);
        s = NULL;
    }
    return 0;
}
