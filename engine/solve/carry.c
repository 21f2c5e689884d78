#include "engine/solve/carry.h"

#include <stdlib.h>
#include <string.h>

typedef struct entry {  // one row of one unit
    const er_row *row;
    size_t unit;
    size_t skip;  // leading tokens shared through the cache
    size_t at;    // its first token in the carried states
    bool bare;
} entry;

typedef struct shared {  // the common first tokens of all rows behind one context template
    const int32_t *token;
    size_t length, cache_at, at;
} shared;

struct er_carry {
    er_model *m;
    er_run *run;
    er_kv *kv;
    size_t last_layer, n_units;
    entry *entry;
    size_t n_entries;
    shared *group;
    size_t n_groups;
    float *x;  // host [tokens, hidden]
    size_t tokens;
    float *dev_x, *picked;  // [dev] [max_tokens, hidden]; [max_rows, max(inner, hidden)]
    int32_t *dev_index;
    int32_t *token, *pos, *row_start, *prefix_at, *prefix_len, *store_at, *index;  // host images of a chunk
    float *host_picked;
    size_t max_rows;
};

void er_carry_free(er_carry *c) {
    if (!c) return;
    er_device *d = c->m->dev;
    d->op->release(d, c->dev_x);
    d->op->release(d, c->picked);
    d->op->release(d, c->dev_index);
    er_run_free(c->run);
    er_kv_free(c->m, c->kv);
    int32_t *host[] = {c->token, c->pos, c->row_start, c->prefix_at, c->prefix_len, c->store_at, c->index};
    for (size_t i = 0; i < sizeof host / sizeof *host; i++) free(host[i]);
    free(c->host_picked);
    free(c->entry);
    free(c->group);
    free(c->x);
    free(c);
}

double er_carry_flops(const er_carry *c) { return c->run->flops; }

// Which first tokens all rows of a template have in common; a row keeps at least its subject's last token for
// itself.
static er_status find_groups(er_carry *c, const er_units *units) {
    for (size_t u = 0; u < units->count; u++)
        for (size_t r = 0; r < units->at[u].n_rows; r++)
            if (units->at[u].row[r].template_index >= 0 &&
                (size_t)units->at[u].row[r].template_index >= c->n_groups)
                c->n_groups = (size_t)units->at[u].row[r].template_index + 1;
    if (!(c->group = calloc(c->n_groups + 1, sizeof *c->group)))
        return er_fail(ER_ENOMEM, "%zu templates", c->n_groups);
    for (size_t u = 0; u < units->count; u++)
        for (size_t r = 0; r < units->at[u].n_rows; r++) {
            const er_row *row = &units->at[u].row[r];
            if (row->template_index < 0 || !row->n_labels) continue;
            shared *g = &c->group[row->template_index];
            if (!g->token) g->token = row->token, g->length = row->subject_last;
            size_t n = 0;
            while (n < g->length && n < row->subject_last && row->token[n] == g->token[n]) n++;
            g->length = n;
        }
    return ER_OK;
}

static er_status lay_out(er_carry *c, const er_units *units) {
    size_t n = 0;
    for (size_t u = 0; u < units->count; u++) n += units->at[u].n_rows;
    if (!(c->entry = calloc(n + 1, sizeof *c->entry))) return er_fail(ER_ENOMEM, "%zu rows", n);
    size_t cache = 0;
    for (size_t g = 0; g < c->n_groups; g++) {
        c->group[g].at = c->tokens, c->group[g].cache_at = cache;
        c->tokens += c->group[g].length, cache += c->group[g].length;
    }
    for (size_t u = 0; u < units->count; u++)
        for (size_t r = 0; r < units->at[u].n_rows; r++) {
            const er_row *row = &units->at[u].row[r];
            if (!row->n_labels) continue;
            size_t skip = row->template_index >= 0 ? c->group[row->template_index].length : 0;
            c->entry[c->n_entries++] = (entry){row, u, skip, c->tokens, r == 0};
            c->tokens += row->subject_last + 1 - skip;
        }
    return er_kv_create(&c->kv, c->m, 0, c->last_layer + 1, cache + 1);
}

static er_status create_buffers(er_carry *c, size_t max_tokens) {
    er_status rc = ER_OK;
    er_device *d = c->m->dev;
    size_t hidden = c->m->arch.hidden, wide = c->m->arch.inner > hidden ? c->m->arch.inner : hidden;
    void *p = NULL;
    c->max_rows = max_tokens < 512 ? max_tokens : 512;
    ER_TRY(er_run_create(&c->run, c->m, max_tokens, c->max_rows, false));
    ER_TRY(d->op->alloc(d, &p, max_tokens * hidden * sizeof(float)));
    c->dev_x = p;
    ER_TRY(d->op->alloc(d, &p, c->max_rows * wide * sizeof(float)));
    c->picked = p;
    ER_TRY(d->op->alloc(d, &p, c->max_rows * sizeof(int32_t)));
    c->dev_index = p;
    int32_t **host[] = {
        &c->token, &c->pos, &c->row_start, &c->prefix_at, &c->prefix_len, &c->store_at, &c->index};
    for (size_t i = 0; i < sizeof host / sizeof *host; i++)
        if (!(*host[i] = malloc((max_tokens + 1) * sizeof(int32_t))))
            ER_FAIL(ER_ENOMEM, "%zu indices", max_tokens);
    if (!(c->host_picked = malloc(c->max_rows * wide * sizeof(float))))
        ER_FAIL(ER_ENOMEM, "%zu keys", c->max_rows);
    if (!(c->x = malloc((c->tokens + 1) * hidden * sizeof(float))))
        ER_FAIL(
            ER_ENOMEM, "states of %zu tokens (%zu MiB)", c->tokens, c->tokens * hidden * sizeof(float) >> 20);
out:
    return rc;
}

// ---- chunks ----

typedef struct chunk {
    size_t tokens, rows;
} chunk;

static void chunk_row(
    er_carry *c, chunk *k, const int32_t *token, size_t from, size_t to, size_t cache_at, bool store) {
    c->row_start[k->rows] = (int32_t)k->tokens;
    c->prefix_at[k->rows] = (int32_t)cache_at;
    c->prefix_len[k->rows] = store ? 0 : (int32_t)from;
    for (size_t j = from; j < to; j++, k->tokens++) {
        c->token[k->tokens] = token[j];
        c->pos[k->tokens] = (int32_t)j;
        c->store_at[k->tokens] = store ? (int32_t)(cache_at + j) : -1;
    }
    c->row_start[++k->rows] = (int32_t)k->tokens;
}

static er_status chunk_begin(er_carry *c, const chunk *k, bool store) {
    er_rows rows = {.rows = k->rows,
        .tokens = k->tokens,
        .token = c->token,
        .pos = c->pos,
        .row_start = c->row_start,
        .prefix_at = store ? NULL : c->prefix_at,
        .prefix_len = store ? NULL : c->prefix_len,
        .store_at = store ? c->store_at : NULL};
    return er_run_begin(c->run, &rows, c->kv);
}

// Entries first.. as many as fit; returns how many. Their states are consecutive in c->x.
static size_t chunk_entries(er_carry *c, chunk *k, size_t first) {
    size_t i = first;
    *k = (chunk){0};
    for (; i < c->n_entries; i++) {
        const entry *e = &c->entry[i];
        size_t n = e->row->subject_last + 1 - e->skip;
        if (k->tokens + n > c->run->max_tokens || k->rows == c->max_rows) break;
        size_t at = e->row->template_index >= 0 ? c->group[e->row->template_index].cache_at : 0;
        chunk_row(c, k, e->row->token, e->skip, e->row->subject_last + 1, at, false);
    }
    return i - first;
}

// The shared first tokens: their states advance like any others, and their keys and values at `layer` go to
// the cache.
static er_status run_groups(er_carry *c, size_t layer, size_t to_layer, bool keep) {
    er_status rc = ER_OK;
    er_device *d = c->m->dev;
    size_t hidden = c->m->arch.hidden;
    for (size_t g = 0; g < c->n_groups; g++) {
        const shared *s = &c->group[g];
        if (!s->length) continue;
        chunk k = {0};
        chunk_row(c, &k, s->token, 0, s->length, s->cache_at, true);
        ER_TRY(chunk_begin(c, &k, true));
        float *x = c->x + s->at * hidden;
        ER_TRY(d->op->upload(d, c->run->stream, c->dev_x, x, k.tokens * hidden * sizeof *x));
        for (size_t l = layer; l <= to_layer; l++) ER_TRY(er_run_layer(c->run, l, c->dev_x, NULL));
        if (keep) ER_TRY(d->op->download(d, c->run->stream, x, c->dev_x, k.tokens * hidden * sizeof *x));
    }
out:
    return rc;
}

static er_status upload_chunk(er_carry *c, const chunk *k, size_t first) {
    size_t hidden = c->m->arch.hidden;
    er_status rc = chunk_begin(c, k, false);
    if (rc != ER_OK) return rc;
    return c->m->dev->op->upload(c->m->dev, c->run->stream, c->dev_x, c->x + c->entry[first].at * hidden,
        k->tokens * hidden * sizeof *c->x);
}

er_status er_carry_advance(er_carry *c, size_t layer) {
    er_status rc = ER_OK;
    er_device *d = c->m->dev;
    size_t hidden = c->m->arch.hidden;
    ER_TRY(run_groups(c, layer, layer, true));
    for (size_t i = 0, n; i < c->n_entries; i += n) {
        chunk k;
        n = chunk_entries(c, &k, i);
        ER_TRY(upload_chunk(c, &k, i));
        ER_TRY(er_run_layer(c->run, layer, c->dev_x, NULL));
        ER_TRY(d->op->download(
            d, c->run->stream, c->x + c->entry[i].at * hidden, c->dev_x, k.tokens * hidden * sizeof *c->x));
    }
out:
    return rc;
}

// rows of `src` [dev] at each chunk row's last token, to host
static er_status pick_last(er_carry *c, const chunk *k, const float *src, size_t width) {
    er_status rc = ER_OK;
    er_device *d = c->m->dev;
    for (size_t i = 0; i < k->rows; i++) c->index[i] = c->row_start[i + 1] - 1;
    ER_TRY(d->op->upload(d, c->run->stream, c->dev_index, c->index, k->rows * sizeof *c->index));
    ER_TRY(d->op->gather_rows(d, c->run->stream, c->picked, src, c->dev_index, k->rows, width));
    ER_TRY(d->op->download(
        d, c->run->stream, c->host_picked, c->picked, k->rows * width * sizeof *c->host_picked));
out:
    return rc;
}

er_status er_carry_keys(er_carry *c, size_t layer, double *keys) {
    er_status rc = ER_OK;
    size_t inner = c->m->arch.inner;
    memset(keys, 0, c->n_units * inner * sizeof *keys);
    ER_TRY(run_groups(c, layer, layer, false));
    for (size_t i = 0, n; i < c->n_entries; i += n) {
        chunk k;
        n = chunk_entries(c, &k, i);
        ER_TRY(upload_chunk(c, &k, i));
        ER_TRY(er_run_layer_to_key(c->run, layer, c->dev_x, NULL));
        ER_TRY(pick_last(c, &k, c->run->act, inner));
        for (size_t r = 0; r < k.rows; r++) {
            const entry *e = &c->entry[i + r];
            const float *from = c->host_picked + r * inner;
            double *to = keys + e->unit * inner, w = (double)e->row->key_weight;
            for (size_t j = 0; j < inner; j++) to[j] += w * (double)from[j];
        }
    }
out:
    return rc;
}

er_status er_carry_current(er_carry *c, size_t layer, double *current) {
    er_status rc = ER_OK;
    er_device *d = c->m->dev;
    size_t hidden = c->m->arch.hidden, bytes = hidden * sizeof(float);
    for (size_t i = 0; i < c->n_entries;) {
        chunk k = {0};
        size_t first = i;
        for (; i < c->n_entries; i++) {
            const entry *e = &c->entry[i];
            if (!e->bare) continue;
            size_t n = e->row->subject_last + 1;
            if (k.tokens + n > c->run->max_tokens || k.rows == c->max_rows) break;
            ER_TRY(d->op->upload(
                d, c->run->stream, c->dev_x + k.tokens * hidden, c->x + e->at * hidden, n * bytes));
            chunk_row(c, &k, e->row->token, 0, n, 0, false);
        }
        if (!k.rows) break;
        ER_TRY(chunk_begin(c, &k, false));
        for (size_t l = layer; l <= c->last_layer; l++) ER_TRY(er_run_layer(c->run, l, c->dev_x, NULL));
        ER_TRY(pick_last(c, &k, c->dev_x, hidden));
        for (size_t j = first, r = 0; j < i; j++) {
            if (!c->entry[j].bare) continue;
            const float *from = c->host_picked + r++ * hidden;
            for (size_t h = 0; h < hidden; h++) current[c->entry[j].unit * hidden + h] = (double)from[h];
        }
    }
out:
    return rc;
}

size_t er_carry_n_rows(const er_carry *c) { return c->n_entries; }
size_t er_carry_max_rows(const er_carry *c) { return c->max_rows; }

typedef struct row_lists {  // of one chunk
    float *keys, *current, *weight;
    size_t *unit;
    bool *bare;
} row_lists;

static er_status rows_of_chunk(er_carry *c, const chunk *k, size_t first, size_t layer, row_lists *l) {
    er_status rc = ER_OK;
    size_t inner = c->m->arch.inner, hidden = c->m->arch.hidden;
    ER_TRY(upload_chunk(c, k, first));
    ER_TRY(er_run_layer_to_key(c->run, layer, c->dev_x, NULL));
    ER_TRY(pick_last(c, k, c->run->act, inner));
    memcpy(l->keys, c->host_picked, k->rows * inner * sizeof *l->keys);
    ER_TRY(er_run_layer_finish(c->run, layer, c->dev_x));
    for (size_t i = layer + 1; i <= c->last_layer; i++) ER_TRY(er_run_layer(c->run, i, c->dev_x, NULL));
    ER_TRY(pick_last(c, k, c->dev_x, hidden));
    memcpy(l->current, c->host_picked, k->rows * hidden * sizeof *l->current);
    for (size_t r = 0; r < k->rows; r++) {
        const entry *e = &c->entry[first + r];
        l->unit[r] = e->unit, l->bare[r] = e->bare, l->weight[r] = e->row->key_weight;
    }
out:
    return rc;
}

er_status er_carry_rows(er_carry *c, size_t layer, er_carry_sink sink, void *ctx) {
    er_status rc = ER_OK;
    row_lists l = {.keys = malloc(c->max_rows * c->m->arch.inner * sizeof *l.keys),
        .current = malloc(c->max_rows * c->m->arch.hidden * sizeof *l.current),
        .weight = malloc(c->max_rows * sizeof *l.weight),
        .unit = malloc(c->max_rows * sizeof *l.unit),
        .bare = malloc(c->max_rows * sizeof *l.bare)};
    if (!l.keys || !l.current || !l.weight || !l.unit || !l.bare) ER_FAIL(ER_ENOMEM, "%zu keys", c->max_rows);
    ER_TRY(run_groups(c, layer, c->last_layer, false));
    for (size_t i = 0, n; i < c->n_entries; i += n) {
        chunk k;
        n = chunk_entries(c, &k, i);
        ER_TRY(rows_of_chunk(c, &k, i, layer, &l));
        er_carry_chunk rows = {.first = i,
            .n = k.rows,
            .keys = l.keys,
            .current = l.current,
            .unit = l.unit,
            .weight = l.weight,
            .bare = l.bare};
        ER_TRY(sink(ctx, &rows));
    }
out:
    free(l.keys);
    free(l.current);
    free(l.weight);
    free(l.unit);
    free(l.bare);
    return rc;
}

er_status er_carry_create(
    er_carry **out, er_model *m, const er_units *units, size_t last_layer, size_t max_tokens) {
    er_status rc = ER_OK;
    er_device *d = m->dev;
    size_t hidden = m->arch.hidden;
    er_carry *c = calloc(1, sizeof *c);
    if (!c) return er_fail(ER_ENOMEM, "carried states");
    *c = (er_carry){.m = m, .last_layer = last_layer, .n_units = units->count};
    if (max_tokens < units->max_row_tokens) max_tokens = units->max_row_tokens;
    ER_TRY(find_groups(c, units));
    ER_TRY(lay_out(c, units));
    ER_TRY(create_buffers(c, max_tokens));
    for (size_t g = 0; g < c->n_groups; g++) {  // embeddings
        chunk k = {0};
        if (!c->group[g].length) continue;
        chunk_row(c, &k, c->group[g].token, 0, c->group[g].length, 0, true);
        ER_TRY(chunk_begin(c, &k, true));
        ER_TRY(er_run_embed(c->run, c->dev_x));
        ER_TRY(d->op->download(
            d, c->run->stream, c->x + c->group[g].at * hidden, c->dev_x, k.tokens * hidden * sizeof *c->x));
    }
    for (size_t i = 0, n; i < c->n_entries; i += n) {
        chunk k;
        n = chunk_entries(c, &k, i);
        ER_TRY(chunk_begin(c, &k, false));
        ER_TRY(er_run_embed(c->run, c->dev_x));
        ER_TRY(d->op->download(
            d, c->run->stream, c->x + c->entry[i].at * hidden, c->dev_x, k.tokens * hidden * sizeof *c->x));
    }
    *out = c;
    c = NULL;
out:
    er_carry_free(c);
    return rc;
}
