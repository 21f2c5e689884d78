// Facts of one prompt: the same target twice is a duplicate, two targets are a conflict. Sorting finds them,
// so that no input can make it quadratic.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "io/facts/chars.h"
#include "io/facts/facts_internal.h"

// Where two texts that count as one begin to differ, by their code points; "" when they are the same bytes.
static const char *difference(char dst[160], const char *a, const char *b) {
    size_t i = 0, n = strlen(a), m = strlen(b);
    char mine[64], other[64];
    while (i < n && i < m && a[i] == b[i]) i++;
    dst[0] = '\0';
    if (i == n && i == m) return dst;
    while (i && ((unsigned char)a[i] & 0xc0) == 0x80) i--;
    size_t x = i, y = i;
    uint32_t c = er_char_next(a, n, &x), d = er_char_next(b, m, &y);
    (void)snprintf(dst, 160, " (%s here, %s there)", c ? er_char_name(mine, c) : "nothing",
        d ? er_char_name(other, d) : "nothing");
    return dst;
}

static er_status reject_conflict(er_facts *f, const er_fact *mine, const er_fact *against) {
    er_status rc = ER_OK;
    char reason[ER_FACTS_REASON], q[80], r[80], differs[160] = "";
    char *a = er_fact_filled(mine), *b = er_fact_filled(against);
    if (!a || !b) ER_FAIL(ER_ENOMEM, "%s: a prompt", f->path);
    bool same = !strcmp(mine->subject, against->subject) && !strcmp(mine->prompt, against->prompt);
    (void)snprintf(reason, sizeof reason, "target %s conflicts with %s in %s %zu, for the same %s%s",
        er_facts_quote(q, mine->target), er_facts_quote(r, against->target), er_facts_place(f), against->line,
        same ? "subject and prompt" : "text", difference(differs, a, b));
    rc = er_facts_add_reject(f, mine->line, mine->id, reason);
out:
    free(a);
    free(b);
    return rc;
}

typedef struct classed {
    er_fact *fact;
    er_fact_class class;
} classed;

static int by_class(const void *x, const void *y) {  // then file order
    const classed *a = x, *b = y;
    if (a->class.prompt != b->class.prompt) return a->class.prompt > b->class.prompt ? 1 : -1;
    return (a->fact > b->fact) - (a->fact < b->fact);
}

// `group` [n] are the facts of one prompt, in file order. Each conflicting one names the first that
// contradicts it.
static er_status merge_group(er_facts *f, classed *group, size_t n) {
    size_t differs = 1;  // the first whose target is not the first fact's
    while (differs < n && group[differs].class.target == group[0].class.target) differs++;
    for (size_t i = 0; i < n; i++) {
        if (differs == n) {
            f->n_duplicates += i > 0;
            continue;
        }
        const classed *against = group[i].class.target == group[0].class.target ? &group[differs] : &group[0];
        er_status rc = reject_conflict(f, group[i].fact, against->fact);
        if (rc != ER_OK) return rc;
    }
    for (size_t i = differs == n ? 1 : 0; i < n; i++)
        group[i].fact->line = 0;  // marks it for er_facts_compact()
    return ER_OK;
}

er_status er_facts_merge_classes(er_facts *f, const er_fact_class *at) {
    er_status rc = ER_OK;
    size_t count = 0, before = f->n_rejects;
    classed *order = malloc((f->count + 1) * sizeof *order);
    if (!order) return er_fail(ER_ENOMEM, "%s: %zu facts", f->path, f->count);
    for (size_t i = 0; i < f->count; i++)
        if (at[i].prompt != SIZE_MAX) order[count++] = (classed){&f->at[i], at[i]};
    qsort(order, count, sizeof *order, by_class);
    for (size_t i = 0, n; i < count; i += n) {
        for (n = 1; i + n < count && order[i].class.prompt == order[i + n].class.prompt;) n++;
        if (n > 1) ER_TRY(merge_group(f, order + i, n));
    }
    er_facts_compact(f);
    if (f->n_rejects > before) er_facts_sort_rejects(f);
out:
    free(order);
    return rc;
}
