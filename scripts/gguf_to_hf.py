#!/usr/bin/env python3
"""Turn a GGUF file of a Llama- or Qwen2-shaped model into a bf16 Hugging Face directory.

    gguf_to_hf.py MODEL.gguf OUT_DIR

Needs numpy and nothing else. Reads GGUF v3 with tensors in F32, F16, Q8_0, Q4_1, Q4_K and Q6_K and a byte-level BPE
tokenizer (tokenizer.ggml.model "gpt2"); anything else is refused by name. Writes model.safetensors, config.json,
generation_config.json, tokenizer.json and tokenizer_config.json.
"""
import json
import os
import struct
import sys

import numpy as np

from gguf_model.blocks import load_tensor
from gguf_model.container import GgufError, read_gguf
from gguf_model.layout import architecture_of, config_of, generation_config_of, hf_name, hf_rows
from gguf_model.tokenizer import tokenizer_config_of, tokenizer_of


def to_bf16(values):
    """Round to nearest, ties to even, on the bit pattern. Weights are finite, so NaN needs no care."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def bf16_tensor(data, meta, tensor):
    name = tensor[0]
    weight = load_tensor(data, *tensor)
    if not np.isfinite(weight).all():
        raise GgufError(f"tensor {name}: not every weight is finite")
    return to_bf16(hf_rows(weight, name, meta))


def write_safetensors(path, data, meta, tensors):
    """tensors: Hugging Face name -> entry of read_gguf; one at a time is in memory."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name in sorted(tensors):
        shape = list(tensors[name][1])
        size = 2 * int(np.prod(shape, dtype=object))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for name in sorted(tensors):
            out.write(bf16_tensor(data, meta, tensors[name]).data)


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as out:
        json.dump(value, out, indent=1, ensure_ascii=False)
        out.write("\n")


def convert(source, folder):
    with open(source, "rb") as file:
        data = file.read()
    meta, infos = read_gguf(data)
    architecture = architecture_of(meta)
    tensors = {hf_name(info[0], architecture): info for info in infos}
    files = {"config.json": config_of(meta, "lm_head.weight" not in tensors),
             "generation_config.json": generation_config_of(meta), "tokenizer.json": tokenizer_of(meta),
             "tokenizer_config.json": tokenizer_config_of(meta)}
    os.makedirs(folder, exist_ok=True)
    write_safetensors(os.path.join(folder, "model.safetensors"), data, meta, tensors)
    for name, value in files.items():
        write_json(folder, name, value)
    return len(tensors)


def main(arguments):
    if len(arguments) != 3:
        print("usage: gguf_to_hf.py MODEL.gguf OUT_DIR", file=sys.stderr)
        return 2
    try:
        count = convert(arguments[1], arguments[2])
    except KeyError as error:
        print(f"{arguments[1]}: metadata key {error} is missing", file=sys.stderr)
        return 1
    except (GgufError, OSError, ValueError, ArithmeticError, IndexError) as error:
        print(f"{arguments[1]}: {error}", file=sys.stderr)
        return 1
    print(f"{arguments[2]}: {count} tensors in bf16")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
