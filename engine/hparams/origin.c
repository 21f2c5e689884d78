// Where a value came from, so that a refusal can name the file, the flag or the preset to change.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/hparams/fields_internal.h"

void er_hparams_mark(er_hparams *h, const char *key, er_hparam_from from) {
    h->from[er_hparams_index(h, key)] = (unsigned char)from;
}

bool er_hparams_is_given(const er_hparams *h, const char *key) {
    return h->from[er_hparams_index(h, key)] != ER_FROM_PRESET;
}

static const char *flag_of(const char *key) {
    static const char *const flags[][2] = {{"layers", "--layers"}, {"mom2_update_weight", "--lambda"},
        {"v_num_grad_steps", "--steps"}, {"cov_tokens", "--covariance-tokens"},
        {"n_prefixes", "--templates"}};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (!strcmp(key, flags[i][0])) return flags[i][1];
    return key;
}

static void origin(char *out, size_t size, const er_hparams *h, const char *key) {
    unsigned char from = h->from[er_hparams_index(h, key)];
    size_t shown = strcspn(h->preset, "+");
    if (from == ER_FROM_FLAG) (void)snprintf(out, size, "%s", flag_of(key));
    else if (from == ER_FROM_FILE) (void)snprintf(out, size, "%s", h->file);
    else {
        while (shown && h->preset[shown - 1] == ' ') shown--;
        (void)snprintf(out, size, "preset %.*s", (int)shown, h->preset);
    }
}

er_status er_hparams_refuse(const er_hparams *h, const char *key, const char *fmt, ...) {
    char where[ER_HPARAM_PATH + 8], what[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    origin(where, sizeof where, h, key);
    return er_fail(ER_ECONFIG, "%s: %s", where, what);
}
