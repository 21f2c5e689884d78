#!/usr/bin/env python3
"""Makes tests/golden/tokenizer: small tokenizers of every supported kind, strings, and what Hugging Face makes of them.

The tokenizers are trained here, on the sources of Python's standard library and the sentences below; nothing is fetched.

    NAME.json    a tokenizer
    strings.bin  u32 count, then per string: varint bytes, the bytes (not always UTF-8: they are read as Python's "replace" does)
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


def main():
    os.makedirs(OUT, exist_ok=True)
    drop, spelled = odd_drop()
    toks = {"gpt2": gpt2(), "llama3": llama3(), "smollm2": smollm2(), "neox": neox(), "qwen2": qwen2(), "odd_unk": odd_unk(), "odd_drop": drop}
    specials = sorted({t.content for tok in toks.values() for t in tok.get_added_tokens_decoder().values() if "reserved" not in t.content})
    raws = strings(specials)
    with open(os.path.join(OUT, "strings.bin"), "wb") as f:
        f.write(struct.pack("<I", len(raws)) + b"".join(varint(len(r)) + r for r in raws))
    for name, tok in toks.items():
        used = {"gpt2": 5400, "llama3": 5400, "smollm2": 5400, "neox": 3600, "qwen2": 3600}.get(name, 1500)
        write(name, tok, raws[:used], spelled if name == "odd_drop" else None)
    short = raws[:800]
    for name, pre in splits():
        write(name, only_bytes(pre), short)
    print("%d strings, %d bytes in all" % (len(raws), sum(os.path.getsize(os.path.join(OUT, n)) for n in os.listdir(OUT))))


TEXTS = list(corpus())
if __name__ == "__main__":
    main()
