// The rows by name.
#include "engine/model/family_internal.h"
#include <stdio.h>
#include <string.h>

// In the order they are listed to the user.
static const er_family *row(size_t i) {
    if (i < er_gpt_family_rows) return &er_gpt_families[i];
    i -= er_gpt_family_rows;
    if (i < er_falcon_family_rows) return &er_falcon_families[i];
    i -= er_falcon_family_rows;
    return i < er_llama_family_rows ? &er_llama_families[i] : NULL;
}

const er_family *er_family_find(const char *type) {
    const er_family *f;
    for (size_t i = 0; (f = row(i)); i++)
        if (!strcmp(f->type, type)) return f;
    return NULL;
}

void er_family_list(char *out, size_t size) {
    const er_family *f;
    size_t at = 0;
    if (size) out[0] = 0;
    for (size_t i = 0; (f = row(i)) && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%s", i ? ", " : "", f->type);
}
