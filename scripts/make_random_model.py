#!/usr/bin/env python3
"""A random-weight GPT-2- or Llama-shaped checkpoint with the bundled tokenizer, for benchmarks: nothing is learnt, sizes are real.

usage: make_random_model.py OUT_DIR [--family gpt2|llama] [--hidden 768] [--layers 12] [--inner 3072] [--heads 12] [--vocab 50257]
"""
import argparse, json, os, shutil, struct
import numpy as np

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("out")
p.add_argument("--family", choices=["gpt2", "llama"], default="gpt2")
for name, value in (("hidden", 768), ("layers", 12), ("inner", 3072), ("heads", 12), ("vocab", 50257), ("seed", 1)):
    p.add_argument("--" + name, type=int, default=value)
a = p.parse_args()
rng = np.random.default_rng(a.seed)
tensors = {}


def weight(name, *shape, std=0.02):
    x = rng.standard_normal(shape, dtype=np.float32) * std
    u = x.view(np.uint32)
    tensors[name] = ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype(np.uint16)  # bf16, to nearest even


def constant(name, n, value):
    tensors[name] = np.full(n, 0x3F80 if value else 0, np.uint16)


d, f = a.hidden, a.inner
if a.family == "gpt2":
    weight("wte.weight", a.vocab, d)
    weight("wpe.weight", 1024, d, std=0.01)
    for i in range(a.layers):
        h = f"h.{i}."
        for n in ("ln_1", "ln_2"):
            constant(h + n + ".weight", d, 1), constant(h + n + ".bias", d, 0)
        for n, rows, cols in (("attn.c_attn", d, 3 * d), ("attn.c_proj", d, d), ("mlp.c_fc", d, f), ("mlp.c_proj", f, d)):
            weight(h + n + ".weight", rows, cols), constant(h + n + ".bias", cols, 0)
    constant("ln_f.weight", d, 1), constant("ln_f.bias", d, 0)
    config = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": d, "n_layer": a.layers, "n_head": a.heads,
              "n_inner": f, "n_positions": 1024, "vocab_size": a.vocab, "activation_function": "gelu_new",
              "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True}
else:
    weight("model.embed_tokens.weight", a.vocab, d)
    for i in range(a.layers):
        h = f"model.layers.{i}."
        constant(h + "input_layernorm.weight", d, 1), constant(h + "post_attention_layernorm.weight", d, 1)
        for n in "qkvo":
            weight(h + f"self_attn.{n}_proj.weight", d, d)
        weight(h + "mlp.gate_proj.weight", f, d), weight(h + "mlp.up_proj.weight", f, d), weight(h + "mlp.down_proj.weight", d, f)
    constant("model.norm.weight", d, 1)
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": d, "num_hidden_layers": a.layers,
              "num_attention_heads": a.heads, "num_key_value_heads": a.heads, "intermediate_size": f, "vocab_size": a.vocab,
              "max_position_embeddings": 1024, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
              "tie_word_embeddings": True}
os.makedirs(a.out, exist_ok=True)
header, at = {"__metadata__": {"format": "pt"}}, 0
for name, x in tensors.items():
    header[name] = {"dtype": "BF16", "shape": list(x.shape), "data_offsets": [at, at + x.nbytes]}
    at += x.nbytes
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open(os.path.join(a.out, "model.safetensors"), "wb") as out:
    out.write(struct.pack("<Q", len(text)) + text)
    for x in tensors.values():
        out.write(x.tobytes())
with open(os.path.join(a.out, "config.json"), "w") as out:
    json.dump(config, out, indent=1)
world = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "examples", "world")
shutil.copy(os.path.join(world, "tokenizer.json"), a.out)
print(f"{a.out}: {at / 1e6:.0f} MB")
