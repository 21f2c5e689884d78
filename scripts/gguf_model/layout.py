"""From llama.cpp's tensor names, rows and metadata to those of Hugging Face."""
from gguf_model.container import GgufError

BLOCK_NAMES = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TOP_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
BIASED = {"llama": (), "qwen2": ("attn_q", "attn_k", "attn_v")}
CLASSES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}


def architecture_of(meta):
    name = meta.get("general.architecture")
    if name not in CLASSES:
        raise GgufError(f"architecture {name} is not supported, only {', '.join(CLASSES)}")
    return name


def hf_name(name, architecture):
    parts = name.split(".")
    if len(parts) == 2 and parts[0] in TOP_NAMES and parts[1] == "weight":
        return TOP_NAMES[parts[0]] + ".weight"
    if len(parts) == 4 and parts[0] == "blk" and parts[2] in BLOCK_NAMES:
        if parts[3] == "weight" or parts[3] == "bias" and parts[2] in BIASED[architecture]:
            return f"model.layers.{int(parts[1])}.{BLOCK_NAMES[parts[2]]}.{parts[3]}"
    raise GgufError(f"tensor {name}: no place for it in a {architecture} model")


def split_rotary_halves(weight, heads):
    """For Llama, llama.cpp interleaves the halves of each head's rotary pairs, row 2i + h; Hugging Face keeps row h d/2 + i."""
    rows, cols = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)


def hf_rows(weight, name, meta):
    architecture = architecture_of(meta)
    role = name.split(".")[2] if name.startswith("blk.") else ""
    if architecture == "llama" and role == "attn_q":
        return split_rotary_halves(weight, meta["llama.attention.head_count"])
    if architecture == "llama" and role == "attn_k":
        return split_rotary_halves(weight, meta["llama.attention.head_count_kv"])
    return weight


def seven_digits(value):
    """Stored as float32: 1e-5 comes back as 9.99999975e-06."""
    return float(f"{value:.7g}")


def config_of(meta, tied):
    a = architecture_of(meta)
    scaling = meta.get(f"{a}.rope.scaling.type", "none")
    if scaling != "none":
        raise GgufError(f"rotary scaling {scaling} is not supported")
    heads, hidden = meta[f"{a}.attention.head_count"], meta[f"{a}.embedding_length"]
    config = {
        "architectures": [CLASSES[a]],
        "model_type": a,
        "vocab_size": meta.get(f"{a}.vocab_size", len(meta["tokenizer.ggml.tokens"])),
        "hidden_size": hidden,
        "intermediate_size": meta[f"{a}.feed_forward_length"],
        "num_hidden_layers": meta[f"{a}.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": meta[f"{a}.attention.head_count_kv"],
        "head_dim": meta.get(f"{a}.rope.dimension_count", hidden // heads),
        "hidden_act": "silu",
        "max_position_embeddings": meta[f"{a}.context_length"],
        "rms_norm_eps": seven_digits(meta[f"{a}.attention.layer_norm_rms_epsilon"]),
        "rope_theta": seven_digits(meta.get(f"{a}.rope.freq_base", 10000.0)),
        "tie_word_embeddings": tied,
    }
    if a == "llama":
        config |= {"attention_bias": False, "mlp_bias": False}
    else:
        config |= {"use_sliding_window": False}
    return config | {
        "bos_token_id": meta["tokenizer.ggml.bos_token_id"],
        "eos_token_id": meta["tokenizer.ggml.eos_token_id"],
        "torch_dtype": "bfloat16",
    }


def generation_config_of(meta):
    return {"bos_token_id": meta["tokenizer.ggml.bos_token_id"], "eos_token_id": meta["tokenizer.ggml.eos_token_id"],
            "pad_token_id": meta.get("tokenizer.ggml.padding_token_id", meta["tokenizer.ggml.eos_token_id"])}
