#!/usr/bin/env python3
"""Random tokenizers of random components through errata and Hugging Face: what both read must encode and decode alike.

Usage: fuzz_tokenizer_structures.py BENCH_TOKENIZER [TOKENIZERS [STRINGS_EACH [SEED]]]
Vocabulary, merges, normalizers, pre-tokenizers, added tokens and decoders are drawn at random. Where the reference
panics (a regular expression that matches nothing in front of NFC, Strip on short strings) the string is passed over.
"""
import json
import os
import random
import sys
import tempfile

sys.path.insert(0, os.path.dirname(__file__))
from fuzz_tokenizer_against_hf import Ours, expected, sample  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

LETTERS = list("abcdehilnorstw ▁_ĠéÃ©xz1.日") + ["\u0301"]
BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
PATTERNS = [{"String": " "}, {"String": "a"}, {"String": "the"}, {"String": "▁"}, {"Regex": "[aeiou]+"}, {"Regex": " ?[a-z]+|[0-9]"}, {"Regex": r"\s+"}, {"Regex": "l+|$"}]


def vocabulary(rng):
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2}
    for b in range(256):
        if rng.random() < rng.choice((0, 0.5, 1)):
            vocab["<0x%02X>" % b] = len(vocab)
    for c in rng.sample(LETTERS, rng.randint(8, len(LETTERS))):
        vocab.setdefault(c, len(vocab))
    merges, parts = [], [t for t in vocab if len(t) == 1]
    for _ in range(rng.randint(0, 60)):
        a, b = rng.choice(parts), rng.choice(parts)
        if len(a + b) < 9:
            vocab.setdefault(a + b, len(vocab))
            parts.append(a + b)
            merges.append([a, b])
    return vocab, merges


def normalizer(rng, depth=0):
    kind = rng.randint(0, 5)
    if kind == 0 or depth > 1:
        return {"type": "NFC"}
    if kind == 1:
        return {"type": "Prepend", "prepend": rng.choice(["▁", "ab", " ", "é"])}
    if kind < 4:
        return {"type": "Replace", "pattern": rng.choice(PATTERNS[:-1]), "content": rng.choice(["▁", "", "ab", " ", "日x"])}
    return {"type": "Sequence", "normalizers": [normalizer(rng, depth + 1) for _ in range(rng.randint(0, 4))]}


def metaspace(rng):
    return {"type": "Metaspace", "replacement": rng.choice("▁▁▁_a"), "prepend_scheme": rng.choice(["first", "never", "always"]), "split": rng.random() < 0.5}


def pre_tokenizer(rng, depth=0):
    kind = rng.randint(0, 4)
    if kind < 2:
        return metaspace(rng)
    if kind == 2:
        return {"type": "Split", "pattern": rng.choice(PATTERNS), "behavior": rng.choice(BEHAVIORS), "invert": rng.random() < 0.5}
    if kind == 3 or depth > 0:
        return {"type": "Digits", "individual_digits": rng.random() < 0.5}
    steps = [pre_tokenizer(rng, 1) for _ in range(rng.randint(0, 4))]
    if rng.random() < 0.3:
        steps.append({"type": "ByteLevel", "add_prefix_space": rng.random() < 0.5, "trim_offsets": True, "use_regex": rng.random() < 0.5})
    return {"type": "Sequence", "pretokenizers": steps}


def decoder(rng, depth=0):
    kind = rng.randint(0, 7)
    if kind == 0 or depth > 1:
        return {"type": rng.choice(["ByteFallback", "Fuse", "ByteLevel"])}  # ByteLevel gets its fields below
    if kind == 1:
        return {"type": "Strip", "content": rng.choice(" ▁a"), "start": rng.randint(0, 2), "stop": 0}
    if kind == 2:
        return metaspace(rng)
    if kind < 5:
        return {"type": "Replace", "pattern": rng.choice(PATTERNS), "content": rng.choice(["▁", "", "ab", " "])}
    return {"type": "Sequence", "decoders": [decoder(rng, depth + 1) for _ in range(rng.randint(0, 4))]}


def spelled(node):
    if isinstance(node, dict) and node.get("type") == "ByteLevel":
        node.update({"add_prefix_space": True, "trim_offsets": True, "use_regex": True, **node})
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else []:
        spelled(child)
    return node


def tokenizer(rng):
    def maybe(make, chance=0.75):
        return make(rng) if rng.random() < chance else None

    vocab, merges = vocabulary(rng)
    tokens, size = [], len(vocab)
    for content in rng.sample(["<unk>", "<s>", "</s>", "the", "a b", "<m>", "é", "▁<m>", "x ", " l"], rng.randint(0, 5)):
        place = vocab.get(content, size)
        size += content not in vocab
        tokens.append({"id": place, "content": content, **{k: rng.random() < 0.3 for k in ("single_word", "lstrip", "rstrip", "normalized", "special")}})
    single = [{"Sequence": {"id": "A", "type_id": 0}}]
    for _ in range(rng.randint(0, 2)):
        single.insert(rng.randint(0, len(single)), {"SpecialToken": {"id": "<s>", "type_id": 0}})
    template = {"type": "TemplateProcessing", "single": single, "pair": single + [{"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}
    byte_level = {"type": "ByteLevel", "add_prefix_space": rng.random() < 0.5, "trim_offsets": rng.random() < 0.5, "use_regex": True}
    post = rng.choice([None, template, byte_level, {"type": "Sequence", "processors": [byte_level, template]}])
    model = {"type": "BPE", "dropout": None, "unk_token": rng.choice([None, "<unk>"]), "continuing_subword_prefix": None, "end_of_word_suffix": None,
             "fuse_unk": rng.random() < 0.5, "byte_fallback": rng.random() < 0.6, "ignore_merges": rng.random() < 0.3, "vocab": vocab, "merges": merges}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens, "normalizer": maybe(normalizer),
            "pre_tokenizer": maybe(pre_tokenizer), "post_processor": post, "decoder": spelled(maybe(decoder)), "model": model}


def compare(tok, ours, raw, special, skip):
    """None when the reference gives up, else whether both agree."""
    try:
        want = expected(tok, raw, special)
        text = tok.decode([w[0] for w in want], skip_special_tokens=skip)
    except BaseException as e:  # a panic of the reference is no Exception
        if isinstance(e, (KeyboardInterrupt, SystemExit)):
            raise
        return None
    status, got, decoded = ours.encode(raw, special, skip)
    if status == 0 and got == want and decoded == text.split("\0")[0]:
        return True
    print("  %r\n    ours   %s %s %r\n    theirs %s %r" % (raw, status, got[:12], decoded[:60], want[:12], text[:60]))
    return False


def main():
    program = sys.argv[1]
    count, each, seed = (int(x) for x in (sys.argv[2:] + ["500", "200", "1"][len(sys.argv) - 2 :]))
    read = refused = strings = passed_over = different = 0
    for n in range(count):
        rng = random.Random(seed * 1000003 + n)
        spec = tokenizer(rng)
        try:
            tok = Tokenizer.from_str(json.dumps(spec))
        except BaseException as e:
            if isinstance(e, (KeyboardInterrupt, SystemExit)):
                raise
            continue
        with tempfile.TemporaryDirectory() as folder:
            with open(folder + "/tokenizer.json", "w", encoding="utf-8") as f:
                json.dump(spec, f)
            ours = Ours(program, folder)
            specials = [t["content"] for t in spec["added_tokens"]] + ["▁", " the"]
            try:
                ours.encode(b"", False)
            except (AssertionError, BrokenPipeError):
                refused += 1
                continue
            read += 1
            wrong = 0
            for _ in range(each):
                same = compare(tok, ours, sample(rng, specials), rng.random() < 0.5, rng.random() < 0.5)
                strings += 1
                passed_over += same is None
                wrong += same is False
                if wrong > 2:
                    break
            ours.pipe.stdin.close()
            ours.pipe.wait()
        if wrong:
            different += wrong
            print("tokenizer %d: %s" % (n, {k: spec[k] for k in ("normalizer", "pre_tokenizer", "post_processor", "decoder", "added_tokens")}))
    print("%d tokenizers read, %d refused; %d strings, %d passed over, %d different" % (read, refused, strings, passed_over, different))
    return different != 0


if __name__ == "__main__":
    sys.exit(main())
