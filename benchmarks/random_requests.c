#include "benchmarks/random_requests.h"

#include <stdlib.h>
#include <string.h>

#include "benchmarks/random_model.h"

enum { TEMPLATES = 5, ROWS = TEMPLATES + 2, MOST_TEMPLATE = 12, MOST_PROMPT = 24 };
static const size_t template_length[TEMPLATES] = {9, 11, 11, 12, 12};

// Percent by length, fitted to what CounterFact's prompts are under GPT-2's tokenizer: mean subject 4.18
// tokens, 0.68 before it, 4.14 (nine tenths up to 6) from its last token on, hence 8.00 in all.
static const unsigned subject_share[] = {0, 3, 12, 20, 28, 17, 11, 5, 3, 1};
static const unsigned lead_share[] = {62, 20, 10, 4, 4};
static const unsigned suffix_share[] = {0, 3, 8, 18, 36, 19, 11, 4, 1};

static size_t draw(uint64_t *random, const unsigned *share) {
    size_t x = er_random_below(random, 100), i = 0;
    for (; x >= share[i]; i++) x -= share[i];
    return i;
}

typedef struct prompt {
    int32_t token[MOST_PROMPT];
    size_t length, lead, subject_last;
    int32_t target;
} prompt;

static prompt draw_prompt(uint64_t *random, size_t vocab) {
    prompt p = {.lead = draw(random, lead_share)};
    p.subject_last = p.lead + draw(random, subject_share) - 1;
    p.length = p.subject_last + draw(random, suffix_share);
    for (size_t i = 0; i < p.length; i++) p.token[i] = (int32_t)er_random_below(random, vocab);
    p.target = (int32_t)er_random_below(random, vocab);
    return p;
}

static er_status add_row(er_request *u, const int32_t *front, size_t n, const prompt *p, int32_t template) {
    int32_t *token = malloc((n + p->length + 1) * sizeof *token);
    if (!token) return er_fail(ER_ENOMEM, "a row");
    if (n) memcpy(token, front, n * sizeof *token);
    memcpy(token + n, p->token, p->length * sizeof *token);
    token[n + p->length] = p->target;
    u->row[u->n_rows++] = (er_prompt){.token = token,
        .length = n + p->length,
        .subject_last = n + p->subject_last,
        .first_label = n + p->length - 1,
        .label = token + n + p->length,
        .n_labels = 1,
        .key_weight = template <0 ? 0.5f : 0.5f / TEMPLATES, .nll_weight = 1.0f / (TEMPLATES + 1),
            .template_index = template};
    return ER_OK;
}

// The subject alone: what follows it is behind the place where the KL term looks.
static er_status add_kl_row(er_request *u, const prompt *p) {
    size_t n = p->subject_last + 1 - p->lead;
    int32_t *token = malloc(n * sizeof *token);
    if (!token) return er_fail(ER_ENOMEM, "a row");
    memcpy(token, p->token + p->lead, n * sizeof *token);
    u->row[u->n_rows++] = (er_prompt){
        .token = token, .length = n, .subject_last = n - 1, .first_label = n - 1, .template_index = -1};
    return ER_OK;
}

static void note_sizes(er_requests *all, const er_request *u) {
    size_t suffix = 0, prefix = 0, labels = 1;
    for (size_t i = 0; i < u->n_rows; i++) {
        const er_prompt *r = &u->row[i];
        suffix += r->length - r->subject_last, prefix += r->subject_last, labels += r->n_labels;
        if (r->length > all->max_prompt_tokens) all->max_prompt_tokens = r->length;
    }
    if (suffix > all->max_suffix_tokens) all->max_suffix_tokens = suffix;
    if (prefix > all->max_prefix_tokens) all->max_prefix_tokens = prefix;
    if (labels > all->max_labels) all->max_labels = labels;
    if (u->n_rows > all->max_rows) all->max_rows = u->n_rows;
}

static er_status build_request(
    er_request *u, size_t fact, int32_t (*front)[MOST_TEMPLATE], size_t vocab, uint64_t *random) {
    er_status rc = ER_OK;
    prompt p = draw_prompt(random, vocab);
    if (!(u->fact = malloc(sizeof *u->fact)) || !(u->row = calloc(ROWS, sizeof *u->row)))
        ER_FAIL(ER_ENOMEM, "rows of a fact");
    *u->fact = fact, u->n_facts = 1;
    ER_TRY(add_row(u, NULL, 0, &p, -1));
    for (int32_t t = 0; t < TEMPLATES; t++) ER_TRY(add_row(u, front[t], template_length[t], &p, t));
    ER_TRY(add_kl_row(u, &p));
out:
    return rc;
}

er_status er_random_requests(er_requests **out, size_t facts, size_t vocab, uint64_t seed) {
    er_status rc = ER_OK;
    uint64_t random = (seed ^ 0xd1b54a32d192ed03ULL) | 1;
    int32_t front[TEMPLATES][MOST_TEMPLATE];
    er_requests *all = calloc(1, sizeof *all);
    if (!all || !(all->at = calloc(facts + 1, sizeof *all->at))) ER_FAIL(ER_ENOMEM, "%zu facts", facts);
    for (size_t t = 0; t < TEMPLATES; t++)
        for (size_t i = 0; i < MOST_TEMPLATE; i++) front[t][i] = (int32_t)er_random_below(&random, vocab);
    for (size_t i = 0; i < facts; i++) {
        all->count = i + 1;
        ER_TRY(build_request(&all->at[i], i, front, vocab, &random));
        note_sizes(all, &all->at[i]);
    }
    *out = all;
    all = NULL;
out:
    er_requests_free(all);
    return rc;
}

er_status er_random_rows(er_sequences **out, size_t tokens, size_t row_tokens, size_t vocab, uint64_t seed) {
    er_status rc = ER_OK;
    uint64_t random = (seed ^ 0xa0761d6478bd642fULL) | 1;
    er_sequences *t = NULL;
    int32_t *row = malloc(row_tokens * sizeof *row);
    if (!row) ER_FAIL(ER_ENOMEM, "a row");
    ER_TRY(er_sequences_new(&t));
    for (size_t done = 0, n; done < tokens; done += n) {
        n = tokens - done < row_tokens ? tokens - done : row_tokens;
        for (size_t i = 0; i < n; i++) row[i] = (int32_t)er_random_below(&random, vocab);
        ER_TRY(er_sequences_add(t, row, n));
    }
    *out = t;
    t = NULL;
out:
    er_sequences_free(t);
    free(row);
    return rc;
}

er_unit_means er_requests_measure(const er_requests *requests) {
    er_unit_means m = {0};
    size_t histogram[MOST_PROMPT + 1] = {0}, seen = 0;
    double n = requests->count ? (double)requests->count : 1;
    for (size_t i = 0; i < requests->count; i++) {
        const er_request *u = &requests->at[i];
        for (size_t r = 0; r < u->n_rows; r++) {
            const er_prompt *row = &u->row[r];
            size_t shared = row->template_index < 0 ? 0 : template_length[row->template_index];
            double suffix = (double)(row->length - row->subject_last);
            m.tokens += (double)row->length / n;
            m.suffix += suffix / n;
            m.labels += (row->n_labels ? (double)row->n_labels : 1.0) / n;
            m.before += (double)(row->subject_last - shared) / n;
            if (row->n_labels) m.carried += (double)(row->subject_last + 1 - shared) / n;
        }
        m.prompt += (double)u->row[0].length / n;
        m.subject_last += (double)u->row[0].subject_last / n;
        m.bare_carried += (double)(u->row[0].subject_last + 1) / n;
        histogram[u->row[0].length - u->row[0].subject_last]++;
    }
    while (m.suffix_p90 < MOST_PROMPT && (double)seen < 0.9 * (double)requests->count)
        seen += histogram[++m.suffix_p90];
    return m;
}
