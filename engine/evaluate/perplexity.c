// Perplexity of a held-out text: what an edit did to everything it was not about.
#include "engine/evaluate/evaluate_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include "io/base/log.h"

#define DRIFT_TOKENS 8192
#define DRIFT_WINDOW 512

typedef struct text {
    int32_t *token;  // without BOS
    size_t count;
    int32_t bos;  // or -1
} text;

// No more of the text is encoded than can be needed: a token is hardly ever longer than 16 bytes on average.
static er_status encode_text(text *t, const er_model *m, const er_eval_options *o, size_t wanted) {
    er_status rc = ER_OK;
    er_tokens tokens = {0};
    size_t bytes = o->drift_bytes, most = wanted > SIZE_MAX / 64 ? SIZE_MAX : 64 * wanted;
    if (bytes > most) bytes = most;
    t->bos = er_tokenizer_bos(m->tokenizer);
    ER_TRY(er_tokenizer_encode_lossy(m->tokenizer, &tokens, o->drift_text, bytes, false));
    t->count = tokens.count < wanted ? tokens.count : wanted;
    if (t->count == 0) ER_FAIL(ER_EFORMAT, "the held-out text has no tokens");
    if (!(t->token = malloc(t->count * sizeof *t->token))) ER_FAIL(ER_ENOMEM, "%zu tokens", t->count);
    for (size_t i = 0; i < t->count; i++) t->token[i] = tokens.at[i].id;
    if ((rc = er_model_check_tokens(m, t->token, t->count)) != ER_OK) {
        char said[640];
        (void)snprintf(said, sizeof said, "%s", er_last_error());
        ER_FAIL(rc, "the held-out text: %s", said);
    }
out:
    er_tokens_free(&tokens);
    return rc;
}

typedef struct pack {
    int32_t *token, *pos, *row_start, *index, *label, *hit;  // [max_tokens], row_start one more
    float *nll;
    size_t rows, tokens, labels;
} pack;

static er_status pack_create(pack *p, size_t t) {
    *p = (pack){.token = calloc(6 * t + 1, sizeof *p->token), .nll = calloc(t, sizeof *p->nll)};
    if (!p->token || !p->nll) {
        (void)er_fail(ER_ENOMEM, "a batch of %zu tokens", t);
        return ER_ENOMEM;
    }
    p->pos = p->token + t, p->index = p->pos + t, p->label = p->index + t;
    p->hit = p->label + t, p->row_start = p->hit + t;
    return ER_OK;
}

static void pack_window(pack *p, const text *t, size_t from, size_t n) {
    size_t begin = p->tokens;
    p->row_start[p->rows++] = (int32_t)begin;
    if (t->bos >= 0) p->token[p->tokens++] = t->bos;
    for (size_t i = 0; i < n; i++) {
        if (p->tokens > begin) {
            p->index[p->labels] = (int32_t)(p->tokens - 1);
            p->label[p->labels++] = t->token[from + i];
        }
        p->token[p->tokens++] = t->token[from + i];
    }
    for (size_t i = begin; i < p->tokens; i++) p->pos[i] = (int32_t)(i - begin);
    p->row_start[p->rows] = (int32_t)p->tokens;
}

static er_status pack_run(pack *p, er_scorer *s, er_perplexity *sum) {
    er_status rc = ER_OK;
    er_batch rows = {
        .rows = p->rows, .tokens = p->tokens, .token = p->token, .pos = p->pos, .row_start = p->row_start};
    ER_TRY(er_scorer_forward(s, &rows));
    ER_TRY(er_scorer_labels(s, p->nll, p->hit, p->index, p->label, p->labels));
    for (size_t i = 0; i < p->labels; i++) sum->nll += (double)p->nll[i];
    sum->tokens += p->labels;
    p->rows = p->tokens = p->labels = 0;
out:
    return rc;
}

er_status er_perplexity_measure(er_perplexity *out, er_model *m, const er_eval_options *o) {
    er_status rc = ER_OK;
    er_scorer *s = NULL;
    er_progress *progress = NULL;
    text t = {0};
    pack p = {0};
    er_perplexity sum = {0};
    size_t positions = er_eval_positions(m), window = o->drift_window ? o->drift_window : DRIFT_WINDOW;
    ER_TRY(encode_text(&t, m, o, o->drift_tokens ? o->drift_tokens : DRIFT_TOKENS));
    size_t extra = t.bos >= 0 ? 1 : 0;
    if (window + extra > positions) window = positions - extra;
    if (window > t.count) window = t.count;
    if (window + extra < 2)
        ER_FAIL(ER_EARG, "drift: a window of %zu tokens leaves nothing to predict", window);
    size_t most = er_eval_batch_tokens(m, o->batch_tokens);
    if (most < window + extra) most = window + extra;
    ER_TRY(er_scorer_create(&s, m, most, false));
    ER_TRY(pack_create(&p, most));
    progress = er_progress_begin("drift", t.count, "tokens");
    for (size_t at = 0, n; at < t.count; at += n) {
        n = t.count - at < window ? t.count - at : window;
        if (p.tokens + n + extra > most) ER_TRY(pack_run(&p, s, &sum));
        pack_window(&p, &t, at, n);
        er_progress_update(progress, at);
        ER_TRY(er_stop_check(""));
    }
    ER_TRY(pack_run(&p, s, &sum));
    er_progress_update(progress, t.count);
    if (sum.tokens) sum.nll /= (double)sum.tokens;
    *out = sum;
out:
    if (progress) er_progress_end(progress);
    er_scorer_free(s);
    free(p.token);
    free(p.nll);
    free(t.token);
    return rc == ER_EINTERRUPTED ? er_fail(rc, "stopped in the drift text") : rc;
}
