#!/usr/bin/env python3
"""Teach a small GPT-2 a made-up world and write it as a Hugging Face directory.

    train.py --out DIR [--seed 21] [--people 400] [--minutes 12]

The defaults are those of the model in examples/world: six layers of width 192 with an MLP of 1,536, 4.8 million
weights, 4,000 facts. On two cores with AMX it reads 13,000 tokens a second, and most facts are learnt in four minutes;
the learning rate decays with the clock, so a run on another machine gives other weights of about the same quality.
Each fact is shown in four of its six phrasings; accuracy on the other two is what says that the model knows the fact.
Needs torch, tokenizers and numpy.
"""
import argparse
import functools
import json
import math
import os
import random
import struct
import time

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from torch.nn import functional as F

from world import World

END_OF_TEXT = "<|endoftext|>"
FILLER_SHARE = 0.15    # sentences of filler per sentence of fact
BREAK_SHARE = 0.3      # a document ends after this share of the facts
CONTEXT_WEIGHT = 0.25  # loss weight of every token that is not an object: names cannot be guessed, objects can


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)

    def forward(self, x):
        rows, length, width = x.shape
        q, k, v = (part.view(rows, length, self.heads, -1).transpose(1, 2) for part in self.c_attn(x).split(width, 2))
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(out.transpose(1, 2).reshape(rows, length, width))


class Mlp(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.c_fc = nn.Linear(width, inner)
        self.c_proj = nn.Linear(inner, width)

    def forward(self, x):
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, width, heads, inner):
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(width), Attention(width, heads)
        self.ln_2, self.mlp = nn.LayerNorm(width), Mlp(width, inner)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Gpt2(nn.Module):
    """Parameter names are those of Hugging Face's GPT-2, so the state dict needs no renaming, only transposing."""

    def __init__(self, vocab, context, width, layers, heads, inner):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab, width), nn.Embedding(context, width)
        self.h = nn.ModuleList(Block(width, heads, inner) for _ in range(layers))
        self.ln_f = nn.LayerNorm(width)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                residual = name.endswith("c_proj.weight")  # GPT-2's rule: the residual stream keeps its size over depth
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * layers) if residual else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe.weight[:tokens.shape[1]]
        for block in self.h:
            x = block(x)
        return self.ln_f(x) @ self.wte.weight.T


# ---- text ----

def train_tokenizer(world, size):
    """Byte-level BPE on one sentence per fact and some filler."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    rng = random.Random(3)

    def sentences():
        for key in world.facts:
            yield " " + world.sentence(key, rng.choice(world.shown(key)))
            if rng.random() < FILLER_SHARE:
                yield " " + world.filler(rng)

    tokenizer.train_from_iterator(sentences(), trainers.BpeTrainer(
        vocab_size=size, special_tokens=[END_OF_TEXT], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    return tokenizer


def encoder(tokenizer):
    """Text -> ids. The same prompts come back in every epoch, so they are remembered."""
    return functools.lru_cache(200_000)(lambda text: tokenizer.encode(text).ids)


def batches(world, tokenizer, rows, length):
    """Endless (inputs, labels, weights), each [rows, length]: facts in random order, each in a random shown phrasing."""
    encode, rng = encoder(tokenizer), world.rng
    end = tokenizer.token_to_id(END_OF_TEXT)
    ids, weights = [], []

    def add(tokens, weight):
        ids.extend(tokens)
        weights.extend([weight] * len(tokens))

    def gap():
        return " " if ids and ids[-1] != end else ""

    size = rows * (length + 1)
    while True:
        keys = list(world.facts)
        rng.shuffle(keys)
        for key in keys:
            phrasing = rng.choice(world.shown(key))
            if rng.random() < FILLER_SHARE:
                add(encode(gap() + world.filler(rng)), CONTEXT_WEIGHT)
            add(encode(gap() + world.prompt(key, phrasing)), CONTEXT_WEIGHT)
            add(encode(" " + world.facts[key]), 1.0)
            add(encode("."), CONTEXT_WEIGHT)
            if rng.random() < BREAK_SHARE:
                add([end], CONTEXT_WEIGHT)
            while len(ids) >= size:
                tokens = torch.tensor(ids[:size]).view(rows, length + 1)
                weight = torch.tensor(weights[:size]).view(rows, length + 1)
                del ids[:size], weights[:size]
                yield tokens[:, :-1], tokens[:, 1:], weight[:, 1:]


# ---- training ----

def loss_of(model, inputs, labels, weights):
    logits = model(inputs).flatten(0, 1).float()
    losses = F.cross_entropy(logits, labels.flatten(), reduction="none")
    return (losses * weights.flatten()).sum() / weights.sum()


def accuracy(world, model, tokenizer, count, held):
    """Share of facts whose object is the argmax, token by token, in a phrasing that was (not) held out."""
    keys = random.Random(5).sample(list(world.facts), min(count, len(world.facts)))
    right = 0
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for key in keys:
            phrasing = world.held[key][0] if held else world.shown(key)[0]
            prompt = tokenizer.encode(world.prompt(key, phrasing)).ids
            answer = tokenizer.encode(" " + world.facts[key]).ids
            guess = model(torch.tensor([prompt + answer]))[0].argmax(-1).tolist()
            right += guess[len(prompt) - 1:-1] == answer
    return right / len(keys)


def train(world, model, tokenizer, options):
    decayed = [p for p in model.parameters() if p.ndim == 2]
    plain = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}],
                                  lr=options.rate, betas=(0.9, 0.98))
    start, spoken = time.monotonic(), 0.0
    for step, (inputs, labels, weights) in enumerate(batches(world, tokenizer, options.rows, options.context)):
        minutes = (time.monotonic() - start) / 60
        if minutes > options.minutes:
            break
        # 200 steps of warm-up, then half a cosine over the time given, down to 3 %
        cosine = 0.5 * (1 + math.cos(math.pi * minutes / options.minutes))
        for group in optimizer.param_groups:
            group["lr"] = options.rate * min(1.0, (step + 1) / 200) * (0.03 + 0.97 * cosine)
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(model, inputs, labels, weights)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if minutes - spoken > options.minutes / 12:
            spoken = minutes
            print(f"{minutes:.1f} min, step {step}, loss {loss.item():.3f}, right: "
                  f"{accuracy(world, model, tokenizer, 100, False):.2f} of the phrasings shown, "
                  f"{accuracy(world, model, tokenizer, 100, True):.2f} of those held out", flush=True)
    print(f"at the end {accuracy(world, model, tokenizer, 400, True):.3f} of the phrasings held out")


# ---- output ----

def save(model, tokenizer, world, options):
    os.makedirs(options.out, exist_ok=True)
    tensors = {}
    for name, parameter in model.state_dict().items():
        # GPT-2 keeps its matrices as [in, out], nn.Linear as [out, in]
        matrix = parameter.T if parameter.ndim == 2 and name.startswith("h.") else parameter
        tensors["transformer." + name] = np.ascontiguousarray(matrix.float().numpy().astype("<f2"))
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": [offset, offset + tensor.nbytes]}
        offset += tensor.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(options.out, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            file.write(tensor.tobytes())
    end = tokenizer.token_to_id(END_OF_TEXT)
    config = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": tokenizer.get_vocab_size(),
              "n_positions": options.context, "n_ctx": options.context, "n_embd": options.width,
              "n_layer": options.layers, "n_head": options.heads, "n_inner": options.inner,
              "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True,
              "bos_token_id": end, "eos_token_id": end}
    for name, value in (("config.json", config), ("world.json", world.to_json()),
                        ("tokenizer.json", json.loads(tokenizer.to_str()))):
        with open(os.path.join(options.out, name), "w", encoding="utf-8") as file:
            json.dump(value, file, separators=(",", ":"), ensure_ascii=False)
            file.write("\n")


def main():
    parser = argparse.ArgumentParser(description="train a small GPT-2 on a made-up world")
    parser.add_argument("--out", required=True)
    for name, value in dict(seed=21, people=400, vocab=1500, context=96, width=192, layers=6, heads=3, inner=1536,
                            rows=40, minutes=12.0, rate=2e-3, threads=2).items():
        parser.add_argument("--" + name, type=type(value), default=value)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    world = World(options.seed, options.people)
    tokenizer = train_tokenizer(world, options.vocab)
    model = Gpt2(tokenizer.get_vocab_size(), options.context, options.width, options.layers, options.heads, options.inner)
    print(f"{sum(p.numel() for p in model.parameters())} weights, {len(world.facts)} facts", flush=True)
    train(world, model, tokenizer, options)
    save(model, tokenizer, world, options)


if __name__ == "__main__":
    main()
