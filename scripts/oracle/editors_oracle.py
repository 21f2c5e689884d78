#!/usr/bin/env python3
"""dW of the closed-form editors in double precision, from target values that are given, for errata's editors to be compared with.

    scripts/oracle/editors_oracle.py [GOLDEN_DIR]      reads tests/golden/memit/{gpt2,llama}, writes tests/golden/editors/{gpt2,llama}.npz

Every editor is computed in the form that its paper prints, by LU and with full-size matrices; errata computes none of them in that form.
K [d, n] are a layer's keys, R [o, n] = (z - state of the z layer) / (layers left), C the second moment, all fp64 and on the model as
edited so far, rows run one at a time (memit_oracle.py, whose z and whose definition of a key are used).

  emmet.soft     R (K^T C'^-1 K + emmet_lambda I)^-1 K^T C'^-1,  C' = mom2_update_weight C + update_norm_lambda I   (Gupta et al. 2024)
  emmet.hard     the same with emmet_lambda 0
  rome           r (C^-1 k)^T / (k^T C^-1 k), the first fact, the last layer alone                                  (Meng et al. 2022)
  alphaedit      X^T,  (P K K^T + L2 I) X = P K R^T,  P = U U^T, U the singular vectors of C whose singular values are below
                 nullspace_threshold                                                                             (Fang et al. 2025)
  alphaedit_seq  the same in two jobs, the second on the model that the first left, with P (K K^T + K_p K_p^T); K_p are the first job's
                 keys, taken anew when all its layers are edited, as AlphaEdit and MEMIT_seq define them
  memit_seq      R K^T (lambda C + K_p K_p^T + K K^T)^-1 in the same two jobs
  per_row.*      the last two with a column per row (errata's default profile; memit_oracle.py says how its targets are made)

Arrays: "<editor>.dW.<layer>" [o, d]; of two jobs the second's. Settings: emmet_lambda, update_norm_lambda, L2, nullspace_threshold;
"rank.<layer>" of U; "first": facts of the first job. dW is rounded to 16 bits of mantissa, 8e-6 relative, to be small on disk.
"""

import json
import os
import sys

import numpy as np
import torch
from tokenizers import Tokenizer

from decoder import Decoder
from memit_oracle import keys_and_outputs, rows_of, second_moment, weights_of

EMMET_LAMBDA, UPDATE_NORM_LAMBDA, L2 = 0.1, 0.02, 0.5
FIRST = 4  # facts of the first of two jobs
inverse, solve = torch.linalg.inv, torch.linalg.solve


class Golden:
    """One golden checkpoint with its facts, statistics and target values."""

    def __init__(self, folder):
        read = lambda name: json.load(open(os.path.join(folder, name), encoding="utf-8"))
        self.model, self.h = Decoder(os.path.join(folder, "model")), read("hparams.json")
        tok = Tokenizer.from_file(os.path.join(folder, "model", "tokenizer.json"))
        with open(os.path.join(folder, "facts.jsonl"), encoding="utf-8") as f:
            self.rows = [rows_of(tok, json.loads(line), read("templates.json")) for line in f]
        with np.load(os.path.join(folder, "oracle.npz")) as f:
            self.z = torch.from_numpy(f["z"].astype(np.float32).astype(np.float64))  # as errata is given them
        self.layers = self.h["layers"]
        self.c = {l: second_moment(os.path.join(folder, "stats"), self.model.down_name.format(l)) for l in self.layers}

    def averaged(self, facts, layer, dw):
        """A column per fact: K [d, n], the states [o, n] that R is to move."""
        found = keys_and_outputs(self.model, [self.rows[i] for i in facts], layer, self.layers[-1], dw)
        return torch.stack([weights_of(len(k)) @ k for k, _ in found]).T, torch.stack([y[0] for _, y in found]).T


def spread(g, facts, update, layers=None, dw=None):
    """The walk: dW of each layer by update(layer, K, R), on top of the edits `dw` of an earlier job."""
    layers, total, change = layers or g.layers, dict(dw or {}), {}
    for i, layer in enumerate(layers):
        k, state = g.averaged(facts, layer, total)
        change[layer] = update(layer, k, (g.z[facts].T - state) / (len(layers) - i))
        total[layer] = total.get(layer, 0) + change[layer]
    return change, total


def spread_rows(g, facts, update, dw=None):
    """The walk with a column per row: sqrt(w) k and sqrt(w) r, whose targets are the row's own state and the fact's delta."""
    total, change, goal = dict(dw or {}), {}, None
    w = torch.cat([weights_of(len(g.rows[i])) for i in facts]).sqrt()
    for i, layer in enumerate(g.layers):
        found = keys_and_outputs(g.model, [g.rows[f] for f in facts], layer, g.layers[-1], total)
        if goal is None:
            goal = torch.cat([y + (g.z[f] - y[0]) for f, (_, y) in zip(facts, found)])
        keys, states = (torch.cat([x[j] for x in found]) for j in (0, 1))
        change[layer] = update(layer, keys.T * w, (goal - states).T * w / (len(g.layers) - i))
        total[layer] = total.get(layer, 0) + change[layer]
    return change, total


def history_of(g, facts, dw, per_row):
    """K_p K_p^T of each layer, keys taken on the model that the job left."""
    out = {}
    for layer in g.layers:
        if per_row:
            found = keys_and_outputs(g.model, [g.rows[f] for f in facts], layer, g.layers[-1], dw)
            out[layer] = sum(k.T @ (weights_of(len(k))[:, None] * k) for k, _ in found)
        else:
            k, _ = g.averaged(facts, layer, dw)
            out[layer] = k @ k.T
    return out


# ---- the editors, each as published ----

def emmet(g, mu):
    def update(layer, k, r):
        c = g.h["mom2_update_weight"] * g.c[layer] + UPDATE_NORM_LAMBDA * torch.eye(len(k), dtype=k.dtype)
        kc = k.T @ inverse(c)
        return r @ inverse(kc @ k + mu * torch.eye(k.shape[1], dtype=k.dtype)) @ kc
    return update


def rome(g):
    def update(layer, k, r):
        u = solve(g.c[layer], k[:, 0])
        return torch.outer(r[:, 0], u) / (k[:, 0] @ u)
    return update


def alphaedit(g, projector, past=None):
    def update(layer, k, r):
        p, kk = projector[layer], k @ k.T + (past[layer] if past else 0)
        return solve(p @ kk + L2 * torch.eye(len(k), dtype=k.dtype), p @ k @ r.T).T
    return update


def memit(g, past=None):
    def update(layer, k, r):
        a = g.h["mom2_update_weight"] * g.c[layer] + k @ k.T + (past[layer] if past else 0)
        return r @ k.T @ inverse(a)
    return update


def threshold_of(g):
    """In the widest relative gap that the middle of the spectra of all layers share, so that no rounding changes a rank."""
    values = torch.cat([torch.linalg.eigvalsh(c) for c in g.c.values()]).sort().values
    middle = values[len(values) // 3: 2 * len(values) // 3]
    at = int((middle[1:] / middle[:-1]).argmax())
    return float((middle[at] * middle[at + 1]).sqrt())


def projectors(g, threshold):
    out, rank = {}, {}
    for layer, c in g.c.items():
        u, s, _ = torch.linalg.svd(c)
        u0 = u[:, s < threshold]
        out[layer], rank[layer] = u0 @ u0.T, u0.shape[1]
    return out, rank


def rounded(dw):
    bits = np.ascontiguousarray(dw.numpy().astype(np.float32)).view(np.uint32)
    return ((bits + np.uint32(0x40)) & np.uint32(0xFFFFFF80)).view(np.float32)


def run(folder):
    g = Golden(folder)
    facts, first, second = list(range(len(g.rows))), list(range(FIRST)), list(range(FIRST, len(g.rows)))
    threshold = threshold_of(g)
    p, rank = projectors(g, threshold)
    out = {"emmet.soft": spread(g, facts, emmet(g, EMMET_LAMBDA))[0], "emmet.hard": spread(g, facts, emmet(g, 0.0))[0],
           "rome": spread(g, [0], rome(g), g.layers[-1:])[0], "alphaedit": spread(g, facts, alphaedit(g, p))[0]}
    for per_row, walk in ((False, spread), (True, spread_rows)):
        for name, editor in (("alphaedit_seq", lambda past=None: alphaedit(g, p, past)), ("memit_seq", lambda past=None: memit(g, past))):
            _, left = walk(g, first, editor())
            past = history_of(g, first, left, per_row)
            with_past, _ = walk(g, second, editor(past), dw=left)
            without, _ = walk(g, second, editor(), dw=left)
            far = max(float((with_past[l] - without[l]).norm() / with_past[l].norm()) for l in g.layers)
            assert far > 0.02, "%s: the history changes dW by %g only" % (name, far)
            out[("per_row." if per_row else "") + name] = with_past
    for a, b in (("emmet.soft", "emmet.hard"), ("alphaedit", "emmet.hard"), ("alphaedit_seq", "memit_seq")):
        far = min(float((out[a][l] - out[b][l]).norm() / out[b][l].norm()) for l in g.layers)
        assert far > 0.02, "%s and %s differ by %g only" % (a, b, far)  # else a test would not tell them apart
    arrays = {"%s.dW.%d" % (name, layer): rounded(dw) for name, by_layer in out.items() for layer, dw in by_layer.items()}
    for name, value in (("emmet_lambda", EMMET_LAMBDA), ("update_norm_lambda", UPDATE_NORM_LAMBDA), ("L2", L2),
                        ("nullspace_threshold", threshold)):
        arrays[name] = np.array([value])
    arrays["first"] = np.array([FIRST], dtype=np.int64)
    arrays.update({"rank.%d" % layer: np.array([r], dtype=np.int64) for layer, r in rank.items()})
    print("%s: threshold %.3g, rank %s of %d" % (folder, threshold, list(rank.values()), len(g.c[g.layers[0]])))
    return arrays


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    golden = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "..", "..", "tests", "golden")
    os.makedirs(os.path.join(golden, "editors"), exist_ok=True)
    for name in ("gpt2", "llama"):
        np.savez_compressed(os.path.join(golden, "editors", name + ".npz"), **run(os.path.join(golden, "memit", name)))


if __name__ == "__main__":
    torch.set_num_threads(1)  # tiny matrices
    main()
