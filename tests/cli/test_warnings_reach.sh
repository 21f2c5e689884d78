#!/usr/bin/env bash
# A warning reaches `--json`, the manifest, metrics.json and the report, also under --quiet.
# usage: test_warnings_reach.sh ERRATA_BINARY SOURCE_ROOT
set -uo pipefail
errata=$(realpath "$1")
root=$(realpath "$2")
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
export XDG_CACHE_HOME=$T/cache HOME=$T
model=$root/examples/world
head -n 3 "$root/examples/world/facts_80.jsonl" >"$T/facts.jsonl"
echo '{"subject": "", "prompt": "{} lives in", "target": "Rome"}' >>"$T/facts.jsonl"
common=(--model "$model" --facts "$T/facts.jsonl" --threads 1 --quiet)

# The warning in the list "warnings" of the object in FILE (of its first element, where it is a list)?
warned() { # FILE TEXT
    python3 - "$1" "$2" <<'PYTHON' || { echo "FAILED: $1 does not warn of: $2"; exit 1; }
import json, sys
o = json.load(open(sys.argv[1]))
sys.exit(not any(sys.argv[2] in w for w in o["warnings"]))
PYTHON
}

reason="line 4 skipped: 'subject' is empty"
"$errata" check "${common[@]}" --json >"$T/check.json" 2>/dev/null || exit 1
warned "$T/check.json" "$reason"
"$errata" edit "${common[@]}" --steps 2 --covariance-tokens 8000 --out "$T/out" --json >"$T/edit.json" 2>/dev/null || exit 1
warned "$T/edit.json" "$reason"
warned "$T/out/errata-manifest.json" "$reason"
"$errata" eval --model "$T/out" --base "$model" --facts "$T/facts.jsonl" --threads 1 --quiet --out "$T/eval" --json >"$T/eval.json" \
    2>/dev/null || exit 1
python3 -c 'import json, sys; assert isinstance(json.load(open(sys.argv[1]))["warnings"], list)' "$T/eval/metrics.json" || exit 1
grep -q '<h2>Warnings</h2>' "$T/eval/report.html" || { echo "FAILED: the report shows no warnings"; exit 1; }
grep -q "line 4 skipped: &#39;subject&#39; is empty" "$T/eval/report.html" || { echo "FAILED: the report lacks the edit's warning"; exit 1; }
echo "5 passed, 0 failed"
