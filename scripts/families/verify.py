"""What transformers says of an edited folder: whether it loads, what it scores, what it writes, and what changed in the files."""

import json

import torch
from families.subjects import target_ids
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

EDITED = {"gpt2": "mlp.c_proj", "gptj": "mlp.fc_out", "gpt_neox": "mlp.dense_4h_to_h", "opt": "fc2", "gpt_neo": "mlp.c_proj",
          "phi": "mlp.fc2", "falcon": "mlp.dense_4h_to_h", "starcoder2": "mlp.c_proj"}


class Subject:
    """A folder as transformers reads it, computed in fp32 from the stored weights."""

    def __init__(self, folder):
        self.model, report = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                                                  output_loading_info=True)
        self.report = {k: sorted(map(str, v)) for k, v in report.items() if v}
        self.model.eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def ids(self, text):
        return self.tokenizer(text)["input_ids"]

    def score(self, fact):
        """(every token of the target is the most probable one, mean log-probability of the target's tokens)"""
        prompt = fact["prompt"].format(fact["subject"])
        head, target = self.ids(prompt), target_ids(self.ids, prompt, fact["target"])
        with torch.no_grad():
            logits = self.model(torch.tensor([head + target])).logits[0, len(head) - 1:-1].double()
        right = torch.log_softmax(logits, -1)[torch.arange(len(target)), torch.tensor(target)]
        return logits.argmax(-1).tolist() == target, right.mean().item()

    def writes(self, fact):
        """Whether greedy generation goes on with the target's text."""
        prompt = fact["prompt"].format(fact["subject"])
        head, target = self.ids(prompt), target_ids(self.ids, prompt, fact["target"])
        row = torch.tensor([head])
        out = self.model.generate(row, attention_mask=torch.ones_like(row), max_new_tokens=len(target), do_sample=False,
                                  pad_token_id=0)[0].tolist()
        said = self.tokenizer.decode(out, skip_special_tokens=True)
        return said == self.tokenizer.decode(head, skip_special_tokens=True) + " " + fact["target"]


def tensors(folder):
    index = folder / "model.safetensors.index.json"
    files = set(json.loads(index.read_text())["weight_map"].values()) if index.exists() else {"model.safetensors"}
    out = {}
    for file in sorted(files):
        with safe_open(folder / file, "pt") as f:
            out |= {name: (file, f.get_tensor(name)) for name in f.keys()}
    return out


def changed(before, after):
    """Names of the tensors that differ in place, type, shape or bits; None where the folders hold other tensors."""
    a, b = tensors(before), tensors(after)
    if a.keys() != b.keys():
        return None
    raw = lambda t: t.contiguous().reshape(-1).view(torch.uint8)
    same = lambda x, y: x[0] == y[0] and x[1].dtype == y[1].dtype and x[1].shape == y[1].shape and torch.equal(raw(x[1]), raw(y[1]))
    return {name for name in a if not same(a[name], b[name])}


def edited_names(family, layers, names):
    first, _, last = layers.partition("-")
    ends = tuple(f".{l}.{EDITED.get(family, 'mlp.down_proj')}.weight" for l in range(int(first), int(last or first) + 1))
    return {n for n in names if ("." + n).endswith(ends)}
