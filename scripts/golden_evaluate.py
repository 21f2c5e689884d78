#!/usr/bin/env python3
"""Golden scores of the bundled model for tests/evaluate/test_scoring.c, from Hugging Face in fp32, one sequence at a time.

    python3 scripts/golden_evaluate.py examples/world tests/golden/evaluate/world.json

Needs torch, transformers and tokenizers.
"""
import json
import sys

import torch
from tokenizers import Tokenizer
from transformers import GPT2LMHeadModel


def score(model, tok, prompt, target):
    """Mean log-probability per token of `target` behind `prompt`, and whether every token is the argmax."""
    p, whole = tok.encode(prompt).ids, tok.encode(prompt + " " + target).ids
    t = whole[len(p):] if whole[:len(p)] == p else tok.encode(" " + target).ids
    with torch.no_grad():
        logits = model(torch.tensor([p + t[:-1]])).logits[0, len(p) - 1:].double()
    lp = torch.log_softmax(logits, -1)[range(len(t)), t]
    return lp.mean().item(), bool((logits.argmax(-1) == torch.tensor(t)).all()), len(t)


def drift(model, tok, text, window, most):
    ids, total, n = tok.encode(text).ids[:most], 0.0, 0
    for at in range(0, len(ids), window):
        row = torch.tensor(ids[at:at + window])
        with torch.no_grad():
            lp = torch.log_softmax(model(row[None]).logits[0].double(), -1)
        total -= lp[:-1].gather(1, row[1:, None]).sum().item()
        n += len(row) - 1
    return {"window": window, "most": most, "tokens": n, "nll": total / n}


def main(folder, out):
    torch.set_num_threads(2)
    model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).eval()
    tok = Tokenizer.from_file(folder + "/tokenizer.json")
    facts = [json.loads(line) for line in open(folder + "/facts_80.jsonl", encoding="utf-8")]
    asked = []
    for f in facts[:10]:
        prompt = f["prompt"].replace("{}", f["subject"])
        asked += [(prompt, f["target"]), (prompt, f["old"]), (prompt, f["old"] + " and " + f["target"] + ".")]
        asked += [(p, f["target"]) for p in f["paraphrases"][:1]]
        asked += [(n["prompt"], n["target"]) for n in f["neighbors"][:2]]
    rows = []
    for prompt, target in asked:
        lp, strict, n = score(model, tok, prompt, target)
        rows.append({"prompt": prompt, "target": target, "logprob": round(lp, 6), "strict": strict, "tokens": n})
    text = " ".join(f["prompt"].replace("{}", f["subject"]) + " " + f["old"] + "." for f in facts)
    with open(out, "w", encoding="utf-8") as f:
        f.write('{"text": ' + json.dumps(text) + ',\n"drift": ' + json.dumps([drift(model, tok, text, 32, 300), drift(model, tok, text, 7, 50)]))
        f.write(',\n"scores": [\n' + ",\n".join(json.dumps(r) for r in rows) + "\n]}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
