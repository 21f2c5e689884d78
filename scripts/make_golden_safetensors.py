#!/usr/bin/env python3
"""Writes tests/golden/safetensors: a small checkpoint by the reference library, single and in shards, with values that
tests/io/test_checkpoint.c knows by formula: element i of a tensor is (i * step - 3) / 8, exact in every type used."""
import json, os, torch
from safetensors.torch import save_file

here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "golden", "safetensors")


def values(n, step, dtype):
    return ((torch.arange(n, dtype=torch.float64) * step - 3) / 8).to(dtype)


tensors = {
    "h.0.f32": values(6, 1, torch.float32).reshape(2, 3),
    "h.0.f16": values(5, 2, torch.float16),
    "h.1.bf16": values(12, 3, torch.bfloat16).reshape(3, 4),
    "h.1.f64": values(2, 4, torch.float64),
    "h.1.ids": torch.arange(3, dtype=torch.int64),
    "scalar": values(1, 5, torch.float32).reshape(()),
    "empty": torch.zeros(0, 7),
}
config = {"model_type": "golden"}
for folder, shards in (("single", {"model.safetensors": list(tensors)}),
                       ("sharded", {"model-00001-of-00002.safetensors": ["h.0.f32", "h.0.f16", "empty"],
                                    "model-00002-of-00002.safetensors": ["h.1.bf16", "h.1.f64", "h.1.ids", "scalar"]})):
    out = os.path.join(here, folder)
    os.makedirs(out, exist_ok=True)
    for name, members in shards.items():
        save_file({m: tensors[m] for m in members}, os.path.join(out, name), metadata={"format": "pt"})
    json.dump(config, open(os.path.join(out, "config.json"), "w"))
    if len(shards) > 1:
        index = {"metadata": {"total_size": sum(t.numel() * t.element_size() for t in tensors.values())},
                 "weight_map": {m: name for name, members in shards.items() for m in members}}
        json.dump(index, open(os.path.join(out, "model.safetensors.index.json"), "w"))
