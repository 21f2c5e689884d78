#!/usr/bin/env python3
"""Turn a GGUF file of a Llama-shaped model into a bf16 Hugging Face directory.

    gguf_to_hf.py MODEL.gguf OUT_DIR

Needs numpy and nothing else. Reads GGUF v3 with tensors in F32, F16, Q8_0 and Q4_1 and a byte-level BPE tokenizer
(tokenizer.ggml.model "gpt2"); anything else is refused by name. Writes model.safetensors, config.json,
generation_config.json, tokenizer.json and tokenizer_config.json.
"""
import json
import os
import struct
import sys

import numpy as np


class GgufError(Exception):
    """The file is not what it should be; the message says where."""


# ---- the container ----

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9


class Reader:
    """A cursor over the bytes of a GGUF file. Every read is checked against the end of the file."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, size):
        if size > len(self.data) - self.at:
            raise GgufError(f"file ends at byte {len(self.data)}, {size} bytes needed at {self.at}")
        self.at += size
        return self.data[self.at - size:self.at]

    def scalar(self, code):
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def string(self):
        return self.take(self.scalar("Q")).decode("utf-8")

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            item, count = self.scalar("I"), self.scalar("Q")
            if item == ARRAY:
                raise GgufError("an array of arrays is not supported")
            if count > len(self.data):
                raise GgufError(f"an array of {count} items does not fit the file")
            return [self.value(item) for _ in range(count)]
        if kind not in SCALARS:
            raise GgufError(f"unknown value type {kind} at byte {self.at}")
        return self.scalar(SCALARS[kind])


def read_gguf(data):
    """Returns (metadata, tensors); a tensor is (name, shape in row-major order, type, first byte)."""
    reader = Reader(data)
    if reader.take(4) != b"GGUF":
        raise GgufError("not a GGUF file")
    version = reader.scalar("I")
    if version != 3:
        raise GgufError(f"GGUF version {version}, only 3 is supported")
    n_tensors, n_keys = reader.scalar("Q"), reader.scalar("Q")
    meta = {}
    for _ in range(n_keys):
        key = reader.string()
        meta[key] = reader.value(reader.scalar("I"))
    infos = []
    for _ in range(n_tensors):
        name = reader.string()
        dims = [reader.scalar("Q") for _ in range(reader.scalar("I"))]
        kind, offset = reader.scalar("I"), reader.scalar("Q")
        infos.append((name, tuple(reversed(dims)), kind, offset))  # GGUF names the fastest axis first
    align = meta.get("general.alignment", 32)
    start = -(-reader.at // align) * align
    return meta, [(name, shape, kind, start + offset) for name, shape, kind, offset in infos]


# ---- quantised blocks; a block holds 32 weights of one row ----

def dequantize_q8_0(blocks):
    """34 bytes: f16 scale d, 32 signed bytes q. w = d q."""
    scale = blocks[:, :2].copy().view("<f2").astype(np.float32)
    return scale * blocks[:, 2:].view(np.int8).astype(np.float32)


def dequantize_q4_1(blocks):
    """20 bytes: f16 scale d, f16 minimum m, 16 bytes of nibbles, low ones first. w = d q + m."""
    scale = blocks[:, :2].copy().view("<f2").astype(np.float32)
    minimum = blocks[:, 2:4].copy().view("<f2").astype(np.float32)
    nibbles = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)
    return scale * nibbles.astype(np.float32) + minimum


# type: (name, weights per block, bytes per block, blocks as uint8 [n, bytes] -> float32)
TYPES = {
    0: ("F32", 1, 4, lambda blocks: blocks.view("<f4")),
    1: ("F16", 1, 2, lambda blocks: blocks.view("<f2").astype(np.float32)),
    3: ("Q4_1", 32, 20, dequantize_q4_1),
    8: ("Q8_0", 32, 34, dequantize_q8_0),
}


def load_tensor(data, name, shape, kind, start):
    if kind not in TYPES:
        raise GgufError(f"tensor {name}: type {kind} is not supported")
    type_name, per_block, block_bytes, decode = TYPES[kind]
    if shape[-1] % per_block:
        raise GgufError(f"tensor {name}: rows of {shape[-1]} weights do not divide into {type_name} blocks")
    count = int(np.prod(shape, dtype=object)) // per_block
    if start + count * block_bytes > len(data):
        raise GgufError(f"tensor {name}: bytes {start}..{start + count * block_bytes} lie past the end of the file")
    raw = np.frombuffer(data, np.uint8, count * block_bytes, start).reshape(count, block_bytes)
    return decode(raw).reshape(shape)


# ---- from llama.cpp's names and layout to those of Hugging Face ----

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


def hf_name(name):
    parts = name.split(".")
    if len(parts) == 2 and parts[0] in TOP_NAMES and parts[1] == "weight":
        return TOP_NAMES[parts[0]] + ".weight"
    if len(parts) == 4 and parts[0] == "blk" and parts[2] in BLOCK_NAMES and parts[3] == "weight":
        return f"model.layers.{int(parts[1])}.{BLOCK_NAMES[parts[2]]}.weight"
    raise GgufError(f"tensor {name}: no place for it in a Llama model")


def split_rotary_halves(weight, heads):
    """llama.cpp interleaves the two halves of each head's rotary pairs, row 2i + h; Hugging Face keeps row h d/2 + i."""
    rows, cols = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)


def to_bf16(values):
    """Round to nearest, ties to even, on the bit pattern. Weights are finite, so NaN needs no care."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def convert_tensors(data, meta, tensors):
    heads = {"attn_q": meta["llama.attention.head_count"], "attn_k": meta["llama.attention.head_count_kv"]}
    weights = {}
    for name, shape, kind, start in tensors:
        weight = load_tensor(data, name, shape, kind, start)
        if not np.isfinite(weight).all():
            raise GgufError(f"tensor {name}: not every weight is finite")
        role = name.split(".")[2] if name.startswith("blk.") else ""
        if role in heads:
            weight = split_rotary_halves(weight, heads[role])
        weights[hf_name(name)] = to_bf16(weight)
    return weights


def write_safetensors(path, weights):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name in sorted(weights):
        size = weights[name].nbytes
        header[name] = {"dtype": "BF16", "shape": list(weights[name].shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for name in sorted(weights):
            out.write(weights[name].tobytes())


# ---- the JSON files beside the weights ----

def config_of(meta, tied):
    heads, hidden = meta["llama.attention.head_count"], meta["llama.embedding_length"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": meta["llama.vocab_size"],
        "hidden_size": hidden,
        "intermediate_size": meta["llama.feed_forward_length"],
        "num_hidden_layers": meta["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": meta["llama.attention.head_count_kv"],
        "head_dim": meta.get("llama.rope.dimension_count", hidden // heads),
        "hidden_act": "silu",
        "max_position_embeddings": meta["llama.context_length"],
        # stored as float32: 1e-5 comes back as 9.99999975e-06, so keep seven digits
        "rms_norm_eps": float(f"{meta['llama.attention.layer_norm_rms_epsilon']:.7g}"),
        "rope_theta": float(f"{meta.get('llama.rope.freq_base', 10000.0):.7g}"),
        "tie_word_embeddings": tied,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": meta["tokenizer.ggml.bos_token_id"],
        "eos_token_id": meta["tokenizer.ggml.eos_token_id"],
        "torch_dtype": "bfloat16",
    }


CONTROL, USER_DEFINED = 3, 4  # tokenizer.ggml.token_type

# GGUF names the pre-tokenizer; these are the ones whose definition in tokenizer.json is known here.
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
PRE_TOKENIZERS = {
    "smollm": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTE_LEVEL]},
    "gpt-2": BYTE_LEVEL,
}


def added_tokens(tokens, types):
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return [{"id": i, "content": tokens[i], **flags, "special": kind == CONTROL}
            for i, kind in enumerate(types) if kind in (CONTROL, USER_DEFINED)]


def tokenizer_of(meta):
    if meta["tokenizer.ggml.model"] != "gpt2":
        raise GgufError(f"tokenizer model {meta['tokenizer.ggml.model']} is not supported")
    pre = meta.get("tokenizer.ggml.pre", "gpt-2")
    if pre not in PRE_TOKENIZERS:
        raise GgufError(f"pre-tokenizer {pre} is not supported")
    tokens = meta["tokenizer.ggml.tokens"]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens(tokens, meta["tokenizer.ggml.token_type"]),
        "normalizer": None,
        "pre_tokenizer": PRE_TOKENIZERS[pre],
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in meta["tokenizer.ggml.merges"]],
        },
    }


def tokenizer_config_of(meta):
    tokens = meta["tokenizer.ggml.tokens"]
    names = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": meta["llama.context_length"],
              "clean_up_tokenization_spaces": False, "add_prefix_space": False}
    for key, name in names.items():
        index = meta.get(f"tokenizer.ggml.{name}_token_id")
        if index is not None:
            config[key] = tokens[index]
    if "tokenizer.chat_template" in meta:
        config["chat_template"] = meta["tokenizer.chat_template"]
    return config


def generation_config_of(meta):
    return {"bos_token_id": meta["tokenizer.ggml.bos_token_id"], "eos_token_id": meta["tokenizer.ggml.eos_token_id"],
            "pad_token_id": meta.get("tokenizer.ggml.padding_token_id", meta["tokenizer.ggml.eos_token_id"])}


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as out:
        json.dump(value, out, indent=1, ensure_ascii=False)
        out.write("\n")


def convert(source, folder):
    with open(source, "rb") as file:
        data = file.read()
    meta, tensors = read_gguf(data)
    if meta.get("general.architecture") != "llama":
        raise GgufError(f"architecture {meta.get('general.architecture')} is not supported, only llama")
    weights = convert_tensors(data, meta, tensors)
    os.makedirs(folder, exist_ok=True)
    write_safetensors(os.path.join(folder, "model.safetensors"), weights)
    write_json(folder, "config.json", config_of(meta, "lm_head.weight" not in weights))
    write_json(folder, "generation_config.json", generation_config_of(meta))
    write_json(folder, "tokenizer.json", tokenizer_of(meta))
    write_json(folder, "tokenizer_config.json", tokenizer_config_of(meta))
    return len(weights)


def main(arguments):
    if len(arguments) != 3:
        print("usage: gguf_to_hf.py MODEL.gguf OUT_DIR", file=sys.stderr)
        return 2
    try:
        count = convert(arguments[1], arguments[2])
    except KeyError as error:
        print(f"{arguments[1]}: metadata key {error} is missing", file=sys.stderr)
        return 1
    except (GgufError, OSError, ValueError) as error:
        print(f"{arguments[1]}: {error}", file=sys.stderr)
        return 1
    print(f"{arguments[2]}: {count} tensors in bf16")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
