#!/usr/bin/env bash
# The same edit on the CPU and on the CUDA device must give the same weights: dW within 1e-4 of itself, in both profiles'
# forms of the solve, for both layouts of weights.
#
#   edit_parity.sh ERRATA ERRATA_WITH_CUDA SOURCE_ROOT
set -euo pipefail
cpu=$1 cuda=$2 root=$3
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Prints |first - second| / |first - base| over all tensors.
distance() { # BASE FIRST SECOND
    "$cpu" diff --json "$1" "$2" 2>/dev/null >"$scratch/change.json"
    "$cpu" diff --json "$2" "$3" 2>/dev/null >"$scratch/apart.json"
    python3 - "$scratch" <<'PY'
import json, math, sys
def norm(name):
    with open(f"{sys.argv[1]}/{name}.json") as f:
        return math.sqrt(sum((t["relative"] * t["base_norm"]) ** 2 for t in json.load(f)["changed"]))
change = norm("change")
assert change > 0, "nothing was edited"
print(norm("apart") / change)
PY
}

edit() { # PROGRAM DEVICE OUT OPTION...
    local program=$1 device=$2 out=$3
    shift 3
    "$program" edit -q --device "$device" --deterministic --no-cache --out "$out" "$@" >/dev/null
}

failed=0
for family in gpt2 llama; do
    golden=$root/tests/golden/memit/$family
    for profile in default reference; do
        [ "$family $profile" != "llama reference" ] || [ -z "${ERRATA_TEST_QUICK:-}" ] || continue
        out=$scratch/$family-$profile
        common=(--model "$golden/model" --facts "$golden/facts.jsonl" --hparams "$golden/hparams.json"
            --templates "$golden/templates.json" --covariance-import "$golden/stats" --profile "$profile")
        edit "$cpu" cpu "$out-cpu" "${common[@]}"
        edit "$cuda" cuda "$out-cuda" "${common[@]}"
        d=$(distance "$golden/model" "$out-cpu" "$out-cuda")
        if [ "$profile" = default ]; then # weights that pass through the device give the same bits
            ERRATA_DEBUG_WEIGHT_LIMIT=0 edit "$cuda" cuda "$out-streamed" "${common[@]}"
            cmp "$out-cuda/model.safetensors" "$out-streamed/model.safetensors" || failed=1
        fi
        echo "$family, $profile profile: dW apart by $d of itself"
        python3 -c "import sys; sys.exit(not float('$d') <= 1e-4)" || { echo "  FAILED: beyond 1e-4"; failed=1; }
    done
done
exit $failed
