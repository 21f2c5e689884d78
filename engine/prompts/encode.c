#include <stdlib.h>
#include <string.h>

#include "engine/prompts/prompts_internal.h"

static size_t trimmed(const char *s, size_t n) {
    while (n && (s[n - 1] == ' ' || s[n - 1] == '\t' || s[n - 1] == '\n' || s[n - 1] == '\r')) n--;
    return n;
}

er_status er_fill(er_filled *out, const char *around, const char *prompt, const char *subject) {
    const char *hole = strstr(prompt, "{}");
    if (!hole) return er_fail(ER_EFORMAT, "prompt '%s' has no {}", prompt);
    const char *outer = around ? strstr(around, "{}") : NULL;
    if (around && !outer) return er_fail(ER_EFORMAT, "template '%s' has no {}", around);
    size_t before = outer ? (size_t)(outer - around) : 0, head = (size_t)(hole - prompt);
    size_t name = strlen(subject), tail = strlen(hole + 2), after = outer ? strlen(outer + 2) : 0;
    char *text = malloc(before + head + name + tail + after + 1);
    if (!text) return er_fail(ER_ENOMEM, "a prompt of %zu bytes", before + head + name + tail + after);
    size_t n = 0;
    if (before) memcpy(text, around, before), n += before;
    memcpy(text + n, prompt, head), n += head;
    memcpy(text + n, subject, name), n += name;
    memcpy(text + n, hole + 2, tail), n += tail;
    if (after) memcpy(text + n, outer + 2, after), n += after;
    n = trimmed(text, n);
    text[n] = 0;
    *out = (er_filled){text, before + head, before + head + name};
    if (out->subject_end > n) out->subject_end = n;
    return ER_OK;
}

er_status er_encode_prompt(er_encoded *out, const er_tokenizer *t, er_tokens *scratch, const er_filled *f) {
    er_status rc = er_tokenizer_encode_open(t, scratch, f->text, strlen(f->text));
    if (rc != ER_OK) return rc;
    size_t last = SIZE_MAX;
    for (size_t i = 0; i < scratch->count; i++) {
        const er_token *k = &scratch->at[i];
        if (k->begin < f->subject_end && k->end > f->subject_begin) last = i;
    }
    if (last == SIZE_MAX) return er_fail(ER_EFORMAT, "no token overlaps the subject in '%s'", f->text);
    int32_t *ids = malloc(scratch->count * sizeof *ids);
    if (!ids) return er_fail(ER_ENOMEM, "%zu token ids", scratch->count);
    for (size_t i = 0; i < scratch->count; i++) ids[i] = scratch->at[i].id;
    *out = (er_encoded){ids, scratch->count, last, 0};
    rc = er_tokenizer_encode_open(t, scratch, f->text, f->subject_end);
    if (rc != ER_OK) return free(ids), *out = (er_encoded){0}, rc;
    out->by_prefix = scratch->count ? scratch->count - 1 : 0;
    return ER_OK;
}

static er_status copy_ids(int32_t **out, size_t *n, const er_tokens *t, size_t from) {
    if (t->count <= from) return er_fail(ER_EFORMAT, "target has no tokens");
    int32_t *ids = malloc((t->count - from) * sizeof *ids);
    if (!ids) return er_fail(ER_ENOMEM, "%zu token ids", t->count - from);
    for (size_t i = from; i < t->count; i++) ids[i - from] = t->at[i].id;
    *out = ids;
    *n = t->count - from;
    return ER_OK;
}

er_status er_encode_target(int32_t **out, size_t *n, bool *alone, const er_tokenizer *t, er_tokens *scratch,
    const char *prompt_text, const char *target) {
    er_status rc = ER_OK;
    er_tokens prompt = {0};
    char *joined = NULL;
    size_t p = strlen(prompt_text), w = strlen(target), space = er_tokenizer_marks_start(t) ? 0 : 1;
    if (!(joined = malloc(p + w + 2))) ER_FAIL(ER_ENOMEM, "a prompt of %zu bytes", p + w + 2);
    memcpy(joined, prompt_text, p);
    joined[p] = ' ';
    memcpy(joined + p + 1, target, w + 1);
    ER_TRY(er_tokenizer_encode_open(t, scratch, joined, p + w + 1));
    ER_TRY(er_tokenizer_encode_open(t, &prompt, prompt_text, p));
    bool stable = scratch->count > prompt.count;
    for (size_t i = 0; stable && i < prompt.count; i++) stable = scratch->at[i].id == prompt.at[i].id;
    *alone = !stable;
    if (!stable) ER_TRY(er_tokenizer_encode(t, scratch, joined + p + 1 - space, w + space, false));
    rc = copy_ids(out, n, scratch, stable ? prompt.count : 0);
out:
    free(joined);
    er_tokens_free(&prompt);
    return rc;
}
