// The plain table on stdout.
#include "engine/evaluate.h"

#include <math.h>
#include <string.h>

#define SHOWN_RELATIONS 12

static void cell(FILE *to, bool known, double value, int decimals) {
    if (known) fprintf(to, "  %8.*f", decimals, value);
    else fprintf(to, "  %8s", "-");
}

static void row(
    FILE *to, const char *what, const er_eval *before, bool b_known, double b, bool a_known, double a) {
    fprintf(to, "%-34s", what);
    if (before) cell(to, b_known, b, 1);
    cell(to, a_known, a, 1);
    if (before && b_known && a_known) fprintf(to, "  %+8.1f", a - b);
    fputc('\n', to);
}

static void rate_rows(FILE *to, const er_eval *before, const er_eval *after, er_eval_kind kind) {
    char name[64];
    const er_rate none = {0}, *a = &after->total.kind[kind], *b = before ? &before->total.kind[kind] : &none;
    if (a->scored == 0 && b->scored == 0) return;
    if (a->compared || b->compared) {
        (void)snprintf(name, sizeof name, "%s %%", er_eval_kind_name(kind));
        row(to, name, before, b->compared > 0, er_percent(b->success, b->compared), a->compared > 0,
            er_percent(a->success, a->compared));
    }
    (void)snprintf(name, sizeof name, "%s, strict %%", er_eval_kind_name(kind));
    row(to, name, before, b->scored > 0, er_percent(b->strict, b->scored), a->scored > 0,
        er_percent(a->strict, a->scored));
}

static void relation_rows(FILE *to, const er_eval *after) {
    if (after->n_relations < 2) return;
    fprintf(to, "\n%-26s %8s  %8s  %8s  %8s\n", "relation", "facts", "efficacy", "paraphr.", "neighb.");
    for (size_t i = 0; i < after->n_relations && i < SHOWN_RELATIONS; i++) {
        const er_relation *r = &after->relation[i];
        const char *name = r->name ? r->name : "(none)";
        size_t bytes = strlen(name) > 26 ? 26 : strlen(name);
        while (bytes && ((unsigned char)name[bytes] & 0xc0) == 0x80) bytes--;
        fprintf(to, "%-26.*s %8zu", (int)bytes, name, r->rates.facts);
        for (int k = ER_EFFICACY; k <= ER_NEIGHBOR; k++) {
            const er_rate *x = &r->rates.kind[k];
            bool compared = x->compared > 0;
            cell(to, compared || x->scored,
                compared ? er_percent(x->success, x->compared) : er_percent(x->strict, x->scored), 1);
        }
        fputc('\n', to);
    }
    if (after->n_relations > SHOWN_RELATIONS)
        fprintf(to, "and %zu more\n", after->n_relations - SHOWN_RELATIONS);
}

void er_eval_print_table(FILE *to, const er_eval *before, const er_eval *after) {
    er_retained kept = {0};
    fprintf(to, "%-34s", "");
    if (before) fprintf(to, "  %8s", "before");
    fprintf(to, "  %8s%s\n", before ? "after" : "model", before ? "    change" : "");
    double a = er_eval_score(&after->total), b = before ? er_eval_score(&before->total) : 0;
    row(to, "score (harmonic mean)", before, b > 0, b, a > 0, a);
    for (int k = 0; k < ER_EVAL_KINDS; k++) rate_rows(to, before, after, (er_eval_kind)k);
    if (before && er_eval_retained(&kept, before, after) == ER_OK && kept.known)
        fprintf(to, "%-34s  %8s  %8.1f   (%zu of %zu)\n", "neighbours known, still right %", "100.0",
            er_percent(kept.still, kept.known), kept.still, kept.known);
    bool drift_a = after->drift.tokens > 0, drift_b = before && before->drift.tokens > 0;
    if (drift_a || drift_b) {
        fprintf(to, "%-34s", "perplexity");
        if (before) cell(to, drift_b, exp(drift_b ? before->drift.nll : 0), 2);
        cell(to, drift_a, exp(after->drift.nll), 2);
        if (drift_a && drift_b) fprintf(to, "  %+7.1f%%", 100 * expm1(after->drift.nll - before->drift.nll));
        fputc('\n', to);
    }
    relation_rows(to, after);
}
