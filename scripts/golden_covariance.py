#!/usr/bin/env python3
"""Writes tests/golden/covariance/*.npz with numpy: second moments as the reference keeps them, and bad ones.

The sums are small integers, exact in fp16, so the tests know every value: keys k[r, i] = (7 r + 3 i) mod 11 - 5 + (r + i) mod 2.
"""
import sys
from pathlib import Path

import numpy as np

DIM, ROWS = 6, 60
out = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent / "tests/golden/covariance")
out.mkdir(parents=True, exist_ok=True)
r, i = np.arange(ROWS)[:, None], np.arange(DIM)[None, :]
keys = ((7 * r + 3 * i) % 11 - 5 + (r + i) % 2).astype(np.float64)
total = keys.T @ keys
assert np.abs(total).max() < 2048


def save(name, mom2, count=ROWS, writer=np.savez, **more):
    members = {"mom2.constructor": "util.runningstats.SecondMoment()", "mom2.count": count, "mom2.mom2": mom2, "sample_size": 100}
    members.update(more)
    writer(out / f"{name}.npz", **{k: v for k, v in members.items() if v is not None})


def changed(*at_value):
    m = total.astype(np.float32)
    for row, col, value in at_value:
        m[row, col] = value
    return m


for name, kind in {"f2": np.float16, "f4": np.float32, "f8": np.float64}.items():
    save(name, total.astype(kind))
save("deflated", total.astype(np.float32), writer=np.savez_compressed)
save("fortran", np.asfortranarray(total.astype(np.float32)))
save("asymmetric", changed((1, 4, 90.0)))
save("nan", changed((2, 3, np.nan)))
save("inf_diagonal", changed((5, 5, np.inf)))
save("negative_diagonal", changed((3, 3, -1.0)))
save("not_square", total.astype(np.float32)[:, :5])
save("vector", total.astype(np.float32).ravel())
save("integers", total.astype(np.int64))
save("count_zero", total.astype(np.float32), count=0)
save("count_float", total.astype(np.float32), count=60.0)
save("no_count", total.astype(np.float32), count=None)
save("no_sum", None)
# How the reference stores None: a float64 NaN with this payload.
save("none_sum", np.frombuffer(np.uint64(0xFFF8000000000002).tobytes(), dtype=np.float64).reshape(()))
