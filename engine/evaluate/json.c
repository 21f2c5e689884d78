// metrics.json. cJSON_Add* return NULL when memory is out; one flag collects that.
#include "engine/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct writer {
    bool failed;
} writer;

static cJSON *object(writer *w, cJSON *in, const char *key) {
    cJSON *o = cJSON_AddObjectToObject(in, key);
    w->failed = w->failed || !o;
    return o;
}
static cJSON *array(writer *w, cJSON *in, const char *key) {
    cJSON *a = cJSON_AddArrayToObject(in, key);
    w->failed = w->failed || !a;
    return a;
}
static cJSON *element(writer *w, cJSON *in) {
    cJSON *o = cJSON_CreateObject();
    if (!o || !cJSON_AddItemToArray(in, o)) {
        cJSON_Delete(o);
        w->failed = true;
        return NULL;
    }
    return o;
}
static void text(writer *w, cJSON *in, const char *key, const char *value) {
    const cJSON *v = value ? cJSON_AddStringToObject(in, key, value) : cJSON_AddNullToObject(in, key);
    w->failed = w->failed || !v;
}
// Six decimals are what a float's logarithm is worth; a number that is not finite would print as null anyway.
static void number(writer *w, cJSON *in, const char *key, double value) {
    const cJSON *v = isfinite(value) ? cJSON_AddNumberToObject(in, key, round(value * 1e6) / 1e6)
                                     : cJSON_AddNullToObject(in, key);
    w->failed = w->failed || !v;
}
static void boolean(writer *w, cJSON *in, const char *key, bool value) {
    w->failed = w->failed || !cJSON_AddBoolToObject(in, key, value);
}

static void add_rate(writer *w, cJSON *in, const char *key, const er_rate *r) {
    cJSON *o = object(w, in, key);
    number(w, o, "prompts", (double)r->scored);
    number(w, o, "strict", r->scored ? er_percent(r->strict, r->scored) : (double)NAN);
    number(w, o, "compared", (double)r->compared);
    number(w, o, "success", r->compared ? er_percent(r->success, r->compared) : (double)NAN);
    number(w, o, "margin", r->compared ? r->margin : (double)NAN);
}

static void add_rates(writer *w, cJSON *o, const er_rates *r) {
    number(w, o, "score", er_eval_score(r));
    for (int k = 0; k < ER_EVAL_KINDS; k++)
        if (k != ER_PORTABILITY || r->kind[k].scored)
            add_rate(w, o, er_eval_kind_name((er_eval_kind)k), &r->kind[k]);
}

static void add_eval(writer *w, cJSON *in, const char *key, const er_eval *e) {
    if (!e) {
        text(w, in, key, NULL);
        return;
    }
    cJSON *o = object(w, in, key);
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

static void add_relations(writer *w, cJSON *in, const er_eval *before, const er_eval *after) {
    cJSON *list = array(w, in, "relations");
    for (size_t i = 0; i < after->n_relations && !w->failed; i++) {
        const er_relation *a = &after->relation[i], *b = same_relation(before, a->name);
        cJSON *o = element(w, list);
        text(w, o, "relation", a->name);
        number(w, o, "facts", (double)a->rates.facts);
        if (b) add_rates(w, object(w, o, "before"), &b->rates);
        add_rates(w, object(w, o, "after"), &a->rates);
    }
}

static void add_failures(writer *w, cJSON *in, const er_eval *e) {
    cJSON *list = array(w, in, "failures");
    for (size_t i = 0; i < e->count && !w->failed; i++) {
        const er_eval_item *item = &e->item[i];
        const er_fact *f = &e->facts->at[item->fact];
        if (item->kind != ER_EFFICACY || !item->scored || item->strict) continue;
        cJSON *o = element(w, list);
        text(w, o, "id", f->id);
        number(w, o, "line", (double)f->line);
        text(w, o, "subject", f->subject);
        text(w, o, "prompt", f->prompt);
        text(w, o, "target", f->target);
        text(w, o, "old", f->old);
        text(w, o, "says", e->answer[item->fact]);
        number(w, o, "right", (double)item->right);
        number(w, o, "wrong", item->compared ? (double)item->wrong : (double)NAN);
    }
}

static void add_result(writer *w, cJSON *in, const char *key, const er_eval_item *i) {
    cJSON *o = object(w, in, key);
    number(w, o, "right", i->scored ? (double)i->right : (double)NAN);
    number(w, o, "wrong", i->compared ? (double)i->wrong : (double)NAN);
    if (i->compared) boolean(w, o, "success", er_eval_success(i));
    if (i->scored) boolean(w, o, "strict", i->strict);
}

static void add_items(writer *w, cJSON *in, const er_eval *before, const er_eval *after) {
    cJSON *list = array(w, in, "items");
    for (size_t i = 0; i < after->count && !w->failed; i++) {
        const er_eval_item *item = &after->item[i];
        char *prompt = er_eval_prompt(after->facts, item);
        cJSON *o = element(w, list);
        text(w, o, "id", after->facts->at[item->fact].id);
        text(w, o, "kind", er_eval_kind_name(item->kind));
        number(w, o, "index", item->index);
        text(w, o, "prompt", prompt);
        w->failed = w->failed || !prompt;
        free(prompt);
        if (before) add_result(w, o, "before", &before->item[i]);
        add_result(w, o, "after", item);
    }
}

static void add_facts(writer *w, cJSON *in, const er_facts *f) {
    cJSON *o = object(w, in, "facts");
    text(w, o, "path", f->path);
    text(w, o, "format", f->format);
    text(w, o, "digest", f->digest);
    number(w, o, "accepted", (double)f->count);
    number(w, o, "rejected", (double)f->n_rejects);
    number(w, o, "duplicates", (double)f->n_duplicates);
}

er_status er_eval_json(cJSON **out, const er_eval *before, const er_eval *after, bool details) {
    er_status rc = ER_OK;
    writer w = {0};
    er_kept kept = {0};
    cJSON *root = cJSON_CreateObject();
    if (!root) return er_fail(ER_ENOMEM, "metrics");
    if (before) ER_TRY(er_eval_kept(&kept, before, after));
    number(&w, root, "format", 1);
    text(&w, root, "model", after->model);
    text(&w, root, "base", before ? before->model : NULL);
    add_facts(&w, root, after->facts);
    add_eval(&w, root, "before", before);
    add_eval(&w, root, "after", after);
    if (before) {
        cJSON *o = object(&w, root, "neighbors_kept");
        number(&w, o, "known_before", (double)kept.known);
        number(&w, o, "still_right", (double)kept.still);
        number(&w, o, "percent", kept.known ? er_percent(kept.still, kept.known) : (double)NAN);
    } else {
        text(&w, root, "neighbors_kept", NULL);
    }
    bool drift = before && before->drift.tokens && after->drift.tokens;
    number(&w, root, "perplexity_change_percent",
        drift ? 100 * expm1(after->drift.nll - before->drift.nll) : (double)NAN);
    add_relations(&w, root, before, after);
    add_failures(&w, root, after);
    cJSON *rejected = array(&w, root, "rejected");
    for (size_t i = 0; i < after->facts->n_rejects && !w.failed; i++) {
        const er_reject *r = &after->facts->rejects[i];
        cJSON *o = element(&w, rejected);
        number(&w, o, "line", (double)r->line);
        text(&w, o, "id", r->id);
        text(&w, o, "reason", r->reason);
    }
    if (details) add_items(&w, root, before, after);
    if (w.failed) ER_FAIL(ER_ENOMEM, "metrics of %zu facts", after->facts->count);
    *out = root;
    root = NULL;
out:
    cJSON_Delete(root);
    return rc;
}
