#!/usr/bin/env python3
"""Writes the seed corpora of the safetensors, json, yaml and npz fuzz targets under tests/fuzz/corpus: small inputs that reach the
branches a mutation should start from."""
import json, os, struct

root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests")


def put(topic, name, data):
    folder = os.path.join(root, "fuzz", "corpus", topic)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode())


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


put("safetensors", "empty", safetensors({}))
put("safetensors", "padded", safetensors(b"{}   "))
put("safetensors", "metadata", safetensors({"__metadata__": {"format": "pt"}}))
put("safetensors", "two", safetensors({"a": entry("F32", [2], 0, 8), "b": entry("BF16", [1, 3], 8, 14)}, b"x" * 14))
put("safetensors", "scalar_and_void", safetensors({"s": entry("U8", [], 0, 1), "e": entry("F16", [0, 9], 0, 0)}, b"x"))
put("safetensors", "subbyte", safetensors({"s": entry("F4", [2], 0, 1), "t": entry("F6_E2M3", [4], 1, 4)}, b"xxxx"))
put("safetensors", "unknown_keys", safetensors({"s": dict(entry("U8", [1], 0, 1), more=[{}, None, 1.5e3, "\u00e9"])}, b"x"))
put("safetensors", "hole", safetensors({"a": entry("U8", [1], 0, 1), "b": entry("U8", [1], 2, 3)}, b"xxx"))
put("safetensors", "overflow", safetensors({"a": entry("F32", [2, 9223372036854775807], 0, 1)}, b"x"))
put("safetensors", "huge_header", struct.pack("<Q", 1 << 63) + b"{}")
put("safetensors", "short", b"\x02\0\0")
put("safetensors", "escaped", safetensors(b'{"\\u00e9\\ud83d\\ude00\\n":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"x"))
put("safetensors", "fraction", safetensors(b'{"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}', b"x"))
put("safetensors", "reference", open(os.path.join(root, "golden", "safetensors", "single", "model.safetensors"), "rb").read())

put("json", "all_kinds", '{"a":[1,-2.5e3,true,false,null,"x\\u00e9\\ud83d\\ude00\\n\u00e9"],"b":{"c":{}},"d":[]}')
put("json", "many_keys", json.dumps({f"k{i}": i for i in range(20)}))
put("json", "same_key", '{"a":1,"\\u0061":2}')
put("json", "numbers", "[0,-0,1.5,1e5,1E-5,123456789012345678901234567890]")
put("json", "infinite", "[1e999]")
put("json", "leading_zero", "01")
put("json", "control", '"a\nb"')
put("json", "lone", '"\\ud800"')
put("json", "nul", '"\\u0000"')
put("json", "overlong", b'"\xc0\xaf"')
put("json", "deep", "[" * 130 + "]" * 130)
put("json", "word", " true ")
put("json", "string", '"\\"\\\\\\/\\b\\f\\n\\r\\t"')
put("json", "empty", "")
put("json", "marked", b"\xef\xbb\xbf" + b'{"a": [1, "b"]}\n')
put("json", "marked_digit", b"\xef\xbb\xbf7")

put("yaml", "settings", 'alg_name: "MEMIT"\nmodel_name: "./models/tiny"\ndevice: 0\nlayers: [1, 2]\nv_lr: 5e-1\nkl_factor: 0.0625\nmom2_adjustment: true\n'
    'rewrite_module_tmp: "h.{}.mlp"\nmodel_parallel: false\n')
put("yaml", "block", "layers:\n- 3\n-  4\nv_lr: 1e-3 # small\n? stop\n: .05\ntext: |\n  a\n  b\n")
put("yaml", "scalars", "a: [0x1f, 0o17, -.5, 5., ~, Null, True, no, 1_0, 'x''y', \"\\u00e9\\t\"]\n")
put("yaml", "nested", "a: {b: [1, {c: d}]}\ne: [[1], 2]\n")
put("yaml", "anchors", "a: &x [1, 2]\nb: *x\n")
put("yaml", "laughs", "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n")
put("yaml", "tags", "%TAG !e! tag:e,2000:\n---\na: !!int 1\nb: ! x\n")
put("yaml", "twice", "{a: 1, 'a': 2}")
put("yaml", "documents", "a: 1\n---\nb: 2\n...\n")
put("yaml", "infinite", "a: -.inf\nb: .nan\nc: 1e999\n")
put("yaml", "bytes", b"\xef\xbb\xbf\xc3\xa9: \xe2\x82\xac\n")
put("yaml", "utf16", "a: 1\n".encode("utf-16"))
put("yaml", "deep", "a: " + "[" * 40)
put("yaml", "empty", "")

golden = os.path.join(root, "golden", "npz")
for folder in (golden, os.path.join(golden, "bad")):
    for name in sorted(os.listdir(folder)):
        if name.endswith(".npz") and os.path.getsize(os.path.join(folder, name)) < 1500:
            put("npz", name[:-4], open(os.path.join(folder, name), "rb").read())

# Tokenizers small enough to mutate: SentencePiece's way with every component, and the older files.
PIECES = {"?": 0, "<s>": 1, "</s>": 2, "▁": 3, "a": 4, "b": 5, "▁a": 6, "ab": 7, "<0xC3>": 8, "<0xA9>": 9, "<0x41>": 10, "_": 11, "▁▁": 12}
MERGES = [["▁", "a"], ["a", "b"], ["▁", "▁"]]


def token(i, content, **flags):
    return dict({"id": i, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}, **flags)


def metaspace(scheme, split, mark="▁"):
    return {"type": "Metaspace", "replacement": mark, "prepend_scheme": scheme, "split": split}


def replace(kind, pattern, content):
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def pieces(normalizer=None, pre=None, post=None, decoder=None, tokens=None, **model):
    return json.dumps({"version": "1.0", "added_tokens": tokens or [token(1, "<s>"), token(2, "</s>", normalized=True, rstrip=True)], "normalizer": normalizer,
                       "pre_tokenizer": pre, "post_processor": post, "decoder": decoder,
                       "model": dict({"type": "BPE", "unk_token": "?", "fuse_unk": True, "byte_fallback": True, "vocab": PIECES, "merges": MERGES}, **model)},
                      ensure_ascii=False, separators=(",", ":"))


CHAIN = {"type": "Sequence", "decoders": [replace("String", "▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 1}]}
AROUND = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                                                   {"SpecialToken": {"id": "</s>", "type_id": 0}}], "pair": [],
          "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}, "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}}}
LLAMA = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace("String", " ", "▁")]}
put("tokenizer", "llama2.json", pieces(LLAMA, None, AROUND, CHAIN))
put("tokenizer", "mistral.json", pieces(None, metaspace("first", False), AROUND, CHAIN))
put("tokenizer", "gemma.json", pieces(replace("String", " ", "▁"), {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}))
put("tokenizer", "metaspaces.json", pieces({"type": "NFC"}, {"type": "Sequence", "pretokenizers": [metaspace("always", True), metaspace("never", True, "_")]},
                                           None, metaspace("first", True), byte_fallback=False, fuse_unk=False))
put("tokenizer", "regexes.json", pieces({"type": "Sequence", "normalizers": [replace("Regex", "[0-9]+|(?=x)", "é"), {"type": "NFC"}, replace("String", "a", "")]},
                                        None, None, {"type": "Sequence", "decoders": [replace("Regex", "a|^", "--"), {"type": "ByteLevel"}]}, unk_token=None, ignore_merges=True))
# Matches that begin before the end of the one before them.
for name, expression in (("lookbehind", r"(?<=\Ka)b|a"), ("repeated", r"a|(?<=\Kaa*)b"), ("longer", r"ab|(?<=\Kab)c")):
    put("tokenizer", "keep_" + name + ".json", pieces(replace("Regex", expression, "x"), {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False},
                                                      None, replace("Regex", expression, "x")))
put("tokenizer", "growing.json", pieces({"type": "Sequence", "normalizers": [replace("String", "a", "aaaaaaaa")] * 9}, None, None,
                                        {"type": "Sequence", "decoders": [replace("String", "a", "aaaaaaaa")] * 9}))
CASED = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s|\p{N}%s"
         r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
for name, end, digits in (("o200k", "(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "{1,3}"), ("tekken", "", "")):
    put("tokenizer", name + ".json", pieces(None, {"type": "Split", "pattern": {"Regex": CASED % (end, end, digits)}, "behavior": "Isolated", "invert": False}))
put("tokenizer", "configured", pieces(LLAMA, None, AROUND, CHAIN) + "\0" + json.dumps({"tokenizer_class": "LlamaTokenizerFast", "add_bos_token": True, "add_eos_token": False,
                                                                                      "bos_token": {"content": "<s>"}, "eos_token": "</s>"}))
OLD = json.dumps({"</s>": 0, "Ġ": 1, "a": 2, "b": 3, "ab": 4, "t": 5, "h": 6, "th": 7}, ensure_ascii=False)
put("merges", "opt", OLD + "\0#version: 0.2\na b\nt h\n\0" + json.dumps({"add_bos_token": True, "bos_token": {"content": "</s>", "lstrip": True}, "eos_token": "</s>"}))
put("merges", "no_bos", OLD + "\0#version: 0.2\na b\nt h\n\0" + json.dumps({"add_bos_token": True, "bos_token": {"content": "", "lstrip": True}, "eos_token": "</s>"}))
put("merges", "no_config", OLD + "\0a b\r\nt h")
put("merges", "listed", OLD + "\0\0" + json.dumps({"added_tokens_decoder": {"9": {"content": "<y>", "lstrip": True}, "8": {"content": "ab", "special": False}}, "add_prefix_space": True}))
put("merges", "three", OLD + "\0a b h\n")
put("merges", "empty", "")
