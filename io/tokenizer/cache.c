// One scratch per thread: buffers, and the words met before with their tokens. English repeats itself: most
// words are found here. Bounded: 32,768 words and 2 MiB of keys and tokens; when either is full, everything
// is forgotten and it starts anew.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "io/tokenizer/tokenizer_internal.h"

#define LINES ((size_t)1 << 16)
#define WORDS ((size_t)1 << 19)

static bool key_is(const er_cache *c, const er_line *l, uint64_t hash, const char *key, size_t len) {
    return l->hash == hash && l->key_len == len && !memcmp(c->words + l->at, key, len);
}

const uint32_t *er_cache_get(const er_cache *c, uint64_t hash, const char *key, size_t len, size_t *count) {
    for (size_t at = hash & (LINES - 1); c->lines[at].key_len; at = (at + 1) & (LINES - 1)) {
        const er_line *l = &c->lines[at];
        if (!key_is(c, l, hash, key, len)) continue;
        *count = l->count;
        return c->words + l->at + (len + 3) / 4;
    }
    return NULL;
}

static void forget(er_cache *c) {
    memset(c->lines, 0, LINES * sizeof *c->lines);
    c->used = c->filled = 0;
}

void er_cache_put(
    er_cache *c, uint64_t hash, const char *key, size_t len, const er_symbol *symbols, size_t count) {
    size_t key_words = (len + 3) / 4;
    if (c->used + key_words + count > WORDS || c->filled == LINES / 2) forget(c);
    size_t at = hash & (LINES - 1);
    while (c->lines[at].key_len) at = (at + 1) & (LINES - 1);
    c->lines[at] = (er_line){hash, (uint32_t)c->used, (uint16_t)len, (uint16_t)count};
    memcpy(c->words + c->used, key, len);
    for (size_t i = 0; i < count; i++)
        c->words[c->used + key_words + i] = (uint32_t)symbols[i].id << 10 | symbols[i].len;
    c->used += key_words + count;
    c->filled++;
}

static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;
static bool have_key;

static void scratch_free(void *p) {
    er_scratch *s = p;
    if (!s) return;
    free(s->cache.lines);
    free(s->cache.words);
    free(s->heap.at);
    free(s->heap.prev);
    free(s->heap.next);
    free(s->symbols);
    free(s->raw_of);
    free(s->spelling);
    free(s->words.at);
    free(s->next.at);
    free(s->cuts.at);
    free(s->hit);
    for (int i = 0; i < 2; i++) {
        free(s->normal[i].bytes);
        free(s->normal[i].from);
        free(s->prefixed[i].bytes);
        free(s->prefixed[i].from);
    }
    free(s->changes);
    if (s->region) onig_region_free(s->region, 1);
    free(s);
}

static void make_key(void) { have_key = pthread_key_create(&scratch_key, scratch_free) == 0; }

er_status er_scratch_get(er_scratch **out, const er_tokenizer *t) {
    er_status rc = ER_OK;
    er_scratch *made = NULL;
    (void)pthread_once(&scratch_once, make_key);
    if (!have_key) return er_fail(ER_ENOMEM, "no thread key left for the tokenizer's buffers");
    er_scratch *s = pthread_getspecific(scratch_key);
    if (!s) {
        if (!(made = calloc(1, sizeof *made)) || !(made->cache.lines = calloc(LINES, sizeof(er_line))) ||
            !(made->cache.words = malloc(WORDS * sizeof(uint32_t))) || !(made->region = onig_region_new()))
            ER_FAIL(ER_ENOMEM, "a tokenizer's buffers");
        if (pthread_setspecific(scratch_key, made)) ER_FAIL(ER_ENOMEM, "a tokenizer's buffers");
        s = made;
        made = NULL;
    }
    // The cache belongs to one tokenizer at a time; serials are never used twice, so a new one at an old
    // address is noticed.
    if (s->owner != t->serial) forget(&s->cache), s->owner = t->serial;
    *out = s;
out:
    scratch_free(made);
    return rc;
}
