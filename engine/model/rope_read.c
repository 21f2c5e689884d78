// Rotary settings of config.json. transformers v4 has rope_theta + rope_scaling, v5 rope_parameters; two
// families have words of their own for v4.
#include "engine/model/family_internal.h"
#include <math.h>
#include <string.h>

static er_status read_original(
    er_rope_config *r, const cJSON *scaling, const cJSON *config, const char *name, const er_arch *a) {
    er_status rc = ER_OK;
    size_t fixed = a->row->original_positions;
    r->original_positions = (double)(fixed ? fixed : a->max_position_embeddings);
    double above = 0;
    if (!fixed)
        ER_TRY(er_json_get_f64(&r->original_positions, scaling, "original_max_position_embeddings", name));
    ER_TRY(er_json_get_f64(&above, config, "original_max_position_embeddings", name));
    const cJSON *within = cJSON_GetObjectItemCaseSensitive(scaling, "original_max_position_embeddings");
    if (above != 0 && !fixed && cJSON_IsNumber(within) &&
        (above < r->original_positions || above > r->original_positions))
        ER_FAIL(ER_EFORMAT,
            "%s: original_max_position_embeddings is %.17g but %.17g in %s: which one counts depends on the "
            "version of transformers",
            name, above, r->original_positions, scaling->string);
    if (above != 0) r->original_positions = above;
    if (!(r->original_positions >= 1))
        ER_FAIL(ER_EFORMAT, "%s: original_max_position_embeddings is %g", name, r->original_positions);
out:
    return rc;
}

static er_status read_llama3(er_rope_config *r, const cJSON *scaling, const char *name) {
    er_status rc = ER_OK;
    r->scaling = ER_ROPE_LLAMA3;
    ER_TRY(er_json_get_f64(&r->low_freq_factor, scaling, "low_freq_factor", name));
    ER_TRY(er_json_get_f64(&r->high_freq_factor, scaling, "high_freq_factor", name));
    if (!(r->low_freq_factor > 0) || !(r->high_freq_factor > r->low_freq_factor))
        ER_FAIL(ER_EFORMAT, "%s: rope type 'llama3' with low_freq_factor %g and high_freq_factor %g", name,
            r->low_freq_factor, r->high_freq_factor);
out:
    return rc;
}

static double yarn_scale(double factor, double weight) {
    return factor > 1 ? 0.1 * weight * log(factor) + 1 : 1;
}

static er_status read_yarn(er_rope_config *r, const cJSON *scaling, const char *name) {
    er_status rc = ER_OK;
    double scale = 0, all = 0;
    r->scaling = ER_ROPE_YARN;
    r->beta_fast = 32, r->beta_slow = 1, r->whole_pairs = true;
    ER_TRY(er_json_get_f64(&r->beta_fast, scaling, "beta_fast", name));
    ER_TRY(er_json_get_f64(&r->beta_slow, scaling, "beta_slow", name));
    ER_TRY(er_json_get_bool(&r->whole_pairs, scaling, "truncate", name));
    ER_TRY(er_json_get_f64(&scale, scaling, "mscale", name));
    ER_TRY(er_json_get_f64(&all, scaling, "mscale_all_dim", name));
    if (!(r->beta_slow > 0) || !(r->beta_fast >= r->beta_slow))
        ER_FAIL(ER_EFORMAT, "%s: rope type 'yarn' with beta_fast %g and beta_slow %g", name, r->beta_fast,
            r->beta_slow);
    r->attention = yarn_scale(r->factor, 1);
    if (scale != 0 && all != 0) r->attention = yarn_scale(r->factor, scale) / yarn_scale(r->factor, all);
out:
    return rc;
}

static er_status read_factors(float *out, size_t n, const cJSON *scaling, const char *key, const char *name) {
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(scaling, key);
    size_t i = 0;
    if (!cJSON_IsArray(list))
        return er_fail(ER_EFORMAT, "%s: rope type 'longrope' without a list %s", name, key);
    for (const cJSON *e = list->child; e; e = e->next, i++) {
        double v = cJSON_IsNumber(e) ? e->valuedouble : 0;
        if (!(v >= 1e-3 && v <= 1e6))
            return er_fail(ER_EFORMAT, "%s: %s: entry %zu is not a factor", name, key, i);
        if (out && i < n) out[i] = (float)v;
    }
    if (i != n) return er_fail(ER_EFORMAT, "%s: %s has %zu entries for %zu rotated pairs", name, key, i, n);
    return ER_OK;
}

// Rows beyond the original context take other frequencies from their first token on, which keys cached
// earlier do not have: the model is held to its original context instead, as er_model.rope_positions says.
static er_status read_longrope(er_rope_config *r, const cJSON *scaling, const char *name) {
    er_status rc = ER_OK;
    size_t pairs = r->dims / 2;
    r->scaling = ER_ROPE_LONG;
    if (pairs > ER_MAX_ROPE_PAIRS)
        ER_FAIL(ER_EUNSUPPORTED, "%s: rope type 'longrope' with %zu rotated pairs; %d are possible", name,
            pairs, ER_MAX_ROPE_PAIRS);
    ER_TRY(read_factors(r->short_factor, pairs, scaling, "short_factor", name));
    ER_TRY(read_factors(NULL, pairs, scaling, "long_factor", name));
    if (r->factor > 1 && r->original_positions > 1)
        r->attention = sqrt(1 + log(r->factor) / log(r->original_positions));
out:
    return rc;
}

static er_status read_scaling(er_rope_config *r, const char *type, const cJSON *scaling, const cJSON *config,
    const char *name, const er_arch *a) {
    er_status rc = ER_OK;
    bool phi3 = !strcmp(a->row->type, "phi3"),
         longrope = !strcmp(type, "longrope") || (phi3 && (!strcmp(type, "su") || !strcmp(type, "yarn"))),
         yarn = !longrope && !strcmp(type, "yarn");
    // Frequencies change once a row is longer than max_position_embeddings, and no row is.
    if (!strcmp(type, "default") || !strcmp(type, "dynamic")) return ER_OK;
    ER_TRY(read_original(r, scaling, config, name, a));
    if (longrope || yarn) r->factor = (double)a->max_position_embeddings / r->original_positions;
    ER_TRY(er_json_get_f64(&r->factor, scaling, "factor", name));
    if (!longrope && !(r->factor >= 1)) ER_FAIL(ER_EFORMAT, "%s: rope factor %g is below 1", name, r->factor);
    if (!strcmp(type, "linear")) r->scaling = ER_ROPE_LINEAR;
    else if (!strcmp(type, "llama3")) ER_TRY(read_llama3(r, scaling, name));
    else if (yarn) ER_TRY(read_yarn(r, scaling, name));
    else if (longrope) ER_TRY(read_longrope(r, scaling, name));
    else
        ER_FAIL(ER_EUNSUPPORTED,
            "%s: rope type '%.40s' is not supported; default, linear, dynamic, llama3, yarn and longrope are",
            name, type);
    if (longrope || yarn) ER_TRY(er_json_get_f64(&r->attention, scaling, "attention_factor", name));
    if (!(r->attention > 0 && r->attention <= 1e3))
        ER_FAIL(ER_EFORMAT, "%s: rope attention factor %g", name, r->attention);
out:
    return rc;
}

// Settings under one of the two spellings; NULL when there are none.
static er_status find_settings(const cJSON **out, const cJSON *config, const char *key, const char *name) {
    const cJSON *s = cJSON_GetObjectItemCaseSensitive(config, key);
    *out = NULL;
    if (!s || cJSON_IsNull(s)) return ER_OK;
    if (!cJSON_IsObject(s)) return er_fail(ER_EFORMAT, "%s: %s is not an object", name, key);
    for (const cJSON *e = s->child; e; e = e->next)
        if (cJSON_IsObject(e))
            return er_fail(ER_EUNSUPPORTED, "%s: %s.%s: rotary settings per kind of layer are not supported",
                name, key, e->string);
    if (s->child) *out = s;
    return ER_OK;
}

static er_status read_dims(
    er_rope_config *r, double part, const cJSON *config, const char *name, const er_arch *a) {
    er_status rc = ER_OK;
    const er_family *f = a->row;
    uint64_t dims = f->default_rope_dims;
    r->dims = a->head_dim;
    if (f->rope_part) {
        if (!(part > 0 && part <= 1)) ER_FAIL(ER_EFORMAT, "%s: %s is %g", name, f->rope_part, part);
        r->dims = (size_t)((double)a->head_dim * part);
    } else if (part != 1)
        ER_FAIL(
            ER_EUNSUPPORTED, "%s: partial_rotary_factor %g: a %s rotates whole heads", name, part, f->type);
    if (f->rope_dims) {
        if (cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(config, f->rope_dims)))
            ER_FAIL(ER_EUNSUPPORTED, "%s: %s is null: positions as wide as the model are not supported", name,
                f->rope_dims);
        ER_TRY(er_json_get_u64(&dims, config, f->rope_dims, name));
        if (dims > a->head_dim)
            ER_FAIL(ER_EFORMAT, "%s: %s is %llu, a head has %zu dimensions", name, f->rope_dims,
                (unsigned long long)dims, a->head_dim);
        r->dims = (size_t)dims;
    }
    if (!r->dims || r->dims % 2)
        ER_FAIL(ER_EFORMAT, "%s: %zu rotary dimensions; an even number is needed", name, r->dims);
out:
    return rc;
}

// A number that may stand at the top of the file, under `top`, and within the settings `s`, under `key`.
// transformers 5 reads the d_ff one, 4 only the outer, so both must be the same; and within rope_scaling,
// which both versions know, it must be what 4 goes by without it.
static er_status read_twice(
    double *out, const cJSON *config, const char *top, const cJSON *s, const char *key, const char *name) {
    er_status rc = ER_OK;
    double outer = *out, d_ff;
    const cJSON *above = cJSON_GetObjectItemCaseSensitive(config, top);
    bool stands = above && !cJSON_IsNull(above);
    ER_TRY(er_json_get_f64(&outer, config, top, name));
    d_ff = outer;
    if (s) ER_TRY(er_json_get_f64(&d_ff, s, key, name));
    if (d_ff < outer || d_ff > outer) {
        if (stands)
            ER_FAIL(ER_EFORMAT,
                "%s: %s is %.17g but %s.%s is %.17g: transformers 4 reads the first, 5 the second", name, top,
                outer, s->string, key, d_ff);
        if (!strcmp(s->string, "rope_scaling"))
            ER_FAIL(ER_EFORMAT,
                "%s: rope_scaling.%s is %.17g and no %s stands beside it: transformers 4 takes %.17g, 5 what "
                "rope_scaling says",
                name, key, d_ff, top, outer);
    }
    *out = d_ff;
out:
    return rc;
}

// "type" is the spelling before 4.43.
static er_status read_type(const char **out, const cJSON *s, const char *name) {
    er_status rc = ER_OK;
    const char *older = NULL;
    ER_TRY(er_json_get_str(&older, s, "type", name));
    *out = older;
    ER_TRY(er_json_get_str(out, s, "rope_type", name));
    bool su = older && !strcmp(older, "su") && !strcmp(*out, "longrope");  // its first name
    if (older && strcmp(older, *out) != 0 && !su)
        ER_FAIL(ER_EFORMAT, "%s: %s.type is '%.40s' but %s.rope_type is '%.40s'", name, s->string, older,
            s->string, *out);
out:
    return rc;
}

static er_status read_settings(
    er_rope_config *out, const cJSON *s, const cJSON *config, const char *name, const er_arch *a) {
    er_status rc = ER_OK;
    const er_family *f = a->row;
    const char *type = NULL;
    double part = f->rope_part ? f->default_rope_part : 1;
    er_rope_config r = {.style = f->rope, .base = f->default_rope_base, .factor = 1, .attention = 1};
    ER_TRY(read_twice(&r.base, config, f->rope_base ? f->rope_base : "rope_theta", s, "rope_theta", name));
    ER_TRY(read_twice(&part, config, f->rope_part ? f->rope_part : "partial_rotary_factor", s,
        "partial_rotary_factor", name));
    if (s) ER_TRY(read_type(&type, s, name));
    if (!(r.base > 1)) ER_FAIL(ER_EFORMAT, "%s: rope_theta is %g", name, r.base);
    ER_TRY(read_dims(&r, part, config, name, a));
    if (type) ER_TRY(read_scaling(&r, type, s, config, name, a));
    *out = r;
out:
    return rc;
}

static bool same(double x, double y) { return !(x < y) && !(x > y); }

static bool agree(const er_rope_config *a, const er_rope_config *b) {
    for (size_t i = 0; a->scaling == ER_ROPE_LONG && i < a->dims / 2; i++)
        if (!same((double)a->short_factor[i], (double)b->short_factor[i])) return false;
    return a->dims == b->dims && a->scaling == b->scaling && a->whole_pairs == b->whole_pairs &&
           same(a->base, b->base) && same(a->factor, b->factor) && same(a->attention, b->attention) &&
           same(a->low_freq_factor, b->low_freq_factor) && same(a->high_freq_factor, b->high_freq_factor) &&
           same(a->original_positions, b->original_positions) && same(a->beta_fast, b->beta_fast) &&
           same(a->beta_slow, b->beta_slow);
}

// v5 writes rope_parameters and lets a rope_scaling replace them, v4 knows rope_scaling alone, with the base
// beside it. Both in one file are one meaning only if either alone gives the same rotation.
er_status er_rope_read(er_rope_config *out, const cJSON *config, const char *name, const er_arch *a) {
    er_status rc = ER_OK;
    const cJSON *v4, *v5;
    er_rope_config other;
    ER_TRY(find_settings(&v5, config, "rope_parameters", name));
    ER_TRY(find_settings(&v4, config, "rope_scaling", name));
    ER_TRY(read_settings(out, v5 ? v5 : v4, config, name, a));
    if (!v4 || !v5) goto out;
    ER_TRY(read_settings(&other, v4, config, name, a));
    if (!agree(out, &other))
        ER_FAIL(ER_EFORMAT,
            "%s: rope_parameters and rope_scaling disagree: keep the one that is meant (rope_theta stands "
            "beside a lone rope_scaling)",
            name);
out:
    return rc;
}
