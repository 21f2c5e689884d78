#!/usr/bin/env python3
"""Published identities of the closed-form editors, checked in fp64, with their inputs kept for tests of the solver.

    scripts/oracle/identities.py [OUT.npz]        writes tests/golden/memit/identities.npz

C [d, d] a second moment, K [d, n] keys, R [o, n] residuals, lambda and mu weights. With A0 = lambda C:

  I1  (K^T Q K + mu I)^-1 K^T Q  =  K^T (K K^T + mu C)^-1, Q = C^-1:  EMMET with mu is MEMIT with lambda = mu
  I2  R K^T (A0 + K K^T)^-1  =  R (I + K^T A0^-1 K)^-1 K^T A0^-1:      primal and dual form of the same update
  I4  in chunks, with past keys kept in A and absolute targets:         the same as all facts at once
  I5  one fact with mu = 0:                                             ROME's r (C^-1 k)^T / (k^T C^-1 k)
  I6  sums without fact j:                                              the same as never having had it
"""

import os
import sys

import numpy as np

TOLERANCE = 1e-11


def far(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def main():
    rng = np.random.default_rng(11)
    d, o, n, lam, mu = 12, 7, 5, 3.0, 0.4
    x = rng.normal(size=(40, d))
    c, k, r = x.T @ x / 40, rng.normal(size=(d, n)), rng.normal(size=(o, n))
    a0 = lam * c
    memit = lambda keys, res, weight: res @ keys.T @ np.linalg.inv(weight * c + keys @ keys.T)

    primal = memit(k, r, lam)
    q = np.linalg.inv(c)
    emmet = r @ np.linalg.inv(k.T @ q @ k + mu * np.eye(n)) @ k.T @ q
    q0 = np.linalg.inv(a0)
    dual = r @ np.linalg.inv(np.eye(n) + k.T @ q0 @ k) @ k.T @ q0

    w0 = rng.normal(size=(o, d))
    target = w0 @ k + r
    w, s = w0, np.zeros((d, d))
    for part in (slice(0, 2), slice(2, 3), slice(3, 5)):
        kp = k[:, part]
        s = s + kp @ kp.T
        w = w + (target[:, part] - w @ kp) @ kp.T @ np.linalg.inv(a0 + s)

    k1, r1 = k[:, :1], r[:, :1]
    rome = r1 @ (q @ k1).T / (k1.T @ q @ k1)
    emmet1 = r1 @ np.linalg.inv(k1.T @ q @ k1) @ k1.T @ q

    j = 3
    s_all, b_all = k @ k.T, r @ k.T
    kj, rj = k[:, j:j + 1], r[:, j:j + 1]
    removed = (b_all - rj @ kj.T) @ np.linalg.inv(a0 + s_all - kj @ kj.T)
    never = memit(np.delete(k, j, 1), np.delete(r, j, 1), lam)

    bad = 0
    for name, a, b in (("I1", emmet, memit(k, r, mu)), ("I2", dual, primal), ("I4", w - w0, primal), ("I5", emmet1, rome),
                       ("I6", removed, never)):
        print("%s  %.1e" % (name, far(a, b)))
        bad += far(a, b) > TOLERANCE
    here = os.path.dirname(os.path.abspath(__file__))
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "..", "..", "tests", "golden", "memit", "identities.npz")
    # Facts are rows here, as the engine keeps them: K [n, d], R [n, o].
    np.savez(out, C=c, K=np.ascontiguousarray(k.T), R=np.ascontiguousarray(r.T), weights=np.array([lam, mu]), memit=primal,
             emmet=emmet, rome=rome, without_3=never)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
