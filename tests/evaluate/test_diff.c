// errata diff on checkpoints written by hand; the numbers are worked out by hand.
#include "engine/diff.h"

#include "tests/io/scratch.h"

typedef struct part {
    const char *name, *dtype;
    int rows, cols;
    const void *bytes;
    size_t len;
} part;

static const char *make_model(const char *name, const part *p, size_t n) {
    char header[2048], dir[512];
    size_t at = 0, offset = 0;
    at += (size_t)snprintf(header + at, sizeof header - at, "{");
    for (size_t i = 0; i < n; i++) {
        at += (size_t)snprintf(header + at, sizeof header - at,
            "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%d,%d],\"data_offsets\":[%zu,%zu]}", i ? "," : "",
            p[i].name, p[i].dtype, p[i].rows, p[i].cols, offset, offset + p[i].len);
        offset += p[i].len;
    }
    at += (size_t)snprintf(header + at, sizeof header - at, "}");
    (void)snprintf(dir, sizeof dir, "%s", in_scratch(name));
    assert_int_equal(mkdir(dir, 0700), 0);
    char path[600];
    (void)snprintf(path, sizeof path, "%s/config.json", dir);
    FILE *f = fopen(path, "wb");
    fputs("{}", f);
    fclose(f);
    (void)snprintf(path, sizeof path, "%s/model.safetensors", dir);
    f = fopen(path, "wb");
    uint64_t len = at;
    fwrite(&len, 8, 1, f);
    fwrite(header, 1, at, f);
    for (size_t i = 0; i < n; i++) fwrite(p[i].bytes, 1, p[i].len, f);
    fclose(f);
    return in_scratch(name);
}

static const er_diff_tensor *find(const er_diff *d, const char *name) {
    for (size_t i = 0; i < d->count; i++)
        if (strcmp(d->at[i].name, name) == 0) return &d->at[i];
    fail_msg("no %s", name);
    return NULL;
}

static void test_diff(void **state) {
    (void)state;
    static const float w[9] = {3, 0, 0, 0, 4, 0, 0, 0, 0}, moved[9] = {6, 0, 0, 0, 5, 0, 0, 0, -1};
    static const uint16_t h[2] = {0x3f80, 0x4000}, h2[2] = {0x3f80, 0x4040};  // bf16: 1 2 and 1 3
    static const uint8_t mask[2] = {1, 0}, mask2[2] = {0, 0};
    const part base[] = {{"model.layers.10.mlp.down_proj.weight", "F32", 3, 3, w, sizeof w},
        {"model.layers.2.mlp.down_proj.weight", "BF16", 1, 2, h, sizeof h},
        {"same", "F32", 3, 3, w, sizeof w}, {"mask", "BOOL", 1, 2, mask, 2}, {"gone", "BOOL", 1, 2, mask, 2},
        {"wide", "BF16", 1, 2, h, sizeof h}};
    const part edited[] = {{"same", "F32", 3, 3, w, sizeof w},
        {"model.layers.2.mlp.down_proj.weight", "BF16", 1, 2, h2, sizeof h2},
        {"model.layers.10.mlp.down_proj.weight", "F32", 3, 3, moved, sizeof moved},
        {"mask", "BOOL", 1, 2, mask2, 2}, {"new", "BOOL", 1, 2, mask, 2},
        {"wide", "BF16", 2, 1, h, sizeof h}};
    er_diff *d = NULL;
    const char *a = make_model("base", base, 6), *b = make_model("edited", edited, 6);
    OK(er_diff_run(&d, a, b, &(er_diff_options){.rank = true}));
    assert_int_equal(d->compared, 5);
    assert_int_equal(d->count, 6);
    const er_diff_tensor *t = find(d, "model.layers.10.mlp.down_proj.weight");
    assert_int_equal(t->layer, 10);
    NEAR(t->base_norm, 5, 1e-12);
    NEAR(t->norm, sqrt(11), 1e-12);
    NEAR(t->largest, 3, 0);
    assert_int_equal(t->changed, 3);
    NEAR(t->rank, 11.0 / 9, 1e-5);  // singular values 3, 1, 1
    t = find(d, "model.layers.2.mlp.down_proj.weight");
    NEAR(t->norm, 1, 0);
    NEAR(t->rank, 1, 1e-9);
    assert_ptr_equal(t, &d->at[4]);  // layers in order of number, what has none first
    assert_int_equal(d->at[5].layer, 10);
    assert_false(find(d, "mask")->measured);
    assert_int_equal(find(d, "gone")->kind, ER_DIFF_ONLY_BASE);
    assert_int_equal(find(d, "new")->kind, ER_DIFF_ONLY_EDITED);
    assert_int_equal(find(d, "wide")->kind, ER_DIFF_RESHAPED);

    cJSON *j = NULL;
    OK(er_diff_json(&j, d));
    const cJSON *last = cJSON_GetArrayItem(cJSON_GetObjectItem(j, "changed"), 5);
    NEAR(cJSON_GetObjectItem(last, "relative")->valuedouble, sqrt(11) / 5, 1e-12);
    NEAR(cJSON_GetObjectItem(last, "stable_rank")->valuedouble, 11.0 / 9, 1e-5);
    cJSON_Delete(j);
    char *text = NULL;
    size_t n = 0;
    FILE *to = open_memstream(&text, &n);
    er_diff_print_table(to, d);
    fclose(to);
    assert_non_null(strstr(text, "4 of 5 common tensors differ, 1 only in base, 1 only in edited\n"));
    free(text);
    er_diff_free(d);
}

static void test_same(void **state) {
    (void)state;
    static const float w[2] = {1, 2};
    const part p[] = {{"w", "F32", 1, 2, w, sizeof w}};
    er_diff *d = NULL;
    const char *a = make_model("one", p, 1);
    OK(er_diff_run(&d, a, a, NULL));
    assert_int_equal(d->count, 0);
    assert_int_equal(d->compared, 1);
    er_diff_free(d);
    FAILS(er_diff_run(&d, a, "/nonexistent/model", NULL), ER_ENOENT, "/nonexistent/model");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_diff), cmocka_unit_test(test_same)};
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
