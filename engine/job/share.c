#include "engine/job/share_internal.h"

#include <stdlib.h>
#include <string.h>

#define NOBODY SIZE_MAX

static bool is_whole(const er_job *j) { return j->comm->size == 1 || j->o->deterministic; }

er_requests er_share_expected(const er_job *j) {
    er_requests own = *j->requests;
    if (!is_whole(j)) own.count = (own.count + j->comm->size - 1) / j->comm->size;
    return own;
}

size_t er_share_request(const er_share *s, size_t own) { return s->request ? s->request[own] : own; }

void er_share_free(er_share *s) {
    free(s->owner);
    free(s->list);
    free(s->request);
    free(s->have);
}

// ---- what is known ----

// A request's z is that of the lowest rank that has it.
static er_status find_owners(er_share *s, er_job *j) {
    er_status rc = ER_OK;
    size_t n = j->requests->count, each = (n + 7) / 8, size = j->comm->size;
    unsigned char *mine = calloc(each + 1, 1), *all = malloc(each * size + 1);
    size_t *bytes = malloc(size * sizeof *bytes);
    if (!mine || !all || !bytes) rc = er_fail(ER_ENOMEM, "which of %zu values are known", n);
    ER_TRY(er_comm_agree(j->comm, rc, NULL));
    for (size_t i = 0; i < n; i++) mine[i / 8] |= (unsigned char)(j->have[i] << i % 8);
    for (size_t r = 0; r < size; r++) bytes[r] = each;
    ER_TRY(er_comm_gather(j->comm, all, mine, bytes));
    for (size_t i = 0; i < n; i++) s->owner[i] = NOBODY;
    for (size_t r = size; r-- > 0;)
        for (size_t i = 0; i < n; i++)
            if (all[r * each + i / 8] >> i % 8 & 1) s->owner[i] = r;
    j->report->targets_cached = 0;
    for (size_t i = 0; i < n; i++) j->report->targets_cached += j->have[i] = s->owner[i] != NOBODY;
out:
    free(mine);
    free(all);
    free(bytes);
    return rc;
}

// ---- who finds the rest ----

typedef struct cost {
    size_t request, tokens;
} cost;

static int longer(const void *a, const void *b) {
    const cost *x = a, *y = b;
    if (x->tokens != y->tokens) return x->tokens > y->tokens ? -1 : 1;
    return x->request < y->request ? -1 : 1;
}

// Every step runs what stands behind the subjects.
static size_t tokens_of(const er_request *u) {
    size_t n = 0;
    for (size_t i = 0; i < u->n_rows; i++) n += u->row[i].length - u->row[i].subject_last;
    return n;
}

// Ranks 0 1 2 2 1 0 0 1 2 ... take the longest that is left.
static er_status deal(er_share *s, const er_job *j) {
    size_t n = j->requests->count, size = j->comm->size, left = 0;
    cost *list = malloc((n + 1) * sizeof *list);
    s->list = malloc((n / size + 2) * sizeof *s->list);
    s->request = malloc((n / size + 2) * sizeof *s->request);
    if (!list || !s->list || !s->request) {
        free(list);
        return er_fail(ER_ENOMEM, "shares of %zu requests", n);
    }
    for (size_t i = 0; i < n; i++)
        if (!j->have[i]) list[left++] = (cost){i, tokens_of(&j->requests->at[i])};
    qsort(list, left, sizeof *list, longer);
    s->own.count = 0;
    for (size_t k = 0; k < left; k++) {
        size_t at = k % size, rank = k / size % 2 ? size - 1 - at : at, i = list[k].request;
        s->owner[i] = rank;
        if (rank != j->comm->rank) continue;
        s->list[s->own.count] = j->requests->at[i];
        s->request[s->own.count++] = i;
    }
    s->own.at = s->list;
    free(list);
    return ER_OK;
}

static er_status deal_groups(er_share *s, const er_job *j) {
    size_t n = j->requests->count;
    size_t *group = malloc((n + 1) * sizeof *group);
    if (!group) return er_fail(ER_ENOMEM, "batches of %zu requests", n);
    (void)er_targets_groups(group, j->requests, j->batch_tokens);
    for (size_t i = 0; i < n; i++)
        if (!j->have[i]) s->owner[i] = group[i] % j->comm->size;
    free(group);
    return ER_OK;
}

er_status er_share_begin(er_share *s, er_job *j) {
    er_status rc = ER_OK;
    size_t n = j->requests->count;
    *s = (er_share){.own = *j->requests};
    s->owner = calloc(n + 1, sizeof *s->owner);
    s->have = calloc(n + 1, sizeof *s->have);
    if (!s->owner || !s->have) rc = er_fail(ER_ENOMEM, "shares of %zu requests", n);
    ER_TRY(er_comm_agree(j->comm, rc, NULL));
    ER_TRY(find_owners(s, j));
    if (j->comm->size > 1) rc = j->o->deterministic ? deal_groups(s, j) : deal(s, j);
    ER_TRY(er_comm_agree(j->comm, rc, NULL));
    for (size_t i = 0; is_whole(j) && i < n; i++)
        s->have[i] = j->have[i] || (j->comm->size > 1 && s->owner[i] != j->comm->rank);
out:
    return rc;
}

// ---- all of them to everybody ----

er_status er_share_exchange(const er_share *s, er_job *j) {
    er_status rc = ER_OK;
    size_t n = j->requests->count, hidden = j->arch.hidden, size = j->comm->size, own = 0;
    size_t *bytes = NULL, *at = NULL;
    float *mine = NULL, *all = NULL;
    if (size == 1) return ER_OK;
    for (size_t i = 0; i < n; i++) own += s->owner[i] == j->comm->rank;
    bytes = calloc(size, sizeof *bytes), at = calloc(size, sizeof *at);
    mine = malloc((own * hidden + 1) * sizeof *mine);
    all = malloc(n * hidden * sizeof *all);
    if (!bytes || !at || !mine || !all) rc = er_fail(ER_ENOMEM, "%zu target values of all ranks", n);
    ER_TRY(er_comm_agree(j->comm, rc, NULL));
    own = 0;
    for (size_t i = 0; i < n; i++) {
        bytes[s->owner[i]] += hidden * sizeof *all;
        if (s->owner[i] == j->comm->rank)
            memcpy(mine + hidden * own++, j->z + i * hidden, hidden * sizeof *mine);
    }
    ER_TRY(er_comm_gather(j->comm, all, mine, bytes));
    for (size_t r = 1; r < size; r++) at[r] = at[r - 1] + bytes[r - 1] / sizeof *all;
    for (size_t i = 0; i < n; i++, at[s->owner[i - 1]] += hidden)
        memcpy(j->z + i * hidden, all + at[s->owner[i]], hidden * sizeof *all);
out:
    free(bytes);
    free(at);
    free(mine);
    free(all);
    return rc;
}
