#!/usr/bin/env python3
"""What can be told of job scripts, images and docs/cluster.md by reading them: options that exist, stages and packages that are
listed, a YAML whose rules fit errata's exit codes. Prints a line per complaint and exits 1 when there is one.

usage: check_job_files.py ERRATA_BINARY SOURCE_ROOT
"""
import pathlib, re, shlex, subprocess, sys

errata, root = sys.argv[1], pathlib.Path(sys.argv[2])
complaints = []


def complain(where, what):
    complaints.append(f"{where}: {what}")


# ---- what errata knows ----
COMMANDS = ("edit", "check", "cov", "eval", "ask", "diff")
helps = {c: subprocess.run([errata, c, "--help"], capture_output=True, text=True, check=True).stdout for c in COMMANDS}
options_of = {c: set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", h)) for c, h in helps.items()}
options_of["check"] |= options_of["edit"]  # "the options of errata edit"
EXIT_CODES = {0, 1, 2, 65, 66, 69, 70, 73, 74, 75, 78}  # README, "Commands"
said = subprocess.run([errata, "--help"], capture_output=True, text=True, check=True).stdout
for code in EXIT_CODES:
    if not re.search(rf"\b{code}\b", said):
        complain("errata --help", f"exit code {code} is not told of")

# ---- what slurm knows (man sbatch, man srun, 22.05): those that these files use, and what their values look like ----
COUNT, WORD = r"[1-9]\d*", r"[\w./%@-]+"
SBATCH = {
    "job-name": WORD, "output": WORD, "open-mode": r"append|truncate", "nodes": COUNT, "ntasks": COUNT, "ntasks-per-node": COUNT,
    "gpus-per-node": r"\d+", "gpus-per-task": r"\d+", "cpus-per-task": COUNT, "mem": r"\d+[KMGT]?", "time": r"(\d+-)?\d\d:\d\d:\d\d|\d+",
    "requeue": None, "signal": r"USR1@\d+", "array": r"\d+-\d+(%\d+)?|\d+", "partition": WORD, "account": WORD, "qos": WORD,
    "exclude": WORD, "exclusive": None, "parsable": None, "dependency": None, "kill-on-invalid-dep": r"yes|no", "test-only": None,
}
SRUN = {"kill-on-bad-exit", "mpi", "gpu-bind", "nodes", "ntasks", "cpus-per-task", "container-image", "container-mounts"}
OTHERS = {  # of the other programs that docs/cluster.md names
    "--build", "--install", "--prefix", "--nv", "--bind", "--rm", "--gpus", "--target",
}


def check_sbatch(path):
    name, lines = path.name, path.read_text().splitlines()
    first_command = next(i for i, l in enumerate(lines) if l and not l.startswith("#"))
    given = {}
    for i, line in enumerate(lines):
        if not line.startswith("#SBATCH "):
            continue
        if i > first_command or i >= 10:
            complain(name, f"line {i + 1}: slurm reads no directive there, or the user does not")
        for word in shlex.split(line)[1:]:
            key, _, value = word.partition("=")
            key = key.removeprefix("--")
            if key not in SBATCH or not word.startswith("--"):
                complain(name, f"line {i + 1}: unknown option {word}")
            elif (SBATCH[key] is None) != (value == "") or (value and not re.fullmatch(SBATCH[key], value)):
                complain(name, f"line {i + 1}: {word} has no sense")
            elif key in given:
                complain(name, f"line {i + 1}: --{key} is given twice")
            given[key] = value
    for key in ("job-name", "output", "open-mode", "requeue", "signal", "time", "nodes"):
        if key not in given:
            complain(name, f"no --{key}")
    if given.get("open-mode") != "append":
        complain(name, "a second start would wipe the log of the first")
    log = given.get("output", "")
    if not ("%A" in log and "%a" in log if "array" in given else "%j" in log):
        complain(name, f"--output={log}: two jobs would share a log")
    if "nothing below needs a change" not in "\n".join(lines[:12]):
        complain(name, "what a user changes is not in the first ten lines or so")
    return given


for path in sorted((root / "scripts/slurm").glob("*.sbatch")):
    check_sbatch(path)


# ---- errata's options, wherever a command of it is shown ----
def check_command(where, text):
    """text begins with one of COMMANDS; options up to the end of the command."""
    command = text.split()[0]
    text = re.split(r"\s[|&;>#]|\s--\s|`", text)[0]
    for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text):
        if option not in options_of[command]:
            complain(where, f"errata {command} has no {option}")


found = 0
files = [root / "docs/cluster.md"] + [p for d in ("scripts/slurm", "scripts/cluster") for p in sorted((root / d).iterdir())]
for path in files:
    text = re.sub(r"\\\n\s*#?", " ", path.read_text())
    text = re.sub(r"(job=\([^)]*)\n", r"\1 ", text)  # arrays over two lines
    for m in re.finditer(r"(?:\berrata|\.sbatch|errata:\w+|errata\.sif errata|hostfile|job=\(|command=\(|-- )\s*((?:%s)\b[^\n)]*)" % "|".join(COMMANDS), text):
        found += 1
        check_command(path.name, m.group(1))
if found < 15:
    complain("this check", f"only {found} commands of errata were recognised")

# Options that docs/cluster.md names alone, as `--option`.
everything = set.union(*options_of.values()) | {"--" + k for k in SBATCH} | {"--" + k for k in SRUN} | OTHERS
for option in re.findall(r"`(--[a-z][a-z0-9-]*)", (root / "docs/cluster.md").read_text()):
    if option not in everything:
        complain("cluster.md", f"nobody has {option}")
for path in ("scripts/slurm/job.sh",):
    for line in (root / path).read_text().splitlines():
        if line.strip().startswith(("srun ", "run_step ")):
            for option in re.findall(r"--([a-z-]+)", line):
                if option not in SRUN:
                    complain(path, f"srun has no --{option}")

# ---- exit codes of the page's table are all of errata's ----
page = (root / "docs/cluster.md").read_text()
rows = {int(m) for m in re.findall(r"^\| (\d+)\b", page, re.M)}
if not EXIT_CODES <= rows:
    complain("cluster.md", f"no row for exit codes {sorted(EXIT_CODES - rows)}")
for name in re.findall(r"`(?:scripts/(?:slurm|cluster)/)?([\w-]+\.(?:sbatch|sh|def|yaml))\b", page):
    if not any((root / d / name).exists() for d in ("scripts/slurm", "scripts/cluster", "scripts", "tests/cluster")):
        complain("cluster.md", f"there is no {name}")

# ---- images: stages, packages, libraries ----
groups = {}
for line in (root / "scripts/packages.txt").read_text().splitlines():
    if line and not line.startswith("#"):
        group, package = line.split()
        groups.setdefault(group, set()).add(package)


def check_installs(name, text):
    if re.search(r"apt-get\s+install|\bapt\s+install", text):
        complain(name, "installs packages beside scripts/packages.txt")
    used = set()
    for line in re.findall(r"scripts/install\.sh ([a-z ]+?)(?: &&|$)", text, re.M):
        used |= set(line.split())
    for group in used - set(groups):
        complain(name, f"scripts/packages.txt has no group {group}")
    for group in {"build", "run", "cuda", "mpi"} - used:
        complain(name, f"does not install the group {group}")


docker, apptainer = (root / "scripts/cluster/Dockerfile").read_text(), (root / "scripts/cluster/errata.def").read_text()
without_comments = re.sub(r"^\s*#.*$", "", docker, flags=re.M)
check_installs("Dockerfile", without_comments)
check_installs("errata.def", re.sub(r"^\s*#.*$", "", apptainer, flags=re.M))
KEYWORDS = {"ARG", "FROM", "RUN", "WORKDIR", "COPY", "ENV", "ENTRYPOINT"}
stages, args = set(), set()
for line in re.sub(r"\\\n", " ", without_comments).splitlines():
    word = line.split()
    if not word:
        continue
    if word[0] not in KEYWORDS:
        complain("Dockerfile", f"unknown instruction: {line}")
    elif word[0] == "ARG":
        args.add(word[1].split("=")[0])
    elif word[0] == "FROM":
        used = re.findall(r"\$\{(\w+)\}", word[1])
        if not set(used) <= args:
            complain("Dockerfile", f"{word[1]} is not an ARG above")
        elif not used and ":" not in word[1] and word[1] not in stages:
            complain("Dockerfile", f"there is no stage {word[1]}")
        if len(word) != 4 or word[2] != "AS":
            complain("Dockerfile", f"a stage without a name: {line}")
        stages.add(word[-1])
    elif word[0] == "COPY":
        source = word[1].removeprefix("--from=") if word[1].startswith("--from=") else None
        if source is not None and source not in stages:
            complain("Dockerfile", f"there is no stage {source} above: {line}")
        if source is None:
            for path in word[1:-1]:
                if not (root / path).exists():
                    complain("Dockerfile", f"there is no {path} to copy")
for target in ("cpu", "cuda"):
    if target not in stages:
        complain("Dockerfile", f"no target {target}")

section, stages = None, set()
for line in apptainer.splitlines():
    word = line.split()
    if not word or word[0].startswith("#"):
        continue
    if word[0] == "Stage:":
        stages.add(word[1])
        section = None
    elif re.fullmatch(r"[A-Z][a-z]+:", word[0]):
        section = None
        if word[0] not in ("Bootstrap:", "From:"):
            complain("errata.def", f"unknown header {word[0]}")
    elif line.startswith("%"):
        section = line.split()
        if section[0] not in ("%post", "%files", "%environment", "%runscript"):
            complain("errata.def", f"unknown section {line}")
        if len(section) == 3 and section[2] not in stages:
            complain("errata.def", f"there is no stage {section[2]} above")
    elif section == ["%files"] and not (root / word[0]).exists():
        complain("errata.def", f"there is no {word[0]} to copy")
cmake = (root / "CMakeLists.txt").read_text()
for folder in ("kernels", "engine", "covariance", "io", "scripts", "benchmarks"):
    if re.search(rf"\b{folder}/", cmake) and f"    {folder} /src/{folder}\n" not in apptainer:
        complain("errata.def", f"does not copy {folder}, which CMakeLists.txt reads")
libraries = [set(re.findall(r"lib\w+\.so\.\d+", t[t.index("cp -L"):].split("/opt/cuda/")[0])) for t in (docker, apptainer)]
if libraries[0] != libraries[1]:
    complain("images", f"other CUDA libraries: {libraries[0] ^ libraries[1]}")
bases = [set(re.findall(r"nvidia/cuda:[\w.-]+|debian:[\w-]+", t)) for t in (docker, apptainer)]
if bases[0] != bases[1]:
    complain("images", f"other base images: {bases[0] ^ bases[1]}")

# What this binary is linked to is in the group `run`, comes from CUDA, or is in every Debian.
def needed():
    lines = subprocess.run(["readelf", "-d", errata], capture_output=True, text=True).stdout
    return re.findall(r"NEEDED.*\[(.*)\]", lines)


def owner(library):
    for folder in ("/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu"):
        answer = subprocess.run(["dpkg", "-S", f"{folder}/{library}"], capture_output=True, text=True).stdout
        if answer:
            return answer.split(":")[0]
    # A library behind an alternative belongs to one of several packages.
    return "libopenblas0-openmp" if library == "libopenblas.so.0" else None


EVERYWHERE = {"libc6", "libgcc-s1", "libstdc++6", "libasan8", "libubsan1", "libtsan2"}
try:
    for library in needed():
        if library in libraries[0]:
            continue
        package = owner(library)
        if package and package not in groups["run"] | EVERYWHERE:
            complain("packages.txt", f"the group run lacks {package} ({library})")
except FileNotFoundError:
    pass  # no readelf or no dpkg

# ---- the Kubernetes Job ----
job_path = root / "scripts/cluster/kubernetes_job.yaml"
text = job_path.read_text()
try:
    import yaml
except ImportError:
    yaml = None
if yaml:
    job = yaml.safe_load(text)
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    container = pod["containers"][0]
    if (job["apiVersion"], job["kind"]) != ("batch/v1", "Job"):
        complain(job_path.name, "not a Job of batch/v1")
    if pod["restartPolicy"] != "Never":
        complain(job_path.name, "podFailurePolicy needs restartPolicy Never")
    codes = {}
    for rule in spec["podFailurePolicy"]["rules"]:
        on = rule.get("onExitCodes")
        if on:
            codes[rule["action"]] = set(on["values"])
            if on["containerName"] != container["name"] or on["operator"] != "In":
                complain(job_path.name, f"a rule for nobody: {on}")
    if codes.get("Ignore") != {75} or not codes.get("FailJob", set()) <= EXIT_CODES - {0, 75}:
        complain(job_path.name, f"the rules do not fit errata's exit codes: {codes}")
    mounts, volumes = {m["name"] for m in container["volumeMounts"]}, {v["name"] for v in pod["volumes"]}
    if mounts != volumes:
        complain(job_path.name, f"mounted and not there, or there and not mounted: {mounts ^ volumes}")
    words = container["args"]
    if words[0] not in COMMANDS or not all(isinstance(w, str) for w in words):
        complain(job_path.name, f"args are not words of errata: {words}")
    else:
        check_command(job_path.name, " ".join(words))
    gpus = container["resources"]["limits"]["nvidia.com/gpu"]
    if words[words.index("--devices") + 1] != f"0-{gpus - 1}":
        complain(job_path.name, f"{gpus} GPUs and other --devices")
else:  # the least: no tabs, even indentation, keys with values or blocks
    for i, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            indent = len(line) - len(line.lstrip(" "))
            if "\t" in line or indent % 2 or not re.fullmatch(r"(- )*([\w./-]+:( .*)?|[\w./-]+)", line.strip()):
                complain(job_path.name, f"line {i} is no YAML of ours: {line}")

# ---- the hostfile ----
for line in (root / "scripts/cluster/hostfile").read_text().splitlines():
    if line and not line.startswith("#") and not re.fullmatch(r"[\w.-]+( slots=\d+)?", line):
        complain("hostfile", line)

print("\n".join(complaints))
sys.exit(bool(complaints))
