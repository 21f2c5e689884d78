// A model whose branches are multiplied by r before they join the residual stream, held divided by r, against
// the plain way: the same model without the multiplier, r taken into the stored weights of both branches.
// With r a power of two the products are the same to the bit.
#include "engine/targets.h"

#include "tests/io/scratch.h"
#include "tests/support/letter_requests.h"

#define R 0.25f
enum { MOST = 32, HIDDEN = 24, STEPS = 8 };

typedef struct kept {
    float z[MOST][HIDDEN], loss[MOST][STEPS], z0_norm[MOST], delta_norm[MOST];
    size_t n_loss[MOST];
} kept;

static er_status keep(void *ctx, size_t request, const er_target_z *v) {
    kept *k = ctx;
    assert_true(request < MOST && v->n_loss <= STEPS);
    memcpy(k->z[request], v->z, sizeof k->z[request]);
    memcpy(k->loss[request], v->loss, v->n_loss * sizeof(float));
    k->n_loss[request] = v->n_loss;
    k->z0_norm[request] = v->z0_norm, k->delta_norm[request] = v->delta_norm;
    return ER_OK;
}

// granite_tied's config.json with another residual_multiplier, and without what would make gradients small.
static void put_config(const char *folder, const char *multiplier) {
    const char *const change[][2] = {{"\"residual_multiplier\": 0.22", multiplier},
        {"\"embedding_multiplier\": 12.0", "\"embedding_multiplier\": 1.0"},
        {"\"logits_scaling\": 8.0", "\"logits_scaling\": 0.5"}};
    char *text = NULL, out[4096], name[64];
    size_t len = 0;
    OK(er_file_read(&text, &len, TEST_DATA "/golden/models/granite_tied/config.json", 2000));
    (void)snprintf(out, sizeof out, "%s", text);
    free(text);
    for (size_t i = 0; i < sizeof change / sizeof change[0]; i++) {
        char *at = strstr(out, change[i][0]), rest[4096];
        assert_non_null(at);
        (void)snprintf(rest, sizeof rest, "%s", at + strlen(change[i][0]));
        (void)snprintf(at, sizeof out - (size_t)(at - out), "%s%s", change[i][1], rest);
    }
    (void)snprintf(name, sizeof name, "%s/config.json", folder);
    (void)put_text(name, out);
}

// granite_tied with another multiplier, and with `scale` in the last matrix of either branch.
static const char *make(const char *folder, const char *multiplier, float scale) {
    er_checkpoint *c = NULL;
    char *bytes = NULL, name[64];
    size_t len = 0, scaled = 0;
    OK(er_mkdirs(in_scratch(folder)));
    put_config(folder, multiplier);
    OK(er_checkpoint_open(&c, TEST_DATA "/golden/models/granite_tied"));
    OK(er_file_read(&bytes, &len, TEST_DATA "/golden/models/granite_tied/model.safetensors", 1 << 20));
    for (size_t i = 0; i < er_checkpoint_count(c); i++) {
        const er_tensor *t = er_checkpoint_at(c, i);
        if (!strstr(t->name, "o_proj") && !strstr(t->name, "down_proj")) continue;
        float *w = calloc(t->elements, sizeof *w);
        assert_non_null(w);
        OK(er_checkpoint_read_f32(c, t, w));
        for (uint64_t j = 0; j < t->elements; j++) w[j] *= scale;
        er_from_f32(bytes + t->offset, w, t->dtype, t->elements);
        free(w);
        scaled++;
    }
    assert_int_equal(scaled, 6);
    (void)snprintf(name, sizeof name, "%s/model.safetensors", folder);
    (void)put_bytes(name, bytes, len);
    free(bytes);
    er_checkpoint_free(c);
    return in_scratch(folder);
}

static size_t optimise(kept *k, const char *dir, float *scale) {
    lettered x;
    er_targets_stats stats;
    er_targets_options o = {.batch_tokens = 64};
    lettered_open_folder(&x, dir, true, letter_facts);
    *scale = x.m->arch.residual_scale;
    OK(er_targets_optimise(&stats, x.m, x.requests, &x.h, &o, keep, k));
    size_t n = x.requests->count;
    lettered_close(&x);
    return n;
}

static void divided_is_plain(void **state) {
    (void)state;
    static kept held, plain;
    float r, one;
    size_t n = optimise(&held, make("held", "\"residual_multiplier\": 0.25", 1), &r);
    assert_int_equal(optimise(&plain, make("plain", "\"residual_multiplier\": 1.0", R), &one), n);
    assert_true(r == R && one == 1.0f);
    for (size_t u = 0; u < n; u++) {
        double want[HIDDEN];
        for (size_t i = 0; i < HIDDEN; i++) want[i] = (double)(plain.z[u][i] / R);
        BELOW(test_rel_error(held.z[u], want, HIDDEN), 1e-3);  // Adam adds 1e-8 to gradients r times as large
        assert_int_equal(held.n_loss[u], plain.n_loss[u]);
        for (size_t i = 0; i < held.n_loss[u]; i++)
            NEAR(held.loss[u][i], (double)plain.loss[u][i], 1e-4 * (1 + fabs((double)plain.loss[u][i])));
        NEAR(held.z0_norm[u] * R, (double)plain.z0_norm[u], 1e-5 * (double)plain.z0_norm[u]);
        assert_true(plain.delta_norm[u] > 0.1f);
        NEAR(held.delta_norm[u] * R, (double)plain.delta_norm[u],
            1e-3 * (double)(plain.delta_norm[u] + plain.z0_norm[u]));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(divided_is_plain)};
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
