#!/usr/bin/env python3
"""What a job of many GPUs would take, from stage times measured on one.

    benchmarks/scaling.py                                GPT-J's shape, 1 to 512 GPUs
    benchmarks/scaling.py --facts 100000 --start 3       other numbers of facts, another start-up
    benchmarks/scaling.py --job FILE.json                stage times of another bench_job --json

The model, in seconds, for N facts on P ranks:

    T(P) = start(P) + statistics / P + values N / P + tail + gather N / P
           + layers (potrf + (products N + potrs) / P + 2 (P - 1) / P bytes / link(P))

Start-up is what one GPU needs (load and digest) divided among the ranks, plus `--start` for the ranks to find each other. `tail` is
the last batch of targets, which has fewer facts than places on every rank but one. `bytes` are the normal equations that ranks sum.
Nothing here was measured on more than one GPU: it is arithmetic on one GPU's times (an H100's). What links carry, and the rates
of reading and writing, are assumed.
"""
import argparse
import json
import os

HERE = os.path.dirname(os.path.abspath(__file__))
MEASURED = {  # benchmarks/LOG.md, 2026-11-27, one H100, GPT-J's shape, bf16, 10,000 facts
    "statistics": 1.23, "values": 239.9 / 10000, "gather": 5.53 / 10000, "potrf": 0.0639, "potrs": 0.0539,
    "layers": 6, "d_key": 16384, "d_out": 4096, "weight_bytes": 12.1e9, "slots": 316}
FP64 = 49e12  # FLOP/s of the blocked products K K^T, same log


def link(p, node):
    """Bytes a second of an all-reduce: within a node, over 8 nodes, over more."""
    return 370e9 if p <= node else 300e9 if p <= 8 * node else 250e9


def seconds(m, facts, p, a):
    d, o = m["d_key"], m["d_out"]
    products = (d * d + 2 * d * o) / FP64  # of one fact's column, each layer
    reduced = 8.0 * (d * d + d * o)
    start = m["weight_bytes"] / a.read / p + (a.start if p > 1 else 0)
    tail = m["values"] * m["slots"] / 2 if p > 1 else 0
    solve = m["potrf"] + (facts * products + m["potrs"]) / p
    parts = {
        "start": start,
        "statistics": m["statistics"] / p + (8.0 * d * d * m["layers"] / link(p, a.node) if p > 1 else 0),
        "values": m["values"] * facts / p + tail,
        "gather": m["gather"] * facts / p,
        "solve": m["layers"] * solve,
        "sums": m["layers"] * 2 * (p - 1) / p * reduced / link(p, a.node),
        "write": m["weight_bytes"] / a.write / min(p, a.node),
    }
    return sum(parts.values()), parts


def from_job(path):
    job = json.load(open(path))
    job = job.get("job", job)
    job = job[0]["errata"] if isinstance(job, list) else job.get("errata", job)
    stage = {s["stage"]: s for s in job["stages"]}
    m = dict(MEASURED)
    m["values"] = stage["values"]["seconds"] / stage["values"]["done"]
    m["statistics"] = stage["covariance"]["seconds"]
    m["weight_bytes"], m["slots"] = job["weight_bytes"], job["slots"]
    return m


def main():
    p = argparse.ArgumentParser(description="Scaling on paper, from measured stage times.")
    p.add_argument("--job", help="bench_job's JSON; default: the numbers of benchmarks/LOG.md")
    p.add_argument("--facts", type=int, action="append", help="may be repeated; default 10000, 100000, 1000000")
    p.add_argument("--start", type=float, default=1.5, help="seconds for ranks to meet, MPI and NCCL")
    p.add_argument("--read", type=float, default=4e9, help="bytes a second that one rank reads and digests")
    p.add_argument("--write", type=float, default=2e9, help="bytes a second that one rank writes")
    p.add_argument("--node", type=int, default=8, help="GPUs of a node")
    p.add_argument("--json", action="store_true")
    a = p.parse_args()
    m = from_job(a.job) if a.job else MEASURED
    rows = []
    for facts in a.facts or [10000, 100000, 1000000]:
        one, _ = seconds(m, facts, 1, a)
        for ranks in [1, 2, 4, 8, 16, 64, 512]:
            t, parts = seconds(m, facts, ranks, a)
            lost = {k: v - seconds(m, facts, 1, a)[1][k] / ranks for k, v in parts.items()}
            worst = max(lost, key=lost.get) if ranks > 1 else ""
            rows.append({"facts": facts, "gpus": ranks, "seconds": t, "efficiency": one / t / ranks,
                         "limit": worst, "lost": lost.get(worst, 0.0)})
    if a.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"{'facts':>8} {'GPUs':>5} {'seconds':>9} {'efficiency':>11}   what costs most beyond its share")
    for r in rows:
        limit = f"{r['limit']}, {r['lost']:.2f} s" if r["limit"] else ""
        print(f"{r['facts']:>8} {r['gpus']:>5} {r['seconds']:>9.1f} {100 * r['efficiency']:>9.0f} %   {limit}")


if __name__ == "__main__":
    main()
