// Private to engine/report: a growing string, escaping, and the plots.
#ifndef ER_REPORT_TEXT_H
#define ER_REPORT_TEXT_H
#include "engine/report.h"

typedef struct er_text {
    char *s;
    size_t n, room;
    bool failed;  // memory was out; everything after is dropped
} er_text;
void er_text_add(er_text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
// `s` for HTML content or a quoted attribute; at most about `most` bytes, cut at a character's end (0: all).
// Control characters become visible marks. NULL is a dash.
void er_text_escaped(er_text *t, const char *s, size_t most);

// ---- plots.c: inline SVG in the page's own colours (classes b and a: before and after) ----
void er_plot_rates(er_text *t, const er_eval *before, const er_eval *after);  // grouped bars, percent
void er_plot_perplexity(er_text *t, const er_perplexity *before, const er_perplexity *after);  // two bars
// A histogram.
void er_plot_margins(er_text *t, const er_eval *before, const er_eval *after, er_eval_kind kind);
void er_plot_layers(er_text *t, const er_report_layer *layer, size_t n);  // |dW| / |W| per layer
void er_plot_cell(er_text *t, double before, double after);               // a table cell, percent; NaN: none

// ---- tables.c ----
void er_table_relations(er_text *t, const er_eval *before, const er_eval *after);
// `most` rows; 0: 100.
void er_table_facts(er_text *t, const er_eval *before, const er_eval *after, bool failures, size_t most);
void er_table_rejected(er_text *t, const er_facts *f);
void er_table_warnings(er_text *t, const er_report *r);
void er_table_layers(er_text *t, const er_report_layer *layer, size_t n);
void er_table_settings(er_text *t, const cJSON *object);

extern const char er_report_style[];  // style.c
#endif
