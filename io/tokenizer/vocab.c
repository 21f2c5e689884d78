// Strings to ids and back.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "io/tokenizer/tokenizer_internal.h"
#include "io/tokenizer/unicode.h"

static uint64_t load8(const char *s) {
    uint64_t x;
    memcpy(&x, s, 8);
    return x;
}
static uint64_t load4(const char *s) {
    uint32_t x;
    memcpy(&x, s, 4);
    return x;
}

// Drawn once per process: a file whose tokens, or a text whose words, all fall on one bucket cannot be
// written without knowing them. Nothing but the order of the buckets depends on them.
static uint64_t seeds[2] = {0x243f6a8885a308d3ull, 0x13198a2e03707345ull};
static pthread_once_t seeds_once = PTHREAD_ONCE_INIT;
static void draw_seeds(void) {
    uint64_t drawn[2] = {0};
    (void)!getrandom(drawn, sizeof drawn, GRND_NONBLOCK);
    seeds[0] ^= drawn[0];
    seeds[1] ^= drawn[1] & ~1ull;  // a factor stays odd
}

// Both halves of the product: the low one alone would let differences in high bits through unchanged,
// whatever the factor.
static uint64_t fold(uint64_t a, uint64_t b) {
    __extension__ typedef unsigned __int128 wide;
    wide p = (wide)a * b;
    return (uint64_t)p ^ (uint64_t)(p >> 64);
}

// The last bytes are read as loads that overlap, so that short words need no loop.
uint64_t er_tok_hash(const char *s, size_t n) {
    const uint64_t k = seeds[1];
    const unsigned char *u = (const unsigned char *)s;
    uint64_t h = seeds[0] ^ n * 0x9e3779b97f4a7c15ull, tail = 0;
    if (n > 8) {
        size_t i = 0;
        for (; i + 8 < n; i += 8) h = fold(h ^ load8(s + i), k);
        tail = load8(s + n - 8);
    } else if (n >= 4) {
        tail = load4(s) << 32 | load4(s + n - 4);
    } else if (n) {
        tail = (uint64_t)u[0] << 16 | (uint64_t)u[n / 2] << 8 | u[n - 1];
    }
    h = fold(h ^ tail, k);
    return h ^ h >> 32;
}

er_status er_vocab_init(er_vocab *v, size_t tokens) {
    size_t buckets = 64;
    (void)pthread_once(&seeds_once, draw_seeds);
    while (buckets < tokens * 2) buckets *= 2;
    // The strings exist from the start, so that even an empty token has an address.
    v->capacity = 4096;
    if (!(v->buckets = calloc(buckets, sizeof *v->buckets)) || !(v->strings = malloc(v->capacity)))
        return er_fail(ER_ENOMEM, "a vocabulary of %zu tokens", tokens);
    v->mask = buckets - 1;
    return ER_OK;
}

static bool is_trimmed(uint32_t c) { return c == 0x120 || (er_uc_classes()[c] & UC_SPACE) != 0; }

void er_trim_count(const char *s, size_t len, uint32_t *lead, uint32_t *tail) {
    *lead = *tail = 0;
    bool all = true;
    for (size_t at = 0; at < len;) {
        bool space = is_trimmed(er_uc_next(s, &at));
        *tail = space ? *tail + 1 : 0;
        all = all && space;
        if (all) ++*lead;
    }
}

static er_status grow_ids(er_vocab *v, size_t id) {
    if (id < v->id_capacity) return ER_OK;
    size_t capacity = v->id_capacity ? v->id_capacity * 2 : 1024;
    while (capacity <= id) capacity *= 2;
    er_entry *more = realloc(v->by_id, capacity * sizeof *more);
    if (!more) return er_fail(ER_ENOMEM, "a vocabulary of %zu ids", capacity);
    memset(more + v->id_capacity, 0, (capacity - v->id_capacity) * sizeof *more);
    v->by_id = more;
    v->id_capacity = capacity;
    return ER_OK;
}

static er_status grow_buckets(er_vocab *v) {
    size_t buckets = (v->mask + 1) * 2;
    uint32_t *more = calloc(buckets, sizeof *more);
    if (!more) return er_fail(ER_ENOMEM, "a vocabulary of %zu tokens", v->count);
    for (size_t i = 0; i <= v->mask; i++) {
        if (!v->buckets[i]) continue;
        const er_entry *e = &v->by_id[v->buckets[i] - 1];
        size_t at = er_tok_hash(v->strings + e->at, e->len) & (buckets - 1);
        while (more[at]) at = (at + 1) & (buckets - 1);
        more[at] = v->buckets[i];
    }
    free(v->buckets);
    v->buckets = more;
    v->mask = buckets - 1;
    return ER_OK;
}

er_status er_vocab_add(
    er_vocab *v, const char *s, size_t len, uint64_t id, uint32_t flags, const char *name) {
    er_status rc = ER_OK;
    if (id >= ER_MAX_IDS)
        ER_FAIL(ER_EUNSUPPORTED, "%s: token '%.60s' has id %llu, at most %u are supported", name, s,
            (unsigned long long)id, ER_MAX_IDS - 1);
    ER_TRY(grow_ids(v, (size_t)id));
    er_entry *e = &v->by_id[id];
    if (e->flags)
        ER_FAIL(ER_EFORMAT, "%s: tokens '%.60s' and '%.*s' share id %u", name, s,
            (int)(e->len < 60 ? e->len : 60), v->strings + e->at, (unsigned)id);
    if ((v->count + 1) * 2 > v->mask + 1) ER_TRY(grow_buckets(v));
    if (v->capacity - v->used < len) {
        size_t capacity = (v->capacity + len) * 2 + 4096;
        char *more = capacity < UINT32_MAX ? realloc(v->strings, capacity) : NULL;
        if (!more) ER_FAIL(ER_ENOMEM, "%zu bytes of vocabulary", capacity);
        v->strings = more;
        v->capacity = capacity;
    }
    memcpy(v->strings + v->used, s, len);
    *e = (er_entry){.at = (uint32_t)v->used, .len = (uint32_t)len, .flags = flags};
    for (size_t at = 0; at < len; at += er_uc_width((unsigned char)s[at])) e->chars++;
    er_trim_count(s, len, &e->lead, &e->tail);
    size_t bucket = er_tok_hash(s, len) & v->mask;
    while (v->buckets[bucket]) bucket = (bucket + 1) & v->mask;
    v->buckets[bucket] = (uint32_t)id + 1;
    v->used += len;
    v->count++;
    if (id >= v->ids) v->ids = (size_t)id + 1;
out:
    return rc;
}

int32_t er_vocab_find(const er_vocab *v, const char *s, size_t len) {
    if (!v->buckets) return -1;
    for (size_t bucket = er_tok_hash(s, len) & v->mask; v->buckets[bucket]; bucket = (bucket + 1) & v->mask) {
        const er_entry *e = &v->by_id[v->buckets[bucket] - 1];
        if (e->len == len && !memcmp(v->strings + e->at, s, len)) return (int32_t)(v->buckets[bucket] - 1);
    }
    return -1;
}

void er_vocab_free(er_vocab *v) {
    free(v->strings);
    free(v->by_id);
    free(v->buckets);
}
