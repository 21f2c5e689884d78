// Settings files that were not made for this job: another method's, another model's, or nobody's.
#include "engine/cli/terminal.h"
#include "engine/editors/editor.h"
#include "engine/hparams.h"
#include "engine/hparams/fields_internal.h"
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

static er_status use(er_hparams *h, const char *name, const char *text) {
    OK(er_hparams_resolve(h, &arch, "default"));
    er_status rc = er_hparams_merge_file(h, put_text(name, text), er_editor_settings_at);
    return rc == ER_OK ? er_hparams_check(h, &arch) : rc;
}

// What is printed on stderr while `text` is read, in a buffer that the next call overwrites.
static const char *warnings(const char *name, const char *text) {
    static char said[4096];
    er_hparams h;
    const char *path = in_scratch("stderr");
    int kept = dup(2);
    er_log_set_level(ER_LOG_WARN);
    assert_non_null(freopen(path, "w", stderr));
    er_status rc = use(&h, name, text);
    (void)fflush(stderr);
    (void)dup2(kept, 2);
    close(kept);
    er_log_set_level(ER_LOG_QUIET);
    FILE *f = fopen(path, "r");
    said[fread(said, 1, sizeof said - 1, f)] = '\0';
    (void)fclose(f);
    if (rc != ER_OK) fail_msg("%s", er_last_error());
    return said;
}

#define COMMON "\"layers\":[4,5,6,7,8],\"v_num_grad_steps\":25,\"v_lr\":0.1,\"kl_factor\":0.0625"

// The keys of the methods' own published files, none of which has an alg_name.
static void test_methods(void **state) {
    (void)state;
    static const char *const files[][2] = {
        {"{" COMMON
         ",\"mom2_adjustment\":true,\"mom2_update_weight\":15000,\"nullspace_threshold\":0.02,\"L2\":10}",
            "AlphaEdit"},
        {"{" COMMON ",\"mom2_update_weight\":15000,\"L2\":1}", "AlphaEdit"},
        {"{" COMMON ",\"mom2_adjustment\":true,\"mom2_update_weight\":1000,\"update_norm_lambda\":0,"
         "\"emmet_lambda\":0.1}",
            "EMMET"},
        {"{" COMMON ",\"mom2_adjustment\":true}", "ROME"},
        {"{" COMMON ",\"mom2_adjustment\":true,\"context_template_length_params\":[[5,10],[10,10]]}", "ROME"},
        {"{" COMMON ",\"mom2_update_weight\":15000,\"rewrite_module_tmps\":[\"a\"],\"nll_loss_factor\":1}",
            "PMET"},
        {"{\"layers\":[0],\"num_steps\":25,\"lr\":5e-4,\"weight_decay\":0,\"norm_constraint\":1e-4}", "FT"},
        {"{\"lr_scale\":1.0,\"n_toks\":1,\"refine\":false}", "KN"},
        {"{\"lr_scale\":1.0,\"edit_lr\":1e-4,\"mlp_class\":\"IDMLP\"}", "MEND"},
        {"{\"edit_lr\":1.0,\"n_iter\":100,\"eps\":1.0,\"dist_fn\":\"euc\",\"val_init\":\"cold\"}", "GRACE"},
        {"{\"mask_ratio\":0.2,\"edit_lr\":1.0,\"act_margin\":[5,20,10]}", "WISE"},
        {"{\"lora_type\":\"adalora\",\"layers\":[],\"rank\":8,\"target_modules\":[\"q_proj\"]}", "LoRA"},
        {"{\"sentence_model_name\":\"x\",\"k\":16}", "IKE"},
        {"{\"name\":\"x\",\"name_or_path\":\"y\",\"class_name\":\"AutoModelForCausalLM\",\"half\":false}",
            "UltraEdit"},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        er_hparams h;
        FAILS(use(&h, "m.json", files[i][0]), ER_ECONFIG, files[i][1]);
        assert_non_null(strstr(er_last_error(), "another method than MEMIT"));
        assert_non_null(strstr(er_last_error(), "m.json: '"));
        FAILS(use(&h, "m.yaml", files[i][0]), ER_ECONFIG, files[i][1]);  // flow YAML is a superset here
    }
    // MEMIT's own file has no alg_name either; and the file's own word counts.
    er_hparams h;
    OK(use(&h, "memit.json", "{" COMMON ",\"mom2_adjustment\":true,\"mom2_update_weight\":15000}"));
    NEAR(h.lambda, 15000, 0);
    OK(use(&h, "said.json", "{\"alg_name\":\"MEMIT\"," COMMON ",\"mom2_update_weight\":15000,\"L2\":10}"));
}

static void test_nothing_applies(void **state) {
    (void)state;
    er_hparams h;
    FAILS(use(&h, "e.json", "{}"), ER_ECONFIG, "e.json: holds no settings");
    FAILS(use(&h, "c.json", "{\"model_type\":\"gpt2\",\"architectures\":[\"x\"]}"), ER_ECONFIG,
        "c.json: nothing in it applies: 'model_type'");
    FAILS(use(&h, "n.yaml", "model_name: x\ndevice: 0\n"), ER_ECONFIG, "n.yaml: nothing in it applies");
    FAILS(use(&h, "t.yaml", "v_num_grad_step: 3\n"), ER_ECONFIG,
        "t.yaml: nothing in it applies; 'v_num_grad_steps' may be meant by 'v_num_grad_step'");
    FAILS(use(&h, "t.yaml", "{\"alg_name\": \"MEMIT\", \"v_lr\": 1, \"v_lr\": 2}"), ER_ECONFIG, "twice");
}

static void test_slips(void **state) {
    (void)state;
    const char *said = warnings("s.yaml", "v_lr: 0.5\nv_num_grad_step: 3\nklfactor: 1\nlayer: [3]\nqqq: 1\n");
    assert_non_null(
        strstr(said, "'v_num_grad_step' is not known and has no effect; 'v_num_grad_steps' may be"));
    assert_non_null(strstr(said, "'klfactor' is not known and has no effect; 'kl_factor' may be"));
    assert_non_null(strstr(said, "'layer' is not known and has no effect; 'layers' may be"));
    assert_non_null(strstr(said, "'qqq' is not known and has no effect\n"));
    assert_string_equal(warnings("s.yaml", "v_lr: 0.5\nkl_factor: 1\n"), "");
}

// What errata itself tells of its settings may be given back as it is.
static void test_told(void **state) {
    (void)state;
    er_hparams h, again;
    OK(er_hparams_resolve(&h, &arch, "reference"));
    h.seed = 7, h.lr = 0.25;
    cJSON *told = er_hparams_json(&h);
    char *text = cJSON_Print(told);
    assert_string_equal(warnings("told.json", text), "");
    OK(use(&again, "told.json", text));
    assert_int_equal(again.seed, 7);
    NEAR(again.lr, 0.25, 0);
    assert_int_equal(again.n_prefixes, h.n_prefixes);
    cJSON_Delete(told);
    free(text);
}

// Module names of another family: refused with both. This model's own, in any spelling: fine.
static void test_modules(void **state) {
    (void)state;
    er_hparams h;
    FAILS(use(&h, "j.json", "{\"v_lr\":0.5,\"rewrite_module_tmp\":\"transformer.h.{}.mlp.fc_out\"}"),
        ER_ECONFIG,
        "j.json: settings for another model: rewrite_module_tmp is \"transformer.h.{}.mlp.fc_out\", and this "
        "model's edited module is \"model.layers.{}.mlp.down_proj\"");
    FAILS(use(&h, "j.json", "{\"v_lr\":0.5,\"rewrite_module_tmp\":\"model.layers.{}.mlp.up_proj\"}"),
        ER_ECONFIG, "another model");
    FAILS(use(&h, "j.json", "{\"v_lr\":0.5,\"layer_module_tmp\":\"transformer.h.{}\"}"), ER_ECONFIG,
        "layer_module_tmp is \"transformer.h.{}\"");
    FAILS(use(&h, "j.json", "{\"v_lr\":0.5,\"mlp_module_tmp\":\"gpt_neox.layers.{}.mlp\"}"), ER_ECONFIG,
        "another model");
    OK(use(&h, "j.json",
        "{\"v_lr\":0.5,\"rewrite_module_tmp\":\"model.layers.{}.mlp.down_proj\",\"layer_module_tmp\":"
        "\"model.layers.{}\",\"mlp_module_tmp\":\"model.layers.{}.mlp\"}"));
    OK(use(&h, "j.json", "{\"v_lr\":0.5,\"rewrite_module_tmp\":\"layers.{}.mlp.down_proj\"}"));
}

static void test_names(void **state) {
    (void)state;
    static const struct {
        const char *name, *said;
    } all[] = {{"EleutherAI_gpt-j-6B", "family llama"}, {"gpt2-xl", "family llama"},
        {"./hugging_cache/Qwen2.5-7B", "family llama"}, {"meta-llama/Llama-2-13b-hf", "another size"},
        {"meta-llama/Llama-2-70b-hf/", "another size"}, {"facebook/opt-6.7b", "family llama"},
        {"meta-llama/Llama-2-7b-hf", ""}, {"./hugging_cache/llama-2-7b", ""}, {"lmsys/vicuna-7b-v1.5", ""},
        {"X", ""}, {"my-optimised-model", ""}, {"/data/2023/checkpoint-7000", ""}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char text[256];
        (void)snprintf(text, sizeof text, "v_lr: 0.5\nmodel_name: \"%s\"\n", all[i].name);
        const char *said = warnings("n.yaml", text);
        if (all[i].said[0] ? !strstr(said, all[i].said) : said[0] != '\0')
            fail_msg("model_name %s: '%s' was said, '%s' was expected", all[i].name, said, all[i].said);
    }
}

// A refusal names whoever gave the value.
static void test_origins(void **state) {
    (void)state;
    er_hparams h;
    FAILS(use(&h, "deep.json", "{\"layers\":[4,40]}"), ER_ECONFIG,
        "deep.json: layer 40: the model has layers 0 to 31");
    FAILS(use(&h, "desc.json", "{\"layers\":[5,4]}"), ER_ECONFIG, "desc.json: layers must ascend: 4 after 5");
    FAILS(use(&h, "none.json", "{\"layers\":[]}"), ER_ECONFIG, "none.json: no layers to edit");
    FAILS(use(&h, "lr.yaml", "v_lr: 0\n"), ER_ECONFIG, "lr.yaml: v_lr 0 is not above 0");
    OK(use(&h, "lr.yaml", "v_lr: 0.5\n"));
    OK(er_hparams_set_layers(&h, "40"));
    FAILS(er_hparams_check(&h, &arch), ER_ECONFIG, "--layers: layer 40: the model has layers 0 to 31");
    OK(er_hparams_resolve(&h, &arch, "default"));
    h.layers[h.n_layers - 1] = 99;
    FAILS(er_hparams_check(&h, &arch), ER_ECONFIG, "preset Llama-2-7B: layer 99");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_methods), cmocka_unit_test(test_nothing_applies),
        cmocka_unit_test(test_slips), cmocka_unit_test(test_told), cmocka_unit_test(test_modules),
        cmocka_unit_test(test_names), cmocka_unit_test(test_origins)};
    er_terminal_listen();
    er_log_set_level(ER_LOG_QUIET);
    return cmocka_run_group_tests(tests, begin, scratch_remove);
}
