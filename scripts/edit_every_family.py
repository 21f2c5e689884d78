#!/usr/bin/env python3
"""Edits 50 facts into small checkpoints of every family and asks Hugging Face transformers what came of it.

The checkpoints (families/checkpoints.py) begin random and are trained for a minute at most (families/training.py): with random
weights alone too little of a subject's last token reaches the object for an edit to take. They read a made-up world
(families/subjects.py) and have tokenizers of the kind that the family brings, trained on its text (families/vocabularies.py).
The edits contradict the world. For each checkpoint:

  1. the folder is written in Hugging Face layout, 50 facts and a text for the statistics beside it;
  2. `errata edit` puts the 50 facts in, in one job on the CPU, in fp32;
  3. transformers loads the output with nothing missing, unexpected or of another shape (the mask buffers of gpt2_bare_f16 and
     gpt_neo_f16, which it reports of the input too, excepted); AutoTokenizer gives the ids of tokenizer.json; the tensors that differ from the input's are
     the edited ones, all of them, and the others are the same bit for bit, as is every file that is no weight;
  4. teacher forcing in transformers (fp32, eager) finds every target token the most probable one for at least 90 % of the facts
     after, and for at most 10 % before;
  5. `errata eval` of both folders gives the same verdict fact by fact, and mean log-probabilities within 1e-3;
  6. greedy generation in transformers writes the target of every fact that counts as learnt.

One checkpoint per family is edited again with --precision bf16 and held against 4 alone. A development-time check, which needs
torch, transformers 5, tokenizers and safetensors and is not part of the test suite. Nonzero exit status when anything fails.

Usage: edit_every_family.py ERRATA [NAME...] [--work DIR] [--json FILE] [--threads N] [--no-bf16]
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import torch
import transformers
from families import checkpoints, subjects, verify

# The rule of thumb is for residual streams a hundred times longer than these. Prefixes put a subject at positions that
# nothing was trained at.
HPARAMS = {"v_num_grad_steps": 200, "v_lr": 0.02, "clamp_norm_factor": 8.0, "v_weight_decay": 0.01, "kl_factor": 0.0625,
           "mom2_update_weight": 1.0, "n_prefixes": 0, "n_siblings": 2, "cov_tokens": 6000}
LEARNT, KNOWN, CLOSE = 90.0, 10.0, 1e-3
SEED = 31


def run(options, *args):
    done = subprocess.run([options.errata, *map(str, args), "--device", "cpu", "--threads", str(options.threads)],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"errata {args[0]} left with {done.returncode}:\n{done.stdout[-2000:]}")


def edit(options, work, name, out, precision):
    run(options, "edit", "--model", work / "model", "--facts", work / "facts.jsonl", "--out", out, "--hparams", work / "hparams.json",
        "--layers", checkpoints.CHECKPOINTS[name]["layers"], "--covariance-text", work / "text.txt", "--no-cache", "--strict",
        "--precision", precision)


def prepare(work, name, seed):
    """The folder, the facts and the text; the tokenizer of the folder and the facts are returned."""
    world = subjects.make_world(seed)
    text = subjects.sentences(world, seed)
    tokenizer = checkpoints.write_folder(work / "model", name, world, text, seed)
    facts = subjects.make_facts(world, lambda s: tokenizer.encode(s).ids, seed)
    subjects.write_facts(work / "facts.jsonl", facts)
    subjects.write_text(work / "text.txt", text)
    (work / "hparams.json").write_text(json.dumps(HPARAMS))
    return tokenizer, facts


def percent(scores):
    return 100.0 * sum(strict for strict, _ in scores) / len(scores)


def against_eval(options, work, scores):
    """(facts whose verdicts differ, largest difference of a mean log-probability) of transformers and `errata eval`."""
    run(options, "eval", "--model", work / "edited", "--base", work / "model", "--facts", work / "facts.jsonl", "--details",
        "--answers", 0, "--out", work / "scores")
    items = [i for i in json.loads((work / "scores" / "metrics.json").read_text())["items"] if i["kind"] == "efficacy"]
    theirs = {when: {i["id"]: i[when] for i in items} for when in scores}
    other, worst = 0, 0.0
    for when, rows in scores.items():
        for i, (strict, logp) in enumerate(rows):
            item = theirs[when][f"fact-{i}"]
            other += item["strict"] != strict
            worst = max(worst, abs(item["right"] - logp))
    return other, worst


def files_differ(a, b):
    """Names of files of `a`, other than weights, that `b` has not, or not alike."""
    names = [f.name for f in a.iterdir() if not f.name.endswith(".safetensors")]
    return [n for n in names if not (b / n).exists() or (a / n).read_bytes() != (b / n).read_bytes()]


def check_one(options, work, name, seed):
    kind, family, start, wrong = checkpoints.CHECKPOINTS[name], checkpoints.family(name), time.monotonic(), []
    tokenizer, facts = prepare(work, name, seed)
    edit(options, work, name, work / "edited", "fp32")
    before, after = verify.Subject(work / "model"), verify.Subject(work / "edited")
    result = {"family": family, "odd": kind["odd"], "tokenizer": kind["tokenizer"], "layers": kind["layers"]}
    for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        allowed = before.report.get(key, []) if kind.get("bare") or family == "gpt_neo" else []
        if more := [name for name in after.report.get(key, []) if name not in allowed]:
            wrong.append(f"{key}: {more[:3]}")
    texts = [f["prompt"].format(f["subject"]) + end for f in facts for end in ("", " " + f["target"])]
    if any(after.ids(t) != tokenizer.encode(t).ids for t in texts):
        wrong.append("AutoTokenizer gives other ids than tokenizer.json")
    differ, names = verify.changed(work / "model", work / "edited"), verify.tensors(work / "model")
    if differ is None or differ != verify.edited_names(family, kind["layers"], names):
        wrong.append(f"tensors that changed: {sorted(differ or [])}")
    if files := files_differ(work / "model", work / "edited"):
        wrong.append(f"files that changed: {files}")
    scores = {"before": [before.score(f) for f in facts], "after": [after.score(f) for f in facts]}
    result |= {when: percent(rows) for when, rows in scores.items()}
    if result["before"] > KNOWN or result["after"] < LEARNT:
        wrong.append("efficacy")
    other, result["largest_difference"] = against_eval(options, work, scores)
    if other or result["largest_difference"] > CLOSE:
        wrong.append(f"errata eval judges {other} facts differently, largest difference {result['largest_difference']:.1e}")
    silent = [f["id"] for f, (strict, _) in zip(facts, scores["after"]) if strict and not after.writes(f)]
    if silent:
        wrong.append(f"generate() writes something else: {silent}")
    result["target_tokens"] = [len(subjects.target_ids(after.ids, f["prompt"].format(f["subject"]), f["target"])) for f in facts]
    if kind.get("bf16") and options.bf16:
        edit(options, work, name, work / "edited-bf16", "bf16")
        result["after_bf16"] = percent([verify.Subject(work / "edited-bf16").score(f) for f in facts])
        if result["after_bf16"] < LEARNT:
            wrong.append("efficacy in bf16")
    return result | {"wrong": wrong, "seconds": time.monotonic() - start}


def show(name, r):
    bf16 = f"{r['after_bf16']:5.0f}" if "after_bf16" in r else "    -"
    print(f"{'FAIL' if r['wrong'] else 'ok':4} {name:19} {r['before']:5.0f} {r['after']:5.0f} {bf16}  {r['largest_difference']:.1e} "
          f"{r['seconds']:5.1f}  layers {r['layers']:3}  {r['odd']}", flush=True)
    for line in r["wrong"]:
        print("     " + line, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("errata")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--work", type=pathlib.Path, help="keep the folders here")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-bf16", dest="bf16", action="store_false")
    options = parser.parse_args()
    if unknown := set(options.names) - set(checkpoints.CHECKPOINTS):
        parser.error(f"no checkpoint is called {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    results = {}
    print("     checkpoint          before after  bf16  largest seconds")
    with tempfile.TemporaryDirectory() as temporary:
        for i, name in enumerate(checkpoints.CHECKPOINTS):
            if options.names and name not in options.names:
                continue
            work = (options.work or pathlib.Path(temporary)) / name
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            try:
                results[name] = check_one(options, work, name, SEED + i)
                show(name, results[name])
            except (RuntimeError, ValueError, OSError) as error:
                results[name] = {"wrong": [str(error)]}
                print(f"FAIL {name}: {error}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    failed = sum(bool(r["wrong"]) for r in results.values())
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
