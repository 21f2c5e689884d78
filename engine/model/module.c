// Module names with "{}" for the number of the layer, as the peers' settings files have them.
#include "engine/model/family_internal.h"
#include <stdio.h>
#include <string.h>

void er_arch_down_module(char *out, size_t size, const er_arch *a) {
    const er_family *f = a->row;
    (void)snprintf(
        out, size, "%s%s.{}.%s", f->prefix[0] ? f->prefix[0] : "", f->layer, f->param[ROLE_DOWN].module);
}

// Behind any of the family's prefixes, or without one.
static const char *behind_prefix(const er_family *f, const char *module) {
    for (size_t i = 0; i < sizeof f->prefix / sizeof f->prefix[0] && f->prefix[i]; i++) {
        size_t n = strlen(f->prefix[i]);
        if (n && !strncmp(module, f->prefix[i], n)) return module + n;
    }
    return module;
}

bool er_arch_has_module(const er_arch *a, const char *module, bool down) {
    char layer[64], full[256];
    const char *rest = behind_prefix(a->row, module);
    int n = snprintf(layer, sizeof layer, "%s.{}", a->row->layer);
    er_arch_down_module(full, sizeof full, a);
    if (down) return !strcmp(rest, behind_prefix(a->row, full));
    return !strncmp(rest, layer, (size_t)n) && (rest[n] == '\0' || rest[n] == '.');
}
