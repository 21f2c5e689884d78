"""The container: metadata and the places of tensors in a GGUF v3 file."""
import struct


class GgufError(Exception):
    """The file is not what it should be; the message says where."""


SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9


class Reader:
    """A cursor over the bytes of a GGUF file. Every read is checked against the end of the file."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, size):
        if size > len(self.data) - self.at:
            raise GgufError(f"file ends at byte {len(self.data)}, {size} bytes needed at {self.at}")
        self.at += size
        return self.data[self.at - size:self.at]

    def scalar(self, code):
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def string(self):
        return self.take(self.scalar("Q")).decode("utf-8")

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            item, count = self.scalar("I"), self.scalar("Q")
            if item == ARRAY:
                raise GgufError("an array of arrays is not supported")
            if count > len(self.data):
                raise GgufError(f"an array of {count} items does not fit the file")
            return [self.value(item) for _ in range(count)]
        if kind not in SCALARS:
            raise GgufError(f"unknown value type {kind} at byte {self.at}")
        return self.scalar(SCALARS[kind])


def read_gguf(data):
    """Returns (metadata, tensors); a tensor is (name, shape in row-major order, type, first byte)."""
    reader = Reader(data)
    if reader.take(4) != b"GGUF":
        raise GgufError("not a GGUF file")
    version = reader.scalar("I")
    if version != 3:
        raise GgufError(f"GGUF version {version}, only 3 is supported")
    n_tensors, n_keys = reader.scalar("Q"), reader.scalar("Q")
    meta = {}
    for _ in range(n_keys):
        key = reader.string()
        meta[key] = reader.value(reader.scalar("I"))
    infos = []
    for _ in range(n_tensors):
        name = reader.string()
        dims = [reader.scalar("Q") for _ in range(reader.scalar("I"))]
        kind, offset = reader.scalar("I"), reader.scalar("Q")
        infos.append((name, tuple(reversed(dims)), kind, offset))  # GGUF names the fastest axis first
    align = meta.get("general.alignment", 32)
    start = -(-reader.at // align) * align
    return meta, [(name, shape, kind, start + offset) for name, shape, kind, offset in infos]
