// Normalizers, one behind the other, and where the characters they put came from: a character that is put in
// front shares the place of the one it precedes, and what replaces a match shares that of the match's last
// character.
#include "io/tokenizer/tokenizer_internal.h"

static er_status prepend(const er_norm *n, er_text *t, er_view *view) {
    er_status rc = ER_OK;
    if (!view->len) return ER_OK;
    ER_TRY(er_text_put(t, n->content, n->len, er_view_origin(view, 0, 1)));
    ER_TRY(er_text_copy(t, view, 0, view->len));
    *view = (er_view){t->bytes, t->len, t->from, view->base};
out:
    return rc;
}

static er_status replace(const er_norm *n, er_scratch *s, er_text *t, er_view *view) {
    er_status rc = ER_OK;
    bool any = false;
    if (!view->len) return ER_OK;
    ER_TRY(er_pattern_cut(&n->pattern, s, view->bytes, (er_span){0, (uint32_t)view->len}));
    for (size_t i = 0; i < s->cuts.count; i++) any = any || s->hit[i];
    if (!any) goto out;
    for (size_t i = 0; i < s->cuts.count; i++) {
        er_span c = s->cuts.at[i], from = {(uint32_t)view->base, (uint32_t)view->base};
        if (!s->hit[i]) {
            ER_TRY(er_text_copy(t, view, c.begin, c.end));
            continue;
        }
        if (c.end > 0) from = er_view_origin(view, c.end - 1, c.end);
        ER_TRY(er_text_put(t, n->content, n->len, from));
    }
    *view = (er_view){t->bytes, t->len, t->from, view->base};
out:
    return rc;
}

er_status er_normalize(const er_tokenizer *t, er_scratch *s, er_view *view) {
    er_status rc = ER_OK;
    s->normal[0].most = s->normal[1].most = er_text_most(view->len);
    for (size_t i = 0; i < t->norm_count; i++) {
        const er_norm *n = &t->norms[i];
        er_text *to = &s->normal[!s->normal_turn];
        to->len = 0;
        switch (n->kind) {
        case NORM_NFC:
            ER_TRY(er_nfc(s, view, to, view));
            break;
        case NORM_PREPEND:
            ER_TRY(prepend(n, to, view));
            break;
        case NORM_REPLACE:
            ER_TRY(replace(n, s, to, view));
            break;
        }
        if (view->bytes == to->bytes) s->normal_turn = !s->normal_turn;
    }
out:
    return rc;
}
