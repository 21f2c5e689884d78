// The tables: relations, facts, what was left out, layers, settings.
#include "engine/report/text_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LISTED 100
#define RELATIONS 40
#define CELL_BYTES 240

// ---- relations ----

static double rate(const er_rates *r, er_eval_kind kind) {
    const er_rate *x = &r->kind[kind];
    if (x->compared) return er_percent(x->success, x->compared);
    return x->scored ? er_percent(x->strict, x->scored) : (double)NAN;
}

static const er_rates *rates_of(const er_eval *e, const char *name) {
    for (size_t i = 0; e && i < e->n_relations; i++) {
        const char *other = e->relation[i].name;
        if (name == other || (name && other && strcmp(name, other) == 0)) return &e->relation[i].rates;
    }
    return NULL;
}

void er_table_relations(er_text *t, const er_eval *before, const er_eval *after) {
    if (after->n_relations < 2) return;
    er_text_add(t, "<h2>By relation</h2><p class=\"dim\">Success in percent%s</p>",
        before ? "; the mark in a bar is where it stood before." : ".");
    er_text_add(t, "<div class=\"wide\"><table><thead><tr><th>Relation</th><th class=\"r\">Facts</th>");
    er_text_add(t, "<th class=\"r\">Efficacy</th><th class=\"r\">Paraphr.</th><th "
                   "class=\"r\">Neighb.</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < after->n_relations && i < RELATIONS; i++) {
        const er_relation *a = &after->relation[i];
        const er_rates *b = rates_of(before, a->name);
        er_text_add(t, "<tr><td class=\"k\"><bdi>");
        er_text_escaped(t, a->name ? a->name : "(none)", 60);
        er_text_add(t, "</bdi></td><td class=\"r\">%zu</td>", a->rates.facts);
        for (int k = 0; k <= ER_NEIGHBOR; k++)
            er_plot_cell(t, b ? rate(b, (er_eval_kind)k) : (double)NAN, rate(&a->rates, (er_eval_kind)k));
        er_text_add(t, "</tr>\n");
    }
    er_text_add(t, "</tbody></table></div>\n");
    if (after->n_relations > RELATIONS)
        er_text_add(t, "<p class=\"dim\">and %zu more</p>", after->n_relations - RELATIONS);
}

// ---- facts ----

static void cell(er_text *t, const char *label, const char *value) {
    er_text_add(t, "<td data-l=\"%s\"><bdi>", label);
    while (value && *value == ' ') value++;  // an answer brings its own
    er_text_escaped(t, value, CELL_BYTES);
    er_text_add(t, "</bdi></td>");
}

static void verdict(er_text *t, const char *label, const er_eval_item *i) {
    er_text_add(t, "<td class=\"r\" data-l=\"%s\">", label);
    if (i->scored)
        er_text_add(
            t, "<span class=\"%s\">%s</span>", i->strict ? "yes" : "no", i->strict ? "&#10003;" : "&#10007;");
    else er_text_add(t, "&#8211;");
    if (i->compared) er_text_add(t, " %+.1f", (double)i->right - (double)i->wrong);
    er_text_add(t, "</td>");
}

static void fact_row(er_text *t, const er_eval *before, const er_eval *after, size_t item) {
    const er_eval_item *i = &after->item[item];
    const er_fact *f = &after->facts->at[i->fact];
    char *prompt = er_eval_prompt(after->facts, i);
    t->failed = t->failed || !prompt;
    er_text_add(t, "<tr><td class=\"q\"><bdi>");
    er_text_escaped(t, prompt ? prompt : "", CELL_BYTES);
    er_text_add(t, "</bdi></td>");
    cell(t, "new", f->target);
    cell(t, "old", f->old);
    if (before) cell(t, "said", before->answer[i->fact]);
    cell(t, "says", after->answer[i->fact]);
    if (before) verdict(t, "before", &before->item[item]);
    verdict(t, before ? "after" : "took", i);
    er_text_add(t, "</tr>\n");
    free(prompt);
}

static bool listed(const er_eval_item *i, bool failures) {
    return i->kind == ER_EFFICACY && (!failures || (i->scored && !i->strict));
}

void er_table_facts(er_text *t, const er_eval *before, const er_eval *after, bool failures, size_t most) {
    size_t shown = 0, all = 0;
    if (most == 0) most = LISTED;
    for (size_t i = 0; i < after->count; i++) all += listed(&after->item[i], failures);
    if (all == 0) return;
    er_text_add(t, "<h2>%s</h2><p class=\"dim\">%s%zu of %zu. ",
        failures ? "Facts that did not take" : "Facts", all > most ? "The first " : "",
        all > most ? most : all, all);
    er_text_add(t, "&#10003;: every token of the new object is the argmax. The number is how much likelier, "
                   "in log-probability per "
                   "token, it is than the old one.</p>\n<div class=\"wide\"><table "
                   "class=\"f\"><thead><tr><th>Prompt</th>");
    er_text_add(t,
        "<th>New</th><th>Old</th>%s<th>Model says</th>%s<th class=\"r\">%s</th></tr></thead><tbody>\n",
        before ? "<th>Model said</th>" : "", before ? "<th class=\"r\">Before</th>" : "",
        before ? "After" : "Took");
    for (size_t i = 0; i < after->count && shown < most; i++) {
        if (!listed(&after->item[i], failures)) continue;
        fact_row(t, before, after, i);
        shown++;
    }
    er_text_add(t, "</tbody></table></div>\n");
}

void er_table_rejected(er_text *t, const er_facts *f) {
    if (f->n_rejects == 0) return;
    er_text_add(t, "<h2>Records left out</h2><p class=\"dim\">%s%zu of %zu.</p>",
        f->n_rejects > LISTED ? "The first " : "", f->n_rejects < LISTED ? f->n_rejects : (size_t)LISTED,
        f->n_rejects);
    er_text_add(t, "<div class=\"wide\"><table><tbody>\n");
    for (size_t i = 0; i < f->n_rejects && i < LISTED; i++) {
        er_text_add(t, "<tr><td class=\"r\">%s %zu</td><td><bdi>", f->is_lines ? "line" : "record",
            f->rejects[i].line);
        er_text_escaped(t, f->rejects[i].reason, CELL_BYTES);
        er_text_add(t, "</bdi></td></tr>\n");
    }
    er_text_add(t, "</tbody></table></div>\n");
}

static void warning(er_text *t, const char *of, const char *what) {
    er_text_add(t, "<tr><td>%s</td><td><bdi>", of);
    er_text_escaped(t, what, 1000);
    er_text_add(t, "</bdi></td></tr>\n");
}

void er_table_warnings(er_text *t, const er_report *r) {
    const cJSON *v;
    size_t scoring = er_warnings_count(r->warnings);
    if (scoring == 0 && cJSON_GetArraySize(r->edit_warnings) == 0) return;
    er_text_add(t, "<h2>Warnings</h2><div class=\"wide\"><table><tbody>\n");
    cJSON_ArrayForEach(v, r->edit_warnings) if (cJSON_IsString(v)) warning(t, "edit", v->valuestring);
    for (size_t i = 0; i < scoring; i++) warning(t, "evaluation", er_warnings_at(r->warnings, i));
    er_text_add(t, "</tbody></table></div>\n");
}

// ---- layers, settings ----

static void number_or_dash(er_text *t, double v) {
    if (v > 0) er_text_add(t, "<td class=\"r\">%.4g</td>", v);
    else er_text_add(t, "<td class=\"r\">&#8211;</td>");
}

void er_table_layers(er_text *t, const er_report_layer *layer, size_t n) {
    er_text_add(t, "<figure><figcaption>Frobenius norms</figcaption><table><thead><tr><th>Layer</th><th "
                   "class=\"r\">|W|</th>");
    er_text_add(
        t, "<th class=\"r\">|&#916;W|</th><th class=\"r\">rounded away</th><th class=\"r\">&#955;</th>");
    er_text_add(t, "<th class=\"r\">tr(&#955;C)&#8239;/&#8239;tr(KK&#7488;)</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < n; i++) {
        const er_report_layer *l = &layer[i];
        er_text_add(t, "<tr><td>%zu</td><td class=\"r\">%.4g</td><td class=\"r\">%.4g</td>", l->layer,
            l->w_norm, l->dw_norm);
        if (l->rounding_loss >= 0)
            er_text_add(t, "<td class=\"r\">%.2f&#8239;%%</td>", 100 * l->rounding_loss);
        else er_text_add(t, "<td class=\"r\">&#8211;</td>");
        number_or_dash(t, l->lambda);
        number_or_dash(t, l->trace_ratio);
        er_text_add(t, "</tr>\n");
    }
    er_text_add(t, "</tbody></table></figure>\n");
}

void er_table_settings(er_text *t, const cJSON *object) {
    const cJSON *v;
    if (!object || !object->child) return;
    er_text_add(t, "<h2>Settings</h2><div class=\"wide\"><table><tbody>\n");
    cJSON_ArrayForEach(v, object) {
        char *value = cJSON_IsString(v) ? strdup(v->valuestring) : cJSON_PrintUnformatted(v);
        t->failed = t->failed || !value;
        er_text_add(t, "<tr><th><bdi>");
        er_text_escaped(t, v->string ? v->string : "", 80);
        er_text_add(t, "</bdi></th><td><bdi>");
        er_text_escaped(t, value ? value : "", 1000);
        er_text_add(t, "</bdi></td></tr>\n");
        free(value);
    }
    er_text_add(t, "</tbody></table></div>\n");
}
