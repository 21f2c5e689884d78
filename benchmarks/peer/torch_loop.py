#!/usr/bin/env python3
"""MEMIT's search for target values as its authors run it, in plain PyTorch: one fact at a time, whole padded rows through the
whole model, full logits. Written from the paper's equations; needs nothing but torch (and numpy for --model).

    torch_loop.py FACTS [--facts K] [--device cuda] [--dtype fp32|bf16] [--model FILE.npz] [--compare LOSSES] [--gather] [--json FILE]

FACTS, FILE.npz and LOSSES are what bench_job writes with --dump-facts, --dump-model and --dump-losses. Without --model the
weights are random: what a step costs does not depend on them. --compare exits with 1 when a loss is off by more than --tolerance.
"""

import argparse
import json
import sys
import time

import torch
import torch.nn.functional as F


class Decoder:
    """One block with switches; weights [d_out, d_in], q|k|v and gate|up in one matrix each."""

    def __init__(self, shape, device, dtype, npz=None, seed=0):
        self.s, self.device, self.dtype = shape, device, dtype
        self.generator = torch.Generator(device=device).manual_seed(seed)
        self.npz = npz
        s, q = shape, shape["heads"] * shape["head_dim"]
        qkv, up = q + 2 * shape["kv_heads"] * shape["head_dim"], shape["inner"] * (2 if shape["gated"] else 1)
        h = s["hidden"]
        self.embed = self.weight("embed", s["vocab"], h)
        self.position = self.weight("position", s["positions"], h) if s["learned"] else None
        self.block = [
            {
                "norm1": self.norm_pair("%d.norm1" % i),
                "norm2": self.norm_pair("%d.norm2" % i) if s["norm2"] else None,
                "qkv": (self.weight("%d.qkv" % i, qkv, h), self.bias("%d.qkv_b" % i, qkv, s["qkv_bias"])),
                "out": (self.weight("%d.out" % i, h, q), self.bias("%d.out_b" % i, h, s["out_bias"])),
                "up": (self.weight("%d.up" % i, up, h), self.bias("%d.up_b" % i, up, s["mlp_bias"])),
                "down": (self.weight("%d.down" % i, h, s["inner"]), self.bias("%d.down_b" % i, h, s["mlp_bias"])),
            }
            for i in range(s["layers"])
        ]
        self.final = self.norm_pair("final")
        self.head = self.embed if s["tied"] else self.weight("head", s["vocab"], h)
        self.head_b = self.bias("head_b", s["vocab"], s["head_bias"])
        if s["rope"] != "none":
            dims = s["rope_dims"]
            freq = s["rope_base"] ** (-torch.arange(0, dims, 2, dtype=torch.float64) / dims)
            angle = torch.arange(min(s["positions"], 512), dtype=torch.float32)[:, None] * freq.float()
            self.cos, self.sin = (f(angle).to(device, dtype) for f in (torch.cos, torch.sin))

    # ---- weights ----

    def stored(self, name):
        return torch.from_numpy(self.npz[name]).to(self.device, self.dtype)

    def weight(self, name, rows, cols):
        if self.npz is not None:
            return self.stored(name)
        w = torch.empty(rows, cols, device=self.device, dtype=self.dtype)
        return w.uniform_(-1, 1, generator=self.generator).mul_(1.28 * (3 / self.s["hidden"]) ** 0.5)

    def bias(self, name, n, has):
        if not has:
            return None
        if self.npz is not None:
            return self.stored(name)
        return torch.empty(n, device=self.device, dtype=self.dtype).uniform_(-0.02, 0.02, generator=self.generator)

    def norm_pair(self, name):
        h = self.s["hidden"]
        w = self.stored(name + "_w") if self.npz is not None else torch.ones(h, device=self.device, dtype=self.dtype)
        return w, self.bias(name + "_b", h, self.s["norm_bias"])

    # ---- pieces ----

    def norm(self, x, pair):
        if self.s["norm"] == "layer":
            return F.layer_norm(x, (x.shape[-1],), pair[0], pair[1], self.s["eps"])
        y = x.float()
        y = y * torch.rsqrt((y * y).mean(-1, keepdim=True) + self.s["eps"])
        return y.to(x.dtype) * pair[0]

    def rotate(self, x):  # [rows, heads, tokens, head_dim]
        if self.s["rope"] == "none":
            return x
        dims, t = self.s["rope_dims"], x.shape[2]
        turned, rest, cos, sin = x[..., :dims], x[..., dims:], self.cos[:t], self.sin[:t]
        if self.s["rope"] == "half":
            a, b = turned.chunk(2, -1)
            return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], -1)
        a, b = turned[..., 0::2], turned[..., 1::2]
        return torch.cat([torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2), rest], -1)

    def attention(self, h, b):
        s, (rows, tokens, _) = self.s, h.shape
        qkv = F.linear(h, *b["qkv"])
        q, k, v = qkv.split([n * s["head_dim"] for n in (s["heads"], s["kv_heads"], s["kv_heads"])], -1)
        q, k, v = (y.view(rows, tokens, -1, s["head_dim"]).transpose(1, 2) for y in (q, k, v))
        q, k = self.rotate(q), self.rotate(k)
        if s["kv_heads"] != s["heads"]:
            k, v = (y.repeat_interleave(s["heads"] // s["kv_heads"], 1) for y in (k, v))
        # rows are padded on the right: the causal mask alone keeps the padding out
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return F.linear(y.transpose(1, 2).reshape(rows, tokens, -1), *b["out"])

    def key(self, h, b):
        u = F.linear(h, *b["up"])
        if self.s["gated"]:
            gate, up = u.chunk(2, -1)
            return F.silu(gate) * up
        return F.gelu(u, approximate="tanh")

    def layer(self, x, i, keys=None):
        b = self.block[i]
        h = self.norm(x, b["norm1"])
        mid = x + self.attention(h, b)
        if not self.s["parallel"]:
            h = self.norm(mid, b["norm2"])
        key = self.key(h, b)
        if keys is not None:
            keys.append(key)
        return mid + F.linear(key, *b["down"])

    def forward(self, token, hook=None):
        """Logits of every position and the last block's output. hook(layer, output) may replace a block's output."""
        x = self.embed[token]
        if self.position is not None:
            x = x + self.position[: token.shape[1]]
        for i in range(self.s["layers"]):
            x = self.layer(x, i)
            if hook:
                x = hook(i, x)
        return self.logits(x), x

    def logits(self, x):
        return F.linear(self.norm(x, self.final), self.head, self.head_b)


def pad(rows, device):
    longest = max(len(r["token"]) for r in rows)
    token = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, r in enumerate(rows):
        token[i, : len(r["token"])] = torch.tensor(r["token"])
    return token.to(device)


def target_value(m, fact, s):
    """z and the loss before each step: delta on the z layer's output at the subject's last token of every row, the KL row's too."""
    rows, z_layer = fact["rows"], s["edited"][-1]
    n = len(rows) - 1  # the last one carries the KL term
    token = pad(rows, m.device)
    at = torch.tensor([r["subject_last"] for r in rows], device=m.device)
    each = torch.arange(n + 1, device=m.device)
    label = torch.full((n, token.shape[1]), -100, dtype=torch.long, device=m.device)
    for i, r in enumerate(rows[:-1]):
        label[i, r["first_label"] : r["first_label"] + len(r["label"])] = torch.tensor(r["label"], device=m.device)
    share = torch.tensor([r["nll_weight"] for r in rows[:-1]], device=m.device)
    delta = torch.zeros(s["hidden"], device=m.device, requires_grad=True)
    adam = torch.optim.Adam([delta], lr=s["lr"])
    first = {"z0": None, "log_p": None}
    losses = []

    def hook(layer, x):
        if layer != z_layer:
            return x
        if first["z0"] is None:
            first["z0"] = x[0, at[0]].detach().float().clone()
        x = x.clone()
        x[each, at] = x[each, at] + delta.to(x.dtype)
        return x

    for step in range(s["steps"]):
        adam.zero_grad()
        logits, x = m.forward(token, hook)
        log_p = torch.log_softmax(logits[n, at[n]].float(), -1)
        if first["log_p"] is None:
            first["log_p"] = log_p.detach().clone()
        again = torch.log_softmax(m.logits(x[:n]).float(), -1)  # as the reference does: the head once more, on all positions
        picked = torch.gather(again, 2, label.clamp(min=0)[..., None])[..., 0]
        mask = (label != -100).float()
        nll = (share * -(picked * mask).sum(1) / mask.sum(1)).sum()
        kl = s["kl"] * (log_p.exp() * (log_p - first["log_p"])).sum()
        decay = s["decay"] * delta.norm() / first["z0"].norm() ** 2
        loss = nll + kl + decay
        losses.append(loss.item())
        if step == s["steps"] - 1:
            break
        loss.backward()
        adam.step()
        most = s["clamp"] * first["z0"].norm()
        if delta.norm() > most:
            with torch.no_grad():
                delta.mul_(most / delta.norm())
    return first["z0"] + delta.detach(), losses


@torch.no_grad()
def gather(m, facts, s, layer, chunk=128):
    """Keys of all rows and current values of the bare rows, each by a forward pass of padded chunks through the whole model."""
    rows = [r for f in facts for r in f["rows"][:-1]]
    for first in range(0, len(rows), chunk):
        part = rows[first : first + chunk]
        token, keys = pad(part, m.device), []
        x = m.embed[token] if m.position is None else m.embed[token] + m.position[: token.shape[1]]
        for i in range(s["layers"]):
            x = m.layer(x, i, keys if i == layer else None)
        m.logits(x)
        keys[0][torch.arange(len(part)), [r["subject_last"] for r in part]].float().cpu()
    bare = [f["rows"][0] for f in facts]
    for first in range(0, len(bare), chunk):
        m.forward(pad(bare[first : first + chunk], m.device))


def synchronize(device):
    if device.type == "cuda":
        torch.cuda.synchronize()


def compare(found, path, tolerance):
    worst = 0.0
    theirs = {}
    with open(path, encoding="utf-8") as f:
        for line in f:
            x = json.loads(line)
            theirs[x["fact"]] = x["loss"]
    if not found or any(i not in theirs or len(theirs[i]) != len(found[i]) for i in found):
        raise SystemExit("torch_loop: %s does not hold the same facts and steps" % path)
    for i, mine in found.items():
        for a, b in zip(mine, theirs[i]):
            worst = max(worst, abs(a - b) / max(abs(a), abs(b)))
    return worst, worst <= tolerance


def main():
    p = argparse.ArgumentParser()
    p.add_argument("facts_file")
    p.add_argument("--facts", type=int, default=8)
    p.add_argument("--warm", type=int, default=1, help="facts before the clock starts")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    p.add_argument("--tf32", action="store_true")
    p.add_argument("--model")
    p.add_argument("--compare")
    p.add_argument("--tolerance", type=float, default=1e-3)
    p.add_argument("--gather", action="store_true")
    p.add_argument("--json")
    o = p.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = o.tf32
    with open(o.facts_file, encoding="utf-8") as f:
        shape = json.loads(f.readline())
        facts = [json.loads(line) for _, line in zip(range(o.facts), f)]
    npz = None
    if o.model:
        import numpy

        npz = numpy.load(o.model)
    device = torch.device(o.device)
    m = Decoder(shape, device, torch.float32 if o.dtype == "fp32" else torch.bfloat16, npz)
    for fact in facts[: o.warm]:
        target_value(m, fact, shape)
    synchronize(device)
    start, losses = time.perf_counter(), {}
    for fact in facts:
        losses[fact["fact"]] = target_value(m, fact, shape)[1]
    synchronize(device)
    seconds = time.perf_counter() - start
    report = {
        "shape": shape["shape"],
        "layers": shape["layers"],
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu, %d threads" % torch.get_num_threads(),
        "torch": torch.__version__,
        "dtype": o.dtype + (" (TF32 products)" if o.tf32 else ""),
        "facts": len(facts),
        "steps": shape["steps"],
        "seconds_per_fact": seconds / len(facts),
        "mean_first_loss": sum(x[0] for x in losses.values()) / len(losses),
        "mean_last_loss": sum(x[-1] for x in losses.values()) / len(losses),
    }
    if o.gather:
        gather(m, facts[: o.warm], shape, shape["edited"][0])
        synchronize(device)
        start = time.perf_counter()
        for layer in shape["edited"]:
            gather(m, facts, shape, layer)
        synchronize(device)
        report["gather_seconds_per_fact"] = (time.perf_counter() - start) / len(facts)
    if device.type == "cuda":
        report["peak_bytes"] = torch.cuda.max_memory_allocated()
    same = True
    if o.compare:
        report["worst_relative_difference"], same = compare(losses, o.compare, o.tolerance)
    text = json.dumps(report, indent=2)
    print(text)
    if o.json:
        with open(o.json, "w", encoding="utf-8") as f:
            f.write(text + "\n")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
