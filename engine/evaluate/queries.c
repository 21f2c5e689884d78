// Many questions, few rows. A prompt is run once; the first token of every object is scored at the prompt's
// last position, and the further tokens of longer objects run as short rows that continue the prompt's cached
// keys and values:
//
//     prompt   p0 p1 p2 p3            labels: the first token of each object, all at p3
//     object          [p0..p3] a0 a1  labels: a1 at a0, a2 at a1
//
// The last token of an object is never run.
#include "engine/evaluate/evaluate_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "engine/prompts/joint.h"
#include "io/base/log.h"

typedef struct object {    // one distinct question
    const int32_t *token;  // [n]
    size_t n;
    double nll;
    bool strict, fits;
} object;

typedef struct prompt {
    int32_t *token;  // [n]
    size_t n;
    size_t first, last;  // objects first .. last-1
    bool continues;      // one of them has a second token
    size_t place;        // in the cache, while its batch is run
} prompt;

typedef struct plan {
    er_query **order;   // [queries] by prompt, then target
    size_t *object_of;  // [queries] of order[i]
    prompt *prompt;
    object *object;
    int32_t **ids;  // [objects] storage behind object.token
    size_t queries, prompts, objects, longest;
} plan;

static int by_question(const void *x, const void *y) {
    const er_query *a = *(er_query *const *)x, *b = *(er_query *const *)y;
    int c = strcmp(a->prompt, b->prompt);
    if (!c) c = strcmp(a->target, b->target);
    return c ? c : (a->space > b->space) - (a->space < b->space);
}

static void plan_clear(plan *p) {
    for (size_t i = 0; p->prompt && i < p->prompts; i++) free(p->prompt[i].token);
    for (size_t i = 0; p->ids && i < p->objects; i++) free(p->ids[i]);
    free(p->order);
    free(p->object_of);
    free(p->prompt);
    free(p->object);
    free(p->ids);
}

// A refusal of a text names the question that has it.
static er_status at_question(er_status rc, const er_query *q) {
    char said[640];
    if (rc != ER_EFORMAT && rc != ER_EUNSUPPORTED) return rc;
    (void)snprintf(said, sizeof said, "%s", er_last_error());
    return er_fail(rc, "prompt '%.100s', target '%.60s': %s", q->prompt, q->target, said);
}

// The prompt whose ids are in front of `j`'s target: the last one, or a new one. What the ids of a prompt are
// may depend on the target, where white space between them goes into the target.
static er_status prompt_of(prompt **out, plan *p, const er_joint *j) {
    prompt *last = p->prompts ? &p->prompt[p->prompts - 1] : NULL;
    if (last && last->n == j->n_context && !memcmp(last->token, j->token, last->n * sizeof *last->token)) {
        *out = last;
        return ER_OK;
    }
    int32_t *token = malloc(j->n_context * sizeof *token);
    if (!token) return er_fail(ER_ENOMEM, "%zu tokens", j->n_context);
    memcpy(token, j->token, j->n_context * sizeof *token);
    *out = &p->prompt[p->prompts++];
    **out = (prompt){.token = token, .n = j->n_context, .first = p->objects, .last = p->objects};
    return ER_OK;
}

static er_status add_object(plan *p, const er_query *q, const er_model *m, er_tokens *scratch, er_space job) {
    er_status rc = ER_OK;
    er_joint j = {0};
    prompt *at = NULL;
    size_t positions = er_model_positions(m);
    rc = er_encode_joint(&j, m->tokenizer, scratch, q->prompt, q->target, q->space, job);
    if (rc ==
        ER_EFORMAT) {  // a question without tokens is one that does not fit, and no reason to ask nothing
        p->object[p->objects++] = (object){.fits = false};
        return ER_OK;
    }
    ER_TRY(at_question(rc, q));
    ER_TRY(at_question(er_model_check_tokens(m, j.token, j.n_context + j.n_labels), q));
    ER_TRY(prompt_of(&at, p, &j));
    object *o = &p->object[p->objects];
    *o = (object){.token = j.token + j.n_context, .n = j.n_labels, .strict = true};
    o->fits = at->n + o->n - 1 <= positions;
    p->ids[p->objects++] = j.token;
    j.token = NULL;
    at->last = p->objects;
    if (o->fits && o->n > 1) at->continues = true;
    if (o->fits && at->n > p->longest) p->longest = at->n;
    if (o->fits && o->n - 1 > p->longest) p->longest = o->n - 1;
out:
    free(j.token);
    return rc;
}

static er_status plan_make(plan *p, er_query *q, size_t n, const er_model *m, er_space job) {
    er_status rc = ER_OK;
    er_tokens scratch = {0};
    p->order = calloc(n + 1, sizeof(er_query *));
    p->object_of = calloc(n + 1, sizeof *p->object_of);
    p->prompt = calloc(n + 1, sizeof *p->prompt);
    p->object = calloc(n + 1, sizeof *p->object);
    p->ids = calloc(n + 1, sizeof *p->ids);
    if (!p->order || !p->object_of || !p->prompt || !p->object || !p->ids)
        ER_FAIL(ER_ENOMEM, "%zu questions", n);
    for (size_t i = 0; i < n; i++) p->order[i] = &q[i];
    qsort(p->order, n, sizeof(er_query *), by_question);
    for (size_t i = 0; i < n; i++) {
        ER_TRY(er_stop_check("the prompts are not encoded yet"));
        if (i == 0 || by_question(&p->order[i - 1], &p->order[i]) != 0)
            ER_TRY(add_object(p, p->order[i], m, &scratch, job));
        p->object_of[i] = p->objects - 1;
    }
    p->queries = n;
out:
    er_tokens_free(&scratch);
    return rc;
}

// ---- batches ----

// Runs what is packed and books every loss to its object.
static er_status run_batch(er_scorer *s, plan *p) {
    er_status rc = er_scorer_run(s);
    for (size_t i = 0; rc == ER_OK && i < s->labels; i++) {
        object *o = &p->object[s->label[i].owner];
        o->nll += (double)s->label[i].nll;
        o->strict = o->strict && s->label[i].hit;
    }
    er_scorer_clear(s);
    return rc;
}

static bool any_fits(const plan *p, const prompt *a) {
    for (size_t o = a->first; o < a->last; o++)
        if (p->object[o].fits) return true;
    return false;
}

// Prompts first .. last-1 at once; those whose objects go on are left in the cache, at `place`.
static er_status run_heads(er_scorer *s, plan *p, size_t first, size_t last) {
    er_status rc = ER_OK;
    for (size_t i = first; i < last; i++) {
        prompt *a = &p->prompt[i];
        if (!any_fits(p, a)) continue;
        a->place = s->batch.tokens;
        er_kv_range store = {a->place, a->continues ? a->n : 0};
        ER_TRY(er_batch_row(&s->batch, a->token, a->n, ER_NO_KV, store));
        for (size_t o = a->first; o < a->last; o++)
            if (p->object[o].fits) ER_TRY(er_scorer_label(s, s->batch.tokens - 1, p->object[o].token[0], o));
    }
    ER_TRY(run_batch(s, p));
out:
    return rc;
}

// Then the tails of their objects.
static er_status run_tails(er_scorer *s, plan *p, size_t first, size_t last) {
    er_status rc = ER_OK;
    for (size_t i = first; i < last; i++) {
        const prompt *a = &p->prompt[i];
        for (size_t o = a->first; a->continues && o < a->last; o++) {
            const object *x = &p->object[o];
            if (!x->fits || x->n < 2) continue;
            if (!er_batch_fits(&s->batch, 1, x->n - 1)) ER_TRY(run_batch(s, p));
            size_t at = s->batch.tokens;
            ER_TRY(er_batch_row(&s->batch, x->token, x->n - 1, (er_kv_range){a->place, a->n}, ER_NO_KV));
            for (size_t j = 1; j < x->n; j++) ER_TRY(er_scorer_label(s, at + j - 1, x->token[j], o));
        }
    }
    ER_TRY(run_batch(s, p));
out:
    return rc;
}

static er_status run_all(plan *p, er_scorer *s, er_query_stats *stats) {
    er_status rc = ER_OK;
    size_t done = 0;
    er_progress *progress = er_progress_begin("evaluate", p->prompts, "prompts");
    for (size_t first = 0, last = 0; first < p->prompts; first = last) {
        size_t tokens = 0;
        for (; last < p->prompts; last++) {
            size_t n = any_fits(p, &p->prompt[last]) ? p->prompt[last].n : 0;
            if (last > first && tokens + n > s->batch.max_tokens) break;
            tokens += n;
        }
        ER_TRY(run_heads(s, p, first, last));
        ER_TRY(run_tails(s, p, first, last));
        stats->tokens += tokens;
        er_progress_update(progress, last);
        done = last;
        ER_TRY(er_stop_check(""));
    }
    stats->prompts += p->prompts;
    stats->flops += s->run.flops;
out:
    er_progress_end(progress);
    return rc == ER_EINTERRUPTED ? er_fail(rc, "stopped after %zu of %zu prompts", done, p->prompts) : rc;
}

er_status er_queries_run(
    er_query *q, size_t n, er_model *m, er_space space, size_t batch_tokens, er_query_stats *stats) {
    er_status rc = ER_OK;
    plan p = {0};
    er_scorer *s = NULL;
    size_t tokens = er_eval_batch_tokens(m, batch_tokens), total = 0;
    if (n == 0) return ER_OK;
    ER_TRY(plan_make(&p, q, n, m, space));
    for (size_t i = 0; i < p.prompts && total < tokens; i++) total += p.prompt[i].n + 1;
    if (total < tokens) tokens = total;  // small jobs need no large buffers
    if (p.longest > tokens) tokens = p.longest;
    ER_TRY(er_scorer_create(&s, m, tokens, true));
    ER_TRY(run_all(&p, s, stats));
    for (size_t i = 0; i < p.queries; i++) {
        const object *o = &p.object[p.object_of[i]];
        er_query *a = p.order[i];
        a->fits = o->fits;
        if (!o->fits) continue;
        a->logprob = (float)(-o->nll / (double)o->n);
        a->strict = o->strict;
    }
out:
    er_scorer_free(s);
    plan_clear(&p);
    return rc;
}
