// Which key somebody meant who wrote one that does not exist.
#include <string.h>

#include "engine/hparams/fields_internal.h"

enum { MOST = 48 };  // no key is longer

static size_t least(size_t a, size_t b, size_t c) {
    size_t m = a < b ? a : b;
    return m < c ? m : c;
}

// Letters to insert, drop or replace (Levenshtein), or MOST.
static size_t distance(const char *a, const char *b) {
    size_t row[MOST + 1], n = strlen(b);
    if (strlen(a) > MOST || n > MOST) return MOST;
    for (size_t j = 0; j <= n; j++) row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t above = row[j];
            row[j] = least(above + 1, row[j - 1] + 1, corner + (a[i - 1] != b[j - 1]));
            corner = above;
        }
    }
    return row[n];
}

const char *er_hparams_nearest(const char *key, const char *const *others, er_editor_list editors) {
    er_editor_settings e;
    const char *best = NULL;
    size_t most = 1 + strlen(key) / 6, found = most + 1;
    for (size_t i = 0, d; er_hparams_key(i); i++)
        if ((d = distance(key, er_hparams_key(i))) < found) found = d, best = er_hparams_key(i);
    for (size_t i = 0, d; editors(&e, i); i++)
        for (size_t k = 0; k < e.n_fields; k++)
            if ((d = distance(key, e.fields[k].key)) < found) found = d, best = e.fields[k].key;
    for (size_t i = 0, d; others[i]; i++)
        if ((d = distance(key, others[i])) < found) found = d, best = others[i];
    return best;
}
