#!/usr/bin/env python3
"""Small random checkpoints and what Hugging Face transformers computes on them: tests/golden/models/.

Every checkpoint is written by hand (config.json in the spelling of transformers v4 or v5, tensors under the published
names), read back by transformers in fp32 with eager attention, and run on packed rows of different lengths. Recorded:

    tokens, row_start          the rows
    logits                     at every position
    state.<l>, key.<l>         output of block l; input of its MLP's last matrix
    z, delta, delta_at         delta [rows, hidden] is added to block z's output at token delta_at[row]
    at, label, weight          loss rows: -log p(label) at token `at`, or (label -1) KL(p || reference)
    reference                  log-probabilities without delta, one row per KL row
    loss, grad                 sum of weight * loss, and its gradient with respect to delta
    parallel.*, shared.*       logits, loss and grad of the same weights wired as parallel residual blocks

Usage: make_golden_models.py OUT_DIR [NAME...]        (needs torch, transformers and safetensors; all models by default)
"""

import json
import pathlib
import shutil
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

ROWS = [7, 1, 12, 3, 18]
LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
GPT2 = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "activation_function": "gelu_new", "vocab_size": 131}

MODELS = {
    "gpt2_prefixed": {
        "config": GPT2 | {"n_embd": 24, "n_layer": 3, "n_head": 3, "n_positions": 40, "n_inner": None, "n_ctx": 40,
                          "layer_norm_epsilon": 1e-5, "eos_token_id": 130, "transformers_version": "4.30.0"},
        "dtype": torch.float32, "z": 1,
    },
    # As gpt2 itself lies on the hub: no prefix, mask buffers kept. Sizes under their general names, odd inner width.
    "gpt2_bare_f16": {
        "config": GPT2 | {"hidden_size": 28, "num_hidden_layers": 4, "num_attention_heads": 4, "max_position_embeddings": 32,
                          "n_inner": 51, "layer_norm_epsilon": 1e-3, "dtype": "float16"},
        "dtype": torch.float16, "z": 0, "bare": True,
    },
    # Heads wider than hidden/heads, grouped, llama3 scaling whose three branches all occur, v5 spelling.
    "llama_gqa": {
        "config": LLAMA | {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
                           "head_dim": 10, "intermediate_size": 37, "vocab_size": 139, "tie_word_embeddings": False,
                           "rope_parameters": {"rope_type": "llama3", "rope_theta": 100.0, "factor": 4.0, "low_freq_factor": 1.0,
                                               "high_freq_factor": 3.0, "original_max_position_embeddings": 24},
                           "dtype": "float32", "transformers_version": "5.0.0"},
        "dtype": torch.float32, "z": 1, "parallel": True,
    },
    # v4 spelling, linear scaling in its old form, as many key-value heads as heads by omission, tied head stored all the same.
    "llama_tied_bf16": {
        "config": LLAMA | {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 45,
                           "vocab_size": 127, "tie_word_embeddings": True, "rope_theta": 500.0,
                           "rope_scaling": {"type": "linear", "factor": 2.5}, "torch_dtype": "bfloat16",
                           "transformers_version": "4.40.0"},
        "dtype": torch.bfloat16, "z": 2, "head_copy": True,
    },
    # All biases, one key-value head, three shards; q, k and v stored in three types, and doubles elsewhere.
    "llama_bias_sharded": {
        "config": LLAMA | {"hidden_size": 20, "num_hidden_layers": 3, "num_attention_heads": 5, "num_key_value_heads": 1,
                           "head_dim": 6, "intermediate_size": 33, "vocab_size": 113, "tie_word_embeddings": False,
                           "attention_bias": True, "mlp_bias": True, "rope_parameters": {"rope_type": "default", "rope_theta": 50.0},
                           "dtype": "float32", "transformers_version": "5.0.0"},
        "dtype": torch.float32, "z": 0, "shards": 3,
        "stored": {".k_proj.weight": torch.float16, ".v_proj.weight": torch.float64, ".o_proj.weight": torch.float64,
                   "layers.1.mlp.down_proj.weight": torch.float64, "layers.1.mlp.down_proj.bias": torch.float64},
    },
    # v5, grouped, q, k and v biased and the output not, one row of the vocabulary that no tokenizer has.
    "qwen2_gqa": {
        "config": {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "hidden_act": "silu", "rms_norm_eps": 1e-6,
                   "max_position_embeddings": 64, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
                   "num_key_value_heads": 2, "intermediate_size": 35, "vocab_size": 101, "tie_word_embeddings": False,
                   "use_sliding_window": False, "sliding_window": None, "max_window_layers": 28,
                   "layer_types": ["full_attention"] * 3,
                   "rope_parameters": {"rope_type": "default", "rope_theta": 300.0}, "dtype": "float32",
                   "transformers_version": "5.0.0"},
        "dtype": torch.float32, "z": 0,
    },
    # v4: the upper two of four layers look six tokens back; yarn; tied; heads wider than hidden/heads; two shards.
    "qwen2_window_yarn": {
        "config": {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "hidden_act": "silu", "rms_norm_eps": 1e-6,
                   "max_position_embeddings": 64, "hidden_size": 20, "num_hidden_layers": 4, "num_attention_heads": 4,
                   "num_key_value_heads": 1, "head_dim": 12, "intermediate_size": 27, "vocab_size": 103, "tie_word_embeddings": True,
                   "use_sliding_window": True, "sliding_window": 6, "max_window_layers": 2, "rope_theta": 100.0,
                   "rope_scaling": {"type": "yarn", "factor": 3.0, "original_max_position_embeddings": 16, "beta_fast": 4.0,
                                    "beta_slow": 0.25},
                   "torch_dtype": "bfloat16", "transformers_version": "4.43.0"},
        "dtype": torch.bfloat16, "z": 1, "shards": 2,
    },
    "mistral_window": {
        "config": {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "hidden_act": "silu", "rms_norm_eps": 1e-5,
                   "max_position_embeddings": 64, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
                   "num_key_value_heads": 2, "intermediate_size": 33, "vocab_size": 107, "tie_word_embeddings": False,
                   "sliding_window": 5, "rope_theta": 1000.0, "torch_dtype": "float32", "transformers_version": "4.34.0"},
        "dtype": torch.float32, "z": 0, "shards": 2,
    },
    # No window, heads wider than hidden/heads, dynamic scaling, which nothing shorter than the context feels.
    "mistral_wide_heads": {
        "config": {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "hidden_act": "silu", "rms_norm_eps": 1e-5,
                   "max_position_embeddings": 48, "hidden_size": 20, "num_hidden_layers": 3, "num_attention_heads": 4,
                   "num_key_value_heads": 4, "head_dim": 8, "intermediate_size": 29, "vocab_size": 101, "tie_word_embeddings": False,
                   "sliding_window": None, "rope_parameters": {"rope_type": "dynamic", "rope_theta": 400.0, "factor": 4.0},
                   "dtype": "bfloat16", "transformers_version": "5.0.0"},
        "dtype": torch.bfloat16, "z": 1,
    },
    # Four of eight dimensions turn; mask buffers kept; sizes under their general names.
    "gptj_f16": {
        "config": {"model_type": "gptj", "architectures": ["GPTJForCausalLM"], "activation_function": "gelu_new", "n_embd": 24,
                   "n_layer": 3, "n_head": 3, "n_positions": 40, "rotary_dim": 4, "n_inner": None, "vocab_size": 103,
                   "layer_norm_epsilon": 1e-5, "tie_word_embeddings": False, "scale_attn_weights": True,
                   "transformers_version": "4.18.0", "torch_dtype": "float16"},
        "dtype": torch.float16, "z": 0, "buffers": "transformer.h.{}.attn",
    },
    "gptj_sharded": {
        "config": {"model_type": "gptj", "architectures": ["GPTJForCausalLM"], "activation_function": "gelu_new",
                   "hidden_size": 20, "num_hidden_layers": 3, "num_attention_heads": 2, "max_position_embeddings": 32,
                   "rotary_dim": 10, "n_inner": 37, "vocab_size": 101, "layer_norm_epsilon": 1e-3, "tie_word_embeddings": False,
                   "dtype": "float32", "transformers_version": "5.0.0"},
        "dtype": torch.float32, "z": 1, "shards": 2,
    },
    # v4 with the family's own words for the rotation and the head; mask and frequency buffers of old files.
    "neox_parallel": {
        "config": {"model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"], "hidden_act": "gelu", "hidden_size": 24,
                   "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 43, "max_position_embeddings": 40,
                   "rotary_pct": 0.5, "rotary_emb_base": 200, "use_parallel_residual": True, "layer_norm_eps": 1e-5,
                   "vocab_size": 104, "tie_word_embeddings": False, "torch_dtype": "float16", "transformers_version": "4.24.0"},
        "dtype": torch.float16, "z": 0, "buffers": "gpt_neox.layers.{}.attention", "head_name": "embed_out.weight",
    },
    # v5, sequential, attention without biases, linear scaling, three shards, two of ten dimensions turn.
    "neox_sequential": {
        "config": {"model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"], "hidden_act": "gelu_fast", "hidden_size": 20,
                   "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 33, "max_position_embeddings": 40,
                   "use_parallel_residual": False, "layer_norm_eps": 1e-4, "attention_bias": False,
                   "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 100.0, "partial_rotary_factor": 0.6},
                   "vocab_size": 101, "tie_word_embeddings": False, "dtype": "float32", "transformers_version": "5.0.0"},
        "dtype": torch.float32, "z": 1, "shards": 3,
    },
    "opt_f16": {
        "config": {"model_type": "opt", "architectures": ["OPTForCausalLM"], "activation_function": "relu", "hidden_size": 24,
                   "num_hidden_layers": 3, "num_attention_heads": 3, "ffn_dim": 41, "max_position_embeddings": 40,
                   "word_embed_proj_dim": 24, "do_layer_norm_before": True, "_remove_final_layer_norm": False, "vocab_size": 103,
                   "prefix": "</s>", "bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 1, "torch_dtype": "float16",
                   "transformers_version": "4.21.0"},
        "dtype": torch.float16, "z": 0, "head_copy": True,
    },
    # No biases, a head of its own, two shards.
    "opt_unbiased": {
        "config": {"model_type": "opt", "architectures": ["OPTForCausalLM"], "activation_function": "gelu", "hidden_size": 20,
                   "num_hidden_layers": 3, "num_attention_heads": 2, "ffn_dim": 33, "max_position_embeddings": 32,
                   "enable_bias": False, "vocab_size": 101, "tie_word_embeddings": False, "pad_token_id": 1, "dtype": "float32",
                   "transformers_version": "5.0.0"},
        "dtype": torch.float32, "z": 1, "shards": 2,
    },
    # v5, heads twice as wide as hidden/heads, grouped.
    "qwen3_gqa": {
        "config": {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "hidden_act": "silu", "rms_norm_eps": 1e-6,
                   "max_position_embeddings": 64, "hidden_size": 20, "num_hidden_layers": 3, "num_attention_heads": 4,
                   "num_key_value_heads": 2, "head_dim": 10, "intermediate_size": 31, "vocab_size": 101, "tie_word_embeddings": False,
                   "attention_bias": False, "use_sliding_window": False, "sliding_window": None, "max_window_layers": 3,
                   "layer_types": ["full_attention"] * 3,
                   "rope_parameters": {"rope_type": "default", "rope_theta": 300.0}, "dtype": "float32",
                   "transformers_version": "5.0.0"},
        "dtype": torch.float32, "z": 0, "shards": 2,
    },
    # v4, tied, biased, windows from layer 1 on, as many key-value heads as heads.
    "qwen3_tied_bias": {
        "config": {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "hidden_act": "silu", "rms_norm_eps": 1e-5,
                   "max_position_embeddings": 64, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3,
                   "num_key_value_heads": 3, "head_dim": 6, "intermediate_size": 29, "vocab_size": 103, "tie_word_embeddings": True,
                   "attention_bias": True, "use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1,
                   "rope_theta": 100.0, "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16,
                                                         "attention_factor": 1.3},
                   "torch_dtype": "bfloat16", "transformers_version": "4.51.0"},
        "dtype": torch.bfloat16, "z": 0,
    },
    # v5, window, code of its own named although the class is the built-in one.
    "phi3_window": {
        "config": {"model_type": "phi3", "architectures": ["Phi3ForCausalLM"], "hidden_act": "silu", "rms_norm_eps": 1e-5,
                   "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config", "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM"},
                   "max_position_embeddings": 48, "original_max_position_embeddings": 48, "hidden_size": 24, "num_hidden_layers": 3,
                   "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 31, "vocab_size": 101,
                   "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
                   "sliding_window": 6, "tie_word_embeddings": False,
                   "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0, "partial_rotary_factor": 1.0},
                   "dtype": "bfloat16", "transformers_version": "5.0.0"},
        "dtype": torch.bfloat16, "z": 1,
    },
    # v4 longrope, used up to its original context; three quarters of each head turn; two shards.
    "phi3_longrope": {
        "config": {"model_type": "phi3", "architectures": ["Phi3ForCausalLM"], "hidden_act": "silu", "rms_norm_eps": 1e-5,
                   "max_position_embeddings": 80, "original_max_position_embeddings": 20, "hidden_size": 24, "num_hidden_layers": 3,
                   "num_attention_heads": 3, "num_key_value_heads": 1, "intermediate_size": 31, "vocab_size": 101,
                   "bos_token_id": 1, "eos_token_id": [2, 5], "pad_token_id": 2,
                   "partial_rotary_factor": 0.75, "sliding_window": None, "rope_theta": 100.0, "tie_word_embeddings": True,
                   "rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.25, 1.5], "long_factor": [2.0, 4.0, 8.0]},
                   "torch_dtype": "float32", "transformers_version": "4.43.0"},
        "dtype": torch.float32, "z": 0, "shards": 2,
    },
    # Scores divided by the number of the layer, from 1, and by nothing else.
    "gpt2_scaled": {
        "config": GPT2 | {"n_embd": 24, "n_layer": 3, "n_head": 3, "n_positions": 32, "n_inner": 43, "vocab_size": 101,
                          "layer_norm_epsilon": 1e-5, "scale_attn_weights": False, "scale_attn_by_inverse_layer_idx": True,
                          "reorder_and_upcast_attn": True, "eos_token_id": 100, "transformers_version": "4.20.0"},
        "dtype": torch.float32, "z": 0,
    },
    # Layer 3 of 5 does not rotate, by omission; tied by omission; v5.
    "smollm3_every_fourth": {
        "config": {"model_type": "smollm3", "architectures": ["SmolLM3ForCausalLM"], "hidden_act": "silu", "rms_norm_eps": 1e-6,
                   "max_position_embeddings": 64, "hidden_size": 24, "num_hidden_layers": 5, "num_attention_heads": 4,
                   "num_key_value_heads": 2, "intermediate_size": 31, "vocab_size": 101, "pad_token_id": 3, "eos_token_id": 2,
                   "rope_parameters": {"rope_type": "default", "rope_theta": 300.0}, "dtype": "float32",
                   "transformers_version": "5.0.0"},
        "dtype": torch.float32, "z": 0,
    },
    # v4: layers 0 and 2 do not rotate and look five tokens back; all biases, a head of its own, heads 8 wide instead of 6.
    "smollm3_window": {
        "config": {"model_type": "smollm3", "architectures": ["SmolLM3ForCausalLM"], "hidden_act": "silu", "rms_norm_eps": 1e-5,
                   "max_position_embeddings": 64, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
                   "num_key_value_heads": 1, "head_dim": 8, "intermediate_size": 29, "vocab_size": 103, "pad_token_id": 3,
                   "eos_token_id": 2, "no_rope_layers": [0, 1, 0], "use_sliding_window": True, "sliding_window": 5,
                   "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False, "rope_theta": 100.0,
                   "torch_dtype": "bfloat16", "transformers_version": "4.53.0"},
        "dtype": torch.bfloat16, "z": 1, "shards": 2,
    },
    # v4: 4 of 8 dimensions turn; q, k and v biased.
    "stablelm_biased": {
        "config": {"model_type": "stablelm", "architectures": ["StableLmForCausalLM"], "hidden_act": "silu", "layer_norm_eps": 1e-5,
                   "max_position_embeddings": 48, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3,
                   "num_key_value_heads": 3, "intermediate_size": 35, "vocab_size": 101, "use_qkv_bias": True,
                   "partial_rotary_factor": 0.5, "rope_theta": 200, "tie_word_embeddings": False, "torch_dtype": "float16",
                   "transformers_version": "4.38.0"},
        "dtype": torch.float16, "z": 0,
    },
    # v5, as the 12B model: parallel with one norm, a LayerNorm of its own for every q and k head; 4 of 16 by omission.
    "stablelm_normed": {
        "config": {"model_type": "stablelm", "architectures": ["StableLmForCausalLM"], "hidden_act": "silu", "layer_norm_eps": 1e-4,
                   "max_position_embeddings": 48, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
                   "num_key_value_heads": 2, "intermediate_size": 23, "vocab_size": 100, "qk_layernorm": True,
                   "use_parallel_residual": True, "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
                   "tie_word_embeddings": True, "dtype": "bfloat16", "transformers_version": "5.0.0"},
        "dtype": torch.bfloat16, "z": 1,
    },
    # v4, tied, all four multipliers.
    "granite_tied": {
        "config": {"model_type": "granite", "architectures": ["GraniteForCausalLM"], "hidden_act": "silu", "rms_norm_eps": 1e-5,
                   "max_position_embeddings": 64, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
                   "num_key_value_heads": 2, "intermediate_size": 33, "vocab_size": 107, "tie_word_embeddings": True,
                   "embedding_multiplier": 12.0, "residual_multiplier": 0.22, "attention_multiplier": 0.3, "logits_scaling": 8.0,
                   "rope_theta": 1000.0, "torch_dtype": "bfloat16", "transformers_version": "4.45.0"},
        "dtype": torch.bfloat16, "z": 0,
    },
    # v5, all biases, multipliers above 1 and below, attention_multiplier 1 by omission, linear scaling, two shards.
    "granite_biased": {
        "config": {"model_type": "granite", "architectures": ["GraniteForCausalLM"], "hidden_act": "silu", "rms_norm_eps": 1e-4,
                   "max_position_embeddings": 64, "hidden_size": 20, "num_hidden_layers": 3, "num_attention_heads": 2,
                   "intermediate_size": 29, "vocab_size": 101, "tie_word_embeddings": False, "attention_bias": True, "mlp_bias": True,
                   "embedding_multiplier": 0.7, "residual_multiplier": 1.6, "logits_scaling": 0.8,
                   "rope_parameters": {"rope_type": "linear", "rope_theta": 100.0, "factor": 2.0}, "dtype": "float32",
                   "transformers_version": "5.0.0"},
        "dtype": torch.float32, "z": 1, "shards": 2,
    },
    # v4: layers 1 and 3 look four tokens back; mask buffers.
    "gpt_neo_f16": {
        "config": {"model_type": "gpt_neo", "architectures": ["GPTNeoForCausalLM"], "activation_function": "gelu_new",
                   "hidden_size": 24, "num_layers": 4, "num_heads": 3, "max_position_embeddings": 40, "window_size": 4,
                   "intermediate_size": None, "attention_types": [[["global", "local"], 2]],
                   "attention_layers": ["global", "local", "global", "local"], "layer_norm_epsilon": 1e-5, "vocab_size": 101,
                   "bos_token_id": 0, "eos_token_id": 0, "torch_dtype": "float16", "transformers_version": "4.9.0"},
        "dtype": torch.float16, "z": 1, "buffers": "transformer.h.{}.attn.attention",
    },
    # v5: a local layer below global ones, odd inner width, a head of its own, two shards.
    "gpt_neo_sharded": {
        "config": {"model_type": "gpt_neo", "architectures": ["GPTNeoForCausalLM"], "activation_function": "gelu",
                   "hidden_size": 20, "num_layers": 3, "num_heads": 2, "max_position_embeddings": 32, "window_size": 6,
                   "intermediate_size": 37, "attention_types": [[["local"], 1], [["global"], 2]], "layer_norm_epsilon": 1e-4,
                   "vocab_size": 100, "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 0, "dtype": "float32",
                   "transformers_version": "5.0.0"},
        "dtype": torch.float32, "z": 0, "shards": 2,
    },
    # v4, as published: half of each head turns, by omission.
    "phi_f16": {
        "config": {"model_type": "phi", "architectures": ["PhiForCausalLM"], "hidden_act": "gelu_new", "layer_norm_eps": 1e-5,
                   "max_position_embeddings": 48, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3,
                   "intermediate_size": 43, "vocab_size": 101, "rope_theta": 100.0, "qk_layernorm": False,
                   "tie_word_embeddings": False, "torch_dtype": "float16", "transformers_version": "4.37.0"},
        "dtype": torch.float16, "z": 0,
    },
    # v5: LayerNorm of every q and k head, grouped, 6 of 10 dimensions turn, two shards.
    "phi_normed": {
        "config": {"model_type": "phi", "architectures": ["PhiForCausalLM"], "hidden_act": "gelu", "layer_norm_eps": 1e-4,
                   "max_position_embeddings": 48, "hidden_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
                   "num_key_value_heads": 2, "intermediate_size": 31, "vocab_size": 100, "qk_layernorm": True,
                   "tie_word_embeddings": False,
                   "rope_parameters": {"rope_type": "default", "rope_theta": 300.0, "partial_rotary_factor": 0.6},
                   "dtype": "float32", "transformers_version": "5.0.0"},
        "dtype": torch.float32, "z": 1, "shards": 2,
    },
    # v4, as the 7B model: parallel with one norm, one key-value head for all.
    "falcon_multi_query": {
        "config": {"model_type": "falcon", "architectures": ["FalconForCausalLM"], "hidden_size": 24, "num_hidden_layers": 3,
                   "num_attention_heads": 3, "num_kv_heads": 3, "multi_query": True, "parallel_attn": True, "bias": False,
                   "alibi": False, "new_decoder_architecture": False, "layer_norm_epsilon": 1e-5, "vocab_size": 101,
                   "torch_dtype": "bfloat16", "transformers_version": "4.33.0"},
        "dtype": torch.bfloat16, "z": 0,
    },
    # v5, as the 40B model: two norms, four q heads to each of two key-value heads; a head of its own, two shards.
    "falcon_grouped": {
        "config": {"model_type": "falcon", "architectures": ["FalconForCausalLM"], "hidden_size": 32, "num_hidden_layers": 3,
                   "num_attention_heads": 8, "num_kv_heads": 2, "new_decoder_architecture": True, "layer_norm_epsilon": 1e-4,
                   "ffn_hidden_size": 43, "vocab_size": 100, "max_position_embeddings": 48, "tie_word_embeddings": False,
                   "rope_parameters": {"rope_type": "default", "rope_theta": 300.0}, "dtype": "float32",
                   "transformers_version": "5.0.0"},
        "dtype": torch.float32, "z": 1, "shards": 2,
    },
    # As the 11B model: groups, and one norm for both branches.
    "falcon_one_norm": {
        "config": {"model_type": "falcon", "architectures": ["FalconForCausalLM"], "hidden_size": 24, "num_hidden_layers": 2,
                   "num_attention_heads": 6, "num_kv_heads": 3, "new_decoder_architecture": True, "num_ln_in_parallel_attn": 1,
                   "activation": "gelu", "vocab_size": 100, "tie_word_embeddings": False, "rope_theta": 500042.0,
                   "torch_dtype": "bfloat16", "transformers_version": "4.40.0"},
        "dtype": torch.bfloat16, "z": 0,
    },
    # As falcon-rw but for its alibi: sequential, biased, a key-value head for every head.
    "falcon_sequential": {
        "config": {"model_type": "falcon", "architectures": ["FalconForCausalLM"], "hidden_size": 24, "num_hidden_layers": 3,
                   "num_attention_heads": 3, "multi_query": False, "parallel_attn": False, "bias": True, "vocab_size": 100,
                   "dtype": "float16", "transformers_version": "5.0.0"},
        "dtype": torch.float16, "z": 1,
    },
    # v4: window, two key-value heads by omission, tied by omission.
    "starcoder2_window": {
        "config": {"model_type": "starcoder2", "architectures": ["Starcoder2ForCausalLM"], "hidden_act": "gelu_pytorch_tanh",
                   "norm_epsilon": 1e-5, "max_position_embeddings": 64, "hidden_size": 24, "num_hidden_layers": 3,
                   "num_attention_heads": 4, "intermediate_size": 41, "vocab_size": 101, "use_bias": True, "sliding_window": 5,
                   "rope_theta": 1000.0, "torch_dtype": "bfloat16", "transformers_version": "4.39.0"},
        "dtype": torch.bfloat16, "z": 0,
    },
    # v5: no biases, a head of its own, two shards.
    "starcoder2_unbiased": {
        "config": {"model_type": "starcoder2", "architectures": ["Starcoder2ForCausalLM"], "hidden_act": "gelu", "norm_epsilon": 1e-4,
                   "max_position_embeddings": 64, "hidden_size": 20, "num_hidden_layers": 3, "num_attention_heads": 2,
                   "num_key_value_heads": 1, "intermediate_size": 37, "vocab_size": 100, "use_bias": False,
                   "tie_word_embeddings": False, "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
                   "dtype": "float32", "transformers_version": "5.0.0"},
        "dtype": torch.float32, "z": 1, "shards": 2,
    },
    # v4: norms without weights.
    "olmo_plain": {
        "config": {"model_type": "olmo", "architectures": ["OlmoForCausalLM"], "hidden_act": "silu", "max_position_embeddings": 64,
                   "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 37, "vocab_size": 101,
                   "clip_qkv": None, "rope_theta": 1000.0, "tie_word_embeddings": False, "eos_token_id": 5, "torch_dtype": "float16",
                   "transformers_version": "4.40.0"},
        "dtype": torch.float16, "z": 0,
    },
    # v5: q, k and v clipped, about a third of them; grouped, biased, tied, two shards.
    "olmo_clipped": {
        "config": {"model_type": "olmo", "architectures": ["OlmoForCausalLM"], "hidden_act": "silu", "max_position_embeddings": 64,
                   "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
                   "intermediate_size": 31, "vocab_size": 100, "clip_qkv": 1.0, "attention_bias": True, "tie_word_embeddings": True,
                   "rope_parameters": {"rope_type": "default", "rope_theta": 300.0}, "eos_token_id": 5, "dtype": "float32",
                   "transformers_version": "5.0.0"},
        "dtype": torch.float32, "z": 1, "shards": 2,
    },
    # v4: heads wider than hidden/heads, one key-value head, the embedding stored under the name of the head it is tied to.
    "gemma_head_alone": {
        "config": {"model_type": "gemma", "architectures": ["GemmaForCausalLM"], "hidden_act": "gelu_pytorch_tanh",
                   "hidden_activation": None, "rms_norm_eps": 1e-6, "max_position_embeddings": 64, "hidden_size": 20,
                   "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 8,
                   "intermediate_size": 37, "vocab_size": 101, "rope_theta": 1000.0, "bos_token_id": 2, "eos_token_id": 1,
                   "pad_token_id": 0, "torch_dtype": "bfloat16", "transformers_version": "4.38.0"},
        "dtype": torch.bfloat16, "z": 0, "head_alone": True,
    },
    # v5: the published name of the activation, biases, a head of its own, two shards.
    "gemma_biased": {
        "config": {"model_type": "gemma", "architectures": ["GemmaForCausalLM"], "hidden_act": "gelu", "rms_norm_eps": 1e-5,
                   "max_position_embeddings": 64, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2,
                   "num_key_value_heads": 2, "head_dim": 10, "intermediate_size": 31, "vocab_size": 100, "attention_bias": True,
                   "tie_word_embeddings": False, "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
                   "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0, "dtype": "float32", "transformers_version": "5.0.0"},
        "dtype": torch.float32, "z": 1, "shards": 2,
    },
    # v4: parallel with one norm that has no bias, interleaved pairs turn, logits scaled by omission, tied by omission.
    "cohere_tied": {
        "config": {"model_type": "cohere", "architectures": ["CohereForCausalLM"], "hidden_act": "silu", "layer_norm_eps": 1e-5,
                   "max_position_embeddings": 64, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
                   "num_key_value_heads": 2, "intermediate_size": 33, "vocab_size": 101, "use_qk_norm": False, "rope_theta": 1000.0,
                   "bos_token_id": 5, "eos_token_id": 6, "pad_token_id": 0, "torch_dtype": "float16", "transformers_version": "4.39.0"},
        "dtype": torch.float16, "z": 0,
    },
    # v5: biases, a head of its own, two shards.
    "cohere_biased": {
        "config": {"model_type": "cohere", "architectures": ["CohereForCausalLM"], "hidden_act": "silu", "layer_norm_eps": 1e-4,
                   "max_position_embeddings": 64, "hidden_size": 20, "num_hidden_layers": 3, "num_attention_heads": 2,
                   "intermediate_size": 29, "vocab_size": 100, "attention_bias": True, "logit_scale": 0.7,
                   "tie_word_embeddings": False, "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
                   "bos_token_id": 5, "eos_token_id": 6, "pad_token_id": 0, "dtype": "float32", "transformers_version": "5.0.0"},
        "dtype": torch.float32, "z": 1, "shards": 2,
    },
}


def random_state(model, gen):
    """Large enough that softmax, norms and activations are far from linear; norm weights away from 1."""
    out = {}
    tied = model.config.tie_word_embeddings
    for name, p in model.state_dict().items():
        if tied and name == "lm_head.weight":
            continue
        noise = torch.randn(p.shape, generator=gen)
        if "norm" in name or ".ln_" in name:
            above_one = name.endswith("bias") or model.config.model_type == "gemma"
            out[name] = noise * 0.3 + (0.0 if above_one else 1.0)
        elif name.endswith("bias"):
            out[name] = noise * 0.2
        elif "embed_out" not in name and "embed" in name or ".word_embeddings." in name or ".wte." in name or ".wpe." in name:
            out[name] = noise * 0.5
        else:
            out[name] = noise * 0.22
    return out


def write_checkpoint(folder, spec, gen, teach=None):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(spec["config"], indent=1) + "\n")
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    state = (teach or random_state)(model, gen)
    state = {k: v.to(spec["dtype"]).contiguous() for k, v in state.items()}
    for end, dtype in spec.get("stored", {}).items():
        state |= {k: v.to(dtype) for k, v in state.items() if k.endswith(end)}
    if spec.get("head_copy"):
        state["lm_head.weight"] = next(v for k, v in state.items() if k.endswith("embed_tokens.weight")).clone()
    if spec.get("head_alone"):
        state["lm_head.weight"] = state.pop("model.embed_tokens.weight")
    if spec.get("bare"):
        state = {k.removeprefix("transformer."): v for k, v in state.items()}
        n = spec["config"]["max_position_embeddings"]
        state["h.0.attn.bias"] = torch.tril(torch.ones(n, n, dtype=torch.uint8)).view(1, 1, n, n)
        state["h.0.attn.masked_bias"] = torch.tensor(-1e4)
    if spec.get("head_name"):
        state[spec["head_name"]] = state.pop("lm_head.weight")
    if spec.get("buffers"):
        n, at = spec["config"].get("n_positions", spec["config"].get("max_position_embeddings")), spec["buffers"].format(0)
        state[at + ".bias"] = torch.tril(torch.ones(n, n, dtype=torch.uint8)).view(1, 1, n, n)
        state[at + ".masked_bias"] = torch.tensor(-1e9)
        if spec["config"]["model_type"] == "gpt_neox":
            state[at + ".rotary_emb.inv_freq"] = torch.ones(2)
    shards = spec.get("shards", 1)
    if shards == 1:
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names, where = sorted(state), {}
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        part = {k: state[k] for k in names[i::shards]}
        where |= dict.fromkeys(part, file)
        save_file(part, folder / file, metadata={"format": "pt"})
    total = sum(v.numel() * v.element_size() for v in state.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def blocks(model):
    if hasattr(model, "transformer"):
        return model.transformer.h
    return {"gpt_neox": lambda m: m.gpt_neox.layers, "opt": lambda m: m.model.decoder.layers}.get(
        model.config.model_type, lambda m: m.model.layers)(model)


def down(block):
    if hasattr(block, "fc2"):
        return block.fc2
    return next(getattr(block.mlp, n) for n in ("c_proj", "fc_out", "fc2", "dense_4h_to_h", "down_proj") if hasattr(block.mlp, n))


def make_parallel(model, shared):
    """Rewires every block as x + attention(n1 x) + mlp(n2 x), or with one norm for both."""
    def forward(self, hidden_states, **kwargs):
        n1 = self.input_layernorm(hidden_states)
        a, _ = self.self_attn(hidden_states=n1, **kwargs)
        return hidden_states + a + self.mlp(n1 if shared else self.post_attention_layernorm(hidden_states))

    for b in blocks(model):
        b.forward = forward.__get__(b)


def run_rows(model, rows, hooks_on=(), z=None, delta=None, at=None):
    """Logits and, for chosen blocks, outputs and keys, of rows run one at a time."""
    logits, state, key = [], {l: [] for l in hooks_on}, {l: [] for l in hooks_on}
    for r, row in enumerate(rows):
        handles = []
        for l in hooks_on:
            b = blocks(model)[l]
            first = lambda o: o[0] if isinstance(o, tuple) else o
            handles.append(b.register_forward_hook(lambda m, i, o, l=l: state[l].append(first(o)[0].detach())))
            handles.append(down(b).register_forward_pre_hook(lambda m, i, l=l: key[l].append(i[0].detach().flatten(0, -2))))
        if delta is not None:
            def add(m, i, o, r=r):
                x = (o[0] if isinstance(o, tuple) else o).clone()
                x[0, at[r]] = x[0, at[r]] + delta[r]
                return (x,) + o[1:] if isinstance(o, tuple) else x
            handles.append(blocks(model)[z].register_forward_hook(add))
        logits.append(model(torch.tensor([row]), use_cache=False).logits[0])
        for h in handles:
            h.remove()
    cat = {l: torch.cat(v) for l, v in state.items()}, {l: torch.cat(v) for l, v in key.items()}
    return torch.cat(logits), *cat


def loss_rows(rows, gen):
    """Where delta enters, and the rows of the loss: two labels and one KL position for each row long enough."""
    at, label_at, label, weight, start = [], [], [], [], 0
    for row in rows:
        p = len(row) // 3
        at.append(p)
        for t in sorted({p, (p + len(row) - 1) // 2, len(row) - 1}):
            label_at.append(start + t)
            label.append(int(torch.randint(0, 100, (1,), generator=gen)))
            weight.append(float(torch.rand(1, generator=gen)) + 0.25)
        if len(row) > 3:
            label_at.append(start + p + 1)
            label.append(-1)
            weight.append(0.7)
        start += len(row)
    return at, label_at, label, weight


def delta_gradient(model, rows, z, delta, loss_spec):
    at, label_at, label, weight = loss_spec
    with torch.no_grad():
        base = torch.log_softmax(run_rows(model, rows)[0], -1)
    kl_at = [t for t, y in zip(label_at, label) if y < 0]
    reference = base[kl_at]
    d = delta.clone().requires_grad_(True)
    logits = run_rows(model, rows, z=z, delta=d, at=at)[0]
    logp = torch.log_softmax(logits[label_at], -1)
    total, k = 0.0, 0
    for i, y in enumerate(label):
        if y >= 0:
            total = total - weight[i] * logp[i, y]
        else:
            total = total + weight[i] * (logp[i].exp() * (logp[i] - reference[k])).sum()
            k += 1
    total.backward()
    return reference, total.detach().double().reshape(1), d.grad


def expected(model, spec, gen):
    vocab = spec["config"]["vocab_size"]
    rows = [torch.randint(0, vocab, (n,), generator=gen).tolist() for n in ROWS]
    starts = [sum(ROWS[:i]) for i in range(len(ROWS) + 1)]
    layers = range(len(blocks(model)))
    with torch.no_grad():
        logits, state, key = run_rows(model, rows, layers)
    loss_spec = loss_rows(rows, gen)
    z, hidden = spec["z"], state[0].shape[1]
    delta = torch.randn(len(rows), hidden, generator=gen) * state[z].std() * 0.5
    reference, loss, grad = delta_gradient(model, rows, z, delta, loss_spec)
    ints = lambda v: torch.tensor(v, dtype=torch.int32)
    out = {"tokens": ints(sum(rows, [])), "row_start": ints(starts), "logits": logits, "z": ints([z]), "delta": delta,
           "delta_at": ints([s + a for s, a in zip(starts, loss_spec[0])]), "at": ints(loss_spec[1]), "label": ints(loss_spec[2]),
           "weight": torch.tensor(loss_spec[3]), "reference": reference, "loss": loss, "grad": grad}
    for l in layers:
        out[f"state.{l}"], out[f"key.{l}"] = state[l], key[l]
    for name in ("parallel", "shared") if spec.get("parallel") else ():
        make_parallel(model, name == "shared")
        with torch.no_grad():
            out[f"{name}.logits"] = run_rows(model, rows)[0]
        out[f"{name}.reference"], out[f"{name}.loss"], out[f"{name}.grad"] = delta_gradient(model, rows, z, delta, loss_spec)
    return {k: v.contiguous() for k, v in out.items()}


def main():
    root = pathlib.Path(sys.argv[1])
    torch.set_num_threads(2)
    for i, (name, spec) in enumerate(MODELS.items()):
        if sys.argv[2:] and name not in sys.argv[2:]:
            continue
        gen = torch.Generator().manual_seed(1000 + i)
        shutil.rmtree(root / name, ignore_errors=True)
        write_checkpoint(root / name, spec, gen)
        model = AutoModelForCausalLM.from_pretrained(root / name, dtype=torch.float32, attn_implementation="eager").eval()
        (root / name / "expected").mkdir()
        save_file(expected(model, spec, gen), root / name / "expected" / "model.safetensors", metadata={"format": "pt"})
        print(name, sum(f.stat().st_size for f in (root / name).rglob("*") if f.is_file()), "bytes")


if __name__ == "__main__":
    main()
