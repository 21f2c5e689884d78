// Rotary position embeddings: settings of config.json (transformers v4: rope_theta + rope_scaling; v5:
// rope_parameters) and the table of cosines and sines.
#include "engine/model/family.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TWO_PI 6.283185307179586

static er_status read_llama3(
    er_rope_config *r, const cJSON *scaling, const cJSON *config, const char *name, const er_arch *a) {
    er_status rc = ER_OK;
    r->scaling = ER_ROPE_LLAMA3;
    r->low_freq_factor = 0, r->high_freq_factor = 0;
    r->original_positions = (double)a->positions;
    ER_TRY(er_json_get_f64(&r->low_freq_factor, scaling, "low_freq_factor", name));
    ER_TRY(er_json_get_f64(&r->high_freq_factor, scaling, "high_freq_factor", name));
    ER_TRY(er_json_get_f64(&r->original_positions, scaling, "original_max_position_embeddings", name));
    ER_TRY(er_json_get_f64(&r->original_positions, config, "original_max_position_embeddings", name));
    if (!(r->low_freq_factor > 0) || !(r->high_freq_factor > r->low_freq_factor))
        ER_FAIL(ER_EFORMAT, "%s: rope type 'llama3' with low_freq_factor %g and high_freq_factor %g", name,
            r->low_freq_factor, r->high_freq_factor);
    if (!(r->original_positions >= 1))
        ER_FAIL(ER_EFORMAT, "%s: original_max_position_embeddings is %g", name, r->original_positions);
out:
    return rc;
}

// v5 writes rope_parameters; a file that has both spellings means the new one.
static er_status find_settings(const cJSON **out, const cJSON *config, const char *name) {
    const char *keys[] = {"rope_parameters", "rope_scaling"};
    *out = NULL;
    for (size_t i = 0; i < 2 && !*out; i++) {
        const cJSON *s = cJSON_GetObjectItemCaseSensitive(config, keys[i]);
        if (!s || cJSON_IsNull(s)) continue;
        if (!cJSON_IsObject(s)) return er_fail(ER_EFORMAT, "%s: %s is not an object", name, keys[i]);
        for (const cJSON *e = s->child; e; e = e->next)
            if (cJSON_IsObject(e))
                return er_fail(ER_EUNSUPPORTED,
                    "%s: %s.%s: rotary settings per kind of layer are not supported", name, keys[i],
                    e->string);
        *out = s;
    }
    return ER_OK;
}

er_status er_rope_read(
    er_rope_config *out, const cJSON *config, const char *name, const er_arch *a, double default_base) {
    er_status rc = ER_OK;
    const cJSON *s = NULL;
    const char *type = NULL;
    double partial = 1;
    er_rope_config r = {.style = a->row->rope, .base = default_base, .scaling = ER_ROPE_PLAIN, .factor = 1};
    ER_TRY(find_settings(&s, config, name));
    ER_TRY(er_json_get_f64(&r.base, config, "rope_theta", name));
    ER_TRY(er_json_get_f64(&partial, config, "partial_rotary_factor", name));
    if (s) {
        ER_TRY(er_json_get_f64(&r.base, s, "rope_theta", name));
        ER_TRY(er_json_get_f64(&partial, s, "partial_rotary_factor", name));
        ER_TRY(er_json_get_str(&type, s, "type", name));  // the spelling before 4.43
        ER_TRY(er_json_get_str(&type, s, "rope_type", name));
    }
    if (!(r.base > 1)) ER_FAIL(ER_EFORMAT, "%s: rope_theta is %g", name, r.base);
    if (partial != 1)
        ER_FAIL(ER_EUNSUPPORTED, "%s: partial_rotary_factor %g: only whole heads are rotated", name, partial);
    r.dims = a->head_dim;
    if (r.dims % 2)
        ER_FAIL(ER_EFORMAT, "%s: rotary heads of %zu dimensions; an even number is needed", name, r.dims);
    if (type && strcmp(type, "default") != 0) {
        ER_TRY(er_json_get_f64(&r.factor, s, "factor", name));
        if (!strcmp(type, "linear")) r.scaling = ER_ROPE_LINEAR;
        else if (!strcmp(type, "llama3")) ER_TRY(read_llama3(&r, s, config, name, a));
        else
            ER_FAIL(ER_EUNSUPPORTED, "%s: rope type '%.40s' is not supported; default, linear and llama3 are",
                name, type);
        if (!(r.factor >= 1)) ER_FAIL(ER_EFORMAT, "%s: rope factor %g is below 1", name, r.factor);
    }
    *out = r;
out:
    return rc;
}

// inv_freq_j = base^(-2j/d), then the scaling. llama3 leaves short wavelengths alone, divides long ones by
// the factor and blends in between.
static double inverse_frequency(const er_rope_config *r, size_t j) {
    double f = pow(r->base, -2.0 * (double)j / (double)r->dims);
    if (r->scaling == ER_ROPE_LINEAR) return f / r->factor;
    if (r->scaling == ER_ROPE_PLAIN) return f;
    double turns = r->original_positions * f / TWO_PI;  // full turns within the original context
    if (turns < r->low_freq_factor) return f / r->factor;
    if (turns > r->high_freq_factor) return f;
    double s = (turns - r->low_freq_factor) / (r->high_freq_factor - r->low_freq_factor);
    return (1 - s) * f / r->factor + s * f;
}

void er_rope_table(float *table, const er_rope_config *rope, size_t positions) {
    size_t half = rope->dims / 2;
    for (size_t j = 0; j < half; j++) {
        // fp32 frequency and angle: checkpoints are trained with them, and at position 10,000 the rounding of
        // the angle is 5e-4 rad, so a more exact table would be a different model.
        float f = (float)inverse_frequency(rope, j);
        for (size_t p = 0; p < positions; p++) {
            float angle = (float)p * f;
            table[p * rope->dims + j] = (float)cos((double)angle);
            table[p * rope->dims + half + j] = (float)sin((double)angle);
        }
    }
}
