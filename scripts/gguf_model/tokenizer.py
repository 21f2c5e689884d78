"""tokenizer.json and tokenizer_config.json of a byte-level BPE from GGUF metadata."""
from gguf_model.container import GgufError
from gguf_model.layout import architecture_of

CONTROL, USER_DEFINED = 3, 4  # tokenizer.ggml.token_type

# GGUF names the pre-tokenizer; these are the ones whose definition in tokenizer.json is known here.
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
         r"|\s+(?!\S)|\s+")
PRE_TOKENIZERS = {
    "smollm": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTE_LEVEL]},
    "gpt-2": BYTE_LEVEL,
    "qwen2": {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": QWEN2}, "behavior": "Isolated", "invert": False},
        BYTE_LEVEL | {"trim_offsets": False, "use_regex": False}]},
}
NORMALIZERS = {"qwen2": {"type": "NFC"}}


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
    for end in ("bos", "eos"):
        if meta.get(f"tokenizer.ggml.add_{end}_token"):
            raise GgufError(f"a tokenizer that adds {end.upper()} to a text is not supported")
    tokens = meta["tokenizer.ggml.tokens"]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens(tokens, meta["tokenizer.ggml.token_type"]),
        "normalizer": NORMALIZERS.get(pre),
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
    config = {"tokenizer_class": "PreTrainedTokenizerFast",
              "model_max_length": meta[f"{architecture_of(meta)}.context_length"],
              "clean_up_tokenization_spaces": False, "add_prefix_space": False}
    for key, name in names.items():
        index = meta.get(f"tokenizer.ggml.{name}_token_id")
        if index is not None:
            config[key] = tokens[index]
    if "tokenizer.chat_template" in meta:
        config["chat_template"] = meta["tokenizer.chat_template"]
    return config
