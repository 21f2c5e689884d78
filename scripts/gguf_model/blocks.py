"""Quantised blocks. A block holds weights that lie side by side in one row."""
import numpy as np

from gguf_model.container import GgufError


def f16(blocks, at):
    return blocks[:, at:at + 2].copy().view("<f2").astype(np.float32)


def dequantize_q8_0(blocks):
    """34 bytes, 32 weights: f16 scale d, 32 signed bytes q. w = d q."""
    return f16(blocks, 0) * blocks[:, 2:].view(np.int8).astype(np.float32)


def dequantize_q4_1(blocks):
    """20 bytes, 32 weights: f16 scale d, f16 minimum m, 16 bytes of nibbles, low ones first. w = d q + m."""
    nibbles = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)
    return f16(blocks, 0) * nibbles.astype(np.float32) + f16(blocks, 2)


def six_bit_pairs(packed):
    """12 bytes -> 8 scales and 8 minima of 6 bits each; the upper halves of the last four lie in the top bits of the others."""
    low, high, rest = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([low & 63, (rest & 15) | (low >> 6 << 4)], axis=1)
    minima = np.concatenate([high & 63, (rest >> 4) | (high >> 6 << 4)], axis=1)
    return scales.astype(np.float32), minima.astype(np.float32)


def dequantize_q4_k(blocks):
    """144 bytes, 8 groups of 32 weights: f16 d, f16 m, 6-bit scale s and minimum t of each group, nibbles q; 32 bytes hold two
    groups, the first in the low nibbles. w = d s q - m t."""
    scales, minima = six_bit_pairs(blocks[:, 4:16])
    packed = blocks[:, 16:].reshape(-1, 4, 1, 32)
    nibbles = np.concatenate([packed & 15, packed >> 4], axis=2).reshape(-1, 8, 32).astype(np.float32)
    return ((f16(blocks, 0) * scales)[:, :, None] * nibbles - (f16(blocks, 2) * minima)[:, :, None]).reshape(-1, 256)


def dequantize_q6_k(blocks):
    """210 bytes, 16 groups of 16 weights: 128 bytes with the low four bits of q, 64 with the high two, 16 signed scales s, f16 d.
    Each half of the block is four runs of 32 weights: the low bits of runs 0 and 1 are the low nibbles of 64 bytes, those of
    runs 2 and 3 the high nibbles; the high bits of all four share a byte. w = d s (q - 32)."""
    low = blocks[:, :128].reshape(-1, 2, 1, 2, 32)
    low = np.concatenate([low & 15, low >> 4], axis=2).reshape(-1, 2, 4, 32)
    shift = np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1)
    high = blocks[:, 128:192].reshape(-1, 2, 1, 32) >> shift & 3
    q = ((low | high << 4).astype(np.int8) - 32).reshape(-1, 16, 16).astype(np.float32)
    scales = f16(blocks, 208) * blocks[:, 192:208].view(np.int8).astype(np.float32)
    return (scales[:, :, None] * q).reshape(-1, 256)


# type: (name, weights per block, bytes per block, blocks as uint8 [n, bytes] -> float32)
TYPES = {
    0: ("F32", 1, 4, lambda blocks: blocks.view("<f4")),
    1: ("F16", 1, 2, lambda blocks: blocks.view("<f2").astype(np.float32)),
    3: ("Q4_1", 32, 20, dequantize_q4_1),
    8: ("Q8_0", 32, 34, dequantize_q8_0),
    12: ("Q4_K", 256, 144, dequantize_q4_k),
    14: ("Q6_K", 256, 210, dequantize_q6_k),
}
AT_ONCE = 1 << 16  # blocks; bounds the memory of the steps between


def load_tensor(data, name, shape, kind, start):
    """float32 of `shape`."""
    if kind not in TYPES:
        raise GgufError(f"tensor {name}: type {kind} is not supported")
    type_name, per_block, block_bytes, decode = TYPES[kind]
    if shape[-1] % per_block:
        raise GgufError(f"tensor {name}: rows of {shape[-1]} weights do not divide into {type_name} blocks")
    count = int(np.prod(shape, dtype=object)) // per_block
    if start + count * block_bytes > len(data):
        raise GgufError(f"tensor {name}: bytes {start}..{start + count * block_bytes} lie past the end of the file")
    raw = np.frombuffer(data, np.uint8, count * block_bytes, start).reshape(count, block_bytes)
    out = np.empty((count, per_block), np.float32)
    for at in range(0, count, AT_ONCE):
        out[at:at + AT_ONCE] = decode(np.ascontiguousarray(raw[at:at + AT_ONCE]))
    return out.reshape(shape)
