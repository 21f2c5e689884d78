// Rotary position embeddings: the table of cosines and sines. inv_freq_j = base^(-2j/d), then the scaling.
#include "engine/model.h"
#include <math.h>

#define TWO_PI 6.283185307179586

// Short wavelengths stay, long ones are divided by the factor, in between the two are blended.
static double llama3(const er_rope_config *r, double f) {
    double turns = r->original_positions * f / TWO_PI;  // full turns within the original context
    if (turns < r->low_freq_factor) return f / r->factor;
    if (turns > r->high_freq_factor) return f;
    double s = (turns - r->low_freq_factor) / (r->high_freq_factor - r->low_freq_factor);
    return (1 - s) * f / r->factor + s * f;
}

// The (fractional) dimension that makes that many full turns within the original context.
static double turning(const er_rope_config *r, double turns) {
    return (double)r->dims * log(r->original_positions / (turns * TWO_PI)) / (2 * log(r->base));
}

// The same idea with a ramp over the pairs themselves.
static double yarn(const er_rope_config *r, double f, size_t j) {
    double low = turning(r, r->beta_fast), high = turning(r, r->beta_slow);
    if (r->whole_pairs) low = floor(low), high = ceil(high);
    low = fmax(low, 0), high = fmin(high, (double)r->dims - 1);
    if (low == high) high += 0.001;
    double ramp = fmin(fmax(((double)j - low) / (high - low), 0), 1);
    return f / r->factor * ramp + f * (1 - ramp);
}

static double inverse_frequency(const er_rope_config *r, size_t j) {
    double f = pow(r->base, -2.0 * (double)j / (double)r->dims);
    switch (r->scaling) {
    case ER_ROPE_LINEAR:
        return f / r->factor;
    case ER_ROPE_LLAMA3:
        return llama3(r, f);
    case ER_ROPE_YARN:
        return yarn(r, f, j);
    case ER_ROPE_LONG:
        return f / (double)r->short_factor[j];
    case ER_ROPE_PLAIN:
        break;
    }
    return f;
}

void er_rope_table(float *table, const er_rope_config *rope, size_t positions) {
    size_t half = rope->dims / 2;
    double gain = rope->attention > 0 ? rope->attention : 1;
    for (size_t j = 0; j < half; j++) {
        // fp32 frequency and angle: checkpoints are trained with them, and at position 10,000 the rounding of
        // the angle is 5e-4 rad, so a more exact table would be a different model.
        float f = (float)inverse_frequency(rope, j);
        for (size_t p = 0; p < positions; p++) {
            float angle = (float)p * f;
            table[p * rope->dims + j] = (float)(gain * cos((double)angle));
            table[p * rope->dims + half + j] = (float)(gain * sin((double)angle));
        }
    }
}
