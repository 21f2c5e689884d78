#!/usr/bin/env bash
# Two builds of errata do the same job: --deterministic edits of the bundled world, default and reference profile, fp32 on the CPU, give
# the same weights bit for bit. For refactorings.
#
#   scripts/compare_builds.sh OLD_BINARY NEW_BINARY [FACTS]
set -euo pipefail
old=$(realpath "$1") new=$(realpath "$2") facts=${3:-20}
root=$(cd "$(dirname "$0")/.." && pwd)
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
head -n "$facts" "$root/examples/world/facts_80.jsonl" >"$T/facts.jsonl"
for profile in default reference; do
    for build in old new; do
        "${!build}" edit --model "$root/examples/world" --facts "$T/facts.jsonl" --out "$T/$build-$profile" --cache "$T/cache-$build" \
            --deterministic --profile "$profile" --steps 12 --layers 0-2 --covariance-tokens 16000 --device cpu --quiet >/dev/null
    done
    cmp "$T/old-$profile/model.safetensors" "$T/new-$profile/model.safetensors"
    echo "$profile: the same bits"
done
