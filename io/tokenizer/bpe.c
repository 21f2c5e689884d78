// Byte-pair merges of one word, by a heap of candidate pairs.
#include <stdlib.h>
#include <string.h>
#include "io/tokenizer/tokenizer_internal.h"

#define NO_RANK UINT32_MAX
#define SHORT_WORD 40  // up to here a rescan of the ranks beats a heap

er_status er_merges_init(er_merges *m, size_t count) {
    size_t buckets = 64;
    while (buckets < count * 2) buckets *= 2;
    if (!(m->buckets = malloc(buckets * sizeof *m->buckets))) return er_fail(ER_ENOMEM, "%zu merges", count);
    for (size_t i = 0; i < buckets; i++) m->buckets[i].pair = UINT64_MAX;
    m->mask = buckets - 1;
    return ER_OK;
}

static er_merge *bucket_of(const er_merges *m, int32_t left, int32_t right) {
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right, h = pair * 0x9e3779b97f4a7c15ull;
    for (size_t at = (h ^ h >> 32) & m->mask;; at = (at + 1) & m->mask)
        if (m->buckets[at].pair == pair || m->buckets[at].pair == UINT64_MAX) return &m->buckets[at];
}

// A pair given twice keeps its last rank, as in the reference.
void er_merges_put(er_merges *m, int32_t left, int32_t right, uint32_t rank, int32_t id) {
    *bucket_of(m, left, right) = (er_merge){(uint64_t)(uint32_t)left << 32 | (uint32_t)right, rank, id};
}

static uint32_t rank_of(const er_merges *m, int32_t left, int32_t right, int32_t *id) {
    const er_merge *s = bucket_of(m, left, right);
    if (s->pair == UINT64_MAX) return NO_RANK;
    *id = s->id;
    return s->rank;
}

static size_t merge_short(const er_merges *m, er_symbol *w, size_t n) {
    uint32_t rank[SHORT_WORD];
    int32_t id[SHORT_WORD];
    for (size_t i = 0; i + 1 < n; i++) rank[i] = rank_of(m, w[i].id, w[i + 1].id, &id[i]);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (rank[i] < rank[best]) best = i;
        if (rank[best] == NO_RANK) break;
        w[best].id = id[best];
        w[best].len += w[best + 1].len;
        n--;
        for (size_t i = best + 1; i < n; i++) w[i] = w[i + 1];
        for (size_t i = best + 1; i + 1 < n; i++) rank[i] = rank[i + 1], id[i] = id[i + 1];
        if (best + 1 < n) rank[best] = rank_of(m, w[best].id, w[best + 1].id, &id[best]);
        if (best > 0) rank[best - 1] = rank_of(m, w[best - 1].id, w[best].id, &id[best - 1]);
    }
    return n;
}

static er_status reserve(er_heap *h, size_t n) {
    if (h->links < n) {
        uint32_t *prev = realloc(h->prev, n * sizeof *prev);
        if (prev) h->prev = prev;
        uint32_t *next = realloc(h->next, n * sizeof *next);
        if (next) h->next = next;
        if (!prev || !next) return er_fail(ER_ENOMEM, "a word of %zu bytes", n);
        h->links = n;
    }
    // Each merge takes one entry out of use and puts at most two in.
    if (h->capacity < 3 * n) {
        uint64_t *more = realloc(h->at, 3 * n * sizeof *more);
        if (!more) return er_fail(ER_ENOMEM, "a word of %zu bytes", n);
        h->at = more;
        h->capacity = 3 * n;
    }
    h->count = 0;
    return ER_OK;
}

static void heap_push(er_heap *h, uint64_t x) {
    size_t i = h->count++;
    for (; i > 0 && h->at[(i - 1) / 2] > x; i = (i - 1) / 2) h->at[i] = h->at[(i - 1) / 2];
    h->at[i] = x;
}

static uint64_t heap_pop(er_heap *h) {
    uint64_t top = h->at[0], x = h->at[--h->count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < h->count; i = child) {
        if (child + 1 < h->count && h->at[child + 1] < h->at[child]) child++;
        if (h->at[child] >= x) break;
        h->at[i] = h->at[child];
    }
    h->at[i] = x;
    return top;
}

static void push_pair(const er_merges *m, er_heap *h, const er_symbol *w, uint32_t left, uint32_t right) {
    int32_t id = -1;
    uint32_t rank = rank_of(m, w[left].id, w[right].id, &id);
    if (rank != NO_RANK) heap_push(h, (uint64_t)rank << 32 | left);
}

// Symbols stay where they are and are linked; len 0 marks one that was swallowed. A pair's text only ever
// grows, so an entry is stale exactly when the pair now at its place has another rank.
static size_t merge_long(const er_merges *m, er_heap *h, er_symbol *w, size_t n) {
    const uint32_t none = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        h->prev[i] = i ? (uint32_t)(i - 1) : none;
        h->next[i] = i + 1 < n ? (uint32_t)(i + 1) : none;
        if (i + 1 < n) push_pair(m, h, w, (uint32_t)i, (uint32_t)i + 1);
    }
    while (h->count) {
        uint64_t top = heap_pop(h);
        uint32_t i = (uint32_t)top, j = w[i].len ? h->next[i] : none;
        int32_t id = -1;
        if (j == none || rank_of(m, w[i].id, w[j].id, &id) != top >> 32) continue;
        w[i].id = id;
        w[i].len += w[j].len;
        w[j].len = 0;
        h->next[i] = h->next[j];
        if (h->next[i] != none) h->prev[h->next[i]] = i, push_pair(m, h, w, i, h->next[i]);
        if (h->prev[i] != none) push_pair(m, h, w, h->prev[i], i);
    }
    size_t left = 0;
    for (size_t i = 0; i < n; i++)
        if (w[i].len) w[left++] = w[i];
    return left;
}

er_status er_bpe_merge(const er_merges *m, er_heap *heap, er_symbol *symbols, size_t *n) {
    if (*n < 2) return ER_OK;
    if (*n <= SHORT_WORD) return *n = merge_short(m, symbols, *n), ER_OK;
    er_status rc = reserve(heap, *n);
    if (rc == ER_OK) *n = merge_long(m, heap, symbols, *n);
    return rc;
}
