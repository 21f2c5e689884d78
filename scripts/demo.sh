#!/usr/bin/env bash
# From nothing to an edited language model: install, build, fetch SmolLM2-135M, edit the facts of
# examples/real_facts.jsonl into it, and show what it says before and after. Everything lands under demo/ and build/.
#
#   scripts/demo.sh
#
# Where the model cannot be fetched, the small bundled one (examples/world) is edited instead. A second call repeats
# only the steps whose inputs have changed.
set -euo pipefail
cd "$(dirname "$0")/.."

demo=demo
mkdir -p "$demo"

say() { printf '\n== %s\n' "$*"; }

# A step is done when its stamp holds the digest of everything that it depends on.
stamp_of() { # FILE_OR_WORD...
    local item
    for item in "$@"; do
        if [ -f "$item" ]; then sha256sum <"$item"; else echo "$item"; fi
    done | sha256sum | cut -d' ' -f1
}
is_done() { # STEP STAMP
    [ -f "$demo/$1.stamp" ] && [ "$(cat "$demo/$1.stamp")" = "$2" ]
}
mark_done() { # STEP STAMP
    echo "$2" >"$demo/$1.stamp"
}

say "packages"
scripts/install.sh build model
echo "all there"

say "build"
if [ ! -f build/CMakeCache.txt ]; then
    cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DERRATA_TESTS=OFF >/dev/null
fi
if ! cmake --build build --target errata -j "$(nproc)" >"$demo/build.log" 2>&1; then
    tail -n 40 "$demo/build.log" >&2
    exit 1
fi
tail -n 1 "$demo/build.log"
errata=build/errata

# bf16 where the CPU multiplies it in hardware: several times faster, and the scores are the same.
precision=fp32
if grep -qwE 'amx_bf16|avx512_bf16' /proc/cpuinfo; then
    precision=bf16
fi

say "model"
fetched=0
scripts/fetch_model.sh "$demo/smollm2" "$demo/cache" || fetched=$?
case $fetched in
0)
    model=$demo/smollm2 model_stamp=$(stamp_of "$demo/smollm2.sha256")
    facts=examples/real_facts.jsonl
    drift=(--text examples/heldout.txt)
    ;;
3)
    echo "SmolLM2-135M is out of reach, so the demo goes on with the bundled model of a made-up world"
    model=examples/world model_stamp=$(stamp_of examples/world/model.safetensors)
    facts=examples/world/facts_80.jsonl
    drift=() # prose says nothing to a model of 400 invented people
    ;;
*) exit "$fetched" ;;
esac

edited=$demo/edited report=$demo/report

say "edit: $(wc -l <"$facts") facts of $facts into $model"
edit_stamp=$(stamp_of "$errata" "$facts" "$model_stamp" "$precision")
if is_done edit "$edit_stamp" && [ -f "$edited/errata-manifest.json" ]; then
    echo "$edited: complete"
else
    "$errata" edit --model "$model" --facts "$facts" --out "$edited" --force --cache "$demo/cache" \
        --precision "$precision"
    mark_done edit "$edit_stamp"
fi

say "before and after"
eval_stamp=$(stamp_of "$edit_stamp" "${drift[@]}")
if is_done eval "$eval_stamp" && [ -f "$report/metrics.json" ]; then
    cat "$demo/table.txt"
else
    "$errata" eval --model "$edited" --base "$model" --facts "$facts" --out "$report" \
        --precision "$precision" "${drift[@]}" | tee "$demo/table.txt"
    mark_done eval "$eval_stamp"
fi

# A dozen prompts spread over the file, each fact's own wording.
dozen_prompts() {
    python3 -c '
import json, sys
facts = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
for fact in facts[len(facts) // 24::max(1, len(facts) // 12)][:12]:
    print(fact["prompt"].replace("{}", fact["subject"]))' "$facts"
}

say "in its own words"
if is_done ask "$eval_stamp"; then
    cat "$demo/answers.txt"
else
    mapfile -t prompts < <(dozen_prompts)
    "$errata" ask --model "$edited" --base "$model" --max-tokens 8 "${prompts[@]}" | tee "$demo/answers.txt"
    mark_done ask "$eval_stamp"
fi

say "done"
echo "edited model  $edited"
echo "report        $report/report.html"
