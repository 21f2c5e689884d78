// One prompt to tokens: the subject put in, its last token found, the target joined on.
#include <stdlib.h>
#include <string.h>

#include "engine/prompts/prompts_internal.h"

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
    text[n] = 0;
    *out = (er_filled){text, before + head, before + head + name};
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

// Where `text` may stand in front without touching the tokens behind it.
static const char *const anchors[] = {"\n", "(", "a", ":", NULL};

// The target's own ids. A tokenizer that puts a space in front of a text by itself is given the one that is
// asked for, and when none is asked for, something else to put it before.
static er_status encode_alone(
    const er_tokenizer *t, er_tokens *out, size_t *from, const char *target, bool space) {
    er_status rc = ER_OK;
    size_t w = strlen(target);
    bool marks = er_tokenizer_marks_start(t);
    char *text = malloc(w + 2);
    if (!text) return er_fail(ER_ENOMEM, "a target of %zu bytes", w);
    *from = 0;
    memcpy(text + 1, target, w + 1);
    text[0] = ' ';
    if (space || !marks) {
        size_t skip = space && !marks ? 0 : 1;
        rc = er_tokenizer_encode(t, out, text + skip, w + 1 - skip, false);
        goto out;
    }
    for (size_t i = 0; anchors[i] && !*from; i++) {
        text[0] = anchors[i][0];
        ER_TRY(er_tokenizer_encode(t, out, text, w + 1, false));
        size_t k = 0;
        while (k < out->count && out->at[k].end <= 1) k++;
        if (k && k < out->count && out->at[k].begin >= 1) *from = k;
    }
    if (!*from) rc = er_tokenizer_encode(t, out, target, w, false);
out:
    free(text);
    return rc;
}

// The white space that ends a text begins here.
static size_t blank_tail(const char *text, size_t n) {
    while (n && (text[n - 1] == ' ' || text[n - 1] == '\t' || text[n - 1] == '\n' || text[n - 1] == '\r'))
        n--;
    return n;
}

// The first token of the whole that reaches behind the prompt, when all it takes of the prompt is white space
// at its end: " Rome" behind "lives in ". SIZE_MAX when it takes more.
static size_t joined_at(const er_tokens *whole, const er_tokens *prompt, const char *text, size_t p) {
    size_t k = 0, tail = blank_tail(text, p);
    while (k < whole->count && whole->at[k].end <= p) k++;
    if (tail == p || k == 0 || k == whole->count || whole->at[k].begin < tail) return SIZE_MAX;
    for (size_t i = 0; i < k && whole->at[i].end <= tail; i++)
        if (i >= prompt->count || whole->at[i].id != prompt->at[i].id) return SIZE_MAX;
    return k;
}

static er_status put_joint(
    er_joint *out, const er_tokens *context, size_t n, const er_tokens *labels, size_t from) {
    if (labels->count <= from) return er_fail(ER_EFORMAT, "target has no tokens");
    size_t m = labels->count - from;
    int32_t *ids = malloc((n + m) * sizeof *ids);
    if (!ids) return er_fail(ER_ENOMEM, "%zu token ids", n + m);
    for (size_t i = 0; i < n; i++) ids[i] = context->at[i].id;
    for (size_t i = 0; i < m; i++) ids[n + i] = labels->at[from + i].id;
    out->token = ids;
    out->n_context = n;
    out->n_labels = m;
    return ER_OK;
}

er_status er_encode_joint(er_joint *out, const er_tokenizer *t, er_tokens *scratch, const char *prompt,
    const char *target, er_space fact, er_space job) {
    er_status rc = ER_OK;
    er_tokens alone = {0};
    size_t p = strlen(prompt), w = strlen(target), from = 0;
    er_joint j = {.seam = er_seam_of(prompt, p, target, fact, job), .prompt_bytes = p};
    size_t space = j.seam == ER_SEAM_SPACE;
    char *text = malloc(p + w + 2);
    if (!text) ER_FAIL(ER_ENOMEM, "a prompt of %zu bytes", p + w + 2);
    memcpy(text, prompt, p);
    text[p] = ' ';
    memcpy(text + p + space, target, w + 1);
    ER_TRY(er_tokenizer_encode_open(t, scratch, text, p + space + w));
    ER_TRY(er_tokenizer_encode_open(t, &alone, text, p));
    if (!alone.count) ER_FAIL(ER_EFORMAT, "prompt '%s' has no tokens", prompt);
    bool stable = scratch->count > alone.count;
    for (size_t i = 0; stable && i < alone.count; i++) stable = scratch->at[i].id == alone.at[i].id;
    size_t k = stable ? SIZE_MAX : joined_at(scratch, &alone, text, p);
    if (stable) {
        j.how = ER_JOINT_WHOLE;
        ER_TRY(put_joint(&j, scratch, alone.count, scratch, alone.count));
    } else if (k != SIZE_MAX) {
        j.how = ER_JOINT_BLANK;
        j.prompt_bytes = scratch->at[k - 1].end;
        ER_TRY(put_joint(&j, scratch, k, scratch, k));
    } else {
        j.how = ER_JOINT_APART;
        ER_TRY(encode_alone(t, scratch, &from, target, space));
        ER_TRY(put_joint(&j, &alone, alone.count, scratch, from));
    }
    *out = j;
out:
    free(text);
    er_tokens_free(&alone);
    return rc;
}
