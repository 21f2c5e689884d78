// metrics.json.
#include "engine/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/base/json_write.h"

// Six decimals are what a float's logarithm is worth.
static void number(er_json_writer *w, cJSON *in, const char *key, double value) {
    er_json_number(w, in, key, round(value * 1e6) / 1e6);
}

static void add_rate(er_json_writer *w, cJSON *in, const char *key, const er_rate *r) {
    cJSON *o = er_json_object(w, in, key);
    number(w, o, "prompts", (double)r->scored);
    number(w, o, "strict", r->scored ? er_percent(r->strict, r->scored) : (double)NAN);
    number(w, o, "compared", (double)r->compared);
    number(w, o, "success", r->compared ? er_percent(r->success, r->compared) : (double)NAN);
    number(w, o, "margin", r->compared ? r->margin : (double)NAN);
}

static void add_rates(er_json_writer *w, cJSON *o, const er_rates *r) {
    number(w, o, "score", er_eval_score(r));
    for (int k = 0; k < ER_EVAL_KINDS; k++)
        if (k != ER_PORTABILITY || r->kind[k].scored)
            add_rate(w, o, er_eval_kind_name((er_eval_kind)k), &r->kind[k]);
}

static void add_eval(er_json_writer *w, cJSON *in, const char *key, const er_eval *e) {
    if (!e) {
        er_json_text(w, in, key, NULL);
        return;
    }
    cJSON *o = er_json_object(w, in, key);
    add_rates(w, o, &e->total);
    number(w, o, "perplexity", e->drift.tokens ? exp(e->drift.nll) : (double)NAN);
    number(w, o, "perplexity_tokens", (double)e->drift.tokens);
    number(w, o, "seconds", e->seconds);
    number(w, o, "tokens", (double)e->tokens);
    number(w, o, "unscored", (double)e->unscored);
}

static const er_relation *same_relation(const er_eval *e, const char *name) {
    for (size_t i = 0; e && i < e->n_relations; i++) {
        const char *other = e->relation[i].name;
        if (name == other || (name && other && strcmp(name, other) == 0)) return &e->relation[i];
    }
    return NULL;
}

static void add_relations(er_json_writer *w, cJSON *in, const er_eval *before, const er_eval *after) {
    cJSON *list = er_json_array(w, in, "relations");
    for (size_t i = 0; i < after->n_relations && !w->failed; i++) {
        const er_relation *a = &after->relation[i], *b = same_relation(before, a->name);
        cJSON *o = er_json_element(w, list);
        er_json_text(w, o, "relation", a->name);
        number(w, o, "facts", (double)a->rates.facts);
        if (b) add_rates(w, er_json_object(w, o, "before"), &b->rates);
        add_rates(w, er_json_object(w, o, "after"), &a->rates);
    }
}

static void add_failures(er_json_writer *w, cJSON *in, const er_eval *e) {
    cJSON *list = er_json_array(w, in, "failures");
    for (size_t i = 0; i < e->count && !w->failed; i++) {
        const er_eval_item *item = &e->item[i];
        const er_fact *f = &e->facts->at[item->fact];
        if (item->kind != ER_EFFICACY || !item->scored || item->strict) continue;
        cJSON *o = er_json_element(w, list);
        er_json_text(w, o, "id", f->id);
        number(w, o, "line", (double)f->line);
        er_json_text(w, o, "subject", f->subject);
        er_json_text(w, o, "prompt", f->prompt);
        er_json_text(w, o, "target", f->target);
        er_json_text(w, o, "old", f->old);
        er_json_text(w, o, "says", e->answer[item->fact]);
        number(w, o, "right", (double)item->right);
        number(w, o, "wrong", item->compared ? (double)item->wrong : (double)NAN);
    }
}

static void add_result(er_json_writer *w, cJSON *in, const char *key, const er_eval_item *i) {
    cJSON *o = er_json_object(w, in, key);
    number(w, o, "right", i->scored ? (double)i->right : (double)NAN);
    number(w, o, "wrong", i->compared ? (double)i->wrong : (double)NAN);
    if (i->compared) er_json_bool(w, o, "success", er_eval_success(i));
    if (i->scored) er_json_bool(w, o, "strict", i->strict);
}

static void add_items(er_json_writer *w, cJSON *in, const er_eval *before, const er_eval *after) {
    cJSON *list = er_json_array(w, in, "items");
    for (size_t i = 0; i < after->count && !w->failed; i++) {
        const er_eval_item *item = &after->item[i];
        char *prompt = er_eval_prompt(after->facts, item);
        cJSON *o = er_json_element(w, list);
        er_json_text(w, o, "id", after->facts->at[item->fact].id);
        er_json_text(w, o, "kind", er_eval_kind_name(item->kind));
        number(w, o, "index", item->index);
        er_json_text(w, o, "prompt", prompt);
        w->failed = w->failed || !prompt;
        free(prompt);
        if (before) add_result(w, o, "before", &before->item[i]);
        add_result(w, o, "after", item);
    }
}

static void add_facts(er_json_writer *w, cJSON *in, const er_facts *f) {
    cJSON *o = er_json_object(w, in, "facts");
    er_json_text(w, o, "path", f->path);
    er_json_text(w, o, "format", f->format);
    er_json_text(w, o, "digest", f->digest);
    number(w, o, "accepted", (double)f->count);
    number(w, o, "rejected", (double)f->n_rejects);
    number(w, o, "duplicates", (double)f->n_duplicates);
}

er_status er_eval_json(cJSON **out, const er_eval *before, const er_eval *after, bool details) {
    er_status rc = ER_OK;
    er_json_writer w = {0};
    er_retained kept = {0};
    cJSON *root = cJSON_CreateObject();
    if (!root) return er_fail(ER_ENOMEM, "metrics");
    if (before) ER_TRY(er_eval_retained(&kept, before, after));
    number(&w, root, "format", 1);
    er_json_text(&w, root, "model", after->model);
    er_json_text(&w, root, "base", before ? before->model : NULL);
    add_facts(&w, root, after->facts);
    add_eval(&w, root, "before", before);
    add_eval(&w, root, "after", after);
    if (before) {
        cJSON *o = er_json_object(&w, root, "neighbors_kept");
        number(&w, o, "known_before", (double)kept.known);
        number(&w, o, "still_right", (double)kept.still);
        number(&w, o, "percent", kept.known ? er_percent(kept.still, kept.known) : (double)NAN);
    } else {
        er_json_text(&w, root, "neighbors_kept", NULL);
    }
    bool drift = before && before->drift.tokens && after->drift.tokens;
    number(&w, root, "perplexity_change_percent",
        drift ? 100 * expm1(after->drift.nll - before->drift.nll) : (double)NAN);
    add_relations(&w, root, before, after);
    add_failures(&w, root, after);
    cJSON *rejected = er_json_array(&w, root, "rejected");
    for (size_t i = 0; i < after->facts->n_rejects && !w.failed; i++) {
        const er_reject *r = &after->facts->rejects[i];
        cJSON *o = er_json_element(&w, rejected);
        number(&w, o, "line", (double)r->line);
        er_json_text(&w, o, "id", r->id);
        er_json_text(&w, o, "reason", r->reason);
    }
    if (details) add_items(&w, root, before, after);
    if (w.failed) ER_FAIL(ER_ENOMEM, "metrics of %zu facts", after->facts->count);
    *out = root;
    root = NULL;
out:
    cJSON_Delete(root);
    return rc;
}
