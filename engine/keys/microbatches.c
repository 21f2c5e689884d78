#include "engine/keys/microbatches.h"

#include <stdlib.h>

typedef struct shared {  // the common first tokens of all rows behind one context template
    const int32_t *token;
    size_t length, at;
} shared;

typedef struct plan {
    er_microbatches *l;
    shared *group;  // one per context template
    size_t n_groups;
    size_t placed, max_tokens;  // rows so far
} plan;

void er_microbatches_free(er_microbatches *l) {
    if (!l) return;
    free(l->row);
    free(l->request);
    free(l->weight);
    free(l->microbatch);
    free(l);
}

// Which first tokens all rows of a template have in common; a row keeps at least its subject's last token for
// itself.
static er_status find_groups(plan *p, const er_requests *requests) {
    for (size_t u = 0; u < requests->count; u++)
        for (size_t r = 1; r < requests->at[u].n_rows; r++)
            if (requests->at[u].row[r].template_index >= 0 &&
                (size_t)requests->at[u].row[r].template_index >= p->n_groups)
                p->n_groups = (size_t)requests->at[u].row[r].template_index + 1;
    if (!(p->group = calloc(p->n_groups + 1, sizeof *p->group)))
        return er_fail(ER_ENOMEM, "%zu templates", p->n_groups);
    for (size_t u = 0; u < requests->count; u++)
        for (size_t r = 1; r < requests->at[u].n_rows; r++) {
            const er_prompt *row = &requests->at[u].row[r];
            if (row->template_index < 0 || !row->n_labels) continue;
            shared *g = &p->group[row->template_index];
            if (!g->token) g->token = row->token, g->length = row->subject_last;
            size_t n = 0;
            while (n < g->length && n < row->subject_last && row->token[n] == g->token[n]) n++;
            g->length = n;
        }
    return ER_OK;
}

// The base prompt, the request's first, stands behind no template.
static const shared *group_of(const plan *p, const er_prompt *row, bool base) {
    return base || row->template_index < 0 ? NULL : &p->group[row->template_index];
}

static void count(plan *p, const er_requests *requests) {
    er_microbatches *l = p->l;
    for (size_t g = 0; g < p->n_groups; g++) {
        p->group[g].at = l->cached;
        l->cached += p->group[g].length;
        l->shared += p->group[g].length > 0;
    }
    l->tokens = l->cached, l->requests = requests->count;
    for (size_t u = 0; u < requests->count; u++)
        for (size_t r = 0; r < requests->at[u].n_rows; r++) {
            const er_prompt *row = &requests->at[u].row[r];
            const shared *g = group_of(p, row, r == 0);
            if (!row->n_labels) continue;
            l->rows++;
            l->tokens += row->subject_last + 1 - (g ? g->length : 0);
        }
}

static bool allocate(er_microbatches *l) {
    size_t all = l->shared + l->rows;
    l->row = malloc((all + 1) * sizeof *l->row);
    l->request = malloc((l->rows + 1) * sizeof *l->request);
    l->weight = malloc((l->rows + 1) * sizeof *l->weight);
    l->microbatch = malloc((all + 1) * sizeof *l->microbatch);
    return l->row && l->request && l->weight && l->microbatch;
}

// Opens a micro-batch, or goes on with the last one while that belongs to the same kind and has room.
static void place(plan *p, er_microbatch_row row, bool fresh) {
    er_microbatches *l = p->l;
    er_microbatch *k = &l->microbatch[l->n_microbatches ? l->n_microbatches - 1 : 0];
    if (fresh || !l->n_microbatches || k->tokens + row.n > p->max_tokens ||
        k->rows == ER_MICROBATCH_PROMPTS) {
        k = &l->microbatch[l->n_microbatches++];
        *k = (er_microbatch){.first = p->placed, .at = l->tokens};
    }
    l->row[p->placed++] = row;
    k->rows++, k->tokens += row.n, l->tokens += row.n;
    if (k->rows > l->most_rows) l->most_rows = k->rows;
    if (k->tokens > l->most_tokens) l->most_tokens = k->tokens;
}

static void place_prompt(plan *p, size_t request, const er_prompt *row, bool base, bool fresh) {
    er_microbatches *l = p->l;
    const shared *g = group_of(p, row, base);
    size_t at = p->placed - l->shared, from = g ? g->length : 0;
    place(p,
        (er_microbatch_row){
            .token = row->token + from, .n = row->subject_last + 1 - from, .prefix = {g ? g->at : 0, from}},
        fresh);
    l->request[at] = (int32_t)request;
    l->weight[at] = row->key_weight;
}

static void place_all(plan *p, const er_requests *requests) {
    er_microbatches *l = p->l;
    for (size_t i = 0; i < p->n_groups; i++) {
        const shared *g = &p->group[i];
        er_microbatch_row row = {.token = g->token, .n = g->length, .store = {g->at, g->length}};
        if (g->length) place(p, row, false);
    }
    l->n_prefix_groups = l->n_microbatches;
    for (size_t u = 0; u < requests->count; u++) place_prompt(p, u, &requests->at[u].row[0], true, u == 0);
    l->n_base = l->n_microbatches - l->n_prefix_groups;
    bool fresh = true;
    for (size_t u = 0; u < requests->count; u++)
        for (size_t r = 1; r < requests->at[u].n_rows; r++) {
            if (!requests->at[u].row[r].n_labels) continue;
            place_prompt(p, u, &requests->at[u].row[r], false, fresh);
            fresh = false;
        }
}

er_status er_microbatches_create(er_microbatches **out, const er_requests *requests, size_t max_tokens) {
    er_status rc = ER_OK;
    plan p = {.l = calloc(1, sizeof *p.l), .max_tokens = max_tokens};
    if (!p.l) ER_FAIL(ER_ENOMEM, "a layout");
    for (size_t u = 0; u < requests->count; u++)
        if (!requests->at[u].n_rows || !requests->at[u].row[0].n_labels)
            ER_FAIL(ER_EARG, "subject %zu has no base prompt", u);
    ER_TRY(find_groups(&p, requests));
    count(&p, requests);
    if (!allocate(p.l)) ER_FAIL(ER_ENOMEM, "indices of %zu tokens", p.l->tokens);
    p.l->tokens = 0;  // counted again as they are placed
    place_all(&p, requests);
    *out = p.l;
    p.l = NULL;
out:
    free(p.group);
    er_microbatches_free(p.l);
    return rc;
}
