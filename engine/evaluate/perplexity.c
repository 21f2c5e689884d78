// Perplexity of a held-out text: what an edit did to everything it was not about.
#include "engine/evaluate/evaluate_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

// n tokens from `from` on, behind BOS if there is one: every token but the row's first is scored. row:
// scratch [n + 1].
static er_status pack_window(er_scorer *s, const text *t, size_t from, size_t n, int32_t *row) {
    size_t extra = t->bos >= 0 ? 1 : 0, begin = s->batch.tokens;
    if (extra) row[0] = t->bos;
    memcpy(row + extra, t->token + from, n * sizeof *row);
    er_status rc = er_batch_row(&s->batch, row, n + extra, ER_NO_KV, ER_NO_KV);
    for (size_t i = 1; rc == ER_OK && i < n + extra; i++) rc = er_scorer_label(s, begin + i - 1, row[i], 0);
    return rc;
}

static er_status run_windows(er_scorer *s, er_perplexity *sum) {
    er_status rc = er_scorer_run(s);
    if (rc != ER_OK) return rc;
    for (size_t i = 0; i < s->labels; i++) sum->nll += (double)s->label[i].nll;
    sum->tokens += s->labels;
    er_scorer_clear(s);
    return ER_OK;
}

er_status er_perplexity_measure(er_perplexity *out, er_model *m, const er_eval_options *o) {
    er_status rc = ER_OK;
    er_scorer *s = NULL;
    er_progress *progress = NULL;
    text t = {0};
    int32_t *row = NULL;
    er_perplexity sum = {0};
    size_t positions = er_model_positions(m), window = o->drift_window ? o->drift_window : DRIFT_WINDOW;
    ER_TRY(encode_text(&t, m, o, o->drift_tokens ? o->drift_tokens : DRIFT_TOKENS));
    size_t extra = t.bos >= 0 ? 1 : 0;
    if (window + extra > positions) window = positions - extra;
    if (window > t.count) window = t.count;
    if (window + extra < 2)
        ER_FAIL(ER_EARG, "drift: a window of %zu tokens leaves nothing to predict", window);
    size_t most = er_eval_batch_tokens(m, o->batch_tokens);
    if (most < window + extra) most = window + extra;
    ER_TRY(er_scorer_create(&s, m, most, false));
    if (!(row = malloc((window + 1) * sizeof *row))) ER_FAIL(ER_ENOMEM, "a window of %zu tokens", window);
    progress = er_progress_begin("drift", t.count, "tokens");
    for (size_t at = 0, n; at < t.count; at += n) {
        n = t.count - at < window ? t.count - at : window;
        if (!er_batch_fits(&s->batch, 1, n + extra)) ER_TRY(run_windows(s, &sum));
        ER_TRY(pack_window(s, &t, at, n, row));
        er_progress_update(progress, at);
        ER_TRY(er_stop_check(""));
    }
    ER_TRY(run_windows(s, &sum));
    er_progress_update(progress, t.count);
    if (sum.tokens) sum.nll /= (double)sum.tokens;
    *out = sum;
out:
    if (progress) er_progress_end(progress);
    er_scorer_free(s);
    free(row);
    free(t.token);
    return rc == ER_EINTERRUPTED ? er_fail(rc, "stopped in the drift text") : rc;
}
