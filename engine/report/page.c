// The page: headline numbers first, then plots, then tables.
#include "engine/report/text_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define TABLE_FACTS 300

typedef struct figure {  // one headline number
    const char *name, *note;
    bool known, compares;
    double before, after;
} figure;

static void card(er_text *t, const figure *f) {
    er_text_add(t, "<div class=\"card\"><span>%s</span><b>", f->name);
    if (f->known) er_text_add(t, "%.1f</b>", f->after);
    else er_text_add(t, "&#8211;</b>");
    if (f->known && f->compares)
        er_text_add(t, "<i>before %.1f (%s%.1f)</i>", f->before, f->after < f->before ? "&#8722;" : "+",
            fabs(f->after - f->before));
    if (f->note) er_text_add(t, "<i>%s</i>", f->note);
    er_text_add(t, "</div>\n");
}

static void rate_cards(er_text *t, const er_eval *b, const er_eval *a) {
    static const char *const name[] = {"Efficacy, %", "Paraphrases, %", "Neighbours, %"};
    char note[96];
    for (int k = 0; k <= ER_NEIGHBOR; k++) {
        const er_rate *x = &a->total.kind[k], *y = b ? &b->total.kind[k] : NULL;
        if (x->scored == 0) continue;
        (void)snprintf(
            note, sizeof note, "strict %.1f of %zu prompts", er_percent(x->strict, x->scored), x->scored);
        card(t, &(figure){.name = name[k],
                    .note = note,
                    .known = x->compared > 0,
                    .compares = y && y->compared > 0,
                    .before = y ? er_percent(y->success, y->compared) : 0,
                    .after = er_percent(x->success, x->compared)});
    }
}

static void cards(er_text *t, const er_eval *b, const er_eval *a) {
    char note[96];
    er_retained kept = {0};
    double sa = er_eval_score(&a->total), sb = b ? er_eval_score(&b->total) : 0;
    er_text_add(t, "<div class=\"cards\">");
    card(t, &(figure){.name = "Score",
                .note = "harmonic mean of the three",
                .known = sa > 0,
                .compares = b,
                .before = sb,
                .after = sa});
    rate_cards(t, b, a);
    if (b && er_eval_retained(&kept, b, a) == ER_OK && kept.known) {
        (void)snprintf(note, sizeof note, "%zu of %zu right before", kept.still, kept.known);
        card(t, &(figure){.name = "Neighbours kept, %",
                    .note = note,
                    .known = true,
                    .after = er_percent(kept.still, kept.known)});
    }
    if (a->drift.tokens) {
        bool both = b && b->drift.tokens;
        double change = both ? 100 * expm1(a->drift.nll - b->drift.nll) : 0;
        if (both)
            (void)snprintf(note, sizeof note, "%+.1f&#8239;%% over %zu tokens", change, a->drift.tokens);
        else (void)snprintf(note, sizeof note, "over %zu tokens", a->drift.tokens);
        card(t, &(figure){.name = "Perplexity",
                    .note = note,
                    .known = true,
                    .compares = both,
                    .before = both ? exp(b->drift.nll) : 0,
                    .after = exp(a->drift.nll)});
    }
    er_text_add(t, "</div>\n");
}

static void heading(er_text *t, const er_report *r) {
    const er_eval *a = r->after;
    er_text_add(t, "<h1>");
    er_text_escaped(t, r->title ? r->title : "errata report", 160);
    er_text_add(t, "</h1><p class=\"dim\"><code><bdi>");
    er_text_escaped(t, a->model, 200);
    er_text_add(t, "</bdi></code>");
    if (r->before) {
        er_text_add(t, " against <code><bdi>");
        er_text_escaped(t, r->before->model, 200);
        er_text_add(t, "</bdi></code>");
    }
    er_text_add(t, ": %zu facts of <code><bdi>", a->facts->count);
    er_text_escaped(t, a->facts->path, 200);
    er_text_add(t, "</bdi></code>, %zu different prompts.</p>\n", a->prompts);
}

static void plots(er_text *t, const er_report *r) {
    const er_eval *b = r->before, *a = r->after;
    er_text_add(t, "<h2>Rates</h2>");
    if (b)
        er_text_add(t,
            "<p class=\"dim\"><span class=\"key kb\"></span>before<span class=\"key ka\"></span>after</p>");
    er_text_add(t, "<div class=\"grid\">");
    er_plot_rates(t, b, a);
    er_plot_perplexity(t, b ? &b->drift : NULL, &a->drift);
    er_text_add(t, "</div>\n");
    if (a->total.kind[ER_EFFICACY].compared + a->total.kind[ER_NEIGHBOR].compared == 0) return;
    er_text_add(t, "<h2>By how much</h2><p class=\"dim\">Log-probability per token of the object that should "
                   "win, minus that of the "
                   "other one: right of zero is success.</p><div class=\"grid\">");
    for (int k = 0; k <= ER_NEIGHBOR; k++) er_plot_margins(t, b, a, (er_eval_kind)k);
    er_text_add(t, "</div>\n");
}

er_status er_report_html(char **out, const er_report *r) {
    er_text t = {0};
    er_retained kept;
    const er_eval *b = r->before, *a = r->after;
    er_status rc = b ? er_eval_retained(&kept, b, a) : ER_OK;  // the tables walk both side by side
    if (rc != ER_OK) return rc;
    er_text_add(&t,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
        "content=\"width=device-width,initial-scale=1\"><meta http-equiv=\"Content-Security-Policy\" "
        "content=\"default-src 'none';style-src 'unsafe-inline'\"><title>");
    er_text_escaped(&t, r->title ? r->title : "errata report", 160);
    er_text_add(&t, "</title><style>\n%s</style></head><body><main>\n", er_report_style);
    heading(&t, r);
    cards(&t, b, a);
    er_table_warnings(&t, r);
    plots(&t, r);
    er_table_relations(&t, b, a);
    if (r->n_layers) {
        er_text_add(&t, "<h2>What changed in the weights</h2><div class=\"grid\">");
        er_plot_layers(&t, r->layer, r->n_layers);
        er_table_layers(&t, r->layer, r->n_layers);
        er_text_add(&t, "</div>\n");
    }
    er_table_facts(&t, b, a, true, 0);
    er_table_facts(&t, b, a, false, r->max_facts ? r->max_facts : TABLE_FACTS);
    er_table_rejected(&t, a->facts);
    er_table_settings(&t, r->settings);
    er_text_add(&t, "</main></body></html>\n");
    if (t.failed) {
        free(t.s);
        return er_fail(ER_ENOMEM, "the report of %zu facts", a->facts->count);
    }
    *out = t.s;
    return ER_OK;
}
