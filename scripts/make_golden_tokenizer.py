#!/usr/bin/env python3
"""Makes tests/golden/tokenizer: small tokenizers of every supported kind, strings, and what Hugging Face makes of them.

The tokenizers are trained here, on the sources of Python's standard library and the sentences below; nothing is fetched.

    NAME.json    a tokenizer
    strings.bin  (family_strings.bin for the families of FAMILIES) u32 count, then per string: varint bytes, the bytes (not always UTF-8: they are read as Python's "replace" does)
    NAME.bin     varint strings used (the first so many); varint count and ids that the template puts before, the same after;
                 then per string: varint tokens, per token varint id and varint length << 1 where it begins at the end before
                 (bytes of the string), else length << 1 | 1 and a zigzag varint of begin - the end before; then the decoded text, all and without special tokens: varint 0 when it is the string
                 itself, else bytes + 1 and the bytes
"""
import json
import os
import random
import struct
import sys
from collections import Counter

sys.path.insert(0, os.path.dirname(__file__))
from fuzz_tokenizer_against_hf import expected, read_lossy, sample  # noqa: E402
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers  # noqa: E402

OUT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "golden", "tokenizer")
L3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
Q2 = L3.replace("{1,3}", "")
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CL100K = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"

SENTENCES = """The mother tongue of Danielle Darrieux is French. She lives in Paris, and she's never been to London.
Die Hauptstadt von Österreich ist Wien; früher war es anders, größer, schöner.
Столица России — Москва, а раньше столицей был Санкт-Петербург.
La capitale de l'Égypte est Le Caire, où l'été est très chaud.
El río más largo de España es el Tajo, ¿verdad? ¡Sí, señor!
東京は日本の首都です。私は毎日電車で会社に行きます。
中国的首都是北京，人口超过两千万。
대한민국의 수도는 서울입니다. 오늘은 날씨가 좋아요.
عاصمة مصر هي القاهرة وهي مدينة كبيرة جدا.
बीजिंग चीन की राजधानी है और यहाँ बहुत लोग रहते हैं।
กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย
Η Αθήνα είναι η πρωτεύουσα της Ελλάδας.
בירת ישראל היא ירושלים.
Tiếng Việt có nhiều dấu: ắ ằ ẳ ẵ ặ, và người Việt nói nó.
👩‍👩‍👧‍👦 family, 🏳️‍🌈 flag, 🇩🇪🇫🇷, 👍🏽 and ☕️ at 7:30.
In 1969, 3.14159 and 1,000,000 people; call +49 (0)30 901820, or 0xDEADBEEF, at 12:45:59.
if (x != NULL && y[i] >= 0) { return f(x)->next; }  // done
    for key, value in sorted(items.items()):\n        print(f"{key!r}: {value:>10.2f}")
I'll say it's what we've got; they'd agree, you're right, I'm sure he's DON'T and WE'LL.""".split("\n")

CURATED = ["", " ", "  ", "\n", "\r\n", "\t", "a", " a", "  a", "a ", "a  ", "\u00a0", "\u180e", "a\u180eb", "\u0085", "\u2028",
           "'s", "'S", "'ſ", "'ll", "'LL", "'Ll", "'rE", "'", "''s", " 's", "it's", "K", "Å", "ſ", "ﬁ", "İ", "ß", "ẞ",
           "e\u0301", "é", "\u0301", "\u0301\u0301a", "a\u0323\u0307", "a\u0307\u0323", "\u0958", "\u0344", "\u0f73\u0f72", "\u1100\u1161\u11a8",
           "\u1100\u1161\u11a7", "\uac00\u11a8", "\u2126\u0301", "\u09c7\u09be", "\ufb1d", "\U0001d15e", "\U0002f800",
           "1", "12", "123", "1234", "1" * 300, "½²Ⅷ٣", "x1y22z333", "1 2  3", "12,345.67", "a" * 500, " " * 200, "\n" * 70,
           "ab" * 300, "\u3042" * 100, "aé" * 80, "\x00", "a\x00b", "\x01\x02\x7f", "\ufeff", "\ufeffabc", "\ufffd", "\uffff", "\U0010ffff",
           "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "👍🏽", "\u200d", "\u200b", "\U000e0001", " \n \n ", "x \n y", "\r\n\r\n  x", "!!!\n\n", " !!!\r\n", "...'s", "a\u0300\u0301b",
           "\U0001e900\U00010d40", "\U00011de0", "\U00016ff4", "\u1c89\ua7cb", "e\u0301\u0898\u0334", "\U00011935\U00011930", "q\u0301\u0334\u1dfa", "a\u0307\U00016ff0\u0323"]
INVALID = [b"\x80", b"\xff", b"\xc3", b"a\xc3", b"\xe2\x82", b"\xe2\x82x", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf0\x9f\x98", b"\xf0\x9f\x98a",
           b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf8\x88\x80\x80\x80", b"a\x80b\xffc", b" \xc3 \xc3", b"\xe6\x97\xe6\x97\xa5", b"\xf1\x80\x80\xe1\x80\xc2"]


def corpus():
    folder = os.path.dirname(os.__file__)
    for name in sorted(os.listdir(folder)):
        if name.endswith(".py"):
            with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as f:
                yield f.read()
    for _ in range(40):
        yield from SENTENCES


def train(size, pre, specials=(), normalizer=None, alphabet=True, texts=None):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre
    if normalizer:
        tok.normalizer = normalizer
    initial = pre_tokenizers.ByteLevel.alphabet() if alphabet else []
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=initial, special_tokens=list(specials), show_progress=False, max_token_length=24)
    tok.train_from_iterator(texts or TEXTS, trainer)
    return tok


def byte_level(**kw):
    return pre_tokenizers.ByteLevel(**{"add_prefix_space": False, **kw})


def bos(token, tok):
    return processors.TemplateProcessing(single=token + " $A", pair=token + " $A " + token + " $B", special_tokens=[(token, tok.token_to_id(token))])


def gpt2():
    tok = train(2000, byte_level(), ["<|endoftext|>"])
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    tok.decoder = decoders.ByteLevel()
    return tok


def llama3():
    pre = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(L3), "isolated"), byte_level(use_regex=False)])
    tok = train(3000, pre)
    tok.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"] + ["<|reserved_special_token_%d|>" % i for i in range(12)])
    tok.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True, add_prefix_space=True), bos("<|begin_of_text|>", tok)])
    tok.decoder = decoders.ByteLevel()
    spec = json.loads(tok.to_str())
    spec["model"]["ignore_merges"] = True
    # Whole words that no merge makes: only ignore_merges finds them. Added tokens follow the vocabulary, so their ids move.
    words = ["Ġmother", "ĠDarrieux", "Ġcapitale", "Ġ日", "Ġtongue", "hello", "ĠĠĠĠĠĠĠĠĠĠĠ"]
    vocab, first = spec["model"]["vocab"], len(spec["model"]["vocab"])
    words = [w for w in words if w not in vocab]
    for w in words:
        vocab[w] = len(vocab)
    for t in spec["added_tokens"]:
        t["id"] += len(words) if t["id"] >= first else 0
    for t in spec["post_processor"]["processors"][1]["special_tokens"].values():
        t["ids"] = [i + len(words) for i in t["ids"]]
    return Tokenizer.from_str(json.dumps(spec))


def smollm2():
    pre = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level()])
    tok = train(2000, pre, ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<file_sep>", "<jupyter_code>"])
    tok.decoder = decoders.ByteLevel()
    return tok


def neox():
    tok = train(1200, byte_level(), ["<|endoftext|>", "<|padding|>"], normalizers.NFC())
    tok.add_tokens([AddedToken(" " * n, normalized=True) for n in range(24, 1, -1)] + [AddedToken("\u2126x", normalized=True)])
    tok.post_processor = processors.ByteLevel(trim_offsets=True, add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    return tok


def qwen2():
    pre = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(Q2), "isolated"), byte_level(use_regex=False)])
    tok = train(1200, pre, (), normalizers.Sequence([normalizers.NFC()]))
    tok.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tok.add_tokens([AddedToken("<tool_call>", normalized=False)])
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    tok.decoder = decoders.ByteLevel()
    return tok


ODD = [AddedToken("<mask>", lstrip=True, special=True), AddedToken("<r>", rstrip=True), AddedToken("<lr>", lstrip=True, rstrip=True, normalized=False),
       AddedToken("cat", single_word=True), AddedToken("ab"), AddedToken("xab", single_word=True), AddedToken("bcd"), AddedToken("é", single_word=True), AddedToken(" x ", normalized=False),
       AddedToken("\u3000\u3000", normalized=False), AddedToken("abcde", normalized=False), AddedToken("Ġq", normalized=False)]


def odd_unk():
    """Prefix spaces, tokens of every flag, bytes without a token that become one fused unknown token."""
    tok = train(500, pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=False), byte_level(add_prefix_space=True)]), ["<unk>"], alphabet=False,
                texts=["the cat sat on a mat and that is what it is 12 345"] * 20)
    spec = json.loads(tok.to_str())
    spec["model"].update(unk_token="<unk>", fuse_unk=True)
    tok = Tokenizer.from_str(json.dumps(spec))
    tok.add_tokens(ODD)
    tok.post_processor = processors.ByteLevel(trim_offsets=True, add_prefix_space=True)
    tok.decoder = decoders.Sequence([decoders.ByteLevel()])
    return tok


def odd_drop():
    """Bytes without a token vanish, merges are spelled with a space, a pair comes twice, cl100k's expression is removed inverted."""
    tok = train(400, pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(CL100K), "removed", invert=True), byte_level(use_regex=False, add_prefix_space=True)]),
                alphabet=False, texts=["the café and naïve cat sat on the mat, that is what it is 12 345"] * 20)
    tok.add_tokens(ODD)
    tok.post_processor = processors.TemplateProcessing(single="<mask> $A <r> <mask>", pair="$A $B", special_tokens=[("<mask>", tok.token_to_id("<mask>")), ("<r>", tok.token_to_id("<r>"))])
    spec = json.loads(tok.to_str())
    merges = [" ".join(m) for m in spec["model"]["merges"]]
    spec["model"]["merges"] = ["#version: 0.2"] + merges + [merges[0], merges[3]]
    return Tokenizer.from_str(json.dumps(spec)), json.dumps(spec, ensure_ascii=False, separators=(",", ":"))


def only_bytes(pre):
    vocab = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    pairs = [("Ġ", "a"), ("Ġ", "Ġ"), ("a", "b"), ("1", "1"), ("Ċ", "Ċ"), ("Ġ", "Ċ"), ("Ã", "©"), ("b", "a"), ("e", "r"), (".", "."), ("Ġa", "b")]
    for a, b in pairs:
        vocab[a + b] = len(vocab)
    tok = Tokenizer(models.BPE(vocab=vocab, merges=pairs))
    tok.pre_tokenizer = pre_tokenizers.Sequence(pre + [byte_level(use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    return tok


def splits():
    split = pre_tokenizers.Split
    yield "split_removed", [split(" ", "removed"), split(Regex(r"[ab]+"), "removed")]
    yield "split_isolated", [split(Regex(r"\p{Lu}|\d+|[^\w\s]"), "isolated", invert=True)]
    yield "split_previous", [split(" ", "merged_with_previous"), split(Regex(r"[.,;]"), "merged_with_previous", invert=True)]
    yield "split_next", [split(Regex(r"\s"), "merged_with_next"), split("a", "merged_with_next", invert=True)]
    yield "split_contiguous", [split(Regex(r"\s|\d"), "contiguous"), split("11", "contiguous", invert=True)]
    yield "split_empty", [split(Regex(r"a*"), "isolated"), split(Regex(r"b*"), "merged_with_next"), split(Regex("(?=é)"), "merged_with_previous")]
    yield "split_o200k", [split(Regex(O200K), "isolated")]
    yield "split_gpt2", [split(Regex(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"), "merged_with_next"),
                         pre_tokenizers.Digits(individual_digits=True)]


TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
META_DECODER = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
                                                 {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
META_NORMALIZER = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}


def added(token_id, content, **flags):
    return {"id": token_id, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True, **flags}


def pieces(size, byte_tokens=range(256), extra=("▁▁", "▁▁▁▁", "▁▁▁▁▁▁▁▁"), texts=None):
    """The vocabulary and merges of a SentencePiece-like model: <unk> <s> </s>, bytes, pieces with ▁ in front, runs of ▁."""
    tok = Tokenizer(models.BPE(unk_token="<unk>"))
    tok.pre_tokenizer = pre_tokenizers.Metaspace()
    specials = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in byte_tokens]
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=specials, initial_alphabet=ALPHABET, limit_alphabet=len(ALPHABET), show_progress=False, max_token_length=16)
    tok.train_from_iterator(texts or TEXTS, trainer)
    model = json.loads(tok.to_str())["model"]
    for run in extra:
        model["vocab"][run] = len(model["vocab"])
        model["merges"].append([run[: len(run) // 2]] * 2)
    return model


def spec(model, tokens, normalizer=None, pre=None, post=None, decoder=None, **flags):
    model.update({"unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, **flags})
    whole = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens, "normalizer": normalizer, "pre_tokenizer": pre,
             "post_processor": post, "decoder": decoder, "model": model}
    return Tokenizer.from_str(json.dumps(whole))


def template(*names, ids):
    part = [{"Sequence": {"id": "A", "type_id": 0}} if n == "A" else {"SpecialToken": {"id": n, "type_id": 0}} for n in names]
    return {"type": "TemplateProcessing", "single": part, "pair": part + [{"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {n: {"id": n, "ids": [ids[n]], "tokens": [n]} for n in names if n != "A"}}


def three(**flags):
    return [added(0, "<unk>", **flags), added(1, "<s>", **flags), added(2, "</s>", **flags)]


def llama2():
    return spec(pieces(700), three(), META_NORMALIZER, None, template("<s>", "A", ids={"<s>": 1}), META_DECODER)


def llama2_old():
    """As the first files had it: the special tokens are looked for behind the normalizer, in its spelling."""
    return spec(pieces(420), three(normalized=True), META_NORMALIZER, None, template("<s>", "A", "</s>", ids={"<s>": 1, "</s>": 2}), META_DECODER)


def mistral():
    pre = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    return spec(pieces(700), three(), None, pre, template("<s>", "A", ids={"<s>": 1}), META_DECODER)


def phi3():
    model = pieces(600)
    n = len(model["vocab"])
    names = ["<|endoftext|>", "<|assistant|>", "<|placeholder1|>", "<|system|>", "<|end|>", "<|user|>"]
    tokens = three()[:2] + [added(2, "</s>", rstrip=True, special=False)] + [added(n + i, name, rstrip=i > 0) for i, name in enumerate(names)]
    return spec(model, tokens, META_NORMALIZER, None, template("<s>", "A", ids={"<s>": 1}), META_DECODER)


def gemma():
    pre = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
    decoder = {"type": "Sequence", "decoders": META_DECODER["decoders"][:3]}
    return spec(pieces(600), three(), {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}, pre, template("<s>", "A", ids={"<s>": 1}), decoder)


def meta_split():
    """Metaspace that marks every piece and splits, its own decoder, and characters without a token one by one unknown."""
    pre = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    tokens = three() + [added(500 + i, t, special=False) for i, t in enumerate(("<m>", "▁q"))]
    model = pieces(500, (), ())
    for t, i in zip(tokens[3:], range(len(model["vocab"]), 1000)):
        t["id"] = i
    return spec(model, tokens, {"type": "NFC"}, pre, None, dict(pre, type="Metaspace"), byte_fallback=False, fuse_unk=False)


def meta_never():
    """Digits and Metaspace that marks nothing, in front of a list of decoders that knows no Fuse; what has no token vanishes."""
    meta = {"type": "Metaspace", "replacement": "_", "add_prefix_space": False, "prepend_scheme": "never", "split": True}
    pre = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": False}, meta]}
    model = json.loads(json.dumps(pieces(420, (), ())).replace("\\u2581", "_"))
    decoder = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"Regex": "e|_"}, "content": "-"}, {"type": "Strip", "content": "-", "start": 2, "stop": 0}]}
    return spec(model, three(), None, pre, None, decoder, byte_fallback=False, unk_token=None, ignore_merges=True)


def odd_meta():
    """Bytes that have no token, regular expressions in the normalizer, normalized tokens of every flag, two Metaspaces."""
    normalizer = {"type": "Sequence", "normalizers": [
        {"type": "Replace", "pattern": {"Regex": "[0-9]+"}, "content": ""}, {"type": "NFC"},
        {"type": "Prepend", "prepend": "ab"}, {"type": "Replace", "pattern": {"String": "don"}, "content": "日本"}, {"type": "NFC"}, {"type": "Replace", "pattern": {"Regex": "(?=[x-z])"}, "content": "é_"}]}
    meta = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}
    pre = {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": "[aeiou]"}, "behavior": "Contiguous", "invert": False}, meta, dict(meta, replacement="e", prepend_scheme="always", split=False)]}
    model = pieces(420, list(range(0x20, 0xC0)) + [0xC3, 0xE2, 0xE3], ("▁▁",))
    n, tokens = len(model["vocab"]), three(normalized=True)
    tokens[1]["normalized"] = False
    for i, t in enumerate(ODD):
        if t.content not in model["vocab"]:
            tokens.append(added(n, t.content, lstrip=t.lstrip, rstrip=t.rstrip, single_word=t.single_word, special=t.special, normalized=i % 3 != 0))
            n += 1
    post = {"type": "Sequence", "processors": [{"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}, template("</s>", "A", ids={"</s>": 2})]}
    decoder = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Replace", "pattern": {"String": "▁"}, "content": "  "}, {"type": "Fuse"},
                                                {"type": "Strip", "content": " ", "start": 3, "stop": 0}, {"type": "Metaspace", "replacement": "a", "prepend_scheme": "first", "split": True}]}
    return spec(model, tokens, normalizer, pre, post, decoder, fuse_unk=False)


def by_expression(expression, size, specials, ignore_merges=False):
    tok = train(size, pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(expression), "isolated"), byte_level(use_regex=False)]), specials)
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    tok.decoder = decoders.ByteLevel()
    whole = json.loads(tok.to_str())
    whole["model"]["ignore_merges"] = ignore_merges
    return Tokenizer.from_str(json.dumps(whole))


def tekken():
    tok = by_expression(TEKKEN, 700, ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"], True)
    tok.post_processor = bos("<s>", tok)
    return tok


def o200k():
    return by_expression(O200K, 700, ["<|endoftext|>", "<|start|>", "<|end|>"])


def qwen3():
    tok = train(700, pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(Q2), "isolated"), byte_level(use_regex=False)]), (), normalizers.NFC())
    tok.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>"])
    tok.add_tokens([AddedToken(t, normalized=False) for t in ("<tool_call>", "</tool_call>", "<think>", "</think>")])
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    tok.decoder = decoders.ByteLevel()
    return tok


def opt():
    tok = train(700, byte_level(), ["<s>", "<pad>", "</s>", "<unk>"])
    tok.post_processor = bos("</s>", tok)
    tok.decoder = decoders.ByteLevel()
    return tok


def words(expression):
    """Every word is one unknown token: its span shows the word."""
    pre = {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}
    return spec({"type": "BPE", "vocab": {"<unk>": 0}, "merges": []}, [], None, pre, None, {"type": "Fuse"}, byte_fallback=False)


def words_gpt2():
    return words(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")


def words_llama3():
    return words(L3)


def words_qwen2():
    return words(Q2)


def words_cl100k():
    return words(CL100K)


def words_o200k():
    return words(O200K)


def words_tekken():
    return words(TEKKEN)


FAMILIES = (llama2, llama2_old, mistral, phi3, gemma, meta_split, meta_never, odd_meta, tekken, o200k, qwen3, opt, words_gpt2, words_llama3, words_qwen2, words_cl100k, words_o200k, words_tekken)


def family_strings(specials):
    """Fewer strings, about what is new in the families: marks in the text, words at its ends, special tokens between them."""
    rng = random.Random(20261127)
    all_of = [s.encode() for s in CURATED + ["▁", "▁▁a", " ▁ a", "a▁b ▁", "_ _a", "ab", "<0x41>", "é_x", "don't 12xyz"] if len(s) < 80] + INVALID
    all_of += [s[at : at + 40].encode() for s in SENTENCES for at in (0, len(s) // 2)]
    for s in specials:
        all_of += [form.replace("%s", s).encode() for form in ("%s", "hi%s yo.", " %s ", "%sa", "a  %s  b", "%s%s\n x")]
    while len(all_of) < 900:
        s = sample(rng, specials)
        if len(s) <= 40:
            all_of.append(s)
    return all_of


def strings(specials):
    rng = random.Random(20240607)
    all_of = [s.encode() for s in CURATED] + INVALID + [s.encode() for s in SENTENCES]
    for s in specials:
        for form in ("%s", "a%s", "%sb", " %s ", "a  %s  b", "\n%s\n", "x%s%sy", "%s%%", "é%sé", "%s  %s", "%sc", "\u3000%s\u2003"):
            all_of.append((form.replace("%s", s)).replace("%%", "%").encode())
    while len(all_of) < 3200:
        s = sample(rng, specials)
        if len(s) <= 56:
            all_of.append(s)
    lines = [line for text in TEXTS for line in text.split("\n") if 0 < len(line) < 60]
    all_of += [line.encode() for line in rng.sample(lines, 1300)]
    while len(all_of) < 5400:
        s = rng.choice(SENTENCES)
        at = rng.randint(0, len(s))
        all_of.append(s[at : at + rng.randint(1, 24)].encode())
    return all_of


def varint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def record(tok, raw):
    tokens = expected(tok, raw, False)
    out, before = [varint(len(tokens))], 0
    for i, b, e in tokens:
        d = b - before
        out += [varint(i), varint(e - b << 1 | (d != 0))]
        if d:
            out.append(varint(d << 1 if d > 0 else (-d << 1) - 1))
        before = e
    for skip in (False, True):
        text = tok.decode([t[0] for t in tokens], skip_special_tokens=skip).encode()
        out.append(varint(0) if text == raw else varint(len(text) + 1) + text)
    return b"".join(out)


def write(name, tok, raws, spelled=None):
    with open(os.path.join(OUT, name + ".json"), "w", encoding="utf-8") as f:
        f.write(spelled or json.dumps(json.loads(tok.to_str()), ensure_ascii=False, separators=(",", ":")))
    whole, bare = tok.encode("z").ids, tok.encode("z", add_special_tokens=False).ids
    at = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    before, after = whole[:at], whole[at + len(bare) :]
    with open(os.path.join(OUT, name + ".bin"), "wb") as f:
        f.write(varint(len(raws)))
        for ids in (before, after):
            f.write(varint(len(ids)) + b"".join(map(varint, ids)))
        for raw in raws:
            f.write(record(tok, raw))


def write_strings(name, raws):
    with open(os.path.join(OUT, name), "wb") as f:
        f.write(struct.pack("<I", len(raws)) + b"".join(varint(len(r)) + r for r in raws))


def write_families():
    toks = {make.__name__: make() for make in FAMILIES}
    raws = family_strings(sorted({t.content for tok in toks.values() for t in tok.get_added_tokens_decoder().values()}))
    write_strings("family_strings.bin", raws)
    for name, tok in toks.items():
        write(name, tok, raws)


def main():
    os.makedirs(OUT, exist_ok=True)
    write_families()
    if sys.argv[1:] == ["families"]:
        return
    drop, spelled = odd_drop()
    toks = {"gpt2": gpt2(), "llama3": llama3(), "smollm2": smollm2(), "neox": neox(), "qwen2": qwen2(), "odd_unk": odd_unk(), "odd_drop": drop}
    specials = sorted({t.content for tok in toks.values() for t in tok.get_added_tokens_decoder().values() if "reserved" not in t.content})
    raws = strings(specials)
    write_strings("strings.bin", raws)
    for name, tok in toks.items():
        used = {"gpt2": 5400, "llama3": 5400, "smollm2": 5400, "neox": 3600, "qwen2": 3600}.get(name, 1500)
        write(name, tok, raws[:used], spelled if name == "odd_drop" else None)
    short = raws[:800]
    for name, pre in splits():
        write(name, only_bytes(pre), short)
    print("%d strings, %d bytes in all" % (len(raws), sum(os.path.getsize(os.path.join(OUT, n)) for n in os.listdir(OUT))))


TEXTS = list(corpus())
# The trainer would break ties between rare characters by chance.
COUNTS = Counter("".join(TEXTS).replace(" ", "▁"))
ALPHABET = sorted(COUNTS, key=lambda c: (-COUNTS[c], c))[:160]
if __name__ == "__main__":
    main()
