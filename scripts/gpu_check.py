#!/usr/bin/env python3
"""Checks errata on a machine with an NVIDIA GPU, within a budget of seconds. Needs python3 alone, and for a build what
docs/gpu.md names. Every step runs even when one before it failed, but for the build. Exit status: 0 when all steps passed,
1 when one did not, 69 without a GPU.

Environment: OUT (folder of gpu_check.json and the logs; else build-gpu), PARITY_BOUND (1e-4) and PARITY_BOUND_BF16 (0.05),
BENCH_PRECISIONS ("bf16 fp32"), BENCH_JOB and TORCH_LOOP (their arguments), JOB_SECONDS (150), COMMIT (where .git
did not travel).
"""

import argparse
import concurrent.futures
import datetime
import glob
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gpu_parity

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORK = ROOT / "build-gpu"
BUILD = WORK / "build"
STEPS = ["machine", "build", "ops", "engine", "parity", "sanitizer", "bench", "job"]
# Tests of the engine that take whichever device there is: here the GPU.
ENGINE = ["test_forward", "test_backward", "test_targets", "test_apply", "test_hidden_pass", "test_statistics", "test_second_moment", "test_oracle",
          "test_editors_oracle"]
# cuBLAS's own triangular solve, which we cannot mend, has a barrier that not all threads of a block reach.
LIBRARY = ["--kernel-name-exclude", "kernel_substring=trsm_"]
TOOLS = ["memcheck", "racecheck", "initcheck", "synccheck"]


class Check:
    def __init__(self, options, out):
        self.options, self.start = options, time.monotonic()
        self.logs = WORK / "logs"
        shutil.rmtree(self.logs, ignore_errors=True)
        self.logs.mkdir(parents=True)
        self.out = out
        self.result = {"commit": "unknown", "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                       "gpu": None, "driver": None, "cuda": None, "steps": {}, "ops": [], "job": []}

    def left(self):
        return self.options.budget - (time.monotonic() - self.start)

    def run(self, name, command, limit, env=None):
        """Output to logs/NAME.log; the exit status, 'timeout' past the limit or the budget."""
        limit = min(limit, self.left())
        if limit < 1:
            return "no time left"
        with open(self.logs / (name + ".log"), "w+b") as log:
            try:
                child = subprocess.Popen([str(c) for c in command], stdout=log, stderr=subprocess.STDOUT, cwd=ROOT,
                                         env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, start_new_session=True)
                try:
                    return child.wait(limit)
                except subprocess.TimeoutExpired:
                    os.killpg(child.pid, signal.SIGKILL)  # and what it started: the GPU must be free for the next step
                    child.wait()
                    return "timeout"
            except OSError as e:
                log.write(str(e).encode())
                return "not started"

    def text(self, name):
        return (self.logs / (name + ".log")).read_text(errors="replace") if (self.logs / (name + ".log")).exists() else ""

    # ---- steps: each returns (ok, detail) ----

    def machine(self):
        def say(*command):
            try:
                return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=30).stdout.strip()
            except (OSError, subprocess.TimeoutExpired):
                return ""
        r, gpu = self.result, say("nvidia-smi", "--query-gpu=name,driver_version,compute_cap,memory.total", "--format=csv,noheader")
        name, driver, cap, memory = ((gpu.splitlines() or ["no GPU"])[0].split(", ") + [""] * 4)[:4]
        release = re.search(r"release ([0-9.]+)", say(find_nvcc(), "--version"))
        r["commit"] = os.environ.get("COMMIT") or say("git", "rev-parse", "--short=12", "HEAD") or "unknown"
        if not os.environ.get("COMMIT") and say("git", "status", "--porcelain", "--untracked-files=no"):
            r["commit"] += "+"  # and changes to it
        r.update(gpu=name, driver=driver, cuda=release.group(1) if release else None, capability=cap)
        return True, f"{name}, {memory}, sm_{cap.replace('.', '')}, driver {driver}, nvcc {r['cuda']}, commit {r['commit']}"

    def build(self):
        deps = WORK / "deps"
        packed = WORK / "deps.tar.gz"
        if not deps.exists() and packed.exists():
            with tarfile.open(packed) as t:
                t.extractall(deps)
        configure = ["cmake", "-S", ROOT, "-B", BUILD, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DERRATA_CUDA=ON",
                     "-DERRATA_CUDA_SHIM=OFF", "-DERRATA_NVCC=" + find_nvcc()]
        if self.result.get("capability"):
            configure.append("-DCMAKE_CUDA_ARCHITECTURES=" + self.result["capability"].replace(".", ""))
        if deps.exists():
            configure.append(f"-DERRATA_DEPS={deps}")
        rc = self.run("configure", configure, 60, cuda_libraries())
        if rc != 0:
            return False, f"cmake: {rc}"
        listed = subprocess.run(["ninja", "-C", BUILD, "-t", "targets", "all"], capture_output=True, text=True).stdout
        targets = sorted(set(re.findall(r"^(tests/ops/test_ops_gpu|errata|bench_ops|bench_job|" + "|".join(ENGINE) + "): ", listed, re.M)))
        rc = self.run("build", ["ninja", "-C", BUILD, *targets], 240)
        return rc == 0, f"{len(targets)} programs" if rc == 0 else f"ninja: {rc}"

    # The tests of ops, one run for each group of tests/ops/tests.def: (name, command).
    def op_tests(self):
        program = BUILD / "tests/ops/test_ops_gpu"
        listed = re.findall(r"^OP_TEST\((\w+),", (ROOT / "tests/ops/tests.def").read_text(), re.M)
        return [("ops_" + group, [program, "--case", group + "/"]) for group in dict.fromkeys(listed)] if os.access(program, os.X_OK) else []

    def all_of(self, runs, at_once):
        """Runs (name, command, limit, env) side by side; {name: status}."""
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            waiting = {name: pool.submit(self.run, name, command, limit, env) for name, command, limit, env in runs}
            return {name: w.result() for name, w in waiting.items()}

    @staticmethod
    def summary(ends):
        bad = {name: rc for name, rc in ends.items() if rc != 0}
        skipped = " (77: skipped)" if 77 in bad.values() else ""
        return bool(ends) and not bad, f"{len(ends) - len(bad)} of {len(ends)} passed" + skipped + "".join(
            f"; {name}: {rc}" for name, rc in bad.items())

    def ops(self):
        return self.summary(self.all_of([(name, command, 120, None) for name, command in self.op_tests()], 4))

    def engine(self):
        there = [name for name in ENGINE if (BUILD / name).exists()]
        return self.summary(self.all_of([(name, [BUILD / name], 150, None) for name in there], 4))

    def parity(self):
        ok, said = gpu_parity.compare(self, BUILD / "errata", ROOT / "examples/world", self.options.device)
        if self.options.device == "cuda":  # both forms of the solve, both layouts, and weights streamed from the host
            rc = self.run("edit_parity", ["bash", ROOT / "tests/cuda/edit_parity.sh", BUILD / "errata", BUILD / "errata", ROOT], 90)
            ok, said = ok and rc == 0, said + f"; edit_parity.sh: {rc}"
        return ok, said

    # --only picks among the groups here and nowhere else: the tools take most of the time.
    def sanitizer(self):
        tool_path = shutil.which("compute-sanitizer") or str(pathlib.Path(find_nvcc()).parent / "compute-sanitizer")
        runs = [(f"{tool}_{name}", [tool_path, "--tool", tool, "--error-exitcode", "9",
                 *(LIBRARY if tool == "synccheck" else []), *(["--report-api-errors", "no"] if tool == "memcheck" else []), *command], self.options.tool_seconds,
                 {"ERRATA_TEST_QUICK": "1"}) for name, command in self.op_tests() if re.search(self.options.only, name) for tool in TOOLS]
        return self.summary(self.all_of(runs, 8))

    def bench(self):
        ok, said = True, []
        for precision in os.environ.get("BENCH_PRECISIONS", "bf16 fp32").split():
            name = "bench_ops_" + precision
            rc = self.run(name, [BUILD / "bench_ops", "--device", self.options.device, "--precision", precision, "--json"], 100)
            lines = [json.loads(line) for line in self.text(name).splitlines() if line.startswith("{") and line.endswith("}")]
            self.result["ops"] += lines
            wrong = [f"{o['op']} ({o['shape']})" for o in lines if not o["ok"]]
            ok = ok and rc == 0 and bool(lines)
            said.append(f"{precision}: {len(lines)} lines" + (f", ended with {rc}" if rc != 0 else "")
                        + (f", wrong: {', '.join(wrong)}" if wrong else ""))
        return ok, "; ".join(said)

    def job(self):
        program, loop = BUILD / "bench_job", ROOT / "benchmarks/peer/torch_loop.py"
        if not program.exists():
            return True, "bench_job is not there"
        report, facts = self.logs / "bench_job.json", self.logs / "facts.jsonl"
        arguments = os.environ.get("BENCH_JOB", "--shape gptj-6b --precision bf16 --facts 10000 --batch-tokens 8192").split()
        seconds = max(30, min(int(os.environ.get("JOB_SECONDS", "150")), int(self.left()) - 40))
        rc = self.run("bench_job", [program, "--device", self.options.device, *arguments, "--budget", seconds - 15, "--json", report,
                                    "--dump-facts", facts], seconds)
        ok, said = rc == 0, [f"bench_job: {rc}"]
        if report.exists():
            self.result["job"].append({"errata": json.loads(report.read_text())})
        if loop.exists() and facts.exists():
            peer = self.logs / "torch_loop.json"
            arguments = os.environ.get("TORCH_LOOP", "--facts 4 --dtype bf16").split()
            rc = self.run("torch_loop", ["python3", loop, facts, "--device", self.options.device, *arguments, "--json", peer], 60)
            ok, said = ok and rc == 0, said + [f"torch_loop: {rc}"]
            if peer.exists():
                self.result["job"].append({"torch_loop": json.loads(peer.read_text())})
        return ok, "; ".join(said)

    def step(self, name):
        start = time.monotonic()
        try:
            ok, detail = getattr(self, name)()
        except Exception as e:  # a step that breaks must not take the others with it
            ok, detail = False, f"{type(e).__name__}: {e}"
        seconds = round(time.monotonic() - start, 1)
        self.result["steps"][name] = {"ok": ok, "seconds": seconds, "detail": detail}
        print(f"-- {name}: {'ok' if ok else 'FAILED'} in {seconds} s: {detail}", flush=True)
        self.save()
        if not ok:
            self.show_failures(start)
        return ok

    # The ends of the logs that this step wrote, the newest first, where something went wrong.
    def show_failures(self, since):
        began = time.time() - (time.monotonic() - since)
        for path in sorted(self.logs.glob("*.log"), key=os.path.getmtime, reverse=True)[:12]:
            text = path.read_text(errors="replace")
            lines = [l for l in text.splitlines() if re.search(r"FAILED|rror|=====.*(Invalid|Race|hazard|Uninit|ERROR SUMMARY: [1-9])|WRONG", l)]
            if os.path.getmtime(path) >= began and lines:
                print(f"   {path.name}: " + "\n      ".join(lines[:4]), flush=True)

    def save(self):
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / "gpu_check.json").write_text(json.dumps(self.result, indent=1) + "\n")
        with tarfile.open(self.out / "gpu_check_logs.tar.gz", "w:gz") as t:
            t.add(self.logs, "logs")


def find_nvcc():
    return shutil.which("nvcc") or os.path.join(os.environ.get("CUDA_HOME", "/usr/local/cuda"), "bin", "nvcc")


def cuda_libraries():
    """Where the toolkit has no cuBLAS or cuSOLVER, the pip packages may: links under the names that a linker looks for."""
    home = pathlib.Path(find_nvcc()).resolve().parent.parent
    missing = [n for n in ("cublas", "cublasLt", "cusolver", "cusparse") if not glob.glob(f"{home}/lib64/lib{n}.so")
               and not glob.glob(f"{home}/targets/*/lib/lib{n}.so")]
    links, includes = WORK / "cuda-lib", []
    for site in subprocess.run(["python3", "-c", "import site, sys; print('\\n'.join(site.getsitepackages() + sys.path))"],
                               capture_output=True, text=True).stdout.split():
        for name in missing:
            for found in sorted(glob.glob(f"{site}/nvidia/*/lib/lib{name}.so.*")):
                links.mkdir(parents=True, exist_ok=True)
                for link in (links / f"lib{name}.so", links / pathlib.Path(found).name):
                    if not link.is_symlink():
                        link.symlink_to(found)
                includes.append(str(pathlib.Path(found).parent.parent / "include"))
    if not includes:
        return {}
    return {"CMAKE_LIBRARY_PATH": str(links), "CMAKE_INCLUDE_PATH": ":".join(sorted(set(includes)))}


def has_gpu():
    try:
        return subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30).stdout.startswith("GPU")
    except (OSError, subprocess.TimeoutExpired):
        return False


def main():
    p = argparse.ArgumentParser(prog="gpu_check.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--steps", default=",".join(STEPS), help="of " + ",".join(STEPS))
    p.add_argument("--no-build", action="store_true", help="use the programs in build-gpu/build")
    p.add_argument("--budget", type=float, default=520, help="seconds for everything (520)")
    p.add_argument("--tool-seconds", type=float, default=90, help="for one tool of the sanitizer on one program (90)")
    p.add_argument("--only", default="", help="run the sanitizer on groups of op tests whose name (ops_GROUP) matches this alone")
    p.add_argument("--device", default="cuda", help="cpu: try the script itself, where there is no GPU")
    p.add_argument("--dry-run", action="store_true", help="list the steps")
    o = p.parse_args()
    chosen = [s for s in o.steps.split(",") if not (o.no_build and s == "build")]
    if unknown := [s for s in chosen if s not in STEPS]:
        p.error(f"no step '{unknown[0]}': {', '.join(STEPS)}")
    if o.dry_run:
        print("\n".join(s for s in STEPS if s in chosen))
        return 0
    if o.device == "cuda" and not has_gpu():
        print("gpu_check: no NVIDIA GPU here (nvidia-smi lists none)", file=sys.stderr)
        return 69
    check = Check(o, pathlib.Path(os.environ.get("OUT") or WORK))
    for name in STEPS:
        if (name in chosen or name == "machine") and not check.step(name) and name == "build":
            print(check.text("build")[-4000:] or check.text("configure")[-4000:])
            break
    print()
    for name, s in check.result["steps"].items():
        print(f"{name:<10} {'ok' if s['ok'] else 'FAILED':<7} {s['seconds']:7.1f} s  {s['detail'][:150]}")
    print(f"{time.monotonic() - check.start:.0f} s in all; {check.out / 'gpu_check.json'}")
    return 0 if all(s["ok"] for s in check.result["steps"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
