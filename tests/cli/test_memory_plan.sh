#!/usr/bin/env bash
# The memory plan is counted by the arenas that the stages take their buffers from: a job that is given what the plan says (a twentieth
# more, for the scratch of single ops) is done, one that is given a byte less is refused; and errata check prints that plan.
# usage: test_memory_plan.sh ERRATA_BINARY SOURCE_ROOT
set -uo pipefail
errata=${1:?usage: test_memory_plan.sh BINARY SOURCE_ROOT} root=${2:?}
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
fail() { echo "FAILED: $*"; exit 1; }

job=(--model "$root/examples/world" --facts "$root/examples/world/facts_80.jsonl" --limit 12 --steps 3 --layers 0-1
    --covariance-tokens 6200 --cache "$T/cache" --device cpu --threads 1)
edit=("$errata" edit "${job[@]}" --out "$T/out" --force --quiet)
"${edit[@]}" >/dev/null 2>"$T/stderr" || fail "without a limit: $(cat "$T/stderr")"

least() { # what the job takes, out of its refusal
    "${edit[@]}" "${words[@]}" --memory-limit "$1" 2>&1 >/dev/null | sed -nE 's/.*this job takes ([0-9]+) at least.*/\1/p'
}
for how in "" "--batch-tokens 1024" "--profile reference" "--editor memit_seq" "--editor alphaedit" "--editor emmet"; do
    read -ra words <<<"$how"
    first=$(least 1)                 # before the weights are read: what any such job takes
    need=$(least "${first:-1}")      # then what this one does
    [ -n "$first" ] && [ -n "$need" ] && [ "$need" -gt "$first" ] || fail "'$how': $first, then $need bytes"
    [ "$(least $((need - 1)))" = "$need" ] || fail "'$how' is not refused a byte below $need"
    rm -f "$T"/cache/values-*  # kept ones would spare the job that stage
    got=$("${edit[@]}" "${words[@]}" --memory-limit $((need + need / 20)) 2>&1 >/dev/null) || fail "'$how' with $need bytes: $got"
    echo "'$how': $need bytes"
done

plan=$("$errata" check "${job[@]}" --memory-limit 1G --batch-tokens 1024 2>&1) || fail "check: $plan"
said=$(sed -nE 's/^memory +1\.07 GB may be used: weights ([0-9.]+), values ([0-9.]+) .*statistics ([0-9.]+), solve ([0-9.]+)$/\1 \3 \2 \4/p' <<<"$plan")
printed=$(sed -nE 's/^memory +[0-9.]+ GB: weights ([0-9.]+), statistics ([0-9.]+) and in turn covary [0-9.]+, values ([0-9.]+), solve ([0-9.]+)$/\1 \2 \3 \4/p' <<<"$plan")
[ -n "$said" ] && [ "$said" = "$printed" ] || fail "two plans: '$said' and '$printed' in $plan"
