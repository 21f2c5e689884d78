#include "engine/generate/choose.h"
#include <math.h>
#include <stdlib.h>

// ---- random numbers ----

static uint64_t mix(uint64_t z) {  // the finaliser of splitmix64
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

double er_uniform(uint64_t seed, uint64_t row, uint64_t step) {
    uint64_t z = mix(seed + 0x9e3779b97f4a7c15ull);
    z = mix(z ^ (row + 0xbf58476d1ce4e5b9ull));
    z = mix(z + 0x9e3779b97f4a7c15ull * (step + 1));
    return (double)(z >> 11) * 0x1p-53;
}

// ---- the choice ----

er_status er_chooser_init(er_chooser *c, size_t vocab, double temperature, size_t top_k, double top_p) {
    if (!(temperature >= 0) || !isfinite(temperature))
        return er_fail(ER_EARG, "temperature %g is below zero", temperature);
    if (!(top_p > 0 && top_p <= 1)) return er_fail(ER_EARG, "top-p %g is not in (0, 1]", top_p);
    *c = (er_chooser){.temperature = temperature, .top_p = top_p, .top_k = top_k, .vocab = vocab};
    if (temperature > 0 && !(c->candidate = malloc(vocab * sizeof *c->candidate)))
        return er_fail(ER_ENOMEM, "%zu candidates", vocab);
    return ER_OK;
}

void er_chooser_clear(er_chooser *c) {
    free(c->candidate);
    c->candidate = NULL;
}

static int32_t argmax(const float *logits, size_t vocab, int32_t banned) {
    int32_t best = -1;
    for (size_t i = 0; i < vocab; i++)
        if ((int32_t)i != banned && isfinite(logits[i]) && (best < 0 || logits[i] > logits[best]))
            best = (int32_t)i;
    return best;
}

static int before(const er_choice *a, const er_choice *b) {  // heavier first, then the lower id
    return a->weight != b->weight ? a->weight > b->weight : a->id < b->id;
}
static int compare(const void *a, const void *b) { return before(a, b) ? -1 : before(b, a); }

static void sift_down(er_choice *heap, size_t n, size_t i) {  // the last in order on top
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(&heap[child], &heap[child + 1])) child++;
        if (!before(&heap[i], &heap[child])) return;
        er_choice t = heap[i];
        heap[i] = heap[child], heap[child] = t;
    }
}

// The k first in order to the front: a heap of k, so the usual candidate costs one comparison. Returns how
// many are left.
static size_t keep_k(er_choice *c, size_t n, size_t k) {
    if (k == 0 || k >= n) return n;
    for (size_t i = k / 2; i-- > 0;) sift_down(c, k, i);
    for (size_t i = k; i < n; i++)
        if (before(&c[i], &c[0])) c[0] = c[i], sift_down(c, k, 0);
    qsort(c, k, sizeof *c, compare);
    return k;
}

static double total(const er_choice *c, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += c[i].weight;
    return sum;
}

// The fewest that hold `top_p` of the mass. Candidates lighter than (1 - top_p) * mass / n hold at most 1 -
// top_p of it all together, so the rest are enough and only those are sorted.
static size_t keep_p(er_choice *c, size_t n, double top_p) {
    if (top_p >= 1) return n;
    double mass = total(c, n), floor = (1 - top_p) * mass / (double)n;
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (c[i].weight >= floor) c[kept++] = c[i];
    qsort(c, kept, sizeof *c, compare);
    double sum = 0;
    for (size_t i = 0; i < kept; i++)
        if ((sum += c[i].weight) >= top_p * mass) return i + 1;
    return kept;
}

er_status er_choose(int32_t *out, er_chooser *c, const float *logits, int32_t banned, double uniform) {
    int32_t best = argmax(logits, c->vocab, banned);
    if (best < 0) return er_fail(ER_ENUMERIC, "none of %zu logits is finite", c->vocab);
    *out = best;
    if (c->temperature <= 0) return ER_OK;
    size_t n = 0;
    for (size_t i = 0; i < c->vocab; i++)
        if ((int32_t)i != banned && isfinite(logits[i]))
            c->candidate[n++] =
                (er_choice){exp(((double)logits[i] - (double)logits[best]) / c->temperature), (int32_t)i};
    n = keep_k(c->candidate, n, c->top_k);
    n = keep_p(c->candidate, n, c->top_p);
    double left = uniform * total(c->candidate, n);
    for (size_t i = 0; i < n; i++)
        if ((left -= c->candidate[i].weight) < 0) {
            *out = c->candidate[i].id;
            return ER_OK;
        }
    return ER_OK;  // rounding let `left` reach the end: the most probable one
}
