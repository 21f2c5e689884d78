#include "engine/sequences.h"
#include <stdlib.h>
#include <string.h>

er_status er_sequences_new(er_sequences **out) {
    er_sequences *t = calloc(1, sizeof *t);
    if (t) t->start = calloc(1, sizeof *t->start);
    if (!t || !t->start) {
        free(t);
        return er_fail(ER_ENOMEM, "token rows");
    }
    *out = t;
    return ER_OK;
}

void er_sequences_free(er_sequences *t) {
    if (!t) return;
    free(t->token);
    free(t->start);
    free(t);
}

static er_status make_room(er_sequences *t, size_t tokens) {
    if (t->rows == t->room_rows) {
        size_t room = t->room_rows ? 2 * t->room_rows : 64;
        size_t *p = realloc(t->start, (room + 1) * sizeof *p);
        if (!p) return er_fail(ER_ENOMEM, "%zu token rows", room);
        t->start = p, t->room_rows = room;
    }
    if (tokens > t->room_tokens - t->tokens) {
        size_t room = 2 * t->room_tokens > t->tokens + tokens ? 2 * t->room_tokens : t->tokens + tokens;
        int32_t *p = realloc(t->token, room * sizeof *p);
        if (!p) return er_fail(ER_ENOMEM, "%zu tokens", room);
        t->token = p, t->room_tokens = room;
    }
    return ER_OK;
}

er_status er_sequences_add(er_sequences *t, const int32_t *token, size_t n) {
    er_status rc = make_room(t, n);
    if (rc != ER_OK) return rc;
    if (n) memcpy(t->token + t->tokens, token, n * sizeof *token);
    t->tokens += n;
    t->start[++t->rows] = t->tokens;
    return ER_OK;
}

void er_sequences_cut(er_sequences *t, size_t tokens) {
    if (tokens >= t->tokens) return;
    while (t->rows > 0 && t->start[t->rows - 1] >= tokens) t->rows--;
    t->start[t->rows] = t->tokens = tokens;
}
