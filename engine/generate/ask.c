// Text in, text out.
#include <stdlib.h>
#include <string.h>
#include "engine/generate.h"

static er_status encode_prompts(
    er_token_rows *rows, const er_model *m, const char *const *prompts, size_t n) {
    er_status rc = ER_OK;
    er_tokens tokens = {0};
    int32_t *ids = NULL;
    for (size_t i = 0; i < n; i++) {
        ER_TRY(er_tokenizer_encode_open(m->tokenizer, &tokens, prompts[i], strlen(prompts[i])));
        int32_t *p = realloc(ids, (tokens.count + 1) * sizeof *p);
        if (!p) ER_FAIL(ER_ENOMEM, "%zu tokens", tokens.count);
        ids = p;
        for (size_t t = 0; t < tokens.count; t++) ids[t] = tokens.at[t].id;
        ER_TRY(er_token_rows_add(rows, ids, tokens.count));
    }
out:
    er_tokens_free(&tokens);
    free(ids);
    return rc;
}

// What row i's answer adds to the text in front of it: by itself its first space could be lost, which some decoders take from every
// text's beginning.
static er_status decode_behind(
    char **out, const er_model *m, const er_token_rows *rows, const er_token_rows *answers, size_t i) {
    er_status rc = ER_OK;
    size_t p = er_token_rows_length(rows, i), n = er_token_rows_length(answers, i);
    char *head = NULL, *all = NULL;
    int32_t *ids = malloc((p + n + 1) * sizeof *ids);
    if (!ids) return er_fail(ER_ENOMEM, "%zu tokens", p + n);
    memcpy(ids, er_token_rows_at(rows, i), p * sizeof *ids);
    if (n) memcpy(ids + p, er_token_rows_at(answers, i), n * sizeof *ids);
    ER_TRY(er_tokenizer_decode(m->tokenizer, &head, ids, p, true));
    ER_TRY(er_tokenizer_decode(m->tokenizer, &all, ids, p + n, true));
    size_t h = strlen(head);
    if (!strncmp(all, head, h)) {
        if (!(*out = strdup(all + h))) ER_FAIL(ER_ENOMEM, "an answer");
    } else {  // the answer's first bytes complete a character of the prompt's end
        ER_TRY(er_tokenizer_decode(m->tokenizer, out, ids + p, n, true));
    }
out:
    free(ids);
    free(head);
    free(all);
    return rc;
}

er_status er_ask_all(
    char **out, er_model *m, const char *const *prompts, size_t n, const er_generate_options *o) {
    er_status rc = ER_OK;
    er_token_rows *rows = NULL, *answers = NULL;
    for (size_t i = 0; i < n; i++) out[i] = NULL;
    ER_TRY(er_token_rows_new(&rows));
    ER_TRY(encode_prompts(rows, m, prompts, n));
    ER_TRY(er_generate(&answers, m, rows, o));
    for (size_t i = 0; i < n; i++) ER_TRY(decode_behind(&out[i], m, rows, answers, i));
out:
    for (size_t i = 0; rc != ER_OK && i < n; i++) free(out[i]), out[i] = NULL;
    er_token_rows_free(rows);
    er_token_rows_free(answers);
    return rc;
}

er_status er_ask(char **out, er_model *m, const char *prompt, const er_generate_options *o) {
    char *answer = NULL;
    er_status rc = er_ask_all(&answer, m, &prompt, 1, o);
    if (rc == ER_OK) *out = answer;
    return rc;
}
