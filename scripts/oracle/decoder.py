"""A decoder in double precision, written from the published architecture: GPT-2 and Llama blocks.

Weights come from a Hugging Face directory (config.json, model.safetensors). `forward` lets a caller change the MLP's down projection
and add vectors to a block's output, and hands out the keys (input of the down projection) and block outputs it passes.
"""

import json
import math
import os

import torch
from safetensors.torch import load_file


class Decoder:
    def __init__(self, model_dir, dtype=torch.float64):
        with open(os.path.join(model_dir, "config.json"), encoding="utf-8") as f:
            self.config = c = json.load(f)
        w = {k: v.to(dtype) for k, v in load_file(os.path.join(model_dir, "model.safetensors")).items()}
        self.dtype, self.family = dtype, c["model_type"]
        if self.family == "gpt2":
            self.n_layers, self.hidden, self.heads = c["n_layer"], c["n_embd"], c["n_head"]
            self.kv_heads, self.eps = self.heads, c["layer_norm_epsilon"]
            self.w = {k.removeprefix("transformer."): v for k, v in w.items()}
            self.down_name = "transformer.h.{}.mlp.c_proj"
        elif self.family == "llama":
            self.n_layers, self.hidden, self.heads = c["num_hidden_layers"], c["hidden_size"], c["num_attention_heads"]
            self.kv_heads, self.eps = c["num_key_value_heads"], c["rms_norm_eps"]
            self.w = {k.removeprefix("model."): v for k, v in w.items()}
            self.down_name = "model.layers.{}.mlp.down_proj"
            theta = c.get("rope_theta") or c["rope_parameters"]["rope_theta"]
            half = torch.arange(0, self.hidden // self.heads, 2, dtype=dtype)
            self.freq = theta ** (-half / (self.hidden // self.heads))
        else:
            raise SystemExit("decoder: model_type '%s' is not gpt2 or llama" % self.family)
        self.head_dim = self.hidden // self.heads

    # ---- the edited weight, always as [d_out, d_in] ----

    def down(self, layer):
        if self.family == "gpt2":  # Conv1D keeps the transpose
            return self.w["h.%d.mlp.c_proj.weight" % layer].T
        return self.w["layers.%d.mlp.down_proj.weight" % layer]

    # ---- pieces ----

    def norm(self, x, name):
        w = self.w[name + ".weight"]
        if self.family == "gpt2":
            x = x - x.mean(-1, keepdim=True)
            return x / torch.sqrt((x * x).mean(-1, keepdim=True) + self.eps) * w + self.w[name + ".bias"]
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + self.eps) * w

    def rotate(self, x):  # x [heads, tokens, head_dim]; the two halves of a head make the pairs
        angle = torch.arange(x.shape[1], dtype=self.dtype)[:, None] * self.freq
        a, b = x.chunk(2, -1)
        return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)

    def attention(self, x, layer):  # x [tokens, hidden], normalised
        t, split = x.shape[0], lambda v, n: v.reshape(-1, n, self.head_dim).transpose(0, 1)
        if self.family == "gpt2":
            p = "h.%d.attn." % layer
            q, k, v = (x @ self.w[p + "c_attn.weight"] + self.w[p + "c_attn.bias"]).split(self.hidden, -1)
        else:
            p = "layers.%d.self_attn." % layer
            q, k, v = (x @ self.w[p + n + "_proj.weight"].T for n in "qkv")
        q, k, v = split(q, self.heads), split(k, self.kv_heads), split(v, self.kv_heads)
        if self.family == "llama":
            q, k = self.rotate(q), self.rotate(k)
        k, v = (y.repeat_interleave(self.heads // self.kv_heads, 0) for y in (k, v))
        score = q @ k.transpose(1, 2) / math.sqrt(self.head_dim)
        score = score.masked_fill(torch.ones(t, t, dtype=torch.bool).triu(1), -math.inf)
        y = (torch.softmax(score, -1) @ v).transpose(0, 1).reshape(t, self.hidden)
        if self.family == "gpt2":
            return y @ self.w[p + "c_proj.weight"] + self.w[p + "c_proj.bias"]
        return y @ self.w[p + "o_proj.weight"].T

    def key(self, x, layer):  # x [tokens, hidden], normalised
        if self.family == "gpt2":
            u = x @ self.w["h.%d.mlp.c_fc.weight" % layer] + self.w["h.%d.mlp.c_fc.bias" % layer]
            return 0.5 * u * (1 + torch.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))
        p = "layers.%d.mlp." % layer
        gate = x @ self.w[p + "gate_proj.weight"].T
        return gate * torch.sigmoid(gate) * (x @ self.w[p + "up_proj.weight"].T)

    # ---- the whole ----

    def embed(self, ids):
        ids = torch.as_tensor(ids)
        if self.family == "gpt2":
            return self.w["wte.weight"][ids] + self.w["wpe.weight"][: len(ids)]
        return self.w["embed_tokens.weight"][ids]

    def block(self, x, layer, dw=None):
        """Returns the block's output and its keys; dw [d_out, d_in] is added to the down projection."""
        p = ("h.%d." if self.family == "gpt2" else "layers.%d.") % layer
        n1, n2 = ("ln_1", "ln_2") if self.family == "gpt2" else ("input_layernorm", "post_attention_layernorm")
        x = x + self.attention(self.norm(x, p + n1), layer)
        key = self.key(self.norm(x, p + n2), layer)
        w = self.down(layer) if dw is None else self.down(layer) + dw
        y = x + key @ w.T
        if self.family == "gpt2":
            y = y + self.w["h.%d.mlp.c_proj.bias" % layer]
        return y, key

    def logits(self, x):  # x [n, hidden]: outputs of the last block
        if self.family == "gpt2":
            return self.norm(x, "ln_f") @ self.w["wte.weight"].T
        head = self.w["embed_tokens.weight" if self.config.get("tie_word_embeddings") else "lm_head.weight"]
        return self.norm(x, "norm") @ head.T

    def run(self, x, first, last, dw=None):
        """Layers first .. last-1; dw is {layer: [d_out, d_in]}."""
        for layer in range(first, last):
            x, _ = self.block(x, layer, (dw or {}).get(layer))
        return x
