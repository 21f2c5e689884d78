// One HTML file that shows what an edit did: no script, nothing loaded from elsewhere, light and dark,
// readable on a phone. Facts and answers are hostile text: everything is escaped, isolated from the page's
// writing direction and cut to a sane length.
#ifndef ER_REPORT_H
#define ER_REPORT_H
#include "engine/evaluate.h"
#include "io/base/warnings.h"

typedef struct er_report_layer {  // what the edit did to one weight matrix
    size_t layer;
    double w_norm, dw_norm;      // Frobenius
    double rounding_loss;        // |round(W + dW) - (W + dW)| / |dW|; negative: not known
    double lambda, trace_ratio;  // the weight of C, tr(lambda C) / tr(K K^T); 0: not known
} er_report_layer;

typedef struct er_report {
    const char *title;              // NULL: "errata report"
    const er_eval *before, *after;  // before may be NULL
    const er_report_layer *layer;
    size_t n_layers;              // 0: no section
    const cJSON *settings;        // an object of what shaped the job (manifest, hyper-parameters), or NULL
    const er_warnings *warnings;  // of this evaluation, or NULL
    const cJSON *edit_warnings;   // array of strings: those of the edit, from its manifest, or NULL
    size_t max_facts;             // rows of the table of facts; 0: 300
} er_report;

er_status er_report_html(char **out, const er_report *r);  // malloc'd, NUL-terminated
#endif
