#!/usr/bin/env bash
# bench_job runs all its stages on small shapes of every family, and says so in JSON; where there is torch, the plain PyTorch
# loop finds the same losses on the same weights and facts.
#   check_bench_job.sh BENCH_JOB
set -euo pipefail
bench=$1
peer=$(dirname "$0")/peer/torch_loop.py
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

torch=
if python3 -c 'import torch, numpy' 2>/dev/null; then torch=1; fi
for shape in tiny-gpt2 tiny-gptj tiny-llama tiny-qwen; do
    "$bench" --shape $shape --device cpu --threads 2 --gemm-size 256 --facts 12 --steps 3 --batch-tokens 150 --cov-tokens 1500 \
        --json "$tmp/job.json" --dump-facts "$tmp/facts" --dump-model "$tmp/model.npz" --dump-losses "$tmp/losses"
    python3 - "$tmp/job.json" $shape <<'END'
import json, sys
job = json.load(open(sys.argv[1], encoding="utf-8"))
stages = {s["stage"]: s for s in job["stages"]}
assert job["shape"] == sys.argv[2], job["shape"]
assert sorted(stages) == ["covariance", "gather", "solve", "values"], sorted(stages)
for s in stages.values():
    assert s["whole"] and not s["interrupted"] and s["seconds"] > 0 and s["flops"] > 0 and s["floor_flops"] > 0, s
assert stages["values"]["done"] == stages["gather"]["done"] == 12 and stages["covariance"]["done"] == 1500
END
    if [ "$torch" ]; then
        python3 "$peer" "$tmp/facts" --device cpu --facts 12 --model "$tmp/model.npz" --compare "$tmp/losses" --gather
    fi
done

# A budget of seconds: some facts are optimised, the rest projected, and the run says which.
"$bench" --shape tiny-gptj --device cpu --threads 2 --gemm-size 256 --facts 3000 --steps 3 --batch-tokens 150 --cov-tokens 1500 \
    --limit-values 20 --limit-solve 500 --budget 60 --json "$tmp/job.json" | tee "$tmp/out"
grep -q 'projected, not measured' "$tmp/out"
python3 -c 'import json, sys
v = {s["stage"]: s for s in json.load(open(sys.argv[1], encoding="utf-8"))["stages"]}["values"]
assert not v["whole"] and v["done"] == 20 and v["projected_seconds"] > 0, v' "$tmp/job.json"
"$bench" --floors --shape llama3-8b --facts 1000 >"$tmp/out"
grep -q '| values |' "$tmp/out"
if "$bench" --shape nothing 2>"$tmp/out"; then exit 1; fi
grep -q 'tiny-qwen' "$tmp/out"
