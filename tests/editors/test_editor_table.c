// Every editor of the table: found by both names, its own numbers read, refused and told by its keys.
#include "engine/editors/editor.h"
#include "io/base/log.h"
#include "tests/io/scratch.h"

static er_arch arch;

static int begin(void **state) {
    static const char config[] =
        "{\"model_type\":\"llama\",\"hidden_size\":4096,\"intermediate_size\":11008,\"num_hidden_layers\":32,"
        "\"num_attention_heads\":32,\"vocab_size\":32000,\"max_position_embeddings\":4096,"
        "\"rms_norm_eps\":1e-5,\"tie_word_embeddings\":false}";
    OK(er_arch_parse(&arch, config, sizeof config - 1, "config.json"));
    return scratch_make(state);
}

static void test_names(void **state) {
    (void)state;
    er_hparams h;
    OK(er_hparams_resolve(&h, &arch, "default"));
    assert_string_equal(h.editor.name, er_editor_at(0)->name);  // the default of both is one
    for (size_t i = 0; er_editor_at(i); i++) {
        const er_editor *e = er_editor_at(i);
        assert_ptr_equal(er_editor_find(e->name), e);
        assert_ptr_equal(er_editor_find(e->alg_name), e);
        OK(er_hparams_set_editor(&h, e->alg_name, er_editor_settings_at));
        assert_string_equal(h.editor.name, e->name);
        for (size_t k = 0; k < e->n_fields; k++) NEAR(h.own[k], e->fields[k].initial, 0);
        if (e->check) OK(e->check(&h));  // what it has at first is valid
    }
    FAILS(er_hparams_set_editor(&h, "rome", er_editor_settings_at), ER_EARG, "memit, memit_seq");
}

// A preset may have a number of an editor's own: SmolLM2's has EMMET's under the default profile.
static void test_preset(void **state) {
    (void)state;
    static const char config[] =
        "{\"model_type\":\"llama\",\"hidden_size\":576,\"intermediate_size\":1536,\"num_hidden_layers\":30,"
        "\"num_attention_heads\":9,\"num_key_value_heads\":3,\"vocab_size\":49152,\"rope_theta\":100000,"
        "\"max_position_embeddings\":8192,\"rms_norm_eps\":1e-5,\"tie_word_embeddings\":true}";
    er_arch smol;
    er_hparams h;
    OK(er_arch_parse(&smol, config, sizeof config - 1, "config.json"));
    OK(er_hparams_resolve(&h, &smol, "default"));
    OK(er_hparams_set_editor(&h, "emmet", er_editor_settings_at));
    assert_string_equal(h.editor.fields[0].key, "emmet_lambda");
    NEAR(h.own[0], 1, 0);
    OK(er_hparams_resolve(&h, &smol, "reference"));
    OK(er_hparams_set_editor(&h, "emmet", er_editor_settings_at));
    NEAR(h.own[0], h.editor.fields[0].initial, 0);
}

// Each own number comes from the file under its key, is told under it, and is an idle key for the next
// editor.
static void test_fields(void **state) {
    (void)state;
    size_t seen = 0;
    for (size_t i = 0; er_editor_at(i); i++) {
        const er_editor *e = er_editor_at(i);
        for (size_t k = 0; k < e->n_fields; k++, seen++) {
            char text[256];
            er_hparams h;
            OK(er_hparams_resolve(&h, &arch, "default"));
            (void)snprintf(
                text, sizeof text, "{\"alg_name\":\"%s\",\"%s\":0.625}", e->alg_name, e->fields[k].key);
            OK(er_hparams_merge_file(&h, put_text("own.json", text), er_editor_settings_at));
            NEAR(h.own[k], 0.625, 0);
            assert_true(er_hparams_is_given(&h, e->fields[k].key));
            FAILS(er_hparams_refuse(&h, e->fields[k].key, "no"), ER_ECONFIG, "own.json: no");
            cJSON *told = er_hparams_json(&h);
            assert_string_equal(
                cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(told, "alg_name")), e->alg_name);
            NEAR(cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(told, e->fields[k].key)), 0.625, 0);
            cJSON_Delete(told);
            // Without the name the file is another method's.
            (void)snprintf(text, sizeof text, "{\"v_lr\":0.5,\"%s\":0.625}", e->fields[k].key);
            OK(er_hparams_resolve(&h, &arch, "default"));
            FAILS(er_hparams_merge_file(&h, put_text("bare.json", text), er_editor_settings_at), ER_ECONFIG,
                "another method than MEMIT");
            (void)snprintf(
                text, sizeof text, "{\"alg_name\":\"%s\",\"%s\":\"x\"}", e->alg_name, e->fields[k].key);
            FAILS(er_hparams_merge_file(&h, put_text("word.json", text), er_editor_settings_at), ER_ECONFIG,
                e->fields[k].key);
        }
    }
    assert_true(seen >= 4);
}

static bool crowded(er_editor_settings *out, size_t i) {
    static const er_field fields[ER_OWN_FIELDS + 1] = {{"a", 1}};
    *out = (er_editor_settings){"crowded", "Crowded", fields, ER_OWN_FIELDS + 1};
    return i == 0;
}

static void test_too_many_fields(void **state) {
    (void)state;
    er_hparams h;
    OK(er_hparams_resolve(&h, &arch, "default"));
    FAILS(er_hparams_set_editor(&h, "crowded", crowded), ER_EARG, "has 9 fields, at most 8");
    assert_string_equal(h.editor.name, "memit");
}

int main(void) {
    er_log_set_level(ER_LOG_QUIET);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names), cmocka_unit_test(test_preset),
        cmocka_unit_test(test_fields), cmocka_unit_test(test_too_many_fields)};
    return cmocka_run_group_tests(tests, begin, scratch_remove);
}
