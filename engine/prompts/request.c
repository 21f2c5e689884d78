// A request: the prompts that the facts of one subject get, their weights, and the digest of all.
#include <stdlib.h>
#include <string.h>

#include "engine/prompts/prompts_internal.h"
#include "engine/prompts/relation_prompts_internal.h"
#include "io/base/log.h"

// All prompts of a request are in one batch. Facts that share their subject with many others get fewer
// prompts beside the bare one: 16 facts of eight prompts are the most that get all.
#define MERGED_PROMPTS 128

void er_request_clear(er_request *u) {
    for (size_t i = 0; i < u->n_rows; i++) free(u->row[i].token);
    free(u->row);
    free(u->fact);
    *u = (er_request){0};
}

// EFORMAT when the model has no position or no embedding for some token of a prompt.
static er_status check_prompt(const er_model *m, const int32_t *token, size_t length, size_t n_labels) {
    size_t positions = m->arch.max_position_embeddings;
    if (m->rope_positions && m->rope_positions < positions) positions = m->rope_positions;
    if (length > positions)
        return er_fail(
            ER_EFORMAT, "prompt of %zu tokens exceeds the model's %zu positions", length, positions);
    return er_model_check_tokens(m, token, length + n_labels);
}

static er_status put(const er_request_builder *b, er_request *u, const er_prompt *p) {
    if (u->n_rows == b->capacity) return er_fail(ER_EARG, "more than %zu prompts in a request", b->capacity);
    u->row[u->n_rows++] = *p;
    return ER_OK;
}

// One prompt of `fact`: `prompt` behind template `ti` (-1: none), followed by all target tokens but the last.
// *seam, unless NULL, gets what is between the two.
static er_status add_prompt(er_request_builder *b, er_request *u, const er_fact *fact,
    const er_phrasing *prompt, int32_t ti, er_seam *seam) {
    er_status rc = ER_OK;
    er_filled f = {0};
    er_encoded e = {0};
    er_joint j = {0};
    int32_t *tokens = NULL;
    ER_TRY(er_fill(&f, ti < 0 ? NULL : b->templates->text[ti], prompt->text, fact->subject));
    ER_TRY(er_encode_prompt(&e, b->m->tokenizer, &b->scratch, &f));
    ER_TRY(
        er_encode_joint(&j, b->m->tokenizer, &b->scratch, f.text, fact->target, prompt->space, b->h->space));
    if (e.subject_last >= j.n_context)
        ER_FAIL(ER_EFORMAT, "the subject's last token reaches into the target");
    size_t n = j.n_labels, length = j.n_context + n - 1;
    // The prompt owns its labels: they stand behind its tokens in one allocation.
    if (!(tokens = malloc((length + n) * sizeof *tokens))) ER_FAIL(ER_ENOMEM, "%zu token ids", length + n);
    memcpy(tokens, j.token, length * sizeof *tokens);
    memcpy(tokens + length, j.token + j.n_context, n * sizeof *tokens);
    ER_TRY(check_prompt(b->m, tokens, length, n));
    er_prompt p = {.token = tokens,
        .length = length,
        .subject_last = e.subject_last,
        .first_label = j.n_context - 1,
        .label = tokens + length,
        .n_labels = n,
        .target_alone = j.how == ER_JOINT_APART,
        .prefix_differs = e.by_prefix != e.subject_last,
        .template_index = ti};
    ER_TRY(put(b, u, &p));
    tokens = NULL;
    if (seam) *seam = j.seam;
out:
    free(f.text);
    free(e.token);
    free(j.token);
    free(tokens);
    return rc;
}

// "{subject} is a": its loss is the KL at the subject's last token, so later tokens never matter and are not
// kept.
static er_status add_kl_prompt(er_request_builder *b, er_request *u, const er_fact *fact) {
    er_filled f = {0};
    er_encoded e = {0};
    er_status rc = er_fill(&f, NULL, "{} is a", fact->subject);
    if (rc == ER_OK) rc = er_encode_prompt(&e, b->m->tokenizer, &b->scratch, &f);
    if (rc == ER_OK) rc = check_prompt(b->m, e.token, e.subject_last + 1, 0);
    er_prompt p = {.token = e.token,
        .length = e.subject_last + 1,
        .subject_last = e.subject_last,
        .first_label = e.subject_last,
        .prefix_differs = e.by_prefix != e.subject_last,
        .template_index = -1};
    if (rc == ER_OK) rc = put(b, u, &p);
    if (rc != ER_OK) free(e.token);
    free(f.text);
    return rc;
}

// A phrasing that does not fit with this fact's subject or target is left out: it is another fact's, and no
// reason to refuse this one.
static er_status add_relation_prompts(er_request_builder *b, er_request *u, size_t fact_index, size_t most) {
    er_phrasing *other = NULL;
    size_t n = 0;
    if (!b->relation_prompts) return ER_OK;
    if (most > b->h->n_relation_prompts) most = b->h->n_relation_prompts;
    er_status rc = er_relation_prompts_of(&other, &n, b->relation_prompts, b->facts, fact_index, most);
    for (size_t i = 0; rc == ER_OK && i < n; i++) {
        // every second relation prompt stands behind a context template, so that the value also learns to
        // answer in the middle of a text
        int32_t ti = i % 2 && b->templates->count ? (int32_t)(i / 2 % b->templates->count) : -1;
        rc = add_prompt(b, u, &b->facts->at[fact_index], &other[i], ti, NULL);
        if (rc == ER_EFORMAT) rc = ER_OK;
    }
    free(other);
    return rc;
}

static er_status add_fact(er_request_builder *b, er_request *u, size_t fact_index) {
    const er_fact *fact = &b->facts->at[fact_index];
    size_t first = u->n_rows, most = MERGED_PROMPTS / u->n_facts;
    if (u->n_facts == 1) most = SIZE_MAX;
    er_phrasing own = {NULL, fact->prompt, fact->space};
    er_seam seam = ER_SEAM_SPACE;
    er_status rc = add_prompt(b, u, fact, &own, -1, &seam);
    u->seam[seam]++;
    for (size_t i = 0; rc == ER_OK && i < b->h->n_prefixes && u->n_rows - first < most; i++)
        rc = add_prompt(b, u, fact, &own, (int32_t)i, NULL);
    size_t prompts = u->n_rows - first;
    if (rc == ER_OK && prompts < most) rc = add_relation_prompts(b, u, fact_index, most - prompts);
    if (rc != ER_OK) return rc;
    size_t n = u->n_rows - first;
    float share = 1.0f / (float)u->n_facts;
    for (size_t i = first; i < u->n_rows; i++) {
        u->row[i].nll_weight = share / (float)n;
        float bare = n == 1 ? 1.0f : (float)b->h->key_bare,
              rest = n == 1 ? 0 : (1.0f - bare) / (float)(n - 1);
        u->row[i].key_weight = share * (i == first ? bare : rest);
    }
    return ER_OK;
}

static er_status request_digest(er_request *u) {
    er_digest *d = NULL;
    er_status rc = er_digest_new(&d);
    if (rc != ER_OK) return rc;
    for (size_t i = 0; i < u->n_rows; i++) {
        const er_prompt *r = &u->row[i];
        uint64_t head[4] = {r->length, r->subject_last, r->first_label, r->n_labels};
        float weight[2] = {r->key_weight, r->nll_weight};
        er_digest_add(d, head, sizeof head);
        er_digest_add(d, weight, sizeof weight);
        er_digest_add(d, r->token, (r->length + r->n_labels) * sizeof *r->token);
    }
    er_digest_hex(d, u->digest);
    er_digest_free(d);
    return ER_OK;
}

er_status er_request_build(er_request_builder *b, er_request *u, const size_t *members, size_t n) {
    er_status rc = ER_OK;
    // The fact's own prompt, bare and behind each template, and those of its relation; then the KL prompt.
    b->capacity = n * (1 + b->h->n_prefixes + b->h->n_relation_prompts) + 1;
    *u = (er_request){0};
    if (!(u->fact = malloc(n * sizeof *u->fact)) || !(u->row = calloc(b->capacity, sizeof *u->row)))
        ER_FAIL(ER_ENOMEM, "prompts of a fact");
    memcpy(u->fact, members, n * sizeof *members);
    u->n_facts = n;
    for (size_t i = 0; i < n; i++) ER_TRY(add_fact(b, u, members[i]));
    ER_TRY(add_kl_prompt(b, u, &b->facts->at[members[0]]));
    ER_TRY(request_digest(u));
out:
    if (rc != ER_OK) er_request_clear(u);
    return rc;
}
