#!/usr/bin/env python3
"""MEMIT in double precision, one fact and one row at a time, for comparing errata's `--profile reference` against.

    memit_oracle.py --model DIR --facts FACTS.jsonl --templates T.json --hparams H.json --stats DIR --out ORACLE.npz

Nothing is batched, cached or skipped: every row runs whole, every step runs the whole model, every solve is an LU of
A = lambda C + K K^T. What is computed (Meng et al. 2022, "Mass-Editing Memory in a Transformer"; the reference's choices where the
paper is silent):

  rows      the bare prompt, then one row per template; every row ends with all target tokens but the last
  z         z0 + delta, z0 the z layer's output at the subject's last token of the bare row, delta from
            Adam on   mean over rows of -1/T sum log p(target)  +  kl KL(p || p_0)  +  decay |delta| / |z0|^2 ,
            p the next-token distribution at the subject's last token of "{} is a" and delta added in that row too;
            stop before a step once the loss is below 0.05; the last iteration only evaluates; |delta| <= clamp |z0|
  keys      1/2 bare row + 1/2 mean of the others, on the model as edited so far
  dW        R K^T A^-1 / (layers left), R = z - (z layer's output on the model as edited so far, bare row)

A second solve from the same z, errata's default ("key_per_row"): every row r keeps a column of its own, with the weight w_r it has in
the mean above and with the residual of its own state, R_r = (h0_r + delta) - h_r, h0_r before any edit and h_r now:
dW = (sum w_r R_r k_r^T) (lambda C + sum w_r k_r k_r^T)^-1 / (layers left). Its arrays begin with "per_row.".

Arrays of the result: z, z0, delta [n, H]; loss [n, steps], NaN once stopped; rows [n]; subject_last [n]; then per edited layer l:
K.l [n, d_in], Zc.l [n, H] (before l is edited), dW.l [d_out, d_in]; Zc.end [n, H] after the last one; per_row.dW.l [d_out, d_in].
"""

import argparse
import glob
import json
import math
import os

import numpy as np
import torch
from tokenizers import Tokenizer

from decoder import Decoder

STOP = 0.05


class Row:
    """One prompt with its target: token ids, the index of the subject's last token, labels and where they are predicted."""

    def __init__(self, tok, template, prompt, subject, target):
        text = template.replace("{}", prompt, 1)
        begin = text.index("{}")
        text = text.replace("{}", subject, 1)
        e = tok.encode(text)
        spans = [(a, b) for a, b in e.offsets]
        self.last = max(i for i, (a, b) in enumerate(spans) if a < begin + len(subject) and b > begin)
        self.ids, self.labels, self.first_label = list(e.ids), [], len(e.ids) - 1
        if target is not None:
            joined = tok.encode(text + " " + target).ids
            assert joined[: len(e.ids)] == e.ids, "the target changes the tokens of '%s'" % text
            self.labels = joined[len(e.ids):]
            self.ids = joined[:-1]


def rows_of(tok, fact, templates):
    return [Row(tok, t, fact["prompt"], fact["subject"], fact["target"]) for t in ["{}"] + templates]


def target_value(model, rows, kl_row, h):
    """z, z0 and the losses of one fact."""
    layer = h["layers"][-1]
    with torch.no_grad():
        at_z = [model.run(model.embed(r.ids), 0, layer + 1) for r in rows + [kl_row]]
    z0 = at_z[0][rows[0].last].clone()

    def tail(states, row, delta):
        shift = torch.zeros_like(states)
        shift[row.last] = 1
        return model.run(states + shift * delta, layer + 1, model.n_layers)

    def loss_of(delta):
        nll = 0
        for states, row in zip(at_z, rows):
            t = len(row.labels)
            logp = torch.log_softmax(model.logits(tail(states, row, delta)[row.first_label:row.first_label + t]), -1)
            nll = nll - logp[torch.arange(t), torch.tensor(row.labels)].mean() / len(rows)
        p = torch.log_softmax(model.logits(tail(at_z[-1], kl_row, delta)[kl_row.last][None])[0], -1)
        if loss_of.p0 is None:
            loss_of.p0 = p.detach()
        kl = (p.exp() * (p - loss_of.p0)).sum()
        size = torch.sqrt((delta * delta).sum()) if bool((delta != 0).any()) else (delta * 0).sum()
        return nll + h["kl_factor"] * kl + h["v_weight_decay"] * size / (z0 * z0).sum()

    loss_of.p0 = None
    delta, m, v = (torch.zeros_like(z0) for _ in range(3))
    losses = []
    for step in range(1, h["v_num_grad_steps"] + 1):
        delta.requires_grad_(True)
        loss = loss_of(delta)
        losses.append(loss.item())
        if losses[-1] < STOP or step == h["v_num_grad_steps"]:
            break
        (g,) = torch.autograd.grad(loss, delta)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        delta = delta.detach() - h["v_lr"] * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
        limit = h["clamp_norm_factor"] * z0.norm()
        if delta.norm() > limit:
            delta = delta * limit / delta.norm()
    return z0 + delta.detach(), z0, losses


@torch.no_grad()
def keys_and_outputs(model, facts_rows, layer, z_layer, dw):
    """Per fact: keys [rows, d_in] at `layer` and outputs [rows, H] of the z layer, at the subject's last token."""
    found = []
    for rows in facts_rows:
        keys, outputs = [], []
        for row in rows:
            x = model.run(model.embed(row.ids[: row.last + 1]), 0, layer, dw)
            x, key = model.block(x, layer, dw.get(layer))
            keys.append(key[-1])
            outputs.append(model.run(x, layer + 1, z_layer + 1, dw)[-1])
        found.append((torch.stack(keys), torch.stack(outputs)))
    return found


def weights_of(n):
    """Of the bare row and the others in a fact's key."""
    return torch.tensor([0.5] + [0.5 / (n - 1)] * (n - 1) if n > 1 else [1.0], dtype=torch.float64)


def second_moment(stats, module):
    """C = sum / count of the reference's file, the stored sum taken as it is."""
    (path,) = glob.glob(os.path.join(stats, glob.escape(module) + "_float*_mom2*.npz"))
    with np.load(path) as f:
        return torch.from_numpy(f["mom2.mom2"].astype(np.float64) / int(f["mom2.count"]))


def spread(model, facts_rows, z, h, stats):
    out, dw, layers = {}, {}, h["layers"]
    for i, layer in enumerate(layers):
        found = keys_and_outputs(model, facts_rows, layer, layers[-1], dw)
        keys = torch.stack([weights_of(len(k)) @ k for k, _ in found])
        outputs = torch.stack([y[0] for _, y in found])
        c = second_moment(stats, model.down_name.format(layer))
        a = h["mom2_update_weight"] * c + keys.T @ keys
        residual = (z - outputs) / (len(layers) - i)
        dw[layer] = residual.T @ torch.linalg.solve(a, keys.T).T
        out["K.%d" % layer], out["Zc.%d" % layer], out["dW.%d" % layer] = keys, outputs, dw[layer]
    found = keys_and_outputs(model, facts_rows, layers[-1], layers[-1], dw)
    out["Zc.end"] = torch.stack([y[0] for _, y in found])
    return out


def spread_per_row(model, facts_rows, delta, h, stats):
    out, dw, layers, goal = {}, {}, h["layers"], None
    w = torch.cat([weights_of(len(rows)) for rows in facts_rows])[:, None]
    for i, layer in enumerate(layers):
        found = keys_and_outputs(model, facts_rows, layer, layers[-1], dw)
        keys, outputs = (torch.cat([f[j] for f in found]) for j in (0, 1))
        if goal is None:
            goal = outputs + torch.cat([d.expand(len(rows), -1) for d, rows in zip(delta, facts_rows)])
        a = h["mom2_update_weight"] * second_moment(stats, model.down_name.format(layer)) + keys.T @ (w * keys)
        residual = w * (goal - outputs) / (len(layers) - i)
        dw[layer] = torch.linalg.solve(a, keys.T @ residual).T
        out["per_row.dW.%d" % layer] = dw[layer]
    return out


def run(model_dir, facts_path, templates_path, hparams_path, stats, dtype=torch.float64):
    model = Decoder(model_dir, dtype)
    tok = Tokenizer.from_file(os.path.join(model_dir, "tokenizer.json"))
    with open(facts_path, encoding="utf-8") as f:
        facts = [json.loads(line) for line in f if line.strip()]
    with open(templates_path, encoding="utf-8") as f:
        templates = json.load(f)
    with open(hparams_path, encoding="utf-8") as f:
        h = json.load(f)
    facts_rows = [rows_of(tok, fact, templates) for fact in facts]
    z, z0, loss = [], [], np.full((len(facts), h["v_num_grad_steps"]), np.nan)
    for i, (fact, rows) in enumerate(zip(facts, facts_rows)):
        value, start, losses = target_value(model, rows, Row(tok, "{}", "{} is a", fact["subject"], None), h)
        z.append(value), z0.append(start)
        loss[i, : len(losses)] = losses
    z, z0 = torch.stack(z), torch.stack(z0)
    out = {"z": z, "z0": z0, "delta": z - z0}
    if dtype == torch.float64:
        out.update(spread(model, facts_rows, z, h, stats), **spread_per_row(model, facts_rows, z - z0, h, stats))
    kept = lambda k: np.float32 if k.startswith("per_row") else np.float64  # what is only compared may be smaller
    out = {k: np.ascontiguousarray(v.numpy().astype(kept(k))) for k, v in out.items()}
    out["loss"] = loss
    out["rows"] = np.array([len(r) for r in facts_rows], dtype=np.int64)
    out["subject_last"] = np.array([r[0].last for r in facts_rows], dtype=np.int64)
    return out


def main():
    p = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    for name in ("--model", "--facts", "--templates", "--hparams", "--stats", "--out"):
        p.add_argument(name, required=True)
    a = p.parse_args()
    out = run(a.model, a.facts, a.templates, a.hparams, a.stats)
    np.savez(a.out, **out)
    steps = (~np.isnan(out["loss"])).sum(1)
    print("%d facts, losses evaluated %s, final %s" % (len(steps), steps.tolist(),
          [round(float(out["loss"][i, n - 1]), 4) for i, n in enumerate(steps)]))
    assert all(math.isfinite(float(np.abs(v).max())) for k, v in out.items() if k != "loss")


if __name__ == "__main__":
    torch.set_num_threads(1)  # tiny matrices
    main()
