#include "engine/generate/sampler.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

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

// ---- weights ----

er_status er_sampler_init(er_sampler *c, size_t vocab, double temperature, size_t top_k, double top_p) {
    if (!(temperature >= 0) || !isfinite(temperature))
        return er_fail(ER_EARG, "temperature %g is below zero", temperature);
    if (!(top_p > 0 && top_p <= 1)) return er_fail(ER_EARG, "top-p %g is not in (0, 1]", top_p);
    *c = (er_sampler){.temperature = temperature, .top_p = top_p, .top_k = top_k, .vocab = vocab};
    if (temperature == 0) return ER_OK;
    c->weight = malloc(vocab * sizeof *c->weight);
    c->candidate = malloc(vocab * sizeof *c->candidate);
    c->border = malloc(vocab * sizeof *c->border);
    if (c->weight && c->candidate && c->border) return ER_OK;
    er_sampler_clear(c);
    return er_fail(ER_ENOMEM, "%zu candidates", vocab);
}

void er_sampler_clear(er_sampler *c) {
    free(c->weight);
    free(c->candidate);
    free(c->border);
    c->weight = NULL, c->candidate = c->border = NULL;
}

#define LEAST (-87.0f)      // weights stay normal numbers; what weighs that little is no candidate
#define NO_WEIGHT 1.7e-38f  // a little above exp(LEAST)
#define LANES 16            // independent maxima and sums, which the compiler makes vectors of

static float largest_finite(const float *x, size_t n) {
    float most[LANES], all = -INFINITY;
    for (size_t k = 0; k < LANES; k++) most[k] = -INFINITY;
    for (size_t i = 0; i < n; i += LANES)
        for (size_t k = 0; k < LANES && i + k < n; k++)
            most[k] = ((x[i + k] > most[k]) & (x[i + k] <= FLT_MAX)) ? x[i + k] : most[k];
    for (size_t k = 0; k < LANES; k++) all = most[k] > all ? most[k] : all;
    return all;
}

static double sum_of(const float *x, size_t n) {
    double sum[LANES] = {0}, all = 0;
    for (size_t i = 0; i < n; i += LANES)
        for (size_t k = 0; k < LANES && i + k < n; k++) sum[k] += (double)x[i + k];
    for (size_t k = 0; k < LANES; k++) all += sum[k];
    return all;
}

// The lowest id of the largest finite logit; -1 when there is none.
static int32_t argmax(const float *logits, size_t vocab) {
    float most = largest_finite(logits, vocab);
    for (size_t i = 0; most > -INFINITY && i < vocab; i++)
        if (logits[i] >= most && logits[i] <= FLT_MAX) return (int32_t)i;
    return -1;
}

// exp(x) to 2 ulp for x in [LEAST, 0]. Written so that the compiler makes vectors
// of it: libm's costs more per step on a vocabulary of 49,152 than the model's own layers.
static inline float weight_of(float x) {
    const float round = 12582912.0f;  // 1.5 * 2^23: adding and subtracting it rounds to an integer
    float n = (x * 1.44269504f + round) - round;
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // x - n ln 2, ln 2 in two parts
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    int32_t bits = ((int32_t)n + 127) * (1 << 23);
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

// Three loops, because gcc makes vectors of each but not of one that does all.
static void weigh(float *weight, const float *logits, size_t n, float most, float per_temperature) {
    for (size_t i = 0; i < n; i++) {
        float x = (logits[i] - most) * per_temperature;
        weight[i] = x > LEAST ? x : LEAST;  // NaN too
    }
    for (size_t i = 0; i < n; i++) weight[i] = weight[i] < 0.0f ? weight[i] : 0.0f;
    for (size_t i = 0; i < n; i++) weight[i] = weight_of(weight[i]);
}

// ---- top-k and top-p ----

static int before(const er_choice *a, const er_choice *b) {  // heavier first, then the lower id
    return a->weight != b->weight ? a->weight > b->weight : a->id < b->id;
}
static int compare(const void *a, const void *b) { return before(a, b) ? -1 : before(b, a); }

static double total(const er_choice *c, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)c[i].weight;
    return sum;
}

// The bits of a float in (0, 1] rise with its value: exponent and three bits of mantissa make 1,017 bins in
// order.
#define BINS 1017
static size_t bin_of(float weight) {
    uint32_t bits;
    memcpy(&bits, &weight, sizeof bits);
    return bits >> 20;
}

typedef struct er_quota {
    size_t count;  // as many candidates
    double mass;   // or as much weight, whichever is reached first
} er_quota;

// Keeps the heaviest candidates until the quota is reached, without sorting them: a histogram finds the one
// bin the border runs through, and only that is sorted. Returns how many are left, in their old order but for
// those of the border.
static size_t keep_heaviest(er_choice *c, size_t n, er_quota quota, er_choice *border) {
    double mass[BINS] = {0};
    size_t count[BINS] = {0}, bin = BINS;
    for (size_t i = 0; i < n; i++) {
        size_t b = bin_of(c[i].weight);
        mass[b] += (double)c[i].weight, count[b]++;
    }
    while (bin-- > 0 && count[bin] < quota.count && mass[bin] < quota.mass) {
        quota.count -= count[bin], quota.mass -= mass[bin];
        if (bin == 0) return n;
    }
    size_t kept = 0, n_border = 0;
    for (size_t i = 0; i < n; i++) {
        size_t b = bin_of(c[i].weight);
        if (b == bin) border[n_border++] = c[i];
        if (b > bin) c[kept++] = c[i];
    }
    qsort(border, n_border, sizeof *border, compare);
    for (size_t i = 0; i < n_border && quota.count > 0 && quota.mass > 0; i++) {
        quota.count--, quota.mass -= (double)border[i].weight;
        c[kept++] = border[i];
    }
    return kept;
}

// ---- the choice ----

static size_t list_candidates(er_sampler *c, float floor) {
    size_t n = 0;
    for (size_t i = 0; i < c->vocab; i++)
        if (c->weight[i] > floor) c->candidate[n++] = (er_choice){c->weight[i], (int32_t)i};
    return n;
}

static size_t candidates(er_sampler *c) {
    if (c->top_k) {
        size_t n = list_candidates(c, NO_WEIGHT);
        n = keep_heaviest(c->candidate, n, (er_quota){c->top_k, DBL_MAX}, c->border);
        if (c->top_p == 1) return n;
        return keep_heaviest(c->candidate, n, (er_quota){n, c->top_p * total(c->candidate, n)}, c->border);
    }
    if (c->top_p == 1) return list_candidates(c, NO_WEIGHT);
    double mass = sum_of(c->weight, c->vocab);
    // What weighs no more than half of (1 - top_p) mass / vocab holds less than 1 - top_p of the mass all
    // together, so the rest is enough: a few hundred of a vocabulary, as a rule.
    float floor = (float)(0.5 * (1 - c->top_p) * mass / (double)c->vocab);
    size_t n = list_candidates(c, floor > NO_WEIGHT ? floor : NO_WEIGHT);
    return keep_heaviest(c->candidate, n, (er_quota){n, c->top_p * mass}, c->border);
}

er_status er_sampler_next(int32_t *out, er_sampler *c, const float *logits, double uniform) {
    int32_t best = argmax(logits, c->vocab);
    if (best < 0) return er_fail(ER_ENUMERIC, "none of %zu logits is finite", c->vocab);
    *out = best;
    if (c->temperature <= 0) return ER_OK;
    weigh(c->weight, logits, c->vocab, logits[best], (float)(1 / c->temperature));
    size_t n = candidates(c);
    double left = uniform * total(c->candidate, n);
    for (size_t i = 0; i < n; i++)
        if ((left -= (double)c->candidate[i].weight) < 0) {
            *out = c->candidate[i].id;
            return ER_OK;
        }
    return ER_OK;  // rounding let `left` reach the end: the most probable one
}
