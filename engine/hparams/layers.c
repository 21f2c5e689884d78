// "3-8" or "3,4,5".
#include <errno.h>
#include <stdlib.h>

#include "engine/hparams.h"

static er_status parse_number(size_t *out, const char **s, const char *all) {
    char *end = NULL;
    errno = 0;
    unsigned long v = strtoul(*s, &end, 10);
    if (end == *s || **s == '-' || errno || v > 100000)
        return er_fail(ER_EARG, "--layers '%s': expected numbers such as 3-8 or 3,4,5", all);
    *out = (size_t)v;
    *s = end;
    return ER_OK;
}

er_status er_hparams_set_layers(er_hparams *h, const char *text) {
    er_status rc = ER_OK;
    const char *s = text;
    size_t n = 0;
    for (;;) {
        size_t a = 0, b = 0;
        ER_TRY(parse_number(&a, &s, text));
        b = a;
        if (*s == '-') {
            s++;
            ER_TRY(parse_number(&b, &s, text));
        }
        if (a > b) ER_FAIL(ER_EARG, "--layers '%s': %zu-%zu runs backwards", text, a, b);
        for (size_t l = a; l <= b; l++) {
            if (n == ER_MAX_EDIT_LAYERS)
                ER_FAIL(ER_EARG, "--layers '%s': more than %d layers", text, ER_MAX_EDIT_LAYERS);
            h->layers[n++] = l;
        }
        if (*s == 0) break;
        if (*s++ != ',') ER_FAIL(ER_EARG, "--layers '%s': expected numbers such as 3-8 or 3,4,5", text);
    }
    h->n_layers = n;
    h->layers_guessed = false;
    er_hparams_mark(h, "layers", ER_FROM_FLAG);
out:
    return rc;
}
