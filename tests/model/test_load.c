// What loading verifies, on copies of golden checkpoints with a few bytes of their headers or config.json
// changed.
#include "tests/io/scratch.h"
#include "tests/model/golden.h"

#define EDITED "copy"

// Golden model `name` into SCRATCH/copy, with `from` replaced by `to` (same length) wherever it stands in the
// header.
static const char *copy_with(const char *name, const char *from, const char *to) {
    char path[512], *bytes = NULL;
    size_t len = 0, hits = 0;
    OK(er_mkdirs(in_scratch(EDITED)));
    (void)snprintf(path, sizeof path, "%s%s/config.json", GOLDEN_DIR, name);
    OK(er_file_read(&bytes, &len, path, 1 << 20));
    (void)put_bytes(EDITED "/config.json", bytes, len);
    free(bytes);
    (void)snprintf(path, sizeof path, "%s%s/model.safetensors", GOLDEN_DIR, name);
    OK(er_file_read(&bytes, &len, path, 1 << 20));
    size_t header = (size_t)(unsigned char)bytes[0] | (size_t)(unsigned char)bytes[1] << 8, n = strlen(from);
    assert_int_equal(n, strlen(to));
    for (size_t i = 8; n && i + n <= 8 + header; i++)
        if (!memcmp(bytes + i, from, n)) memcpy(bytes + i, to, n), hits++;
    if (n && !hits) fail_msg("'%s' is not in the header", from);
    (void)put_bytes(EDITED "/model.safetensors", bytes, len);
    free(bytes);
    return in_scratch(EDITED);
}

static void loads(const char *dir, bool check_only) {
    er_model *m = NULL;
    er_model_options o = {.check_only = check_only};
    OK(er_model_load(&m, check_only ? NULL : golden_dev, dir, &o));
    assert_true(check_only == (m->embed == NULL));
    er_model_free(m);
}

static void wrong_tensors(void **state) {
    (void)state;
    static const struct {
        const char *model, *from, *to;
        er_status code;
        const char *words;
    } cases[] = {
        {"llama_gqa", "1.mlp.down_proj", "1.mlp.down_prxj", ER_EFORMAT,
            "tensor 'model.layers.1.mlp.down_proj.weight' is missing"},
        {"llama_gqa", "model.embed_tokens", "model.embed_tokenz", ER_EFORMAT,
            "tensor 'model.embed_tokens.weight' is missing"},
        {"llama_gqa", "lm_head", "lm_haed", ER_EFORMAT, "tensor 'lm_head.weight' is missing"},
        {"llama_gqa", "[24,37]", "[37,24]", ER_EFORMAT,
            "tensor 'model.layers.0.mlp.down_proj.weight' is [37, 24], expected [24, 37]"},
        {"llama_gqa", "[20,24]", "[24,20]", ER_EFORMAT,
            "tensor 'model.layers.0.self_attn.k_proj.weight' is [24, 20], expected [20, 24]"},
        {"gpt2_prefixed", "h.2.mlp.c_fc.bias", "h.2.mlp.c_fx.bias", ER_EFORMAT,
            "'transformer.h.2.mlp.c_fc.bias' is missing"},
        {"gpt2_prefixed", "[24,72]", "[72,24]", ER_EFORMAT,
            "'transformer.h.0.attn.c_attn.weight' is [72, 24], expected [24, 72]"},
        {"gpt2_prefixed", "[40,24]", "[20,48]", ER_EFORMAT,
            "'transformer.wpe.weight' is [20, 48], expected [40, 24]"},
        {"gpt2_bare_f16", "\"F16\"", "\"I16\"", ER_EUNSUPPORTED, "is I16; F32, F16, BF16 and F64"},
        {"gpt2_bare_f16", "h.0.attn.masked_bias", "h.0.attn.maskad_bias", ER_EUNSUPPORTED,
            "tensor 'h.0.attn.maskad_bias' has no place"},
        {"gpt2_bare_f16", "\"F16\"", "\"F16\"", ER_OK, ""},
        {"gptj_f16", "lm_head.bias", "lm_head.bixs", ER_EFORMAT, "tensor 'lm_head.bias' is missing"},
        {"gptj_f16", "h.1.mlp.fc_out.bias", "h.1.mlp.fc_oxt.bias", ER_EFORMAT,
            "tensor 'transformer.h.1.mlp.fc_out.bias' is missing"},
        {"gptj_f16", "[24,96]", "[96,24]", ER_EFORMAT,
            "'transformer.h.0.mlp.fc_out.weight' is [96, 24], expected [24, 96]"},
        {"neox_parallel", "embed_out", "embed_oxt", ER_EFORMAT, "tensor 'embed_out.weight' is missing"},
        {"neox_parallel", "embed_out", "lm_head__", ER_EFORMAT, "tensor 'embed_out.weight' is missing"},
        {"neox_parallel", "[72,24]", "[24,72]", ER_EFORMAT,
            "'gpt_neox.layers.0.attention.query_key_value.weight' is [24, 72], expected [72, 24]"},
        {"neox_parallel", ".masked_bias", ".masked_bixs", ER_EUNSUPPORTED, "has no place in a gpt_neox"},
        {"opt_f16", "[42,24]", "[24,42]", ER_EFORMAT,
            "'model.decoder.embed_positions.weight' is [24, 42], expected [42, 24]"},
        {"phi3_window", "[62,24]", "[24,62]", ER_EFORMAT,
            "'model.layers.0.mlp.gate_up_proj.weight' is [24, 62], expected [62, 24]"},
        {"qwen2_gqa", "2.self_attn.v_proj.bias", "2.self_attn.o_proj.bias", ER_EFORMAT,
            "'model.layers.2.self_attn.v_proj.bias' is missing"},
        {"qwen3_tied_bias", "0.self_attn.k_norm", "0.self_attn.x_norm", ER_EFORMAT,
            "'model.layers.0.self_attn.k_norm.weight' is missing"},
        {"stablelm_normed", "k_layernorm.norms.1", "k_layernorm.norms.7", ER_EFORMAT,
            "tensor 'model.layers.0.self_attn.k_layernorm.norms.1.weight' is missing"},
        {"falcon_multi_query", "[40,24]", "[24,40]", ER_EFORMAT,
            "'transformer.h.0.self_attention.query_key_value.weight' is [24, 40], expected [40, 24]"},
        {"phi_f16", "lm_head.bias", "lm_head.bixs", ER_EFORMAT, "tensor 'lm_head.bias' is missing"},
        {"olmo_plain", "1.mlp.gate_proj.weight", "1.input_layernorm.bias", ER_EFORMAT,
            "gate_proj.weight' is missing"},
        {"gemma_head_alone", "lm_head", "lm_haed", ER_EFORMAT,
            "tensor 'model.embed_tokens.weight' is missing"},
        {"gemma_head_alone", "[101,20]", "[20,101]", ER_EFORMAT,
            "'lm_head.weight' is [20, 101], expected [101, 20]"},
        // Buffers of one family's old files in another's.
        {"gpt_neo_f16", "attention.masked_bias", "rotary_emb.sin_cached", ER_OK, ""},
        {"gpt_neo_f16", "attention.masked_bias", "rotary_emb.tan_cached", ER_EUNSUPPORTED, "has no place"},
        {"mistral_wide_heads", "[32,20]", "[20,32]", ER_EFORMAT,
            "'model.layers.0.self_attn.q_proj.weight' is [20, 32], expected [32, 20]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        er_model *m = NULL;
        const char *dir = copy_with(cases[i].model, cases[i].from, cases[i].to);
        if (cases[i].code == ER_OK) {
            loads(dir, false);
            loads(dir, true);
            continue;
        }
        FAILS(er_model_load(&m, golden_dev, dir, NULL), cases[i].code, cases[i].words);
        FAILS(er_model_load(&m, NULL, dir, &(er_model_options){.check_only = true}), cases[i].code,
            cases[i].words);
        assert_null(m);
    }
}

static void replace_config(const char *from, const char *to) {
    char *text = NULL, out[4096];
    size_t len = 0;
    OK(er_file_read(&text, &len, in_scratch(EDITED "/config.json"), 4000));
    char *at = strstr(text, from);
    if (!at) fail_msg("'%s' is not in config.json", from);
    (void)snprintf(out, sizeof out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    (void)put_text(EDITED "/config.json", out);
    free(text);
}

static void config_against_tensors(void **state) {
    (void)state;
    er_model *m = NULL;
    const char *dir = copy_with("llama_gqa", "", "");
    // A file with more layers than config.json counts would lose them silently.
    replace_config("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 2");
    FAILS(er_model_load(&m, golden_dev, dir, NULL), ER_EUNSUPPORTED, "'model.layers.2.");
    dir = copy_with("llama_gqa", "", "");
    replace_config("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4");
    FAILS(er_model_load(&m, golden_dev, dir, NULL), ER_EFORMAT,
        "'model.layers.3.input_layernorm.weight' is missing");
    dir = copy_with("llama_gqa", "", "");
    replace_config("\"vocab_size\": 139", "\"vocab_size\": 138, \"attention_bias\": true");
    FAILS(er_model_load(&m, golden_dev, dir, NULL), ER_EFORMAT,
        "'model.embed_tokens.weight' is [139, 24], expected [138, 24]");
    replace_config("\"vocab_size\": 138", "\"vocab_size\": 139");
    FAILS(er_model_load(&m, golden_dev, dir, NULL), ER_EFORMAT,
        "'model.layers.0.self_attn.q_proj.bias' is missing");
    // A tied head that is stored all the same: it must equal the embedding.
    dir = copy_with("llama_gqa", "", "");
    replace_config("\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
    FAILS(er_model_load(&m, golden_dev, dir, NULL), ER_EFORMAT,
        "'lm_head.weight' differs from 'model.embed_tokens.weight'");
    // An embedding under the head's name is one only where the two are tied.
    dir = copy_with("gemma_head_alone", "", "");
    loads(dir, true);
    replace_config("\"vocab_size\": 101", "\"vocab_size\": 101, \"tie_word_embeddings\": false");
    FAILS(er_model_load(&m, golden_dev, dir, NULL), ER_EFORMAT, "'model.embed_tokens.weight' is missing");
    FAILS(er_model_load(&m, golden_dev, in_scratch("nowhere"), NULL), ER_ENOENT, "nowhere");
}

static void downs(void **state) {
    (void)state;
    er_model *m = NULL;
    size_t edits[] = {1, 2};
    er_model_options o = {.editable = edits, .n_editable = 2};
    OK(er_model_load(&m, golden_dev, GOLDEN_DIR "llama_tied_bf16", &o));
    assert_string_equal(m->block[2].down_name, "model.layers.2.mlp.down_proj");
    assert_string_equal(m->block[2].down_tensor->name, "model.layers.2.mlp.down_proj.weight");
    assert_int_equal(m->block[2].down_tensor->dtype, ER_BF16);
    assert_ptr_equal(m->head, m->embed);
    assert_int_equal(m->eos, 2);
    // The stored form comes back to the bit.
    size_t bytes = (size_t)m->block[2].down_tensor->bytes;
    void *stored = keep_host(bytes), *held = keep_host(bytes);
    OK(er_checkpoint_read(m->checkpoint, m->block[2].down_tensor, stored));
    OK(golden_dev->op->weight_read(golden_dev, m->block[2].down, held));
    assert_memory_equal(stored, held, bytes);
    er_model_free(m);
    OK(er_model_load(&m, golden_dev, GOLDEN_DIR "gpt2_bare_f16", NULL));
    assert_string_equal(m->block[3].down_name, "h.3.mlp.c_proj");
    er_model_free(m);
    m = NULL;
    edits[1] = 4;
    FAILS(er_model_load(&m, golden_dev, GOLDEN_DIR "llama_tied_bf16", &o), ER_EARG,
        "layer 4: the model has layers 0 to 3");
    edits[1] = 0;
    FAILS(er_model_load(&m, golden_dev, GOLDEN_DIR "llama_bias_sharded", &o), ER_EUNSUPPORTED,
        "tensor 'model.layers.1.mlp.down_proj.weight' is F64");
    drop_all();
}

// With the tokenizer, on the bundled model.
static void whole_folder(void **state) {
    (void)state;
    er_model *m = NULL;
    er_model_options o = {.check_only = true};
    OK(er_model_open(&m, NULL, SOURCE_ROOT "/examples/world", &o));
    assert_non_null(m->tokenizer);
    assert_int_equal(er_tokenizer_vocab(m->tokenizer), m->arch.vocab);
    assert_int_equal(m->arch.d_ff, 1536);
    assert_int_equal(m->eos, 0);
    er_model_free(m);
    m = NULL;
    FAILS(er_model_open(&m, NULL, GOLDEN_DIR "llama_gqa", &o), ER_ENOENT, "tokenizer.json");
    assert_null(m);
}

// Held to the original context, whichever way it is opened.
static void longrope_ends(void **state) {
    (void)state;
    golden g;
    golden_open(&g, "phi3_longrope");
    assert_int_equal(g.m->arch.max_position_embeddings, 80);
    assert_int_equal(g.m->rope_positions, 20);
    er_run *r = golden_run(&g, 21, false);
    int32_t token[21] = {3}, start[2] = {0, 20};
    er_batch b = pack_rows(token, start, 1, NULL, NULL, NULL);
    OK(er_run_begin(r, &b, NULL));
    start[1] = 21;
    b = pack_rows(token, start, 1, NULL, NULL, NULL);
    FAILS(er_run_begin(r, &b, NULL), ER_EARG, "position 20; the model has 20");
    golden_close(&g);
    er_model *m = NULL;
    OK(er_model_load(&m, NULL, GOLDEN_DIR "phi3_longrope", &(er_model_options){.check_only = true}));
    assert_int_equal(m->rope_positions, 20);
    er_model_free(m);
}

static int setup(void **state) { return scratch_make(state) || golden_setup(state); }
static int teardown(void **state) { return scratch_remove(state) || golden_teardown(state); }

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_tensors),
        cmocka_unit_test(config_against_tensors),
        cmocka_unit_test(downs),
        cmocka_unit_test(longrope_ends),
        cmocka_unit_test(whole_folder),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
