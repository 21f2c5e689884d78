#include "engine/statistics/sequences_cache_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include "io/base/file.h"
#include "io/npz.h"

enum { DIGEST = 64 };  // its hex digits, an integer each

static er_status file_path(char **out, const char *dir, const char *digest) {
    char name[96];
    snprintf(name, sizeof name, "%.64s.tokens.npz", digest);
    *out = er_path_join(dir, name);
    return *out ? ER_OK : er_fail(ER_ENOMEM, "path of %s", name);
}

// Two vectors: the ids of all rows, and how many each row has.
static er_status rows_from(er_sequences *t, const er_npy *token, const er_npy *length, size_t vocab,
    size_t row_tokens, const char *path) {
    const int32_t *id = token->data, *n = length->data;
    uint64_t at = 0;
    if (token->type != ER_NPY_I4 || length->type != ER_NPY_I4 || token->rank != 1 || length->rank != 1)
        return er_fail(ER_EFORMAT, "%s: not rows of token ids", path);
    for (uint64_t i = 0; i < token->elements; i++)
        if (id[i] < 0 || (size_t)id[i] >= vocab)
            return er_fail(
                ER_EFORMAT, "%s: token id %d is outside the vocabulary of %zu", path, id[i], vocab);
    for (uint64_t r = 0; r < length->elements; r++) {
        if (n[r] < 1 || (size_t)n[r] > row_tokens || (uint64_t)n[r] > token->elements - at)
            return er_fail(ER_EFORMAT, "%s: row %llu has %d tokens", path, (unsigned long long)r, n[r]);
        er_status rc = er_sequences_add(t, id + at, (size_t)n[r]);
        if (rc != ER_OK) return rc;
        at += (uint64_t)n[r];
    }
    return at == token->elements && at ? ER_OK
                                       : er_fail(ER_EFORMAT, "%s: %llu tokens, %llu in rows", path,
                                             (unsigned long long)token->elements, (unsigned long long)at);
}

// Of the key and all that is in the file: the archive's own checksums neither know which text it should be
// nor cover more than one member at a time.
static er_status content_digest(char hex[65], const char *key, const int32_t *token, uint64_t tokens,
    const int32_t *length, uint64_t rows) {
    er_digest *d = NULL;
    er_status rc = er_digest_new(&d);
    if (rc != ER_OK) return rc;
    er_digest_add_str(d, key);
    er_digest_add(d, &tokens, sizeof tokens);
    er_digest_add(d, token, (size_t)tokens * sizeof *token);
    er_digest_add(d, &rows, sizeof rows);
    er_digest_add(d, length, (size_t)rows * sizeof *length);
    er_digest_hex(d, hex);
    er_digest_free(d);
    return ER_OK;
}

static er_status check_digest(
    er_npz *z, const char *key, const er_npy *token, const er_npy *length, const char *path) {
    er_npy a = {0};
    char hex[65];
    if (token->type != ER_NPY_I4 || length->type != ER_NPY_I4) return ER_OK;  // rows_from refuses it
    er_status rc = content_digest(hex, key, token->data, token->elements, length->data, length->elements);
    if (rc == ER_OK) rc = er_npz_read(&a, z, "sha256");
    if (rc == ER_ENOENT) return er_fail(ER_EFORMAT, "%s: no member sha256", path);
    if (rc != ER_OK) return rc;
    bool same = a.type == ER_NPY_I4 && a.elements == DIGEST;
    for (size_t i = 0; same && i < DIGEST; i++) same = ((const int32_t *)a.data)[i] == (int32_t)hex[i];
    er_npy_free(&a);
    return same ? ER_OK : er_fail(ER_EFORMAT, "%s: is not what was written, or of another text", path);
}

er_status er_sequences_cache_get(
    er_sequences **out, const char *dir, const char *digest, size_t vocab, size_t row_tokens) {
    er_status rc = ER_OK;
    char *path = NULL;
    er_npz *z = NULL;
    er_npy token = {0}, length = {0};
    er_sequences *t = NULL;
    ER_TRY(file_path(&path, dir, digest));
    ER_TRY(er_npz_open(&z, path));
    if ((rc = er_npz_read(&token, z, "token")) == ER_OK) rc = er_npz_read(&length, z, "length");
    if (rc == ER_ENOENT) ER_FAIL(ER_EFORMAT, "%s: no member token or length", path);
    ER_TRY(rc);
    ER_TRY(check_digest(z, digest, &token, &length, path));
    ER_TRY(er_sequences_new(&t));
    ER_TRY(rows_from(t, &token, &length, vocab, row_tokens, path));
    *out = t, t = NULL;
out:
    er_sequences_free(t);
    er_npy_free(&token);
    er_npy_free(&length);
    er_npz_close(z);
    free(path);
    return rc == ER_EUNSUPPORTED ? ER_EFORMAT : rc;
}

er_status er_sequences_cache_put(const er_sequences *t, const char *dir, const char *digest) {
    er_status rc = ER_OK;
    char *path = NULL;
    er_npz_writer *w = NULL;
    char hex[65];
    int32_t *length = malloc((t->rows + 1) * sizeof *length), own[DIGEST];
    if (!length) ER_FAIL(ER_ENOMEM, "%zu rows", t->rows);
    for (size_t r = 0; r < t->rows; r++) length[r] = (int32_t)er_sequences_length(t, r);
    er_npy token = {.type = ER_NPY_I4,
        .rank = 1,
        .shape = {t->tokens},
        .elements = t->tokens,
        .item_bytes = 4,
        .data = t->token};
    er_npy rows = {.type = ER_NPY_I4,
        .rank = 1,
        .shape = {t->rows},
        .elements = t->rows,
        .item_bytes = 4,
        .data = length};
    ER_TRY(content_digest(hex, digest, t->token, t->tokens, length, t->rows));
    for (size_t i = 0; i < DIGEST; i++) own[i] = (int32_t)hex[i];
    er_npy sum = {
        .type = ER_NPY_I4, .rank = 1, .shape = {DIGEST}, .elements = DIGEST, .item_bytes = 4, .data = own};
    ER_TRY(file_path(&path, dir, digest));
    ER_TRY(er_mkdirs(dir));
    ER_TRY(er_npz_create(&w, path));
    ER_TRY(er_npz_add(w, "token", &token));
    ER_TRY(er_npz_add(w, "length", &rows));
    ER_TRY(er_npz_add(w, "sha256", &sum));
    ER_TRY(er_npz_finish(w));
out:
    er_npz_writer_free(w);
    free(length);
    free(path);
    return rc;
}
