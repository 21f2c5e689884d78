// Text of the model's own making. Every lane of the batch makes row_tokens tokens: where a document ends in
// it, the next is begun from the start token, alone. So all lanes take the same number of steps and none runs
// half empty.
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include "engine/generate.h"
#include "engine/generate/decode_batch.h"
#include "engine/generate/sampler.h"

#define SHORTEST_ROW 16    // eos is held back until then, so that every wave of rows makes headway
#define FREQUENT_IDS 8192  // BPE gives low ids to the pieces it merged first: the frequent ones
#define FREQUENT_WORDS 1024

typedef struct er_starts {  // what a row starts from
    int32_t *id;
    size_t count;
    bool keep;  // the template puts it first, so it belongs to the row
} er_starts;

void er_sample_defaults(er_sample_options *o, const er_model *m) {
    if (!o->tokens) o->tokens = 10 * m->arch.d_ff;
    if (!o->row_tokens) o->row_tokens = 128;
    size_t most = er_model_positions(m) - 1;  // one for a start that is dropped
    if (o->row_tokens > most) o->row_tokens = most;
    if (o->temperature == 0) o->temperature = 1;
    if (o->top_p == 0) o->top_p = 0.95;
}

// A space and then letters only: a whole word, or the beginning of a longer one.
static er_status is_word(bool *out, const er_model *m, int32_t id) {
    char *text = NULL;
    er_status rc = er_tokenizer_decode(m->tokenizer, &text, &id, 1, true);
    if (rc != ER_OK) return rc;
    size_t n = strlen(text), i = 1;
    while (i < n && isalpha((unsigned char)text[i])) i++;
    *out = n >= 3 && text[0] == ' ' && i == n;
    free(text);
    return ER_OK;
}

static er_status frequent_words(er_starts *s, const er_model *m) {
    size_t vocab = er_tokenizer_vocab(m->tokenizer);
    if (vocab > m->arch.vocab) vocab = m->arch.vocab;
    for (size_t id = 0; id < vocab && id < FREQUENT_IDS && s->count < FREQUENT_WORDS; id++) {
        bool word = false;
        er_status rc = is_word(&word, m, (int32_t)id);
        if (rc != ER_OK) return rc;
        if (word) s->id[s->count++] = (int32_t)id;
    }
    // A vocabulary of characters or of a script without spaces: any id will do.
    for (size_t id = 0; s->count == 0 && id < vocab && id < FREQUENT_WORDS; id++) s->id[id] = (int32_t)id;
    if (s->count == 0) s->count = vocab < FREQUENT_WORDS ? vocab : FREQUENT_WORDS;
    return ER_OK;
}

static er_status find_starts(er_starts *s, const er_model *m) {
    *s = (er_starts){.id = malloc(FREQUENT_WORDS * sizeof *s->id)};
    if (!s->id) return er_fail(ER_ENOMEM, "%d starts", FREQUENT_WORDS);
    int32_t bos = er_tokenizer_bos(m->tokenizer), ends[2];
    er_end_ids(ends, m);
    s->keep = bos >= 0;
    s->id[0] = bos >= 0 ? bos : ends[1] >= 0 ? ends[1] : ends[0];
    s->count = s->id[0] >= 0;
    if (s->count) return ER_OK;
    s->keep = true;
    return frequent_words(s, m);
}

// One lane's ids, cut at its ends into rows that each begin with `start` where that is kept.
static er_status split_lane(
    er_sequences *all, const er_model *m, int32_t start, bool keep, const int32_t *id, size_t n) {
    int32_t ends[2], *row = malloc((n + 1) * sizeof *row);
    er_status rc = row ? ER_OK : er_fail(ER_ENOMEM, "%zu tokens", n);
    er_end_ids(ends, m);
    for (size_t i = 0, filled; rc == ER_OK && i < n; i++) {
        filled = 0;
        if (keep) row[filled++] = start;
        while (i < n && id[i] != ends[0] && id[i] != ends[1]) row[filled++] = id[i++];
        rc = er_sequences_add(all, row, filled);
    }
    free(row);
    return rc;
}

static er_status sample_lanes(
    er_sequences *all, er_model *m, const er_starts *starts, const er_sample_options *o) {
    er_status rc = ER_OK;
    er_sequences *prompts = NULL, *lanes = NULL;
    size_t kept = starts->keep ? 1 : 0, n = (o->tokens + o->row_tokens - 1) / o->row_tokens;
    ER_TRY(er_sequences_new(&prompts));
    for (size_t r = 0; r < n; r++) {
        double u = er_uniform(~o->seed, r, 0);
        ER_TRY(er_sequences_add(prompts, &starts->id[(size_t)(u * (double)starts->count)], 1));
    }
    er_generate_options g = {.max_new_tokens = o->row_tokens - kept,
        .temperature = o->temperature,
        .top_p = o->top_p,
        .seed = o->seed,
        .restart_at_eos = true,
        .memory = o->memory,
        .stage = "sample"};
    ER_TRY(er_generate(&lanes, m, prompts, &g));
    for (size_t r = 0; r < n; r++)
        ER_TRY(split_lane(all, m, prompts->token[r], starts->keep, er_sequences_at(lanes, r),
            er_sequences_length(lanes, r)));
    er_sequences_cut(all, o->tokens);
out:
    er_sequences_free(prompts);
    er_sequences_free(lanes);
    return rc;
}

er_status er_sample_text(er_sequences **out, er_model *m, const er_sample_options *options) {
    er_status rc = ER_OK;
    er_sample_options o = *options;
    er_starts starts = {0};
    er_sequences *all = NULL;
    er_sample_defaults(&o, m);
    if (o.row_tokens < 2) ER_FAIL(ER_EARG, "sampled rows of %zu tokens: at least 2", o.row_tokens);
    ER_TRY(er_sequences_new(&all));
    ER_TRY(find_starts(&starts, m));
    ER_TRY(sample_lanes(all, m, &starts, &o));
    *out = all, all = NULL;
out:
    free(starts.id);
    er_sequences_free(all);
    return rc;
}
