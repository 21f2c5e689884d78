// Settings files over a preset: YAML and JSON give the same, and what means something else is refused in
// both.
#include "engine/editors/editor.h"
#include "engine/hparams.h"
#include "io/base/log.h"
#include "tests/io/scratch.h"

static const er_arch arch = {
    .family = "mistral", .layers = 32, .hidden = 4096, .d_ff = 14336, .vocab = 32768};

static er_hparams preset(void) {
    er_hparams h;
    OK(er_hparams_resolve(&h, &arch, "reference"));
    return h;
}
static er_status merge(er_hparams *h, const char *name, const char *text) {
    return er_hparams_merge_file(h, put_text(name, text), er_editor_settings_at);
}

static const char yaml[] = "# settings of a small run\n"
                           "alg_name: \"MEMIT\"\n"
                           "model_name: \"./models/mistral\"\n"
                           "stats_dir: \"./stats\"\n"
                           "device: 0\n"
                           "layers: [4, 5, 6, 7]\n"
                           "clamp_norm_factor: 0.75\n"
                           "layer_selection: \"all\"\n"
                           "fact_token: \"subject_last\"\n"
                           "v_num_grad_steps: 20\n"
                           "v_lr: 5e-1\n"
                           "v_loss_layer: 31\n"
                           "v_weight_decay: 1e-3\n"
                           "kl_factor: .0625\n"
                           "mom2_adjustment: True\n"
                           "mom2_update_weight: 20000\n"
                           "rewrite_module_tmp: \"model.layers.{}.mlp.down_proj\"\n"
                           "layer_module_tmp: 'model.layers.{}'\n"
                           "mlp_module_tmp: model.layers.{}.mlp\n"
                           "attn_module_tmp: model.layers.{}.self_attn\n"
                           "ln_f_module: model.norm\n"
                           "lm_head_module: lm_head\n"
                           "mom2_dataset: \"wikipedia\"\n"
                           "mom2_n_samples: 100000\n"
                           "mom2_dtype: \"float32\"\n"
                           "P_loc: \"./p\"\n"
                           "model_parallel: false\n";
static const char json[] =
    "{\"alg_name\":\"MEMIT\",\"model_name\":\"m\",\"layers\":[4,5,6,7],\"clamp_norm_factor\":0.75,"
    "\"layer_selection\":\"all\",\"fact_token\":\"subject_last\",\"v_num_grad_steps\":20,\"v_lr\":0.5,"
    "\"v_loss_layer\":31,\"v_weight_decay\":0.001,\"kl_factor\":0.0625,\"mom2_adjustment\":true,"
    "\"mom2_update_weight\":20000}";

static void test_same_as_json(void **state) {
    (void)state;
    er_hparams a = preset(), b = preset(), c = preset();
    OK(merge(&a, "s.yaml", yaml));
    OK(merge(&b, "s.json", json));
    OK(merge(&c, "s.YML", yaml));
    OK(er_hparams_check(&a, &arch));
    assert_int_equal(a.n_layers, 4);
    assert_int_equal(a.layers[0], 4);
    assert_int_equal(a.layers[3], 7);
    assert_int_equal(a.steps, 20);
    NEAR(a.lr, 0.5, 0);
    NEAR(a.clamp, 0.75, 0);
    NEAR(a.decay, 0.001, 0);
    NEAR(a.kl, 0.0625, 0);
    NEAR(a.lambda, 20000, 0);
    assert_string_equal(a.preset, "Mistral-7B + file");
    er_hparams all[] = {a, b, c};
    char *text[3];
    for (size_t i = 0; i < 3; i++) {
        cJSON *o = er_hparams_json(&all[i]);
        assert_non_null(text[i] = cJSON_Print(o));
        cJSON_Delete(o);
        assert_int_equal(all[i].loss_layer, 32);
    }
    assert_string_equal(text[0], text[1]);
    assert_string_equal(text[0], text[2]);
    for (size_t i = 0; i < 3; i++) free(text[i]);
}

// The same key and value in a file of either format, refused for the same reason; h stays as it was.
static void refused(const char *key, const char *value, const char *why) {
    for (int is_json = 0; is_json < 2; is_json++) {
        char text[256];
        er_hparams h = preset(), before = h;
        (void)snprintf(
            text, sizeof text, is_json ? "{\"v_lr\": 0.25, \"%s\": %s}" : "v_lr: 0.25\n%s: %s\n", key, value);
        FAILS(merge(&h, is_json ? "r.json" : "r.yaml", text), ER_ECONFIG, why);
        assert_non_null(strstr(er_last_error(), is_json ? "r.json: " : "r.yaml: "));
        assert_memory_equal(&h, &before, sizeof h);
    }
}

static void test_other_meanings(void **state) {
    (void)state;
    refused("alg_name", "\"ROME\"", "'alg_name' is \"ROME\": settings of another method than MEMIT");
    refused("alg_name", "\"PMET\"", "'alg_name' is \"PMET\"");
    refused("alg_name", "\"\"", "'alg_name' is \"\"");
    refused("alg_name", "5", "'alg_name' is not a string");
    refused("fact_token", "\"last\"", "'fact_token' is \"last\"");
    refused("mom2_adjustment", "false", "'mom2_adjustment' is false");
    refused("mom2_adjustment", "\"yes\"", "'mom2_adjustment' is not true or false");
    refused("layer_selection", "\"random\"", "'layer_selection' is \"random\"");
    refused("v_loss_layer", "\"last\"", "'v_loss_layer' is not an integer");
    refused("layers", "{\"a\": 1}", "'layers' is not an array");
    refused("layers", "[[4], 5]", "'layers' entry 0 is not a layer number");
    refused("layers", "[4, \"5\"]", "'layers' entry 1 is not a layer number");
    refused("v_num_grad_steps", "2.5", "'v_num_grad_steps' is not an integer");
    refused("kl_factor", "\"1e-3\"", "'kl_factor' is not a finite number");
    refused("key_per_prompt", "\"on\"", "'key_per_prompt' is not true or false");
    er_hparams h = preset();
    FAILS(merge(&h, "s.yaml", "v_lr: 1\nv_lr: 2\n"), ER_ECONFIG, "s.yaml: line 2: 'v_lr' occurs twice");
    FAILS(merge(&h, "s.yaml", "a: &a 1\n"), ER_ECONFIG, "s.yaml: line 1: an anchor");
    FAILS(merge(&h, "s.json", "v_lr: 1\n"), ER_ECONFIG, "s.json: byte ");
    FAILS(merge(&h, "s.json", "[1]"), ER_ECONFIG, "not a JSON object");
    FAILS(er_hparams_merge_file(&h, in_scratch("none.yml"), er_editor_settings_at), ER_ENOENT, "none.yml");
}

// The loss is taken at the output: the last layer's, or nothing said.
static void test_loss_layer(void **state) {
    (void)state;
    er_hparams h = preset();
    OK(er_hparams_check(&h, &arch));
    OK(merge(&h, "s.yaml", "v_loss_layer: 31\n"));
    OK(er_hparams_check(&h, &arch));
    OK(merge(&h, "t.yaml", "v_loss_layer: 27\n"));
    FAILS(er_hparams_check(&h, &arch), ER_ECONFIG,
        "t.yaml: v_loss_layer 27: the loss is taken at the model's output, behind layer 31");
}

// What is unknown, nested or not, and null, changes nothing.
static void test_without_effect(void **state) {
    (void)state;
    er_hparams h = preset(), before = h;
    before.lr = 0.25;
    er_hparams_mark(&before, "v_lr", ER_FROM_FILE);
    OK(merge(&h, "s.yaml",
        "context_lengths: [[5, 10], [10, 10]]\nextra: {a: {b: [1]}}\nv_lr: 0.25\nkl_factor: ~\nalg_name:\n"));
    (void)snprintf(before.preset, sizeof before.preset, "Mistral-7B + file");
    assert_string_equal(h.preset, before.preset);
    memcpy(before.preset, h.preset, sizeof h.preset);
    memcpy(before.file, h.file, sizeof h.file);
    assert_memory_equal(&h, &before, sizeof h);
}

// A lambda and a ratio exclude each other, and the later word counts.
static void test_ratio(void **state) {
    (void)state;
    er_hparams h = preset();
    NEAR(h.trace_ratio, 0, 0);
    OK(merge(&h, "a.yaml", "mom2_trace_ratio: 0.5\n"));
    NEAR(h.trace_ratio, 0.5, 0);
    OK(er_hparams_check(&h, &arch));
    OK(merge(&h, "b.json", "{\"mom2_update_weight\": 70}"));
    NEAR(h.trace_ratio, 0, 0);
    NEAR(h.lambda, 70, 0);
    FAILS(merge(&h, "c.yaml", "mom2_trace_ratio: 1\nmom2_update_weight: 70\n"), ER_ECONFIG,
        "c.yaml: 'mom2_update_weight' and 'mom2_trace_ratio' exclude each other");
    OK(merge(&h, "d.yaml", "mom2_trace_ratio: 1\nmom2_update_weight: ~\n"));
    NEAR(h.trace_ratio, 1, 0);
    OK(merge(&h, "e.yaml", "mom2_trace_ratio: -1\n"));
    FAILS(er_hparams_check(&h, &arch), ER_ECONFIG, "e.yaml: mom2_trace_ratio -1 must not be negative");
}

// A ratio of 0 leaves lambda to whoever gave one; a model without a preset has none to fall back on.
static void test_no_ratio(void **state) {
    (void)state;
    er_hparams h = preset();
    OK(merge(&h, "a.yaml", "mom2_trace_ratio: 0\n"));
    OK(er_hparams_check(&h, &arch));
    NEAR(h.lambda, 15000, 0);
    OK(merge(&h, "b.yaml", "mom2_trace_ratio: 0\nmom2_update_weight: 70\n"));
    OK(er_hparams_check(&h, &arch));
    NEAR(h.lambda, 70, 0);
    FAILS(merge(&h, "c.yaml", "mom2_trace_ratio: .inf\n"), ER_ECONFIG, "c.yaml");
    FAILS(merge(&h, "d.json", "{\"mom2_trace_ratio\": 1e999}"), ER_ECONFIG, "d.json");
    FAILS(merge(&h, "e.yaml", "mom2_trace_ratio: -1\nmom2_update_weight: 70\n"), ER_ECONFIG,
        "exclude each other");

    er_arch unknown = arch;
    unknown.d_ff = 100;
    OK(er_hparams_resolve(&h, &unknown, "reference"));
    OK(er_hparams_check(&h, &unknown));
    er_hparams guess = h;
    OK(merge(&h, "f.yaml", "mom2_trace_ratio: 0\n"));
    FAILS(er_hparams_check(&h, &unknown), ER_ECONFIG, "f.yaml: mom2_trace_ratio is 0, and without a preset");
    OK(merge(&h, "g.json", "{\"mom2_trace_ratio\": 0, \"mom2_update_weight\": 70}"));
    OK(er_hparams_check(&h, &unknown));
    NEAR(h.lambda, 70, 0);
    NEAR(h.trace_ratio, 0, 0);
    OK(merge(&guess, "h.json", "{\"mom2_update_weight\": 70}"));
    OK(merge(&guess, "i.json", "{\"mom2_trace_ratio\": 0}"));  // after a word of the caller's own
    OK(er_hparams_check(&guess, &unknown));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_as_json),
        cmocka_unit_test(test_other_meanings), cmocka_unit_test(test_loss_layer),
        cmocka_unit_test(test_without_effect), cmocka_unit_test(test_ratio), cmocka_unit_test(test_no_ratio)};
    er_log_set_level(ER_LOG_QUIET);
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
