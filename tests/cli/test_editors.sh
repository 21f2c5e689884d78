#!/usr/bin/env bash
# --editor and alg_name: every editor edits the bundled world; editors that keep the keys of earlier edits find them again; settings that
# contradict are refused.
# usage: test_editors.sh ERRATA_BINARY SOURCE_ROOT
set -uo pipefail
errata=$(realpath "$1")
root=$(realpath "$2")
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
export XDG_CACHE_HOME=$T/cache HOME=$T
model=$root/examples/world
failed=0 passed=0
sed -n 1,6p "$model/facts_80.jsonl" >"$T/first.jsonl"
sed -n 7,12p "$model/facts_80.jsonl" >"$T/second.jsonl"
quick=(--covariance-tokens 16000 --threads 1 --quiet)
check() { # NAME CONDITION...
    local name=$1
    shift
    if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $name"; fi
}
edit() { "$errata" edit --model "$1" --facts "$2" --out "$3" "${quick[@]}" "${@:4}" >"$T/stdout" 2>"$T/stderr"; }
# Strict efficacy of FACTS on MODEL, as a whole number.
strict() { "$errata" eval --model "$1" --facts "$2" --threads 1 -q --json 2>/dev/null |
    python3 -c 'import json, sys; print(round(json.load(sys.stdin)["after"]["efficacy"]["strict"]))'; }
of_manifest() { python3 -c 'import json, sys; m = json.load(open(sys.argv[1])); print(m["hparams"]["alg_name"], m["stages"]["solve"]["layers"][0]["form"])' \
    "$1/errata-manifest.json"; }

for e in memit memit_seq emmet; do
    check "$e edits" edit "$model" "$T/first.jsonl" "$T/$e" --editor "$e"
    check "$e takes" [ "$(strict "$T/$e" "$T/first.jsonl")" = 100 ]
done
echo '{"alg_name": "AlphaEdit", "L2": 0.1, "nullspace_threshold": 0.05}' >"$T/alpha.json"
check "alg_name chooses" edit "$model" "$T/first.jsonl" "$T/alphaedit" --hparams "$T/alpha.json"
check "the manifest says so" [ "$(of_manifest "$T/alphaedit")" = "AlphaEdit restricted" ]
check "memit's manifest" [ "${old:=$(of_manifest "$T/memit")}" = "MEMIT primal" ]

# Keys of earlier edits: kept by two editors, found by the next edit, which leaves the first one alone.
check "memit keeps none" [ -z "$(ls "$T/memit" | grep history)" ]
for e in memit_seq alphaedit; do
    check "$e keeps keys" [ -f "$T/$e/errata-history-layer-0.npz" ]
done
check "a second edit" "$errata" edit --model "$T/memit_seq" --facts "$T/second.jsonl" --out "$T/two" --editor memit_seq \
    --covariance-tokens 16000 --threads 1 --json >"$T/two.json" 2>"$T/stderr"
check "finds the first one's keys" grep -q "keys of earlier edits of this model" "$T/stderr"
check "takes" [ "$(strict "$T/two" "$T/second.jsonl")" = 100 ]
check "and leaves the first alone" [ "$(strict "$T/two" "$T/first.jsonl")" = 100 ]

refused() { # CODE WORDS ARGUMENTS...
    edit "$model" "$T/first.jsonl" "$T/refused" "${@:3}"
    local status=$?
    check "$2 ($status: $(cat "$T/stderr"))" [ $status -eq "$1" -a "$(grep -cF "$2" "$T/stderr")" = 1 ]
}
refused 2 "editor 'rome' is none of memit, memit_seq, emmet, alphaedit" --editor rome
refused 78 "'alg_name' is \"AlphaEdit\", and --editor says emmet" --hparams "$T/alpha.json" --editor emmet
echo '{"L2": 10}' >"$T/unnamed.json"
refused 78 "'L2' is a setting of AlphaEdit" --hparams "$T/unnamed.json"
echo '{"alg_name": "AlphaEdit", "L2": 0}' >"$T/zero.json"
refused 78 "L2 0 is not above 0" --hparams "$T/zero.json"
echo '{"alg_name": "AlphaEdit", "nullspace_threshold": 1e-300}' >"$T/full.json"
refused 70 "no eigenvalue of the covariance is below nullspace_threshold" --hparams "$T/full.json"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
