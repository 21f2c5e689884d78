"""The same edit on two devices: how far apart are the changes that they make? Used by gpu_check.py; python3 alone."""

import array
import json
import math
import os
import shutil
import struct


def read(folder):
    """{tensor: (dtype, shape, bytes)} of a checkpoint in one or more files."""
    tensors = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors"):
            with open(os.path.join(folder, name), "rb") as f:
                header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
                base = f.tell()
                for tensor, t in header.items():
                    if tensor != "__metadata__":
                        f.seek(base + t["data_offsets"][0])
                        tensors[tensor] = (t["dtype"], t["shape"], f.read(t["data_offsets"][1] - t["data_offsets"][0]))
    return tensors


def widen(source, target):
    """A copy of a checkpoint with fp32 for F16: rounding to a narrow type would hide how close two changes are."""
    shutil.rmtree(target, ignore_errors=True)
    os.makedirs(target)
    for name in os.listdir(source):
        if name.endswith(".json") and os.path.isfile(os.path.join(source, name)):
            shutil.copy(os.path.join(source, name), target)
    header, data, at = {}, [], 0
    for tensor, (dtype, shape, raw) in sorted(read(source).items()):
        if dtype == "F16":
            raw, dtype = array.array("f", struct.unpack(f"<{len(raw) // 2}e", raw)).tobytes(), "F32"
        header[tensor] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(raw)]}
        data.append(raw)
        at += len(raw)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(target, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(data))


def distance(base, one, other):
    """|dW_one - dW_other| / |dW_other| over all tensors that either changed, and how many those are."""
    base, one, other = read(base), read(one), read(other)
    off = size = changed = 0.0
    for tensor, (_, _, raw) in base.items():
        a, b = one[tensor][2], other[tensor][2]
        if a == raw and b == raw:
            continue
        changed += 1
        for w, x, y in zip(array.array("f", raw), array.array("f", a), array.array("f", b)):
            off += (x - y) * (x - y)
            size += (y - w) * (y - w)
    return (math.sqrt(off / size) if size > 0 else math.inf), int(changed)


def write_inputs(world, folder):
    """Text and templates of its own: nothing that the devices compare is sampled by them."""
    with open(world / "facts.jsonl") as f:
        facts = [json.loads(line) for line in f if line.strip()]
    with open(folder / "text.txt", "w") as f:
        for fact in facts:
            subject, prompt = fact.get("subject", ""), fact.get("prompt", "")
            f.write(prompt.replace("{}", subject) + " " + str(fact.get("old", fact.get("target", ""))) + ".\n")
    (folder / "templates.json").write_text('["{}"]\n')


def compare(check, errata, world, device):
    """The step 'parity' of gpu_check: fp32 against the CPU's fp32, and bf16 against it with a bound of its own."""
    folder = check.logs.parent / "parity"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    widen(world, folder / "base")
    write_inputs(world, folder)

    def edit(name, kind, precision):
        return check.run("edit_" + name, [errata, "edit", "--model", folder / "base", "--facts", world / "facts_80.jsonl", "--out",
                                          folder / name, "--device", kind, "--precision", precision, "--deterministic", "--seed", "1",
                                          "--no-cache", "--templates", folder / "templates.json", "--covariance-text",
                                          folder / "text.txt"], 120)
    rc = edit("cpu", "cpu", "fp32")
    if rc != 0:
        return False, f"errata edit --device cpu: {rc}"
    bounds = {"fp32": float(os.environ.get("PARITY_BOUND", "1e-4")), "bf16": float(os.environ.get("PARITY_BOUND_BF16", "0.05"))}
    ok, said = True, []
    for precision, bound in bounds.items():
        rc = edit(precision, device, precision)
        if rc == 0:
            far, changed = distance(folder / "base", folder / precision, folder / "cpu")
            ok = ok and changed > 0 and far <= bound
            said.append(f"{precision}: dW of {changed} weights off by {far:.3g}, bound {bound:g}")
            check.run("diff_" + precision, [errata, "diff", folder / "cpu", folder / precision, "--json"], 30)
        else:
            ok = False
            said.append(f"{precision}: errata edit --device {device}: {rc}")
    shutil.rmtree(folder, ignore_errors=True)
    return ok, "; ".join(said)
