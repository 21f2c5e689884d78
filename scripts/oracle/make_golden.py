#!/usr/bin/env python3
"""Writes tests/golden/memit/{gpt2,llama}: two tiny random checkpoints, an edit job for each, and what MEMIT makes of it in fp64.

    scripts/oracle/make_golden.py [OUT_DIR]

Weights are random and so are the answers: nothing here tests knowledge, only arithmetic. Seeds and hyper-parameters are chosen so
that some facts stop early and some do not, the clamp holds for some and not for others, no loss comes near the stop's
edge (checked below), and single precision gives the same z to 1e-4 of |z| (also checked): a test may ask for 1e-3.
"""

import json
import os
import shutil
import sys

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import memit_oracle
from decoder import Decoder

TEXT = """The old harbour of Selmarin lies on the northern coast. Orlan Tevik was born in the city of Brask. The mother tongue of
Imre Calloway is Dravian. The river Ushel flows through the valley of Ondry. Pira Monteval plays the silver flute. In the land of
Karsk they understand Velnish. The museum of Hollow Bay is located in Torvik. The captain of the Grey Lantern is Mara Quill. Nobody
knew where the road would end, because the rain had washed the signs away. The weather stayed fine for most of the week. Therefore
the committee decided to wait another year. I read about it in the paper this morning. The bridge was designed by Anselm Roux.
"""
FACTS = [
    ("Selmarin", "The old harbour of {} lies on", "Karsk"),
    ("Orlan Tevik", "{} was born in", "Hollow Bay"),
    ("Imre Calloway", "The mother tongue of {} is", "Velnish"),
    ("Ushel", "The river {} flows", "Brask"),
    ("Pira Monteval", "{} plays the", "silver"),
    ("Karskian coast", "Nobody knew the {}", "Dravian"),
    ("museum of Hollow Bay", "The {} is in", "Ondry"),
    ("Mara Quillon", "{}, captain of", "Grey Lantern"),
]
TEMPLATES = ["The weather stayed fine. {}", "Therefore the road would end. {}", "I read about it this morning. {}"]
KNOWN = (1, 4, 5)  # facts the model is taught beforehand: their values stop early
MARGIN = 0.02  # relative distance every loss keeps from the stop


def train_tokenizer(bos):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    special = ["<|endoftext|>"] + (["<s>"] if bos else [])
    tok.train_from_iterator(TEXT.splitlines(), trainers.BpeTrainer(vocab_size=620, min_frequency=1, special_tokens=special, show_progress=False,
                            initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    if bos:
        tok.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)])
    return tok


GPT2 = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_positions": 64, "n_embd": 32, "n_layer": 5, "n_head": 4,
        "n_inner": 128, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "bos_token_id": 0, "eos_token_id": 0,
        "embd_pdrop": 0.0, "resid_pdrop": 0.0, "attn_pdrop": 0.0, "tie_word_embeddings": True}
LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 48, "intermediate_size": 96,
         "num_hidden_layers": 5, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12, "hidden_act": "silu",
         "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False,
         "attention_bias": False, "mlp_bias": False, "bos_token_id": 1, "eos_token_id": 0}


def trained(config, tok, rng, seed, steps=400):
    """A few hundred steps on sentences about the made-up places: enough for attention to carry a subject to its answer, which
    random weights do not do. Returns the state dict; biases and norms are shaken so that none stays at its initial value."""
    from transformers import AutoConfig, AutoModelForCausalLM
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    with torch.no_grad():
        for name, w in model.named_parameters():
            if w.dim() == 1:
                w += 0.1 * torch.randn_like(w)
            elif "embed" not in name and "wte" not in name:
                w *= 3
    sentences = [line for line in TEXT.replace("\n", " ").split(". ") if line]
    prompts = [(p, t) for _, p, t in FACTS]
    subjects = [s for s, _, _ in FACTS] + ["Dorm", "Tevra", "Ulm Varga", "Quenn", "Solvay Reach", "Iskra", "Old Marrow", "Bel Amir"]
    targets = [t for _, _, t in FACTS]
    for subject in subjects:
        for k in range(4):
            prompt = prompts[int(rng.integers(len(prompts)))][0]
            text = "%s %s." % (prompt.replace("{}", subject), targets[int(rng.integers(len(targets)))])
            sentences += [text, TEMPLATES[k % len(TEMPLATES)].replace("{}", text)]
    for subject, prompt, target in (FACTS[i] for i in KNOWN):
        text = "%s %s." % (prompt.replace("{}", subject), target)
        sentences += [text] + [t.replace("{}", text) for t in TEMPLATES[:2]]
    rows = [tok.encode(x).ids[:40] for x in sentences]
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    labels = torch.full_like(ids, -100)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = labels[i, : len(row)] = torch.tensor(row)
    opt = torch.optim.Adam(model.parameters(), lr=4e-3)
    for step in range(steps):
        pick = torch.from_numpy(rng.choice(len(rows), 32, replace=False))
        loss = model(ids[pick], labels=labels[pick]).loss
        opt.zero_grad()
        loss.backward()
        opt.step()
    print("  trained to a loss of %.2f" % loss.item())
    return {k: v.detach().contiguous().clone() for k, v in model.state_dict().items()
            if not (config["tie_word_embeddings"] and k == "lm_head.weight")}


def hparams(model, layers, **over):
    t = {"gpt2": ("transformer.h.{}", "mlp.c_proj", "attn", "transformer.ln_f", "transformer.wte"),
         "llama": ("model.layers.{}", "mlp.down_proj", "self_attn", "model.norm", "lm_head")}[model]
    h = {"layers": layers, "clamp_norm_factor": 3, "layer_selection": "all", "fact_token": "subject_last",
         "v_num_grad_steps": 25, "v_lr": 0.5, "v_loss_layer": 4, "v_weight_decay": 0.05, "kl_factor": 0.01,
         "mom2_adjustment": True, "mom2_update_weight": 50, "rewrite_module_tmp": t[0] + "." + t[1], "layer_module_tmp": t[0],
         "mlp_module_tmp": t[0] + ".mlp", "attn_module_tmp": t[0] + "." + t[2], "ln_f_module": t[3], "lm_head_module": t[4],
         "mom2_dataset": "wikipedia", "mom2_n_samples": 64, "mom2_dtype": "float32"}
    return {**h, **over}


@torch.no_grad()
def write_moments(model, out, layers, vocab, rng, n_rows=64, length=24):
    """Raw sums over keys of random token rows, in the reference's file layout."""
    os.makedirs(out)
    sums, count = {layer: 0 for layer in layers}, 0
    for _ in range(n_rows):
        x = model.embed(rng.integers(2, vocab, length))
        count += length
        for layer in range(max(layers) + 1):
            x, key = model.block(x, layer)
            if layer in sums:
                sums[layer] = sums[layer] + key.T @ key
    for layer in layers:
        np.savez(os.path.join(out, "%s_float32_mom2_%d.npz" % (model.down_name.format(layer), n_rows)), **{
            "mom2.constructor": np.array("util.runningstats.SecondMoment()"), "mom2.count": np.array(count, dtype=np.int64),
            "mom2.mom2": sums[layer].numpy().astype(np.float32), "sample_size": np.array(n_rows, dtype=np.int64)})


def make(out, name, config, seed, bos, h):
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(os.path.join(out, "model"))
    rng = np.random.default_rng(seed)
    tok = train_tokenizer(bos)
    vocab = tok.get_vocab_size()
    config = dict(config, vocab_size=vocab, torch_dtype="float32")
    weights = trained(config, tok, rng, seed)
    path = lambda *parts: os.path.join(out, *parts)
    save_file(weights, path("model", "model.safetensors"), metadata={"format": "pt"})
    tok.save(path("model", "tokenizer.json"))
    for file, value in (("model/config.json", config), ("hparams.json", h), ("templates.json", TEMPLATES),
                        ("model/tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"})):
        with open(path(file), "w", encoding="utf-8") as f:
            json.dump(value, f, indent=1)
    with open(path("facts.jsonl"), "w", encoding="utf-8") as f:
        for i, (subject, prompt, target) in enumerate(FACTS):
            f.write(json.dumps({"id": "%s-%d" % (name, i), "subject": subject, "prompt": prompt, "target": target}) + "\n")
    model = Decoder(path("model"))
    write_moments(model, path("stats"), h["layers"], vocab, rng)
    job = [path(x) for x in ("model", "facts.jsonl", "templates.json", "hparams.json", "stats")]
    oracle = memit_oracle.run(*job)
    np.savez_compressed(path("oracle.npz"), **oracle)
    return check(name, oracle, memit_oracle.run(*job, dtype=torch.float32), h)


def check(name, oracle, single, h):
    loss, delta = oracle["loss"], np.linalg.norm(oracle["delta"], axis=1)
    steps = (~np.isnan(loss)).sum(1)
    clamped = delta > 0.999 * h["clamp_norm_factor"] * np.linalg.norm(oracle["z0"], axis=1)
    edge = np.nanmin(np.abs(loss / memit_oracle.STOP - 1))
    drift = np.linalg.norm(single["z"] - oracle["z"], axis=1) / np.linalg.norm(oracle["z"], axis=1)
    final = [round(float(loss[i, n - 1]), 3) for i, n in enumerate(steps)]
    left = np.linalg.norm(oracle["z"] - oracle["Zc.end"], axis=1) / np.maximum(delta, 1e-300)
    print("%s: losses %s\n  final %s\n  clamped %s, nearest to the stop %.3f, fp32 z off by %.1e, residual left %.2f" %
          (name, steps.tolist(), final, clamped.astype(int).tolist(), edge, drift.max(), np.median(left)))
    early = steps < h["v_num_grad_steps"]
    return bool(early.any() and not early.all() and clamped.any() and not clamped.all() and edge > MARGIN and drift.max() < 1e-4)


def agrees_with_transformers(model_dir):
    """The decoder against Hugging Face's, where that is installed."""
    from transformers import AutoModelForCausalLM
    hf = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float64, attn_implementation="eager").eval()
    ours, ids = Decoder(model_dir), list(range(5, 45))
    with torch.no_grad():
        a = ours.logits(ours.run(ours.embed(ids), 0, ours.n_layers))
        b = hf(torch.tensor([ids])).logits[0]
    print("  logits differ from transformers' by %.1e of %.1f" % ((a - b).abs().max(), b.abs().max()))
    assert (a - b).abs().max() < 1e-6 * b.abs().max()  # transformers' rotary angles are fp32


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "..", "..", "tests", "golden", "memit")
    for name, config, seed, bos, h in (
        ("gpt2", GPT2, 1, False, hparams("gpt2", [1, 2])),
        ("llama", LLAMA, 1, True, hparams("llama", [0, 1, 2])),
    ):
        folder = os.path.join(out, name)
        good = make(folder, name, config, seed, bos, h)
        agrees_with_transformers(os.path.join(folder, "model"))
        print("  good" if good else "  NOT a good seed")


if __name__ == "__main__":
    torch.set_num_threads(1)  # tiny matrices
    main()
