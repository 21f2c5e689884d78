"""Time the values stage of the reference MEMIT on a CPU. Run by compare.py with the peer's interpreter.

Prints one JSON line per fact on stdout: {"id", "seconds", "losses", "final", "z_norm"}. The reference is read from a checkout
that the user names; a temporary copy of its three packages is made to run without a GPU by replacing the device names
in its sources, and nothing of it is kept.
"""

import argparse
import contextlib
import importlib.util
import io
import json
import os
import re
import shutil
import sys
import tempfile
import time
import types


def cpu_copy(reference, work):
    """Copies the packages MEMIT imports and points every device name at the CPU."""
    for package in ("memit", "rome", "util"):
        shutil.copytree(os.path.join(reference, package), os.path.join(work, package))
    shutil.copy(os.path.join(reference, "globals.yml"), work)
    for folder, _, names in os.walk(work):
        for name in names:
            if not name.endswith(".py"):
                continue
            path = os.path.join(folder, name)
            with open(path, encoding="utf-8") as f:
                text = f.read()
            with open(path, "w", encoding="utf-8") as f:
                f.write(re.sub(r"""(["'])cuda\1""", r"\1cpu\1", text).replace(".cuda()", ".cpu()"))


class Absent(types.ModuleType):
    """Stands for a package that only the statistics loader or the plots use. Whatever is imported from it is None."""

    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return None


def stand_in(*packages):
    for names in packages:
        if importlib.util.find_spec(names[0]) is None:
            sys.modules.update({name: Absent(name) for name in names})


def old_tokenizer(model, work):
    """The peer's era of `tokenizers` reads merges only as "a b" strings and knows fewer class names."""
    out = os.path.join(work, "model")
    os.mkdir(out)
    for name in os.listdir(model):
        if name.endswith(".safetensors") or name in ("config.json", "model.safetensors.index.json"):
            os.symlink(os.path.join(os.path.abspath(model), name), os.path.join(out, name))
    with open(os.path.join(model, "tokenizer.json"), encoding="utf-8") as f:
        tokenizer = json.load(f)
    merges = tokenizer["model"]["merges"]
    tokenizer["model"]["merges"] = [m if isinstance(m, str) else " ".join(m) for m in merges]
    with open(os.path.join(out, "tokenizer.json"), "w", encoding="utf-8") as f:
        json.dump(tokenizer, f, ensure_ascii=False)
    with open(os.path.join(out, "tokenizer_config.json"), "w", encoding="utf-8") as f:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False,
                   "model_input_names": ["input_ids", "attention_mask"]}, f)
    return out


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--reference", required=True)
    p.add_argument("--job", required=True, help="JSON: model, facts, templates, hparams, threads, start, count")
    a = p.parse_args()
    with open(a.job, encoding="utf-8") as f:
        job = json.load(f)
    work = tempfile.mkdtemp(prefix="errata-peer-")
    try:
        cpu_copy(a.reference, work)
        model_dir = old_tokenizer(job["model"], work)
        os.chdir(work)
        sys.path.insert(0, work)
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        stand_in(["datasets"], ["matplotlib", "matplotlib.pyplot", "matplotlib.style"])
        torch.set_num_threads(job["threads"])
        model = AutoModelForCausalLM.from_pretrained(model_dir, torch_dtype=torch.float32).eval()
        tok = AutoTokenizer.from_pretrained(model_dir)
        tok.pad_token_id = model.config.eos_token_id
        tok.padding_side = "right"
        model.config.n_embd = model.config.hidden_size  # the name it asks GPT-style configs for
        from memit import memit_main
        from memit.compute_z import compute_z
        from memit.memit_hparams import MEMITHyperParams

        templates = [["{}"], job["templates"]]
        memit_main.CONTEXT_TEMPLATES_CACHE = templates  # else five random sentences of its own
        hparams = MEMITHyperParams(**job["hparams"])
        for fact in job["facts"][job["start"]:job["start"] + job["count"]]:
            request = {"case_id": fact["id"], "prompt": fact["prompt"], "subject": fact["subject"],
                       "target_new": {"str": " " + fact["target"]}}
            said = io.StringIO()
            began = time.perf_counter()
            with contextlib.redirect_stdout(said):
                z = compute_z(model, tok, request, hparams, hparams.layers[-1], templates)
            seconds = time.perf_counter() - began
            losses = [float(x) for x in re.findall(r"^loss (\S+) =", said.getvalue(), re.M)]
            print(json.dumps({"id": fact["id"], "seconds": seconds, "losses": len(losses), "final": losses[-1],
                              "z_norm": float(z.norm())}), flush=True)
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
