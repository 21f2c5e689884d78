#!/usr/bin/env python3
"""Random strings through errata's tokenizer and Hugging Face's: ids, byte spans and decoded text must be the same.

Usage: fuzz_tokenizer_against_hf.py BENCH_TOKENIZER FOLDER_WITH_TOKENIZER_JSON [COUNT [SEED]]
BENCH_TOKENIZER is the program of that name from the build; its --serve mode answers on a pipe.
"""
import codecs
import random
import struct
import subprocess
import sys

from tokenizers import Tokenizer

LEFT_OUT = []


def note_bad(error):
    """Python's own "replace", noting which bytes each U+FFFD stands for."""
    LEFT_OUT.append((error.start, error.end))
    return "�", error.end


codecs.register_error("noting", note_bad)


def read_lossy(raw):
    """The text of bytes and, for each of its characters and its end, the byte it begins at."""
    LEFT_OUT.clear()
    text = raw.decode("utf-8", "noting")
    bad = dict(LEFT_OUT)
    starts, at = [], 0
    for ch in text:
        starts.append(at)
        at = bad[at] if at in bad else at + len(ch.encode())
    assert at == len(raw)
    return text, starts + [at]


WORDS = """the of and in is's don't I'LL we've they're it'd I'm 'ſ 'S 'Re hello world HTTP/1.1 naïve café Ελλάδα мир привет
世界 こんにちは 안녕하세요 שלום مرحبا नमस्ते สวัสดี İstanbul straße ﬁre K Å Ω 1234567 3.14159 ½ ² Ⅷ ٣٤٥ 一二三 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 e\u0301
a\u0323\u0307 \u0958 \u1100\u1161\u11a8 \uac00\u11a8 def f(x): return x**2 {"a": [1,2]} <div> </div> != === -> :: // /* */ #include""".split(" ")
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "\u00a0", "\u2003", "\u3000", "\u180e", "\u0085", "\u200b", " \n ", "\u2028"]
RANGES = [(0, 0x7F), (0x80, 0x24F), (0x300, 0x36F), (0x370, 0x5FF), (0x600, 0x8FF), (0x900, 0xDFF), (0xE00, 0x11FF),
          (0x1100, 0x11FF), (0x1E00, 0x22FF), (0x2300, 0x2BFF), (0x3000, 0x33FF), (0x4E00, 0x4FFF), (0xA000, 0xABFF),
          (0xAC00, 0xD7FF), (0xF900, 0xFFFF), (0x10000, 0x1FAFF), (0x20000, 0x2FFFF), (0xE0000, 0xE01FF), (0, 0x10FFFF)]


def character(rng):
    while True:
        c = rng.randint(*rng.choice(RANGES))
        if not 0xD800 <= c <= 0xDFFF:
            return chr(c)


def piece(rng, specials):
    kind = rng.random()
    if kind < 0.35:
        return rng.choice(WORDS)
    if kind < 0.60:
        return rng.choice(SPACES)
    if kind < 0.75:
        return "".join(character(rng) for _ in range(rng.randint(1, 6)))
    if kind < 0.82:
        return "".join(chr(rng.randint(0x20, 0x7E)) for _ in range(rng.randint(1, 8)))
    if kind < 0.88:
        return str(rng.randint(0, 10 ** rng.randint(1, 15)))
    if kind < 0.93:
        return rng.choice("ab \n'1é") * rng.randint(1, 60)
    return rng.choice(specials) if specials else "x"


def sample(rng, specials):
    raw = "".join(piece(rng, specials) for _ in range(rng.randint(0, 12))).encode()
    if rng.random() < 0.25:
        raw = bytearray(raw)
        for _ in range(rng.randint(1, 4)):
            at = rng.randint(0, len(raw))
            if rng.random() < 0.5 and at < len(raw):
                del raw[at]
            else:
                raw.insert(at, rng.choice([0x80, 0xBF, 0xC0, 0xC3, 0xE2, 0xED, 0xF0, 0xF4, 0xFF, 0xA0, 0x90]))
        raw = bytes(raw)
    return raw


def expected(tok, raw, special):
    text, starts = read_lossy(raw)
    e = tok.encode(text, add_special_tokens=special)
    return [(i, starts[b], starts[z]) for i, (b, z) in zip(e.ids, e.offsets)]


class Ours:
    def __init__(self, program, folder):
        self.pipe = subprocess.Popen([program, "--serve", folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def read(self, n):
        got = self.pipe.stdout.read(n)
        assert len(got) == n, "bench_tokenizer died"
        return got

    def encode(self, raw, special, skip=False):
        flags = (1 if special else 0) | 2 | 4 | (8 if skip else 0)
        self.pipe.stdin.write(struct.pack("<II", flags, len(raw)) + raw)
        self.pipe.stdin.flush()
        status, count = struct.unpack("<iI", self.read(8))
        flat = struct.unpack("<%dI" % (3 * count), self.read(12 * count))
        tokens = [flat[i : i + 3] for i in range(0, len(flat), 3)]
        (n,) = struct.unpack("<I", self.read(4))
        return status, tokens, self.read(n).decode()


def main():
    program, folder = sys.argv[1:3]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 50000
    rng = random.Random(int(sys.argv[4]) if len(sys.argv) > 4 else 1)
    tok = Tokenizer.from_file(folder + "/tokenizer.json")
    specials = [t.content for t in tok.get_added_tokens_decoder().values()]
    ours = Ours(program, folder)
    different = 0
    for n in range(count):
        raw, special, skip = sample(rng, specials), rng.random() < 0.5, rng.random() < 0.5
        want = expected(tok, raw, special)
        status, got, decoded = ours.encode(raw, special, skip)
        text = tok.decode([w[0] for w in want], skip_special_tokens=skip)
        if status != 0 or got != want or decoded != text.split("\0")[0]:
            different += 1
            if different <= 10:
                print("%d: %r" % (n, raw))
                for k in range(max(len(got), len(want))):
                    g, w = got[k : k + 1], want[k : k + 1]
                    if g != w:
                        print("   token %d: ours %s, theirs %s" % (k, g, w))
                        break
                else:
                    print("   decoded: ours %r, theirs %r" % (decoded, text))
    print("%s: %d strings, %d different" % (folder, count, different))
    return different != 0


if __name__ == "__main__":
    sys.exit(main())
