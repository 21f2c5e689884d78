// The loop: let rows in, step, choose, let finished rows out.
#include "engine/generate.h"
#include <stdlib.h>
#include "engine/generate/batch.h"
#include "engine/generate/choose.h"
#include "io/log.h"

typedef struct er_generation {
    const er_token_rows *prompts;
    const er_generate_options *o;
    er_batch *batch;
    er_chooser chooser;
    int32_t **chosen;   // [rows][max_new_tokens], filled as rows finish
    size_t *n_chosen;   // [rows]
    size_t next, done;  // rows let in, rows finished
    size_t tokens;      // chosen in all
} er_generation;

static er_status check_prompts(size_t *longest, const er_model *m, const er_token_rows *p) {
    size_t limit = er_model_positions(m), most = 0;
    for (size_t r = 0; r < p->rows; r++) {
        size_t n = er_token_rows_length(p, r);
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

// Rows in flight first, one token each; then as many whole prompts as there are free slots and room for.
static er_status fill_step(er_generation *g) {
    er_batch *b = g->batch;
    er_batch_clear(b);
    for (size_t i = 0; i < b->slots; i++)
        if (b->slot[i].busy) er_batch_push(b, i, &b->slot[i].chosen[b->slot[i].n_new - 1], 1);
    for (size_t i = 0; i < b->slots && g->next < g->prompts->rows; i++) {
        size_t n = er_token_rows_length(g->prompts, g->next);
        if (b->slot[i].busy) continue;
        if (!er_batch_fits(b, n, 0)) break;
        int32_t *chosen = malloc(g->o->max_new_tokens * sizeof *chosen);
        if (!chosen) return er_fail(ER_ENOMEM, "%zu tokens", g->o->max_new_tokens);
        g->chosen[g->next] = chosen;
        b->slot[i] = (er_slot){.busy = true, .row = g->next, .chosen = chosen};
        er_batch_push(b, i, er_token_rows_at(g->prompts, g->next), n);
        g->next++;
    }
    return ER_OK;
}

static er_status take_token(er_generation *g, size_t at) {
    er_batch *b = g->batch;
    er_slot *slot = &b->slot[b->active[at]];
    const er_generate_options *o = g->o;
    int32_t eos = b->model->eos, id;
    int32_t banned = slot->n_new < o->min_new_tokens ? eos : -1;
    double u = er_uniform(o->seed, o->first_row + slot->row, slot->n_new);
    er_status rc = er_choose(&id, &g->chooser, b->host_logits + at * b->model->arch.vocab, banned, u);
    if (rc != ER_OK) return rc;
    bool ended = o->stop_at_eos && id == eos;
    if (!ended) slot->chosen[slot->n_new++] = id, g->tokens++;
    if (ended || slot->n_new == o->max_new_tokens || slot->cached == er_model_positions(b->model)) {
        g->n_chosen[slot->row] = slot->n_new;
        slot->busy = false;
        g->done++;
    }
    return ER_OK;
}

static er_status run_steps(er_generation *g) {
    er_status rc = ER_OK;
    er_progress *p = g->o->stage
                         ? er_progress_begin(g->o->stage, g->prompts->rows * g->o->max_new_tokens, "tokens")
                         : NULL;
    while (g->done < g->prompts->rows) {
        if (er_stop_requested()) ER_FAIL(ER_EINTERRUPTED, "generation: stopped after %zu tokens", g->tokens);
        ER_TRY(fill_step(g));
        ER_TRY(er_batch_step(g->batch));
        for (size_t i = 0; i < g->batch->rows; i++) ER_TRY(take_token(g, i));
        if (p) er_progress_update(p, g->tokens, NULL);
    }
out:
    if (p) er_progress_end(p);
    return rc;
}

er_status er_generate(
    er_token_rows **out, er_model *m, const er_token_rows *prompts, const er_generate_options *o) {
    er_status rc = ER_OK;
    er_generation g = {.prompts = prompts, .o = o};
    er_token_rows *result = NULL;
    size_t longest = 0, rows = prompts->rows;
    ER_TRY(er_token_rows_new(&result));
    ER_TRY(check_prompts(&longest, m, prompts));
    g.chosen = calloc(rows + 1, sizeof *g.chosen);
    g.n_chosen = calloc(rows + 1, sizeof *g.n_chosen);
    if (!g.chosen || !g.n_chosen) ER_FAIL(ER_ENOMEM, "%zu rows", rows);
    if (rows && o->max_new_tokens) {
        ER_TRY(er_chooser_init(&g.chooser, m->arch.vocab, o->temperature, o->top_k, o->top_p));
        ER_TRY(er_batch_create(&g.batch, m, rows, longest, o->max_new_tokens, o->memory));
        ER_TRY(run_steps(&g));
    }
    for (size_t r = 0; r < rows; r++) ER_TRY(er_token_rows_add(result, g.chosen[r], g.n_chosen[r]));
    *out = result, result = NULL;
out:
    er_token_rows_free(result);
    er_batch_free(g.batch);
    er_chooser_clear(&g.chooser);
    for (size_t r = 0; g.chosen && r < rows; r++) free(g.chosen[r]);
    free(g.chosen);
    free(g.n_chosen);
    return rc;
}
