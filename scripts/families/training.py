"""A few hundred steps of training on the made-up world, so that a checkpoint looks at a subject before it names an object."""

import math
import random
import re

import torch
from torch.nn import functional as F

STEPS, ROWS, RATE, OTHERS, QUIET = 250, 40, 5e-3, 0.2, 0.02


def initial(model, gen):
    """Small matrices, as families begin; no bias 0 and no norm 1, so that none is without effect."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=gen)
            if p.ndim == 1 and not name.endswith("bias"):
                p.copy_((0.0 if model.config.model_type == "gemma" else 1.0) + noise * 0.1)
            else:
                p.copy_(noise * (0.01 if "wpe" in name or "embed_positions" in name else 0.05))


def batch(world, encode, rng):
    """(tokens, weights) [rows, longest]: a fact of the world, after a sentence of filler in half of the rows."""
    keys, rows = list(world.facts), []
    for _ in range(ROWS):
        key = rng.choice(keys)
        prompt = world.prompt(key, rng.randrange(len(world.phrasings[key[1]])))
        if rng.random() < 0.5:
            prompt = world.filler(rng) + " " + prompt
        head, whole = encode(prompt), encode(prompt + " " + world.facts[key])
        rows.append((whole, len(head)))
    longest = max(len(ids) for ids, _ in rows)
    tokens, weights = torch.zeros(ROWS, longest, dtype=torch.int64), torch.zeros(ROWS, longest)
    for r, (ids, start) in enumerate(rows):
        tokens[r, :len(ids)] = torch.tensor(ids)
        weights[r, :len(ids)] = torch.tensor([OTHERS] * start + [1.0] * (len(ids) - start))
    return tokens, weights


def attention_layer(name):
    """The layer whose attention the parameter belongs to, or None."""
    match = re.search(r"\.(\d+)\.(attn|self_attn|attention|self_attention)\.", name)
    return int(match[1]) if match else None


def quieten(model, last):
    """Attention up to layer `last` adds little and learns nothing, so that objects are read off subjects above the edited layers.

    Large models do that by themselves; one of four layers, left alone, reads names off the embeddings in its first layer."""
    for name, p in model.named_parameters():
        layer = attention_layer(name)
        if layer is not None and layer <= last:
            p.requires_grad_(False)
            if name.endswith(("attn.c_proj.weight", "out_proj.weight", "o_proj.weight", "attention.dense.weight",
                              "self_attn.dense.weight")):
                p.mul_(QUIET)


def train(model, world, encode, gen, seed, last, steps=STEPS):
    """Trains and returns the tensors to store. Padding stands behind the rows, where no position that counts sees it."""
    model.float().eval()  # a half type of config.json is no type to train in; no dropout
    initial(model, gen)
    quieten(model, last)
    rng = random.Random(seed)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    for step in range(steps):
        tokens, weights = batch(world, encode, rng)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 20) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        logits = model(tokens[:, :-1], use_cache=False).logits
        losses = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
        loss = (losses * weights[:, 1:].flatten()).sum() / weights[:, 1:].sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    tied = model.config.tie_word_embeddings
    return {k: v.detach().clone() for k, v in model.state_dict().items() if not (tied and k == "lm_head.weight")}
