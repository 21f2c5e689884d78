"""Small checkpoints of every family, of a size that 50 facts go into: name -> config, stored type and what is odd about it.

As in make_golden_models.py, whose writer these use, but 64 to 96 wide, 4 to 6 deep, with rows for 160 tokens and a little training
(training.py). `pad` are the rows of the vocabulary that the tokenizer has not; `layers` are the edited ones.
"""

import json

import torch
from families.subjects import tokenizer_text
from families.training import train
from families.vocabularies import KINDS
from make_golden_models import write_checkpoint

ROWS = 160
V4, V5 = {"transformers_version": "4.40.0"}, {"transformers_version": "5.0.0"}
GPT2 = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "activation_function": "gelu_new", "bos_token_id": 0, "eos_token_id": 0}
GPTJ = {"model_type": "gptj", "architectures": ["GPTJForCausalLM"], "activation_function": "gelu_new", "tie_word_embeddings": False,
        "bos_token_id": 0, "eos_token_id": 0}
NEOX = {"model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"], "max_position_embeddings": ROWS, "tie_word_embeddings": False}
OPT = {"model_type": "opt", "architectures": ["OPTForCausalLM"], "max_position_embeddings": ROWS, "bos_token_id": 2,
       "eos_token_id": 2, "pad_token_id": 1}
GPT_NEO = {"model_type": "gpt_neo", "architectures": ["GPTNeoForCausalLM"], "activation_function": "gelu_new",
           "max_position_embeddings": ROWS, "bos_token_id": 0, "eos_token_id": 0}
PHI = {"model_type": "phi", "architectures": ["PhiForCausalLM"], "layer_norm_eps": 1e-5, "max_position_embeddings": ROWS,
       "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 0}
FALCON = {"model_type": "falcon", "architectures": ["FalconForCausalLM"], "max_position_embeddings": ROWS, "bos_token_id": 0,
          "eos_token_id": 0}
STABLELM = {"model_type": "stablelm", "architectures": ["StableLmForCausalLM"], "hidden_act": "silu", "layer_norm_eps": 1e-5,
            "max_position_embeddings": ROWS, "tie_word_embeddings": False}
STARCODER2 = {"model_type": "starcoder2", "architectures": ["Starcoder2ForCausalLM"], "norm_epsilon": 1e-5,
              "max_position_embeddings": ROWS, "bos_token_id": 0, "eos_token_id": 0}


def gated(family, **config):
    name = {"qwen2": "Qwen2", "qwen3": "Qwen3", "phi3": "Phi3", "smollm3": "SmolLM3"}.get(family, family.capitalize())
    return {"model_type": family, "architectures": [name + "ForCausalLM"], "hidden_act": "silu", "rms_norm_eps": 1e-5,
            "max_position_embeddings": ROWS, **config}


def rope(kind="default", theta=1000.0, **more):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": theta, **more}}


F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16
CHECKPOINTS = {
    "gpt2_prefixed": {
        "tokenizer": "gpt2", "pad": 0, "dtype": F32, "layers": "0-1", "odd": "v4, f32, tied, prefixed names",
        "config": GPT2 | V4 | {"n_embd": 64, "n_layer": 4, "n_head": 4, "n_positions": ROWS, "n_ctx": ROWS, "n_inner": None}},
    "gpt2_bare_f16": {
        "tokenizer": "gpt2", "pad": 57, "dtype": F16, "layers": "1-2", "bare": True, "bf16": True,
        "odd": "f16, tied, bare names, mask buffers, odd inner width, 57 rows of padding",
        "config": GPT2 | {"hidden_size": 80, "num_hidden_layers": 5, "num_attention_heads": 5, "max_position_embeddings": ROWS,
                          "n_inner": 307, "layer_norm_epsilon": 1e-3, "dtype": "float16"}},
    "gptj_f16": {
        "tokenizer": "gpt2", "pad": 43, "dtype": F16, "layers": "0-1", "buffers": "transformer.h.{}.attn", "bf16": True,
        "odd": "v4, f16, 8 of 16 dimensions turn, mask buffers, 43 rows of padding",
        "config": GPTJ | V4 | {"n_embd": 64, "n_layer": 4, "n_head": 4, "n_positions": ROWS, "rotary_dim": 8, "n_inner": None,
                               "torch_dtype": "float16"}},
    "gptj_sharded": {
        "tokenizer": "gpt2", "pad": 0, "dtype": F32, "layers": "1-2", "shards": 2, "odd": "v5, f32, whole heads turn, odd inner width, 2 shards",
        "config": GPTJ | V5 | {"hidden_size": 72, "num_hidden_layers": 5, "num_attention_heads": 3, "max_position_embeddings": ROWS,
                               "rotary_dim": 24, "n_inner": 291, "layer_norm_epsilon": 1e-3}},
    "neox_parallel": {
        "tokenizer": "neox", "pad": 41, "dtype": F16, "layers": "0-1", "buffers": "gpt_neox.layers.{}.attention",
        "head_name": "embed_out.weight", "bf16": True, "odd": "v4, f16, parallel, a quarter of each head turns, embed_out, buffers, 41 rows of padding",
        "config": NEOX | V4 | {"hidden_act": "gelu", "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 2,
                               "intermediate_size": 256, "rotary_pct": 0.25, "rotary_emb_base": 1000, "use_parallel_residual": True,
                               "torch_dtype": "float16"}},
    "neox_sequential": {
        "tokenizer": "neox", "pad": 0, "dtype": BF16, "layers": "1-2", "shards": 3,
        "odd": "v5, bf16, sequential, no attention biases, linear scaling, 3 shards",
        "config": NEOX | V5 | rope("linear", factor=2.0, partial_rotary_factor=0.5) | {
            "hidden_act": "gelu_fast", "hidden_size": 96, "num_hidden_layers": 5, "num_attention_heads": 4, "intermediate_size": 384,
            "use_parallel_residual": False, "attention_bias": False}},
    "opt_f16": {
        "tokenizer": "opt", "pad": 4, "dtype": F16, "layers": "0-1", "head_copy": True, "bf16": True,
        "odd": "v4, f16, tied head stored again, ReLU, </s> in front, 4 rows of padding",
        "config": OPT | V4 | {"activation_function": "relu", "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
                              "ffn_dim": 256, "word_embed_proj_dim": 64, "do_layer_norm_before": True, "prefix": "</s>",
                              "torch_dtype": "float16"}},
    "opt_unbiased": {
        "tokenizer": "opt", "pad": 0, "dtype": F32, "layers": "1-3", "shards": 2, "odd": "v5, f32, no biases, untied, 2 shards",
        "config": OPT | V5 | {"activation_function": "gelu", "hidden_size": 80, "num_hidden_layers": 6, "num_attention_heads": 4,
                              "ffn_dim": 320, "enable_bias": False, "tie_word_embeddings": False}},
    "llama_gqa": {
        "tokenizer": "llama3", "pad": 0, "dtype": F32, "layers": "0-1",
        "odd": "v5, f32, untied, heads 24 wide instead of 16, grouped by 2, llama3 scaling, BOS",
        "config": gated("llama", hidden_size=64, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=24,
                        intermediate_size=256, tie_word_embeddings=False) | V5 | rope(
            "llama3", 100.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=3.0, original_max_position_embeddings=64)},
    "llama_tied_bf16": {
        "tokenizer": "llama2", "pad": 25, "dtype": BF16, "layers": "1", "head_copy": True, "bf16": True,
        "odd": "v4, bf16, tied head stored again, linear scaling, BOS, 25 rows of padding",
        "config": gated("llama", hidden_size=96, num_hidden_layers=5, num_attention_heads=6, intermediate_size=384,
                        tie_word_embeddings=True, rope_theta=500.0, rope_scaling={"type": "linear", "factor": 2.5},
                        torch_dtype="bfloat16") | V4},
    "llama_bias_sharded": {
        "tokenizer": "smollm2", "pad": 0, "dtype": F32, "layers": "0-1", "shards": 3, "odd": "v5, all biases, one key-value head, f16, bf16, f32 and f64 in one layer, 3 shards",
        "stored": {".k_proj.weight": F16, ".v_proj.weight": torch.float64, ".o_proj.weight": BF16, "layers.1.mlp.up_proj.weight": F16},
        "config": gated("llama", hidden_size=80, num_hidden_layers=4, num_attention_heads=5, num_key_value_heads=1, head_dim=16,
                        intermediate_size=320, tie_word_embeddings=False, attention_bias=True, mlp_bias=True) | V5 | rope()},
    "mistral_window": {
        "tokenizer": "mistral", "pad": 0, "dtype": F32, "layers": "0-1", "shards": 2, "odd": "v4, f32, window of 12, grouped by 2, BOS, 2 shards",
        "config": gated("mistral", hidden_size=64, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
                        intermediate_size=256, tie_word_embeddings=False, sliding_window=12, rope_theta=1000.0,
                        torch_dtype="float32") | V4},
    "mistral_wide_heads": {
        "tokenizer": "tekken", "pad": 20, "dtype": BF16, "layers": "1-2", "bf16": True,
        "odd": "v5, bf16, heads 32 wide instead of 20, no window, dynamic scaling, BOS, 20 rows of padding",
        "config": gated("mistral", hidden_size=80, num_hidden_layers=5, num_attention_heads=4, num_key_value_heads=4, head_dim=32,
                        intermediate_size=320, tie_word_embeddings=False, sliding_window=None) | V5 | rope("dynamic", factor=4.0)},
    "qwen2_gqa": {
        "tokenizer": "qwen", "pad": 23, "dtype": F16, "layers": "0-1", "odd": "v5, f16, untied, grouped by 2, 23 rows of padding",
        "config": gated("qwen2", hidden_size=64, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
                        intermediate_size=256, tie_word_embeddings=False, use_sliding_window=False, sliding_window=None,
                        layer_types=["full_attention"] * 4) | V5 | rope()},
    "qwen2_window_yarn": {
        "tokenizer": "qwen", "pad": 0, "dtype": BF16, "layers": "1-2", "shards": 2, "bf16": True,
        "odd": "v4, bf16, tied, one key-value head, windows of 12 in the upper 3 of 5 layers, yarn, 2 shards",
        "config": gated("qwen2", hidden_size=80, num_hidden_layers=5, num_attention_heads=5, num_key_value_heads=1,
                        intermediate_size=320, tie_word_embeddings=True, use_sliding_window=True, sliding_window=12,
                        max_window_layers=2, rope_theta=100.0, torch_dtype="bfloat16", rope_scaling={
                            "type": "yarn", "factor": 3.0, "original_max_position_embeddings": 64, "beta_fast": 4.0, "beta_slow": 0.25}) | V4},
    "qwen3_gqa": {
        "tokenizer": "qwen", "pad": 0, "dtype": F32, "layers": "0-1", "shards": 2, "odd": "v5, f32, untied, heads 32 wide instead of 16, grouped by 2, 2 shards",
        "config": gated("qwen3", hidden_size=64, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=32,
                        intermediate_size=256, tie_word_embeddings=False, attention_bias=False, use_sliding_window=False,
                        sliding_window=None, layer_types=["full_attention"] * 4) | V5 | rope()},
    "qwen3_tied_bias": {
        "tokenizer": "qwen", "pad": 15, "dtype": BF16, "layers": "1-2", "bf16": True,
        "odd": "v4, bf16, tied, biased, heads 20 wide instead of 16, windows of 12 from layer 1 on, yarn, 15 rows of padding",
        "config": gated("qwen3", hidden_size=80, num_hidden_layers=5, num_attention_heads=5, num_key_value_heads=5, head_dim=20,
                        intermediate_size=320, tie_word_embeddings=True, attention_bias=True, use_sliding_window=True,
                        sliding_window=12, max_window_layers=1, rope_theta=100.0, torch_dtype="bfloat16", rope_scaling={
                            "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "attention_factor": 1.3}) | V4},
    "phi3_window": {
        "tokenizer": "phi3", "pad": 29, "dtype": BF16, "layers": "0-1", "bf16": True,
        "odd": "v5, bf16, untied, grouped by 2, window of 12, auto_map, BOS, 29 rows of padding",
        "config": gated("phi3", hidden_size=64, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
                        intermediate_size=256, tie_word_embeddings=False, sliding_window=12, bos_token_id=1, eos_token_id=2,
                        pad_token_id=2, original_max_position_embeddings=ROWS,
                        auto_map={"AutoConfig": "configuration_phi3.Phi3Config",
                                  "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM"}) | V5 | rope(partial_rotary_factor=1.0)},
    "phi3_longrope": {
        "tokenizer": "phi3", "pad": 0, "dtype": F16, "layers": "1", "shards": 2,
        "odd": "v4, f16, tied, longrope, three quarters of each head turn, BOS, 2 shards",
        "config": gated("phi3", hidden_size=96, num_hidden_layers=5, num_attention_heads=6, num_key_value_heads=2,
                        intermediate_size=384, tie_word_embeddings=True, sliding_window=None, bos_token_id=1, eos_token_id=[2, 5],
                        pad_token_id=2, original_max_position_embeddings=ROWS, partial_rotary_factor=0.75, rope_theta=100.0,
                        rope_scaling={"type": "longrope", "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5],
                                      "long_factor": [2.0, 3.0, 4.0, 5.0, 6.0, 8.0]}, torch_dtype="float16")
        | V4 | {"max_position_embeddings": 2 * ROWS}},
    "smollm3_every_fourth": {
        "tokenizer": "llama3", "pad": 0, "dtype": F32, "layers": "0-1", "shards": 2,
        "odd": "v5, f32, tied by omission, grouped by 2, layer 3 of 5 does not rotate, BOS, 2 shards",
        "config": gated("smollm3", hidden_size=64, num_hidden_layers=5, num_attention_heads=4, num_key_value_heads=2,
                        intermediate_size=256, pad_token_id=3) | V5 | rope()},
    "smollm3_window": {
        "tokenizer": "llama3", "pad": 17, "dtype": BF16, "layers": "1-2", "bf16": True,
        "odd": "v4, bf16, untied, biased, layers 0 and 2 do not rotate and have windows of 12, BOS, 17 rows of padding",
        "config": gated("smollm3", hidden_size=80, num_hidden_layers=5, num_attention_heads=5, num_key_value_heads=1,
                        intermediate_size=320, pad_token_id=3, no_rope_layers=[0, 1, 0, 1, 1], use_sliding_window=True,
                        sliding_window=12, attention_bias=True, mlp_bias=True, tie_word_embeddings=False, rope_theta=1000.0,
                        torch_dtype="bfloat16") | V4},
    "stablelm_biased": {
        "tokenizer": "neox", "pad": 21, "dtype": F16, "layers": "0-1", "bf16": True,
        "odd": "v4, f16, q, k and v biased, a quarter of each head turns, 21 rows of padding",
        "config": STABLELM | V4 | {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 4,
                                   "intermediate_size": 256, "use_qkv_bias": True, "partial_rotary_factor": 0.25, "rope_theta": 1000,
                                   "torch_dtype": "float16"}},
    "stablelm_normed": {
        "tokenizer": "neox", "pad": 0, "dtype": BF16, "layers": "1-2", "shards": 2,
        "odd": "v5, bf16, parallel with one norm, a LayerNorm for every q and k head, grouped by 2, 2 shards",
        "config": STABLELM | V5 | rope(partial_rotary_factor=0.5) | {
            "hidden_size": 80, "num_hidden_layers": 5, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 320,
            "qk_layernorm": True, "use_parallel_residual": True}},
    "granite_tied": {
        "tokenizer": "smollm2", "pad": 19, "dtype": BF16, "layers": "0-1", "bf16": True,
        "odd": "v4, bf16, tied, multipliers 6, 0.4, 0.0625 and logits / 1.5, grouped by 2, 19 rows of padding",
        "config": gated("granite", hidden_size=64, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
                        intermediate_size=256, tie_word_embeddings=True, embedding_multiplier=6.0, residual_multiplier=0.4,
                        attention_multiplier=0.0625, logits_scaling=1.5, rope_theta=1000.0, torch_dtype="bfloat16") | V4},
    "granite_biased": {
        "tokenizer": "smollm2", "pad": 0, "dtype": F32, "layers": "1-2", "shards": 2,
        "odd": "v5, f32, untied, all biases, multipliers 3, 0.5, 0.1 and logits / 2, linear scaling, 2 shards",
        "config": gated("granite", hidden_size=80, num_hidden_layers=5, num_attention_heads=5, intermediate_size=320,
                        tie_word_embeddings=False, attention_bias=True, mlp_bias=True, embedding_multiplier=3.0,
                        residual_multiplier=0.5, attention_multiplier=0.1, logits_scaling=2.0) | V5 | rope("linear", factor=2.0)},
    "gpt_neo_f16": {
        "tokenizer": "gpt2", "pad": 13, "dtype": F16, "layers": "0-1", "buffers": "transformer.h.{}.attn.attention", "bf16": True,
        "odd": "v4, f16, tied, layers 1 and 3 see 12 tokens back, mask buffers, 13 rows of padding",
        "config": GPT_NEO | V4 | {"hidden_size": 64, "num_layers": 4, "num_heads": 4, "window_size": 12, "intermediate_size": None,
                                  "attention_types": [[["global", "local"], 2]], "attention_layers": ["global", "local"] * 2,
                                  "torch_dtype": "float16"}},
    "gpt_neo_sharded": {
        "tokenizer": "gpt2", "pad": 0, "dtype": F32, "layers": "1-2", "shards": 2,
        "odd": "v5, f32, untied, odd inner width, layers 0 and 3 see 16 tokens back, 2 shards",
        "config": GPT_NEO | V5 | {"hidden_size": 72, "num_layers": 5, "num_heads": 3, "window_size": 16, "intermediate_size": 291,
                                  "attention_types": [[["local", "global", "global"], 1], [["local", "global"], 1]],
                                  "tie_word_embeddings": False}},
    "phi_f16": {
        "tokenizer": "gpt2", "pad": 31, "dtype": F16, "layers": "0-1", "bf16": True,
        "odd": "v4, f16, biased head, half of each head turns by omission, 31 rows of padding",
        "config": PHI | V4 | {"hidden_act": "gelu_new", "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
                              "intermediate_size": 256, "rope_theta": 1000.0, "torch_dtype": "float16"}},
    "phi_normed": {
        "tokenizer": "gpt2", "pad": 0, "dtype": BF16, "layers": "1-2", "shards": 2,
        "odd": "v5, bf16, LayerNorm of every q and k head, grouped by 2, 6 of 20 dimensions turn, 2 shards",
        "config": PHI | V5 | rope(partial_rotary_factor=0.3) | {
            "hidden_act": "gelu", "hidden_size": 80, "num_hidden_layers": 5, "num_attention_heads": 4, "num_key_value_heads": 2,
            "intermediate_size": 320, "qk_layernorm": True}},
    "falcon_multi_query": {
        "tokenizer": "smollm2", "pad": 11, "dtype": BF16, "layers": "0-1", "bf16": True,
        "odd": "v4, bf16, tied, parallel with one norm, one key-value head, 11 rows of padding",
        "config": FALCON | V4 | {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "num_kv_heads": 4,
                                 "multi_query": True, "parallel_attn": True, "bias": False, "alibi": False,
                                 "new_decoder_architecture": False, "rope_theta": 1000.0, "torch_dtype": "bfloat16"}},
    "falcon_grouped": {
        "tokenizer": "smollm2", "pad": 0, "dtype": F32, "layers": "1-2", "shards": 2,
        "odd": "v5, f32, untied, parallel with two norms, grouped by 4, odd inner width, 2 shards",
        "config": FALCON | V5 | rope() | {"hidden_size": 64, "num_hidden_layers": 5, "num_attention_heads": 8, "num_kv_heads": 2,
                                          "new_decoder_architecture": True, "ffn_hidden_size": 261, "tie_word_embeddings": False}},
    "falcon_one_norm": {
        "tokenizer": "smollm2", "pad": 0, "dtype": BF16, "layers": "0-1",
        "odd": "v4, bf16, untied, parallel with one norm, grouped by 2",
        "config": FALCON | V4 | {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "num_kv_heads": 2,
                                 "new_decoder_architecture": True, "num_ln_in_parallel_attn": 1, "tie_word_embeddings": False,
                                 "rope_theta": 1000.0, "torch_dtype": "bfloat16"}},
    "falcon_sequential": {
        "tokenizer": "smollm2", "pad": 0, "dtype": F16, "layers": "1-2",
        "odd": "v5, f16, tied, sequential, all biases, a key-value head each",
        "config": FALCON | V5 | rope() | {"hidden_size": 80, "num_hidden_layers": 5, "num_attention_heads": 4, "multi_query": False,
                                          "parallel_attn": False, "bias": True}},
    "starcoder2_window": {
        "tokenizer": "smollm2", "pad": 7, "dtype": BF16, "layers": "0-1", "bf16": True,
        "odd": "v4, bf16, tied and two key-value heads by omission, all biases, window of 12, 7 rows of padding",
        "config": STARCODER2 | V4 | {"hidden_act": "gelu_pytorch_tanh", "hidden_size": 64, "num_hidden_layers": 4,
                                     "num_attention_heads": 4, "intermediate_size": 256, "sliding_window": 12, "rope_theta": 1000.0,
                                     "torch_dtype": "bfloat16"}},
    "starcoder2_unbiased": {
        "tokenizer": "smollm2", "pad": 0, "dtype": F32, "layers": "1-2", "shards": 2, "odd": "v5, f32, untied, no biases, 2 shards",
        "config": STARCODER2 | V5 | rope() | {"hidden_act": "gelu", "hidden_size": 80, "num_hidden_layers": 5, "num_attention_heads": 4,
                                              "num_key_value_heads": 1, "intermediate_size": 320, "use_bias": False,
                                              "tie_word_embeddings": False}},
    "olmo_plain": {
        "tokenizer": "neox", "pad": 9, "dtype": F16, "layers": "0-1", "bf16": True,
        "odd": "v4, f16, untied, norms without weights, 9 rows of padding",
        "config": gated("olmo", hidden_size=64, num_hidden_layers=4, num_attention_heads=4, intermediate_size=256, clip_qkv=None,
                        tie_word_embeddings=False, rope_theta=1000.0, torch_dtype="float16") | V4},
    "olmo_clipped": {
        "tokenizer": "neox", "pad": 0, "dtype": F32, "layers": "0-1", "shards": 2,
        "odd": "v5, f32, tied, norms without weights, q, k and v clipped to 1, biased, grouped by 2, 2 shards",
        "config": gated("olmo", hidden_size=80, num_hidden_layers=5, num_attention_heads=4, num_key_value_heads=2,
                        intermediate_size=320, clip_qkv=1.0, attention_bias=True, tie_word_embeddings=True) | V5 | rope()},
    "gemma_head_alone": {
        "tokenizer": "llama2", "pad": 23, "dtype": BF16, "layers": "0-1", "head_alone": True, "bf16": True,
        "odd": "v4, bf16, tied embedding stored as the head alone, one key-value head, heads 24 wide instead of 16, BOS, 23 rows of padding",
        "config": gated("gemma", hidden_act="gelu_pytorch_tanh", hidden_activation=None, hidden_size=64, num_hidden_layers=4,
                        num_attention_heads=4, num_key_value_heads=1, head_dim=24, intermediate_size=256, rope_theta=1000.0,
                        torch_dtype="bfloat16") | V4},
    "gemma_biased": {
        "tokenizer": "llama2", "pad": 0, "dtype": F32, "layers": "1-2", "shards": 2,
        "odd": "v5, f32, untied, biased, heads 20 wide instead of 16, gelu by its first name, BOS, 2 shards",
        "config": gated("gemma", hidden_act="gelu", hidden_size=64, num_hidden_layers=5, num_attention_heads=4, num_key_value_heads=4,
                        head_dim=20, intermediate_size=256, attention_bias=True, tie_word_embeddings=False) | V5 | rope()},
    "cohere_tied": {
        "tokenizer": "smollm2", "pad": 27, "dtype": F16, "layers": "0-1", "bf16": True,
        "odd": "v4, f16, tied, parallel with one norm, interleaved pairs turn, logits / 2, grouped by 2, 27 rows of padding",
        "config": gated("cohere", hidden_size=64, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
                        intermediate_size=256, logit_scale=0.5, use_qk_norm=False, rope_theta=1000.0, pad_token_id=0,
                        torch_dtype="float16") | V4},
    "cohere_biased": {
        "tokenizer": "smollm2", "pad": 0, "dtype": F32, "layers": "1-2", "shards": 2, "odd": "v5, f32, untied, biased, 2 shards",
        "config": gated("cohere", hidden_size=80, num_hidden_layers=5, num_attention_heads=5, intermediate_size=320,
                        attention_bias=True, logit_scale=0.7, tie_word_embeddings=False, pad_token_id=0) | V5 | rope()},
}


def family(name):
    return CHECKPOINTS[name]["config"]["model_type"]


def last_layer(name):
    return int(CHECKPOINTS[name]["layers"].split("-")[-1])


def write_folder(folder, name, world, text, seed):
    """The checkpoint as it would lie on the hub; returns its tokenizer."""
    kind = CHECKPOINTS[name]
    tokenizer, told = KINDS[kind["tokenizer"]](tokenizer_text(world, text))
    encode = lambda s: tokenizer.encode(s).ids
    config = kind["config"] | {"vocab_size": tokenizer.get_vocab_size() + kind["pad"]}
    gen = torch.Generator().manual_seed(seed)
    write_checkpoint(folder, kind | {"config": config}, gen, lambda model, gen: train(model, world, encode, gen, seed, last_layer(name)))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(told, indent=1) + "\n")
    return tokenizer
