#!/usr/bin/env python3
"""Writes the seed corpora of the safetensors, json and npz fuzz targets under tests/fuzz/corpus: small inputs that reach the
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

golden = os.path.join(root, "golden", "npz")
for folder in (golden, os.path.join(golden, "bad")):
    for name in sorted(os.listdir(folder)):
        if name.endswith(".npz") and os.path.getsize(os.path.join(folder, name)) < 1500:
            put("npz", name[:-4], open(os.path.join(folder, name), "rb").read())
