// Plots as inline SVG. Widths are of a phone's column, so that text stays legible wherever the page puts
// them.
#include "engine/report/text_internal.h"

#include <math.h>

#define WIDTH 340.0
#define BINS 30

static const char *const kind_title[ER_EVAL_KINDS] = {"Efficacy", "Paraphrases", "Neighbours", "Portability"};

static double success(const er_eval *e, int kind) {
    const er_rate *r = e ? &e->total.kind[kind] : NULL;
    return r && r->compared ? er_percent(r->success, r->compared) : (double)NAN;
}
static double strict(const er_eval *e, int kind) {
    const er_rate *r = e ? &e->total.kind[kind] : NULL;
    return r && r->scored ? er_percent(r->strict, r->scored) : (double)NAN;
}

static void bar(er_text *t, double y, const char *series, double value) {
    const double left = 92, right = WIDTH - 44;
    if (!isfinite(value)) return;
    double w = fmax(1, (right - left) * value / 100);
    er_text_add(t, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"9\" rx=\"2\" class=\"%s\"/>", left, y,
        w, series);
    er_text_add(t, "<text x=\"%.1f\" y=\"%.1f\" class=\"n\">%.1f</text>", left + w + 4, y + 8, value);
}

static void rates(er_text *t, const er_eval *before, const er_eval *after, const char *caption,
    double (*of)(const er_eval *, int)) {
    int rows = 0;
    double y = 4;
    for (int k = 0; k < ER_EVAL_KINDS; k++) rows += isfinite(of(after, k)) != 0;
    if (rows == 0) return;
    er_text_add(t, "<figure><figcaption>%s</figcaption><svg viewBox=\"0 0 %.0f %d\" role=\"img\">", caption,
        WIDTH, rows * 32);
    er_text_add(t, "<path d=\"M92 0V%dM194 0V%dM296 0V%d\" class=\"g\"/>", rows * 32, rows * 32, rows * 32);
    for (int k = 0; k < ER_EVAL_KINDS; k++) {
        if (!isfinite(of(after, k))) continue;
        er_text_add(t, "<text x=\"86\" y=\"%.1f\" class=\"e\">%s</text>", y + 14, kind_title[k]);
        bar(t, y, "b", of(before, k));
        bar(t, before ? y + 11 : y + 6, "a", of(after, k));
        y += 32;
    }
    er_text_add(t, "</svg></figure>\n");
}

void er_plot_rates(er_text *t, const er_eval *before, const er_eval *after) {
    rates(t, before, after, "Success: the right object is likelier, %", success);
    rates(t, before, after, "Strict: every token is the argmax, %", strict);
}

void er_plot_perplexity(er_text *t, const er_perplexity *before, const er_perplexity *after) {
    if (after->tokens == 0 || !before || before->tokens == 0) return;  // one number alone is on its card
    const double ppl[] = {exp(before->nll), exp(after->nll)}, top = fmax(ppl[0], ppl[1]);
    er_text_add(t, "<figure><figcaption>Perplexity of held-out text: %+.2f&#8239;%%</figcaption>",
        100 * expm1(after->nll - before->nll));
    er_text_add(t, "<svg viewBox=\"0 0 %.0f 44\" role=\"img\">", WIDTH);
    for (int i = 0; i < 2; i++) {
        double w = top > 0 && isfinite(top) ? ppl[i] / top * 230 : 1;
        er_text_add(t, "<text x=\"50\" y=\"%d\" class=\"e\">%s</text>", 15 + 20 * i, i ? "after" : "before");
        er_text_add(t, "<rect x=\"56\" y=\"%d\" width=\"%.1f\" height=\"14\" rx=\"2\" class=\"%s\"/>",
            4 + 20 * i, w, i ? "a" : "b");
        er_text_add(t, "<text x=\"%.1f\" y=\"%d\" class=\"n\">%.2f</text>", 61 + w, 15 + 20 * i, ppl[i]);
    }
    er_text_add(t, "</svg></figure>\n");
}

// ---- histograms ----

typedef struct histogram {
    size_t bin[BINS], n, positive;
} histogram;

static double widest(const er_eval *e, er_eval_kind kind, double most) {
    for (size_t i = 0; e && i < e->count; i++) {
        const er_eval_item *x = &e->item[i];
        double d = fabs((double)x->right - (double)x->wrong);
        if (x->kind == kind && x->compared && isfinite(d) && d > most) most = d;
    }
    return most;
}

static void count(histogram *h, const er_eval *e, er_eval_kind kind, double range) {
    for (size_t i = 0; e && i < e->count; i++) {
        const er_eval_item *x = &e->item[i];
        double d = (double)x->right - (double)x->wrong;
        if (x->kind != kind || !x->compared || !isfinite(d)) continue;
        double at = floor((d + range) / (2 * range) * BINS);
        h->bin[at < 0 ? 0 : at > BINS - 1 ? BINS - 1 : (size_t)at]++;
        h->n++;
        h->positive += er_eval_success(x);
    }
}

static void bars(er_text *t, const histogram *h, const char *series, double top, double range) {
    const double step = WIDTH / BINS, base = 110, high = 98;
    for (int i = 0; i < BINS; i++) {
        if (h->bin[i] == 0) continue;
        double v = (double)h->bin[i] / (double)h->n / top * high, from = -range + 2 * range * i / BINS;
        er_text_add(t,
            "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" class=\"%s o\"><title>%.1f to %.1f: "
            "%zu</title></rect>",
            i * step + 0.5, base - v, step - 1, v, series, from, from + 2 * range / BINS, h->bin[i]);
    }
}

// Both as shares of their own prompts, so that they compare; the range is a whole number, as far to the left
// as to the right.
void er_plot_margins(er_text *t, const er_eval *before, const er_eval *after, er_eval_kind kind) {
    histogram b = {0}, a = {0};
    double range = fmin(30, ceil(widest(after, kind, widest(before, kind, 1)))), top = 0;
    count(&b, before, kind, range);
    count(&a, after, kind, range);
    if (a.n == 0) return;
    for (int i = 0; i < BINS; i++) {
        top = fmax(top, (double)a.bin[i] / (double)a.n);
        if (b.n) top = fmax(top, (double)b.bin[i] / (double)b.n);
    }
    er_text_add(t, "<figure><figcaption>%s: %.1f&#8239;%% right of zero", kind_title[kind],
        er_percent(a.positive, a.n));
    if (b.n) er_text_add(t, " (before: %.1f&#8239;%%)", er_percent(b.positive, b.n));
    er_text_add(t, "</figcaption><svg viewBox=\"0 0 %.0f 128\" role=\"img\">", WIDTH);
    bars(t, &b, "b", top, range);
    bars(t, &a, "a", top, range);
    er_text_add(t, "<path d=\"M0 110H%.0fM%.0f 6V110\" class=\"x\"/>", WIDTH, WIDTH / 2);
    er_text_add(t, "<text x=\"0\" y=\"124\" class=\"n\">&#8722;%.0f</text>", range);
    er_text_add(t, "<text x=\"%.0f\" y=\"124\" class=\"n m\">0</text>", WIDTH / 2);
    er_text_add(t, "<text x=\"%.0f\" y=\"124\" class=\"n e\">+%.0f</text></svg></figure>\n", WIDTH, range);
}

// ---- layers and cells ----

void er_plot_layers(er_text *t, const er_report_layer *layer, size_t n) {
    double top = 0;
    size_t y = 2;
    for (size_t i = 0; i < n; i++)
        if (layer[i].w_norm > 0) top = fmax(top, layer[i].dw_norm / layer[i].w_norm);
    er_text_add(t, "<figure><figcaption>|&#916;W| / |W| of each edited layer, %%</figcaption>");
    er_text_add(t, "<svg viewBox=\"0 0 %.0f %zu\" role=\"img\">", WIDTH, 20 * n + 4);
    for (size_t i = 0; i < n; i++, y += 20) {
        double v = layer[i].w_norm > 0 ? layer[i].dw_norm / layer[i].w_norm : 0,
               w = top > 0 ? fmax(1, v / top * 210) : 1;
        er_text_add(t, "<text x=\"60\" y=\"%zu\" class=\"e\">layer %zu</text>", y + 12, layer[i].layer);
        er_text_add(t, "<rect x=\"66\" y=\"%zu\" width=\"%.1f\" height=\"14\" rx=\"2\" class=\"a\"/>", y, w);
        er_text_add(t, "<text x=\"%.1f\" y=\"%zu\" class=\"n\">%.3g</text>", 71 + w, y + 11, 100 * v);
    }
    er_text_add(t, "</svg></figure>\n");
}

void er_plot_cell(er_text *t, double before, double after) {
    if (!isfinite(after)) {
        er_text_add(t, "<td class=\"r\">&#8211;</td>");
        return;
    }
    er_text_add(t,
        "<td class=\"r\">%.0f<svg class=\"s\" viewBox=\"0 0 100 12\" preserveAspectRatio=\"none\">", after);
    er_text_add(t,
        "<rect width=\"100\" height=\"12\" class=\"t\"/><rect width=\"%.1f\" height=\"12\" class=\"a\"/>",
        after);
    if (isfinite(before))
        er_text_add(
            t, "<path d=\"M%.1f 0V12\" class=\"k\"><title>before: %.0f</title></path>", before, before);
    er_text_add(t, "</svg></td>");
}
