// A corpus as rows of tokens.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "engine/statistics.h"
#include "engine/statistics/corpus_internal.h"
#include "engine/statistics/documents_internal.h"
#include "engine/forward.h"
#include "io/base/log.h"

typedef struct er_packer {
    const er_model *model;
    er_sequences *rows;
    int32_t *row;  // [row_tokens] being filled
    size_t filled, row_tokens, budget;
    int32_t bos;
    er_tokens tokens;  // work
} er_packer;

static size_t row_head(const er_packer *p) { return p->bos >= 0 ? 1 : 0; }
static bool is_full(const er_packer *p) { return p->rows->tokens + p->filled >= p->budget; }

static er_status close_row(er_packer *p) {
    er_status rc = ER_OK;
    if (p->filled > row_head(p)) rc = er_sequences_add(p->rows, p->row, p->filled);
    p->filled = 0;
    return rc;
}

static void open_row(er_packer *p) {
    if (p->filled == 0 && p->bos >= 0) p->row[p->filled++] = p->bos;
}

// A paragraph goes to the row in hand if it fits there whole, else to a new row; one longer than a row is
// cut.
static er_status add_paragraph(er_packer *p, const char *text, size_t len) {
    er_status rc = er_stop_check("the text is not encoded yet");
    if (rc != ER_OK) return rc;
    rc = er_tokenizer_encode_lossy(p->model->tokenizer, &p->tokens, text, len, false);
    size_t n = p->tokens.count;
    if (rc == ER_OK && p->filled && p->filled + n > p->row_tokens) rc = close_row(p);
    for (size_t i = 0; rc == ER_OK && i < n; i++) {
        open_row(p);
        p->row[p->filled++] = p->tokens.at[i].id;
        rc = er_model_check_tokens(p->model, &p->tokens.at[i].id, 1);
        if (rc == ER_OK && p->filled == p->row_tokens) rc = close_row(p);
    }
    return rc;
}

// The blank lines behind a paragraph stay with it: they are part of what the model sees between two of them.
static er_status add_document(er_packer *p, const char *text, size_t len) {
    er_status rc = ER_OK;
    for (size_t at = 0; rc == ER_OK && at < len && !is_full(p);) {
        size_t n = er_paragraph_length(text + at, len - at);
        rc = add_paragraph(p, text + at, n);
        at += n;
    }
    return rc == ER_OK ? close_row(p) : rc;
}

// A refusal of what stands in a text names the text too.
static er_status in_text(er_status rc, const char *const *paths, size_t n_paths) {
    char said[640];
    if (rc != ER_EFORMAT && rc != ER_EUNSUPPORTED) return rc;
    (void)snprintf(said, sizeof said, "%s", er_last_error());
    return er_fail(rc, "%s%s: %s", paths[0], n_paths > 1 ? " or others" : "", said);
}

er_status er_corpus_rows(er_sequences **out, const er_model *m, const char *const *paths, size_t n_paths,
    size_t tokens, size_t row_tokens, uint64_t seed) {
    return er_corpus_rows_of(out, m, paths, NULL, n_paths, tokens, row_tokens, seed);
}

er_status er_corpus_rows_of(er_sequences **out, const er_model *m, const char *const *paths,
    char (*digest)[65], size_t n_paths, size_t tokens, size_t row_tokens, uint64_t seed) {
    er_status rc = ER_OK;
    er_documents *docs = NULL;
    char *text = NULL;
    er_packer p = {
        .model = m, .row_tokens = row_tokens, .budget = tokens, .bos = er_tokenizer_bos(m->tokenizer)};
    if (row_tokens < 2 || row_tokens > er_model_positions(m))
        ER_FAIL(ER_EARG, "rows of %zu tokens: the model takes 2 to %zu", row_tokens, er_model_positions(m));
    if (!(p.row = malloc(row_tokens * sizeof *p.row))) ER_FAIL(ER_ENOMEM, "%zu tokens", row_tokens);
    ER_TRY(er_sequences_new(&p.rows));
    // About a row of text per document: English runs at four bytes a token.
    ER_TRY(er_documents_read(&docs, paths, n_paths, 4 * row_tokens, seed));
    for (size_t f = 0; digest && f < n_paths; f++) ER_TRY(er_documents_check(docs, f, digest[f]));
    for (size_t i = 0; i < er_documents_count(docs) && p.rows->tokens < tokens; i++) {
        size_t len = 0;
        ER_TRY(er_documents_text(&text, &len, docs, i));
        ER_TRY(in_text(add_document(&p, text, len), paths, n_paths));
        free(text);
        text = NULL;
    }
    er_sequences_cut(p.rows, tokens);
    if (p.rows->tokens == 0) ER_FAIL(ER_EFORMAT, "%s: no text in it", paths[0]);
    *out = p.rows, p.rows = NULL;
out:
    free(text);
    free(p.row);
    er_tokens_free(&p.tokens);
    er_sequences_free(p.rows);
    er_documents_free(docs);
    return rc;
}
