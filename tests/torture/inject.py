"""Runs a command once for every call that may fail, with inject.so failing it, and says what was not as it should be.

    inject.py ERRATA ROOT INJECT_SO --jobs edit,ask --calls own,write,... [--every K] [--offset K] [--with ERRNO|short] [--budget S]
              [--most N] [--first N]

After each run: the exit code is a documented one and fits the call, one line on stderr says what failed, nothing half made is left,
and exit 0 means that the result is that of the unbroken run (caches may be missing, with a warning)."""
import argparse, glob, hashlib, json, os, re, shutil, subprocess, sys, tempfile, time

MEMORY = ("own", "lib", "mmap", "thread")
EINTR, EAGAIN = 4, 11
CODES = {"memory": {0, 1}, "io": {0, 1, 73, 74}, "stat": {0, 66, 73, 74}}
VARIES = re.compile(r'"(seconds|finished|\w*_seconds|tokens_per_second)"')


def settled(value):
    """JSON without what differs from run to run."""
    if isinstance(value, dict):
        return {k: settled(v) for k, v in value.items() if k not in ("seconds", "finished", "warnings", "device") and not k.endswith("seconds")}
    return [settled(v) for v in value] if isinstance(value, list) else value


def digest(path):
    return hashlib.sha256(open(path, "rb").read()).hexdigest()


class Job:
    def __init__(self, name, root, binary, model):
        small = root + "/tests/golden/memit/gpt2"
        model = model or small + "/model"
        short = ["--facts", small + "/facts.jsonl", "--limit", "3"]
        edit = ["edit", "--model", model, *short, "--layers", "1,2", "--steps", "2", "--covariance-tokens", "400", "--deterministic",
                "--out", "out", "--cache", "cache"]
        cov = ["cov", "--model", model, "--tokens", "400", "--layers", "1,2", "--cache", "cache"]
        self.name, self.binary = name, binary
        self.args = {
            "edit": edit, "force": edit + ["--force"], "warm": edit,
            "cov": cov + ["--sample", "--export", "out"], "text": cov + ["--corpus", root + "/examples/prose.txt"],
            "eval": ["eval", "--model", model, *short, "--answers", "1", "--text", root + "/examples/heldout.txt", "--drift-tokens",
                     "200", "--out", "out"],
            "evaljson": ["eval", "--model", model, *short, "--answers", "1", "--json", "--details"],
            "ask": ["ask", "--model", model, "--json", "--max-tokens", "3", "Hello", "Ann Lee lives in"],
            "asktext": ["ask", "--model", model, "--base", model, "--max-tokens", "3", "Hello"],
            "check": ["check", "--model", model, *short, "--json"],
            "diff": ["diff", model, "edited", "--json", "--rank"],
            "version": ["--version"],
        }[name] + ([] if name in ("version",) else ["-q"])
        if name not in ("version", "diff"):
            self.args += ["--device", "cpu", "--threads", "2" if os.environ.get("INJECT_THREADS") == "2" else "1"]

    def clean(self):
        for path in ("out", "cache"):
            shutil.rmtree(path, ignore_errors=True)
        if self.name == "force":
            shutil.copytree("edited", "out")
        if self.name == "warm":
            shutil.copytree("kept", "cache")

    def run(self, env):
        try:
            p = subprocess.run([self.binary, *self.args], env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=90)
            return p.returncode, p.stdout, p.stderr.decode("utf8", "replace")
        except subprocess.TimeoutExpired:
            return "hang", b"", ""

    def result(self, out):
        """What must be the same whenever the exit code is 0."""
        if self.name in ("edit", "force", "warm"):
            return sorted(os.listdir("out")), digest("out/model.safetensors"), bool(json.load(open("out/errata-manifest.json")))
        if self.name == "cov":
            return sorted((f, digest(f)) for f in glob.glob("out/**/*.npz", recursive=True))
        if self.name == "text":
            return sorted((f, digest(f)) for f in glob.glob("cache/*.npz"))
        if self.name == "eval":
            return settled(json.load(open("out/metrics.json"))), os.path.getsize("out/report.html") > 1000
        if self.name in ("ask", "check", "diff", "evaljson"):
            return settled(json.loads(out))
        return out


def allowed(call):
    return CODES["memory" if call in MEMORY else "stat" if call == "stat" else "io"]


def faults(job, call, rc, out, err, want):
    said = [line for line in err.splitlines() if line.startswith(("errata", "libgomp: "))]
    if rc == "hang" or rc < 0 or rc not in allowed(call):
        yield f"exit {rc}"
    if "Sanitizer" in err or "runtime error" in err:
        yield "sanitizer"
    if rc not in (0, "hang") and len(said) != 1:
        yield f"{len(said)} messages"
    if rc == 0:
        try:
            if job.result(out) != want and "products are OpenBLAS's" not in err:  # another library's last bits
                yield "exit 0 with another result"
        except (OSError, ValueError) as e:
            yield f"exit 0 without a result: {e}"
    elif os.path.exists("out") and job.name in ("edit", "warm"):
        yield "an output though it failed"
    elif job.name == "force" and rc != 0:
        if not os.path.exists("out") or job.result(b"")[1] not in (digest("edited/model.safetensors"), want[1]):
            yield "the old output is harmed"
    left = glob.glob("*.partial-*") + glob.glob("*.replaced-*") + glob.glob("cache/*.partial-*") + glob.glob("out/**/*.partial-*", recursive=True)
    if left and call not in ("unlink", "dir") and "is still there" not in err:
        yield f"left behind: {left}"
    for path in left:
        shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else os.unlink(path)


def sweep(job, call, a, env):
    env = dict(env, INJECT_CALL=call, LD_PRELOAD=a.preload)
    if a.error:
        env["INJECT_WITH"] = a.error
    job.clean()
    rc, out, err = job.run(dict(env, INJECT_COUNT="count"))
    if rc != 0:
        return f"{job.name} {call}: the unbroken run: exit {rc}: {err}", 1
    want, n, codes, bad = job.result(out), int(open("count").read()), {}, []
    start, every = time.time(), max(a.every, n // a.most if a.most else 1)
    places = list(range(1 + a.offset % every, n + 1, every))
    if a.first:
        places = places[:a.first]
    for k in places:
        if a.budget and time.time() - start > a.budget:
            break
        job.clean()
        rc, out, err = job.run(dict(env, INJECT_AT=str(k)))
        codes[rc] = codes.get(rc, 0) + 1
        for fault in faults(job, call, rc, out, err, want):
            bad.append(f"    {job.name} {call} {k}: {fault}: {err.strip()[-300:]}")
            if fault.startswith("left"):
                bad[-1] += " " + str(k)
    with_ = f" ({a.error})" if a.error else ""
    counts = ", ".join(f"exit {c}: {codes[c]}" for c in sorted(codes, key=str))
    return "\n".join([f"{job.name} {call}{with_}: {sum(codes.values())} of {n}; {counts}; {len(bad)} faults", *bad]), len(bad)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("binary"), p.add_argument("root"), p.add_argument("preload")
    p.add_argument("--jobs", required=True), p.add_argument("--calls", required=True)
    p.add_argument("--every", type=int, default=1), p.add_argument("--offset", type=int, default=0)
    p.add_argument("--most", type=int, default=0), p.add_argument("--first", type=int, default=0)
    p.add_argument("--with", dest="error"), p.add_argument("--budget", type=float, default=0), p.add_argument("--model")
    a = p.parse_args()
    binary, root = os.path.realpath(a.binary), os.path.realpath(a.root)
    a.preload = ":".join(os.path.realpath(p) if "/" in p else p for p in a.preload.split(":"))
    folder = tempfile.mkdtemp(prefix="inject-")
    os.chdir(folder)
    env = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", OMP_WAIT_POLICY="passive", GOMP_SPINCOUNT="100", HOME=folder, LC_ALL="C")
    env.pop("LD_PRELOAD", None)
    first = Job("edit", root, binary, a.model)
    failed = 0
    rc, _, err = first.run(env)
    if rc != 0:
        sys.exit(f"the edit that others compare with: exit {rc}: {err}")
    os.rename("out", "edited"), os.rename("cache", "kept")
    for name in a.jobs.split(","):
        for call in a.calls.split(","):
            text, faulty = sweep(Job(name, root, binary, a.model), call, a, env)
            print(text, flush=True)
            failed += faulty
    shutil.rmtree(folder)
    sys.exit(failed > 0)


main()
