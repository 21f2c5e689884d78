#!/usr/bin/env python3
"""errata and the reference MEMIT side by side: seconds per fact to find target values.

    benchmarks/peer/compare.py --errata build/errata --reference CHECKOUT --python VENV/bin/python \\
        --model DIR --facts counterfact.json [--limit 12] [--pairs 2] [--threads 2] [--json OUT]

Both get the same model, facts, templates, layers, steps and stop rule, in fp32, on the same threads; the reference's random
templates are replaced by ours. The facts are cut into `pairs` shares: each share runs on the reference and right after it on
errata, so that whatever else the machine does falls on both. The answers are checked before any time is believed:
the reference must have brought its losses down, and errata must report as many facts and a like number of steps.

The reference's time per fact does not depend on how many there are; errata's falls with the batch. --batch N gives errata
N facts at once, which is what a mass job looks like; without it both get the very same facts.

CHECKOUT is a clone of kmeng01/memit (MIT). The peer's interpreter needs torch, transformers 4.44 and PyYAML; no GPU.
Allocator settings that keep glibc from returning memory between steps are given to both, because page faults otherwise
cost the reference up to several times its compute in some virtual machines.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile

TEMPLATES = [
    "The weather had been fine for most of the week. {}",
    "Because the road was closed, we went the long way round. {}",
    "I read about it in the newspaper this morning. {}",
    "You can find the answer in almost any library. {}",
    "Therefore the committee decided to wait another year. {}",
]
HERE = os.path.dirname(os.path.abspath(__file__))


def hparams_of(config, layers, steps):
    """The reference's own keys for a Llama-shaped model (SmolLM2): measured settings, see the preset of that name."""
    return {
        "layers": layers, "layer_selection": "all", "fact_token": "subject_last", "clamp_norm_factor": 0.75,
        "v_num_grad_steps": steps, "v_lr": 0.5, "v_loss_layer": config["num_hidden_layers"] - 1, "v_weight_decay": 0.5,
        "kl_factor": 0.0625, "mom2_adjustment": True, "mom2_update_weight": 300,
        "rewrite_module_tmp": "model.layers.{}.mlp.down_proj", "layer_module_tmp": "model.layers.{}",
        "mlp_module_tmp": "model.layers.{}.mlp", "attn_module_tmp": "model.layers.{}.self_attn",
        "ln_f_module": "model.norm",
        "lm_head_module": "model.embed_tokens" if config.get("tie_word_embeddings") else "lm_head",
        "mom2_dataset": "wikipedia", "mom2_n_samples": 100000, "mom2_dtype": "float32",
    }


def read_facts(path, limit):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    try:
        records = json.loads(text)
    except json.JSONDecodeError:
        records = [json.loads(line) for line in text.splitlines() if line.strip()]
    facts = []
    for i, r in enumerate(records):
        if "requested_rewrite" in r:
            q = r["requested_rewrite"]
            r = {"id": r["case_id"], "prompt": q["prompt"], "subject": q["subject"], "target": q["target_new"]["str"]}
        facts.append({"id": str(r.get("id", i)), "prompt": r["prompt"], "subject": r["subject"], "target": r["target"]})
    return facts[:limit]


def environment(threads):
    env = dict(os.environ, OMP_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    env.update(MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_="8000000000", MALLOC_TOP_PAD_="268435456")
    return env


def run_reference(a, job, start, count, work):
    path = os.path.join(work, "job.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump(dict(job, start=start, count=count), f)
    command = [a.python, os.path.join(HERE, "reference_values.py"), "--reference", os.path.abspath(a.reference), "--job", path]
    r = subprocess.run(command, env=environment(a.threads), stdout=subprocess.PIPE, text=True)
    if r.returncode != 0:
        sys.exit("compare: the reference ended with status %d" % r.returncode)
    return [json.loads(line) for line in r.stdout.splitlines() if line.startswith("{")]


def run_errata(a, job, start, count, work):
    facts, templates, hparams = (os.path.join(work, n) for n in ("facts.jsonl", "templates.json", "hparams.json"))
    with open(facts, "w", encoding="utf-8") as f:
        for fact in job["facts"][start:start + count]:
            f.write(json.dumps(fact) + "\n")
    for path, value in ((templates, job["templates"]), (hparams, job["hparams"])):
        with open(path, "w", encoding="utf-8") as f:
            json.dump(value, f)
    out, cache = os.path.join(work, "out"), os.path.join(work, "cache")
    command = [a.errata, "edit", "--model", job["model"], "--facts", facts, "--out", out, "--force", "--profile", "reference",
               "--hparams", hparams, "--templates", templates, "--cache", cache, "--threads", str(a.threads), "--quiet",
               "--json"] + a.errata_args
    r = subprocess.run(command, env=environment(a.threads), stdout=subprocess.PIPE, text=True)
    if r.returncode != 0:
        sys.exit("compare: errata ended with status %d" % r.returncode)
    report = json.loads(r.stdout)
    shutil.rmtree(out)
    for name in os.listdir(cache):  # the values of the next share must be found anew; the covariance may stay
        if "value" in name or name.startswith("z"):
            path = os.path.join(cache, name)
            shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)
    return report["stages"]["values"]


def main():
    p = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    for name in ("--errata", "--reference", "--python", "--model", "--facts"):
        p.add_argument(name, required=name != "--errata")
    p.add_argument("--templates", help="JSON list of context templates; five built-in sentences otherwise")
    p.add_argument("--limit", type=int, default=12)
    p.add_argument("--pairs", type=int, default=2)
    p.add_argument("--batch", type=int, default=0, help="facts errata gets at once; 0: the reference's share")
    p.add_argument("--steps", type=int, default=25)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--layers", default="1,2,3,4,5")
    p.add_argument("--json", help="write the result here as well")
    p.add_argument("errata_args", nargs="*", help="after --: more arguments for errata edit (--covariance-text FILE ...)")
    a = p.parse_args()
    with open(os.path.join(a.model, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    templates = TEMPLATES
    if a.templates:
        with open(a.templates, encoding="utf-8") as f:
            templates = [t for t in json.load(f) if t != "{}"]
    job = {"model": os.path.abspath(a.model), "facts": read_facts(a.facts, max(a.limit, a.batch)), "templates": templates,
           "hparams": hparams_of(config, [int(x) for x in a.layers.split(",")], a.steps), "threads": a.threads}
    n, rows = min(a.limit, len(job["facts"])), []
    print("# machine: %s, %d threads; %d facts in %d pairs, %d templates, %d steps, fp32" %
          (platform.processor() or platform.machine(), a.threads, n, a.pairs, len(templates) + 1, a.steps))
    print("%-5s %6s %16s %16s %8s" % ("pair", "facts", "reference s/fact", "errata s/fact", "ratio"))
    for pair in range(a.pairs):
        start, end = n * pair // a.pairs, n * (pair + 1) // a.pairs
        with tempfile.TemporaryDirectory(prefix="errata-compare-") as work:
            peer = run_reference(a, job, start, end - start, work)
            bad = [f["id"] for f in peer if not f["final"] < 1.0]
            if len(peer) != end - start or len(bad) * 4 > len(peer):
                sys.exit("compare: the reference did not reach its targets (facts %s): times mean nothing" % ", ".join(bad))
            row = {"facts": end - start, "reference": sum(f["seconds"] for f in peer) / len(peer),
                   "reference_losses": sum(f["losses"] for f in peer)}
            if a.errata:
                first, count = (0, a.batch) if a.batch else (start, end - start)
                ours = run_errata(a, job, first, count, work)
                each = row["reference_losses"] / row["facts"]
                if ours["facts"] != count or abs(ours["losses"] / count - each) > (0.5 if a.batch else 0.15) * each:
                    sys.exit("compare: errata did other work than the reference: %s against %s" % (ours, row))
                row.update(errata=ours["seconds"] / count, errata_losses=ours["losses"], batch=count)
        rows.append(row)
        print("%-5d %6d %16.2f %16s %8s" % (pair + 1, row["facts"], row["reference"],
              "%.3f" % row["errata"] if a.errata else "-", "%.1f" % (row["reference"] / row["errata"]) if a.errata else "-"), flush=True)
    reference = sum(r["reference"] * r["facts"] for r in rows) / n
    print("reference: %.2f s per fact" % reference)
    if a.errata:
        errata = sum(r["errata"] * r["facts"] for r in rows) / n
        print("errata:    %.3f s per fact, %.1f times as fast" % (errata, reference / errata))
    if a.json:
        with open(a.json, "w", encoding="utf-8") as f:
            json.dump({"rows": rows, "threads": a.threads, "steps": a.steps}, f, indent=1)


if __name__ == "__main__":
    main()
