#!/usr/bin/env python3
"""What Hugging Face transformers computes on a checkpoint, for tests/model/test_checkpoint_logits.c.

    golden_logits.py FOLDER [MODEL.gguf]

Writes FOLDER/expected/model.safetensors: tokens, row_start and logits, fp32 with eager attention, of a few texts. With
MODEL.gguf the weights and the tokenizer are those of transformers' own reading of that file, rounded to bf16 as gguf_to_hf.py
does, so that the conversion is checked too; a text whose ids differ between the two tokenizers is an error. Development time
only: needs torch, transformers, safetensors, gguf and about 4 bytes per parameter, twice.
"""
import os
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = [
    "The Eiffel Tower is located in the city of Paris, and the Colosseum stands in Rome.",
    "def mean(values):\n    \"\"\"Arithmetic mean.\"\"\"\n    return sum(values) / len(values)\n",
    "Москва — столица России; 東京は日本の首都です。 L'été dernier, 12345 naïve cafés…",
    "The mother tongue of Danielle Darrieux is",
]


def load(folder, gguf):
    if not gguf:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16, attn_implementation="eager")
    return torch.nn.Module.float(model)  # its own float() refuses what came out of a GGUF file


def main():
    folder = pathlib.Path(sys.argv[1])
    gguf = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = [tokenizer.encode(text) for text in TEXTS]
    if gguf:
        other = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        for text, ids in zip(TEXTS, rows):
            if other.encode(text) != ids:
                sys.exit(f"{text!r}: {ids} here, {other.encode(text)} in {gguf}")
    model = load(folder, gguf).eval()
    with torch.no_grad():
        logits = torch.cat([model(torch.tensor([row]), use_cache=False).logits[0] for row in rows])
    starts = [sum(len(row) for row in rows[:i]) for i in range(len(rows) + 1)]
    os.makedirs(folder / "expected", exist_ok=True)
    save_file({"tokens": torch.tensor(sum(rows, []), dtype=torch.int32),
               "row_start": torch.tensor(starts, dtype=torch.int32), "logits": logits.contiguous()},
              folder / "expected" / "model.safetensors", metadata={"format": "pt"})
    print(f"{folder}: {len(rows)} rows, {starts[-1]} tokens, logits of {logits.shape[1]}")


if __name__ == "__main__":
    main()
