#!/usr/bin/env bash
# The files under examples/ are what examples/README.md says, and errata accepts every fact of them.
#   test_examples.sh ERRATA SOURCE_ROOT
set -euo pipefail
errata=$1
cd "$2"

while read -r file bounds; do
    # shellcheck disable=SC2086 # the bounds are separate words
    python3 tests/examples/check_facts.py "examples/$file" $bounds
    "$errata" check --strict --model examples/world --facts "examples/$file"
done <<'END'
real_facts.jsonl 240 10 400 2 5
world/facts.jsonl 1000 10 400 2 2
world/facts_80.jsonl 80 10 130 3 5
END

made=$(mktemp)
trap 'rm -f "$made"' EXIT
python3 scripts/world/world.py --seed 21 --people 400 --out "$made"
cmp "$made" examples/world/world.json
python3 scripts/world/make_facts.py examples/world/world.json --out "$made"
cmp "$made" examples/world/facts.jsonl
python3 scripts/world/make_facts.py examples/world/world.json --out "$made" --people 80 --each 1 --paraphrases 3 \
    --neighbors 5 --seed 2
cmp "$made" examples/world/facts_80.jsonl

bytes=$(find examples -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }')
[ "$bytes" -le $((10 * 1024 * 1024)) ] || {
    echo "examples/ has $bytes bytes"
    exit 1
}
