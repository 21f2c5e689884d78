// Text in, text out.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "engine/generate.h"

static er_status at_prompt(er_status rc, size_t i) {
    char said[640];
    if (rc != ER_EFORMAT) return rc;
    (void)snprintf(said, sizeof said, "%s", er_last_error());
    return er_fail(rc, "prompt %zu: %s", i + 1, said);
}

static er_status encode_prompts(
    er_token_rows *rows, const er_model *m, const char *const *prompts, size_t n) {
    er_status rc = ER_OK;
    er_tokens tokens = {0};
    int32_t *ids = NULL;
    for (size_t i = 0; i < n; i++) {
        ER_TRY(
            at_prompt(er_tokenizer_encode(m->tokenizer, &tokens, prompts[i], strlen(prompts[i]), true), i));
        int32_t *p = realloc(ids, (tokens.count + 1) * sizeof *p);
        if (!p) ER_FAIL(ER_ENOMEM, "%zu tokens", tokens.count);
        ids = p;
        for (size_t t = 0; t < tokens.count; t++) ids[t] = tokens.at[t].id;
        ER_TRY(at_prompt(er_model_check_tokens(m, ids, tokens.count), i));
        ER_TRY(er_token_rows_add(rows, ids, tokens.count));
    }
out:
    er_tokens_free(&tokens);
    free(ids);
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
    for (size_t i = 0; i < n; i++)
        ER_TRY(er_tokenizer_decode(
            m->tokenizer, &out[i], er_token_rows_at(answers, i), er_token_rows_length(answers, i), true));
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
