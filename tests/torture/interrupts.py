#!/usr/bin/env python3
"""Interrupts and kills errata at random moments, lets the same command finish, and compares the bits.

usage: interrupts.py ERRATA SOURCE_ROOT [--runs N] [--seed S] [--commands edit,cov,eval,ask] [--kill] [--seconds S]

A run begins a command in an empty folder, breaks it once or twice, and then lets it finish. What must hold:
- SIGINT, SIGTERM and SIGUSR1, one or two of them: exit code 75, or 0 when the work was done already; never a crash.
- A message that names the stage; no *.partial-* and no *.replaced-* in the output's folder or the cache.
- --out of an edit is there whole or not at all.
- After SIGKILL: what is left is gone when the command has finished.
- The finished command's files and answers are those of an unbroken run, to the bit.
A signal that comes before main() has blocked it ends the program as it would any other; that is counted apart.
A seed repeats the plan: threads of each command, which signals, at which share of the unbroken run's time.
"""
import argparse
import collections
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]
OLD = 60  # seconds; the sweep leaves what is younger than ten alone
SLOW = 10.0  # seconds from signal to end, on a machine that does much else


def command_line(command, errata, root, folder):
    world = os.path.join(root, "examples/world")
    facts = os.path.join(world, "facts_80.jsonl")
    prose = os.path.join(root, "examples/prose.txt")
    common = ["--device", "cpu", "--model", world]
    cache = ["--cache", os.path.join(folder, "cache")]
    out = ["--out", os.path.join(folder, "out")]
    if command == "edit":
        return [errata, "edit", *common, *cache, *out, "--facts", facts, "--deterministic", "--limit", "16", "--steps", "4",
                "--covariance-tokens", "2000", "--batch-tokens", "128"]
    if command == "cov":
        return [errata, "cov", *common, *cache, "--sample", "--tokens", "2000", "--layers", "0-1"]
    if command == "eval":
        return [errata, "eval", *common, *out, "--base", world, "--facts", facts, "--limit", "8", "--answers", "2",
                "--text", prose, "--drift-tokens", "1500"]
    return [errata, "ask", *common, "--base", world, "--max-tokens", "60", "The capital of", "A", "One morning"]


def environment(folder, threads):
    return dict(os.environ, HOME=folder, XDG_CACHE_HOME=folder, OMP_NUM_THREADS=str(threads), TMPDIR=folder)


def start(job, folder):
    errata, root, command, threads = job
    line = command_line(command, errata, root, folder) + ["--threads", str(threads)]
    return subprocess.Popen(line, env=environment(folder, threads), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


def digest(path):
    with open(path, "rb") as f:
        data = f.read()
    name = os.path.basename(path)
    if name == "errata-manifest.json":  # it has times in it; the digests it holds are what counts
        data = json.dumps(json.loads(data)["output_sha256"], sort_keys=True).encode()
    if name == "metrics.json":
        data = re.sub(rb'"seconds":\s*[0-9.e-]+', b"", data)
    if name.startswith("values-"):  # in the order in which they were found
        size = 4 + 4 + 64 + 192 * 4 + 4
        data = b"".join(sorted({data[i:i + size] for i in range(0, len(data), size)}))
    return hashlib.sha256(data).hexdigest()


def tree(folder):
    files = [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]
    return {os.path.relpath(f, folder): digest(f) for f in files}


def leftovers(folder):
    return [os.path.join(at, name) for at, dirs, names in os.walk(folder) for name in dirs + names
            if re.search(r"\.(partial|replaced)-", name)]


def blocked(pid, number):
    """Has the program come to where it blocks this signal?"""
    try:
        with open(f"/proc/{pid}/status") as f:
            mask = int(re.search(r"SigBlk:\s*([0-9a-f]+)", f.read()).group(1), 16)
    except (OSError, AttributeError):
        return True
    return bool(mask >> (number - 1) & 1)


def answers(text):
    """stdout without the times in it and the folder that differs."""
    text = re.sub(rb"/\S+/(out|cache)", rb"\1", text)
    return re.sub(rb"[0-9.]+ s\b", b"s", text)


class Run:
    def __init__(self, job, folder, plan, reference):
        self.job, self.folder, self.plan, self.reference = job, folder, plan, reference
        self.faults, self.outcomes, self.slowest = [], [], 0.0

    def fault(self, what):
        self.faults.append(f"{self.job[2]}, {self.job[3]} threads, {self.plan}: {what}")

    def break_once(self, share, numbers):
        p = start(self.job, self.folder)
        aware = True
        try:
            out, err = p.communicate(timeout=share * self.reference["seconds"])
        except subprocess.TimeoutExpired:
            aware = blocked(p.pid, numbers[0])
            for i, number in enumerate(numbers):
                if i:
                    time.sleep(0.002)
                p.send_signal(number)
            begin = time.monotonic()
            out, err = p.communicate()
            self.slowest = max(self.slowest, time.monotonic() - begin)
        self.judge(p.returncode, numbers, aware, out, err.decode(errors="replace"))
        return p.returncode

    def judge(self, code, numbers, aware, out, err):
        killed = signal.SIGKILL in numbers
        kind = "+".join(n.name for n in numbers)
        self.outcomes.append(f"{self.job[2]} {kind} {'before main' if code < 0 and not (aware or killed) else code}")
        allowed = {0, 75} | ({-signal.SIGKILL} if killed else set())
        if not aware:
            allowed |= {-n for n in numbers}
        if code not in allowed:
            self.fault(f"exit {code}: {err[-300:]}")
        if code == 75 and len(numbers) == 1 and "errata: interrupted in " not in err:
            self.fault(f"no stage named: {err[-200:]}")
        if not killed and leftovers(self.folder):
            self.fault(f"left behind: {leftovers(self.folder)}")
        if self.job[2] == "edit" and os.path.exists(os.path.join(self.folder, "out")):
            if code == 75 and len(numbers) == 1:
                self.fault("interrupted, and the output is there")
            self.compare("out")
        elif code == 0:
            self.compare("")
            if answers(out) != self.reference["answers"] and self.job[2] in ("ask", "eval"):
                self.fault("other answers")

    def compare(self, below):
        want = {k: v for k, v in self.reference["files"].items() if k.startswith(below)}
        have = {k: v for k, v in tree(self.folder).items() if k.startswith(below)}
        if have != want:
            self.fault(f"files differ: {sorted(k for k in want.keys() | have.keys() if want.get(k) != have.get(k))}")

    def let_time_pass(self):
        """As if the next try were made a minute later."""
        for path in leftovers(self.folder):
            os.utime(path, (time.time() - OLD,) * 2)

    def finish(self):
        p = start(self.job, self.folder)
        out, err = p.communicate()
        if p.returncode != 0:
            return self.fault(f"the last run exits {p.returncode}: {err[-300:]}")
        if self.job[2] in ("ask", "eval") and answers(out) != self.reference["answers"]:
            self.fault("other answers in the end")
        if leftovers(self.folder):
            self.fault(f"left behind in the end: {leftovers(self.folder)}")
        return self.compare("")

    def go(self):
        for share, numbers in self.plan:
            self.break_once(share, numbers)
            self.let_time_pass()
            if self.job[2] == "edit" and os.path.exists(os.path.join(self.folder, "out")):
                return self.compare("")  # it was too late: done
        return self.finish()


def unbroken(job, top):
    folder = tempfile.mkdtemp(dir=top)
    begin = time.monotonic()
    p = start(job, folder)
    out, err = p.communicate()
    if p.returncode != 0:
        sys.exit(f"{job[2]}: the unbroken run exits {p.returncode}: {err.decode()}")
    reference = {"seconds": time.monotonic() - begin, "files": tree(folder), "answers": answers(out)}
    shutil.rmtree(folder)
    return reference


def plan_of(seed, i, kill):
    r = random.Random(f"{seed} {i}")
    plan = []
    for _ in range(r.choice([1, 1, 2])):
        share = r.uniform(0, 1.02) if r.random() < 0.8 else r.uniform(0.85, 1.0)  # where files are written
        numbers = [signal.SIGKILL] if kill else [r.choice(SIGNALS) for _ in range(r.choice([1, 1, 1, 2]))]
        plan.append((round(share, 4), numbers))
    return plan


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("\n")[2][7:])
    parser.add_argument("errata")
    parser.add_argument("root")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=0, help="begin no further run after that many, once each command had one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--commands", default="edit,cov,eval,ask")
    parser.add_argument("--kill", action="store_true")
    a = parser.parse_args()
    for number in SIGNALS:  # one that is ignored here, as in a script's background job, would stay ignored there
        signal.signal(number, signal.SIG_DFL)
    commands = a.commands.split(",")
    top = tempfile.mkdtemp(prefix="errata-torture-")
    references, outcomes, faults = {}, collections.Counter(), []
    slowest, begin, n = 0.0, time.monotonic(), 0
    print(f"seed {a.seed}, {a.runs} runs, {'kills' if a.kill else 'interrupts'}", flush=True)
    while n < a.runs and not (a.seconds and n >= len(commands) and time.monotonic() - begin > a.seconds):
        plan, command = plan_of(a.seed, n, a.kill), commands[n % len(commands)]
        threads = random.Random(f"{a.seed} {command}").choice([1, 2])
        job = (os.path.abspath(a.errata), os.path.abspath(a.root), command, threads)
        if job not in references:
            references[job] = unbroken(job, top)
        folder = tempfile.mkdtemp(dir=top)
        run = Run(job, folder, plan, references[job])
        run.go()
        outcomes.update(run.outcomes)
        slowest = max(slowest, run.slowest)
        if run.slowest > SLOW:
            run.fault(f"{run.slowest:.1f} s from signal to end")
        for f in run.faults:
            print(f"run {n}: {f}", flush=True)
        faults += run.faults
        shutil.rmtree(folder)
        n += 1
    shutil.rmtree(top, ignore_errors=True)
    for k in sorted(outcomes):
        print(f"{outcomes[k]:6d}  {k}")
    print(f"{n} runs, {sum(outcomes.values())} broken or done before, slowest end {slowest:.2f} s, {len(faults)} faults")
    return 1 if faults or n == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
