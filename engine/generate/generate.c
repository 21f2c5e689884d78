// The loop: let rows in, step, choose, let finished rows out.
#include "engine/generate.h"
#include <math.h>
#include <stdlib.h>
#include "engine/generate/decode_batch.h"
#include "engine/generate/sampler.h"
#include "io/base/log.h"

typedef struct er_generation {
    const er_sequences *prompts;
    const er_generate_options *o;
    er_decode_batch *batch;
    er_sampler chooser;
    int32_t ends[2];    // ids that end a row; -1: none
    size_t room;        // of each row's ids
    int32_t **chosen;   // [rows][room], filled as rows finish
    size_t *n_chosen;   // [rows]
    size_t next, done;  // rows let in, rows finished
    size_t tokens;      // chosen in all
} er_generation;

void er_end_ids(int32_t ends[2], const er_model *m) {
    ends[0] = m->eos;
    ends[1] = m->tokenizer ? er_tokenizer_id(m->tokenizer, "<|endoftext|>") : -1;
    for (int i = 0; i < 2; i++)
        if (ends[i] >= 0 && (size_t)ends[i] >= m->arch.vocab) ends[i] = -1;
}

static bool is_end(const er_generation *g, int32_t id) { return id == g->ends[0] || id == g->ends[1]; }

static er_status check_prompts(size_t *longest, const er_model *m, const er_sequences *p) {
    size_t limit = er_model_positions(m), most = 0;
    for (size_t r = 0; r < p->rows; r++) {
        size_t n = er_sequences_length(p, r);
        if (n == 0) return er_fail(ER_EARG, "prompt %zu has no tokens", r + 1);
        if (n >= limit)
            return er_fail(
                ER_EARG, "prompt %zu has %zu tokens, the model's positions are %zu", r + 1, n, limit);
        if (n > most) most = n;
    }
    for (size_t i = 0; i < p->tokens; i++)
        if (p->token[i] < 0 || (size_t)p->token[i] >= m->arch.vocab)
            return er_fail(
                ER_EARG, "token id %d is outside the vocabulary of %zu", p->token[i], m->arch.vocab);
    *longest = most;
    return ER_OK;
}

static er_status let_in(er_generation *g, size_t slot) {
    int32_t *chosen = malloc(g->room * sizeof *chosen);
    if (!chosen) return er_fail(ER_ENOMEM, "%zu tokens", g->room);
    g->chosen[g->next] = chosen;
    g->batch->slot[slot] = (er_slot){.busy = true, .row = g->next++, .chosen = chosen};
    return ER_OK;
}

// Rows in flight first, one token each; then as many whole prompts, of new rows and of rows begun anew, as
// there is room for.
static er_status fill_step(er_generation *g) {
    er_status rc = ER_OK;
    er_decode_batch *b = g->batch;
    er_batch_clear(&b->batch);
    for (size_t i = 0; i < b->slots; i++) {
        er_slot *s = &b->slot[i];
        if (s->busy && s->cached > 0) ER_TRY(er_decode_batch_push(b, i, &s->chosen[s->n_new - 1], 1));
    }
    for (size_t i = 0; i < b->slots; i++) {
        er_slot *s = &b->slot[i];
        if (!s->busy && g->next < g->prompts->rows) ER_TRY(let_in(g, i));
        if (!s->busy || s->cached > 0) continue;
        size_t n = er_sequences_length(g->prompts, s->row);
        if (er_batch_fits(&b->batch, 1, n))
            ER_TRY(er_decode_batch_push(b, i, er_sequences_at(g->prompts, s->row), n));
    }
out:
    return rc;
}

static void finish(er_generation *g, er_slot *s) {
    g->n_chosen[s->row] = s->n_new;
    s->busy = false;
    g->done++;
}

static er_status take_token(er_generation *g, size_t at) {
    er_decode_batch *b = g->batch;
    er_slot *s = &b->slot[b->active[at]];
    const er_generate_options *o = g->o;
    float *logits = b->host_logits + at * b->model->arch.vocab;
    int32_t id;
    bool held = s->counted < o->min_new_tokens ||
                (o->restart_at_eos && (s->n_new == 0 || is_end(g, s->chosen[s->n_new - 1])));
    for (int i = 0; held && i < 2; i++)
        if (g->ends[i] >= 0) logits[g->ends[i]] = -INFINITY;
    const uint8_t *first = o->first && s->n_new == 0 ? o->first[s->row] : NULL;
    for (size_t i = 0; first && i < b->model->arch.vocab; i++)
        if (!first[i]) logits[i] = -INFINITY;
    er_status rc =
        er_sampler_next(&id, &g->chooser, logits, er_uniform(o->seed, o->first_row + s->row, s->n_new));
    if (rc == ER_ENUMERIC && b->model->checkpoint)
        return er_fail(rc, "%s: none of its %zu logits is finite behind prompt %zu",
            er_checkpoint_dir(b->model->checkpoint), b->model->arch.vocab, s->row + 1);
    if (rc != ER_OK) return rc;
    bool end = is_end(g, id);
    if (!end || o->restart_at_eos || !o->stop_at_eos) s->chosen[s->n_new++] = id;
    if (end && o->restart_at_eos) s->cached = 0;
    else if (end && o->stop_at_eos) finish(g, s);
    else {
        s->counted++, g->tokens++;
        if (s->counted == o->max_new_tokens || s->cached == b->slot_positions) finish(g, s);
    }
    return ER_OK;
}

static er_status run_steps(er_generation *g) {
    er_status rc = ER_OK;
    size_t most = g->prompts->rows * g->o->max_new_tokens;
    er_progress *p = g->o->stage ? er_progress_begin(g->o->stage, most, "tokens") : NULL;
    while (g->done < g->prompts->rows) {
        ER_TRY(er_stop_check(""));
        ER_TRY(fill_step(g));
        ER_TRY(er_decode_batch_step(g->batch));
        for (size_t i = 0; i < g->batch->batch.rows; i++) ER_TRY(take_token(g, i));
        if (p) er_progress_update(p, g->tokens);
    }
out:
    if (p) er_progress_end(p);
    return rc == ER_EINTERRUPTED ? er_fail(rc, "generation: stopped after %zu tokens", g->tokens) : rc;
}

er_status er_generate(
    er_sequences **out, er_model *m, const er_sequences *prompts, const er_generate_options *o) {
    er_status rc = ER_OK;
    // A row begun anew holds at most one end per counted token.
    er_generation g = {.prompts = prompts, .o = o, .room = (o->restart_at_eos ? 2 : 1) * o->max_new_tokens};
    er_sequences *result = NULL;
    size_t longest = 0, rows = prompts->rows;
    er_end_ids(g.ends, m);
    ER_TRY(er_sequences_new(&result));
    ER_TRY(check_prompts(&longest, m, prompts));
    g.chosen = calloc(rows + 1, sizeof *g.chosen);
    g.n_chosen = calloc(rows + 1, sizeof *g.n_chosen);
    if (!g.chosen || !g.n_chosen) ER_FAIL(ER_ENOMEM, "%zu rows", rows);
    if (rows && o->max_new_tokens) {
        ER_TRY(er_sampler_init(&g.chooser, m->arch.vocab, o->temperature, o->top_k, o->top_p));
        ER_TRY(er_decode_batch_create(&g.batch, m, rows, longest, o->max_new_tokens, o->memory));
        ER_TRY(run_steps(&g));
    }
    for (size_t r = 0; r < rows; r++) ER_TRY(er_sequences_add(result, g.chosen[r], g.n_chosen[r]));
    *out = result, result = NULL;
out:
    er_sequences_free(result);
    er_decode_batch_free(g.batch);
    er_sampler_clear(&g.chooser);
    for (size_t r = 0; g.chosen && r < rows; r++) free(g.chosen[r]);
    free(g.chosen);
    free(g.n_chosen);
    return rc;
}
