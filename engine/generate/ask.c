// Text in, text out. A prompt is read as the editor and the evaluation read it in front of a word: white
// space at its end that the tokenizer puts into the word's first token is not a token of the prompt but owed
// by what follows.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "engine/generate.h"
#include "engine/prompts/joint.h"

static er_status at_prompt(er_status rc, size_t i) {
    char said[640];
    if (rc != ER_EFORMAT) return rc;
    (void)snprintf(said, sizeof said, "%s", er_last_error());
    return er_fail(rc, "prompt %zu: %s", i + 1, said);
}

typedef struct owing {  // prompts that leave out the same white space
    const char *text;
    uint8_t *may;  // [vocab] which ids begin with it
} owing;

typedef struct asked {
    er_sequences *rows;
    const char **owed;    // [n] end of each prompt that its ids leave out, mostly ""
    const uint8_t **may;  // [n] which ids may come first; NULL: all
    owing *kind;          // [kinds] a few
    size_t n, kinds;
} asked;

static void asked_clear(asked *a) {
    for (size_t i = 0; i < a->kinds; i++) free(a->kind[i].may);
    free(a->kind);
    free(a->may);
    free(a->owed);
    er_sequences_free(a->rows);
}

// What `n` ids add to the text of the `p` in front of them, malloc'd: by themselves they could lose their
// first space, which some decoders take from every text's beginning.
static er_status decode_behind(char **out, const er_model *m, const int32_t *id, size_t p, size_t n) {
    er_status rc = ER_OK;
    char *head = NULL, *all = NULL;
    ER_TRY(er_tokenizer_decode(m->tokenizer, &head, id, p, true));
    ER_TRY(er_tokenizer_decode(m->tokenizer, &all, id, p + n, true));
    size_t h = strlen(head);
    if (strncmp(all, head, h) != 0) {  // they complete a character of the prompt's end
        ER_TRY(er_tokenizer_decode(m->tokenizer, out, id + p, n, true));
    } else if (!(*out = strdup(all + h))) {
        ER_FAIL(ER_ENOMEM, "an answer");
    }
out:
    free(head);
    free(all);
    return rc;
}

// Which ids begin with what is owed, behind the token `last`. *out stays NULL when none does.
static er_status may_follow(uint8_t **out, const er_model *m, int32_t last, const char *owed) {
    er_status rc = ER_OK;
    size_t vocab = er_tokenizer_vocab(m->tokenizer), any = 0;
    uint8_t *may = calloc(m->arch.vocab + 1, 1);
    char *text = NULL;
    if (!may) return er_fail(ER_ENOMEM, "%zu ids", m->arch.vocab);
    for (size_t id = 0; id < m->arch.vocab && id < vocab; id++) {
        const int32_t pair[] = {last, (int32_t)id};
        free(text);
        text = NULL;
        ER_TRY(decode_behind(&text, m, pair, 1, 1));
        may[id] = !strncmp(text, owed, strlen(owed));
        any += may[id];
    }
    if (any) *out = may, may = NULL;
out:
    free(text);
    free(may);
    return rc;
}

static er_status encode_literally(
    er_sequences *rows, const er_model *m, er_tokens *scratch, const char *prompt) {
    er_status rc = er_tokenizer_encode_open(m->tokenizer, scratch, prompt, strlen(prompt));
    if (rc != ER_OK) return rc;
    int32_t *ids = malloc((scratch->count + 1) * sizeof *ids);
    if (!ids) return er_fail(ER_ENOMEM, "%zu tokens", scratch->count);
    for (size_t t = 0; t < scratch->count; t++) ids[t] = scratch->at[t].id;
    rc = er_model_check_tokens(m, ids, scratch->count);
    if (rc == ER_OK) rc = er_sequences_add(rows, ids, scratch->count);
    free(ids);
    return rc;
}

// *out stays NULL when no id begins with what is owed.
static er_status find_kind(const uint8_t **out, asked *a, const er_model *m, int32_t last, const char *owed) {
    for (size_t i = 0; i < a->kinds; i++)
        if (!strcmp(a->kind[i].text, owed)) return *out = a->kind[i].may, ER_OK;
    owing *grown = realloc(a->kind, (a->kinds + 1) * sizeof *grown);
    if (!grown) return er_fail(ER_ENOMEM, "%zu kinds of white space", a->kinds + 1);
    a->kind = grown;
    a->kind[a->kinds] = (owing){owed, NULL};
    er_status rc = may_follow(&a->kind[a->kinds].may, m, last, owed);
    if (rc == ER_OK) *out = a->kind[a->kinds++].may;
    return rc;
}

static er_status encode_prompt(
    asked *a, const er_model *m, er_tokens *scratch, size_t i, const char *prompt) {
    er_status rc = ER_OK;
    er_joint j = {0};
    size_t n = strlen(prompt);
    a->owed[i] = prompt + n;
    if (n && strchr(" \t\r\n", prompt[n - 1]))  // any word will do
        ER_TRY(er_encode_joint(&j, m->tokenizer, scratch, prompt, "a", ER_SPACE_NEVER, ER_SPACE_NEVER));
    bool natural = j.how == ER_JOINT_BLANK;
    if (natural && j.prompt_bytes < n) {
        const char *owed = prompt + j.prompt_bytes;
        ER_TRY(find_kind(&a->may[i], a, m, j.token[j.n_context - 1], owed));
        natural = a->may[i] != NULL;
        if (natural) a->owed[i] = owed;
    }
    if (natural) {
        ER_TRY(er_model_check_tokens(m, j.token, j.n_context));
        ER_TRY(er_sequences_add(a->rows, j.token, j.n_context));
    } else {
        ER_TRY(encode_literally(a->rows, m, scratch, prompt));
    }
out:
    free(j.token);
    return rc;
}

static er_status decode_answer(
    char **out, const asked *a, const er_model *m, const er_sequences *answers, size_t i) {
    er_status rc = ER_OK;
    size_t p = er_sequences_length(a->rows, i), n = er_sequences_length(answers, i),
           owed = strlen(a->owed[i]);
    int32_t *ids = malloc((p + n + 1) * sizeof *ids);
    if (!ids) return er_fail(ER_ENOMEM, "%zu tokens", p + n);
    memcpy(ids, er_sequences_at(a->rows, i), p * sizeof *ids);
    if (n) memcpy(ids + p, er_sequences_at(answers, i), n * sizeof *ids);
    rc = decode_behind(out, m, ids, p, n);
    if (rc == ER_OK && !strncmp(*out, a->owed[i], owed)) memmove(*out, *out + owed, strlen(*out + owed) + 1);
    free(ids);
    return rc;
}

er_status er_ask_all(
    char **out, er_model *m, const char *const *prompts, size_t n, const er_generate_options *o) {
    er_status rc = ER_OK;
    er_tokens scratch = {0};
    er_sequences *answers = NULL;
    er_generate_options g = *o;
    asked a = {.owed = calloc(n + 1, sizeof *a.owed), .may = calloc(n + 1, sizeof *a.may), .n = n};
    for (size_t i = 0; i < n; i++) out[i] = NULL;
    if (!a.owed || !a.may) ER_FAIL(ER_ENOMEM, "%zu prompts", n);
    ER_TRY(er_sequences_new(&a.rows));
    for (size_t i = 0; i < n; i++) ER_TRY(at_prompt(encode_prompt(&a, m, &scratch, i, prompts[i]), i));
    g.first = a.may;
    ER_TRY(er_generate(&answers, m, a.rows, &g));
    for (size_t i = 0; i < n; i++) ER_TRY(decode_answer(&out[i], &a, m, answers, i));
out:
    for (size_t i = 0; rc != ER_OK && i < n; i++) free(out[i]), out[i] = NULL;
    er_tokens_free(&scratch);
    er_sequences_free(answers);
    asked_clear(&a);
    return rc;
}

er_status er_ask_one(char **out, er_model *m, const char *prompt, const er_generate_options *o) {
    char *answer = NULL;
    er_status rc = er_ask_all(&answer, m, &prompt, 1, o);
    if (rc == ER_OK) *out = answer;
    return rc;
}
