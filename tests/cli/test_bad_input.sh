#!/usr/bin/env bash
# Bad input from the command line: the exact message on stderr, the documented exit code, nothing half-written.
# usage: test_bad_input.sh ERRATA_BINARY SOURCE_ROOT
set -uo pipefail
errata=$(realpath "$1")
root=$(realpath "$2")
T=$(mktemp -d)
mounted=()
cleanup() {
    for m in "${mounted[@]:-}"; do [ -n "$m" ] && umount "$m" 2>/dev/null; done
    rm -rf "$T"
}
trap cleanup EXIT
failed=0
passed=0
export XDG_CACHE_HOME=$T/cache HOME=$T

model=$root/examples/world
facts=$T/facts.jsonl
head -n 4 "$root/examples/world/facts_80.jsonl" >"$facts"
quick=(--steps 2 --covariance-tokens 8000 --threads 1 --quiet)

# expect CODE STDERR COMMAND...: $T and $root are written as T and ROOT in STDERR
expect() {
    local code=$1 want=$2 got status
    shift 2
    got=$("$@" 2>&1 >"$T/stdout")
    status=$?
    got=${got//$T/T}
    got=${got//$root/ROOT}
    got=$(sed -E 's/partial-[0-9]+/partial-N/' <<<"$got")
    if [ "$status" -ne "$code" ] || [ "$got" != "$want" ]; then
        printf 'FAILED: %s\n  exit %s, expected %s\n  stderr:   %s\n  expected: %s\n' "${*//$T/T}" "$status" "$code" "$got" "$want"
        failed=$((failed + 1))
    else
        passed=$((passed + 1))
    fi
    if compgen -G "$T/*.partial-*" >/dev/null; then
        echo "FAILED: left behind: $(echo "$T"/*.partial-*)"
        failed=$((failed + 1))
        rm -rf "$T"/*.partial-*
    fi
}
edit() { "$errata" edit --model "$model" --facts "$facts" --out "$T/out" "${quick[@]}" "$@"; }
copy_model() { rm -rf "$T/$1" && cp -r "$model" "$T/$1"; }

# ---- usage ----
expect 2 "errata: no command 'edti'; see errata --help" "$errata" edti
expect 2 "errata edit: --out is needed; see errata edit --help" "$errata" edit --model "$model" --facts "$facts"
expect 2 "errata edit: no option '--modell'; see errata edit --help" "$errata" edit --modell x
expect 2 "errata edit: --lambda '3x' is not a number; see errata edit --help" edit --lambda 3x
expect 2 "errata edit: --limit '-4' is not a whole number; see errata edit --help" edit --limit -4
expect 2 "errata edit: --precision 'fp8' is none of fp32, bf16, fp16, tf32; see errata edit --help" edit --precision fp8

# ---- model ----
expect 66 "errata: T/absent: no such folder" "$errata" edit --model "$T/absent" --facts "$facts" --out "$T/out" "${quick[@]}"
copy_model truncated
truncate -s 5000000 "$T/truncated/model.safetensors"
expect 65 "errata: T/truncated/model.safetensors: tensor 'transformer.h.3.mlp.c_fc.weight' ends at 5334144 of the data, the file at 4992600: it is cut short, as by a download that broke off" \
    "$errata" edit --model "$T/truncated" --facts "$facts" --out "$T/out" "${quick[@]}"
copy_model mixtral
sed -i 's/"gpt2"/"mixtral"/' "$T/mixtral/config.json"
expect 65 "errata: T/mixtral/config.json: model_type 'mixtral': mixture of experts: each token sees its own choice of weights" \
    "$errata" edit --model "$T/mixtral" --facts "$facts" --out "$T/out" "${quick[@]}"
expect 78 "errata: --layers: layer 9: the model has layers 0 to 5" edit --layers 9
# Without a GPU, whether the backend is built in or not.
no_cuda() { edit --device cuda 2> >(sed -E "s/(device 'cuda' is not built in; use 'cpu' or 'auto'|no cuda device.*)$/REASON/" >&2); }
[ -e /dev/nvidiactl ] || expect 69 "errata: REASON" no_cuda
expect 2 "errata: device 'cuda:x' is none of auto, cpu, cuda, cuda:N" edit --device cuda:x

# ---- settings ----
settings() { # FILE TEXT: a job with these settings
    printf %b "$2" >"$T/$1"
    edit --hparams "$T/$1"
}
expect 66 "errata: T/none.yaml: no such file" edit --hparams "$T/none.yaml"
for kind in 'json {"alg_name":"ROME"}' 'yaml alg_name: ROME\n'; do
    name=rome.${kind%% *}
    expect 78 "errata: T/$name: 'alg_name' is \"ROME\": settings of another method than MEMIT" settings "$name" "${kind#* }"
done
expect 78 "errata: T/adjust.yml: 'mom2_adjustment' is false: there is no solve without the covariance" \
    settings adjust.yml 'mom2_adjustment: false\n'
expect 78 "errata: T/laughs.yaml: line 1: an anchor, which settings do not need" \
    settings laughs.yaml 'a: &a [x, x]\nb: [*a, *a]\n'
expect 78 "errata: T/twice.yaml: line 2: 'v_lr' occurs twice" settings twice.yaml 'v_lr: 1\nv_lr: 2\n'
expect 78 "errata: T/both.yaml: 'mom2_update_weight' and 'mom2_trace_ratio' exclude each other" \
    settings both.yaml 'mom2_update_weight: 5\nmom2_trace_ratio: 1\n'
expect 78 "errata: T/far.yaml: v_loss_layer 31: the loss is taken at the model's output, behind layer 5" settings far.yaml 'v_loss_layer: 31\n'
expect 0 "warning: T/good.yaml: key 'context_lengths' is not known and has no effect" \
    settings good.yaml 'alg_name: MEMIT\nlayers: [0]\nv_lr: 2e-1\nv_loss_layer: 5\ncontext_lengths: [[5, 10]]\nmom2_trace_ratio: 1\n'
rm -rf "$T/out" "$T/cache"

# ---- facts ----
expect 66 "errata: T/nofacts.jsonl: no such file" \
    "$errata" edit --model "$model" --facts "$T/nofacts.jsonl" --out "$T/out" "${quick[@]}"
bad() { # name, line: a file of one good fact and one bad line
    { head -n 1 "$facts"; printf '%s\n' "$2"; } >"$T/$1.jsonl"
    "$errata" edit --model "$model" --facts "$T/$1.jsonl" --out "$T/out" "${quick[@]}" --strict
}
expect 65 "errata: T/malformed.jsonl: line 2: byte 49: ends here: a value is missing" bad malformed '{"subject":"Ann","prompt":"{} lives in","target":'
expect 65 "errata: T/noplace.jsonl: line 2: 'prompt' has no {} for the subject" bad noplace '{"subject":"Ann Lee","prompt":"Bob lives in","target":"Dukas"}'
expect 65 "errata: T/conflict.jsonl: line 1: target 'Dukas' conflicts with 'Paha' in line 2, for the same subject and prompt" \
    bad conflict "$(head -n 1 "$facts" | sed 's/"target":"[^"]*"/"target":"Paha"/; s/"id":"[^"]*"/"id":"other"/')"

cat >"$T/easyedit.json" <<'J'
[{"case_id":0,"prompt":"The mother tongue of Nobody is","subject":"Ann Lee","target_new":"Dukas","ground_truth":"Paha"}]
J
expect 65 "errata: T/easyedit.json: record 1: subject 'Ann Lee' does not occur in 'prompt'" \
    "$errata" edit --model "$model" --facts "$T/easyedit.json" --out "$T/out" "${quick[@]}" --strict

# ---- output ----
mkdir "$T/out"
expect 73 "errata: T/out: exists already (--force replaces it)" edit
rmdir "$T/out"
expect 73 "errata: T/none/out: its parent folder T/none does not exist" \
    "$errata" edit --model "$model" --facts "$facts" --out "$T/none/out" "${quick[@]}"
mkdir "$T/locked"
if [ "$(id -u)" -eq 0 ] && mount -t tmpfs -o size=64k,ro tmpfs "$T/locked" 2>/dev/null; then
    mounted+=("$T/locked")
    expect 73 "errata: T/locked/out: cannot be created in T/locked: read-only file system" \
        "$errata" edit --model "$model" --facts "$facts" --out "$T/locked/out" "${quick[@]}"
elif [ "$(id -u)" -ne 0 ]; then
    chmod 555 "$T/locked"
    expect 73 "errata: T/locked/out: cannot be created in T/locked: permission denied" \
        "$errata" edit --model "$model" --facts "$facts" --out "$T/locked/out" "${quick[@]}"
else
    echo "skipped: a read-only file system cannot be mounted here"
fi
mkdir "$T/small"
if [ "$(id -u)" -eq 0 ] && mount -t tmpfs -o size=4m tmpfs "$T/small" 2>/dev/null; then
    mounted+=("$T/small")
    expect 74 "errata: T/small/out.partial-N/model.safetensors: write at byte 4194304: no space left on device" "$errata" edit --model "$model" --facts "$facts" --out "$T/small/out" "${quick[@]}"
    [ -z "$(ls -A "$T/small")" ] || { echo "FAILED: a full disk keeps $(ls -A "$T/small")"; failed=$((failed + 1)); }
else
    echo "skipped: a small file system cannot be mounted here"
fi

# ---- a signal in each stage: exit 75, no output; the same command then goes on ----
for stage in covary values solve write; do
    rm -rf "$T/cache"
    case $stage in
    covary) want="errata: interrupted in covary: generation: stopped after 0 tokens; run it again to go on" ;;
    values) want="errata: interrupted in values: 0 of 4 facts are done and kept; run it again to go on" ;;
    solve) want="errata: interrupted in solve: nothing is written; run it again to go on" ;;
    write) want="errata: interrupted in write: T/out is not made; run it again to go on" ;;
    esac
    expect 75 "$want" env ERRATA_DEBUG_STOP=$stage "$errata" edit --model "$model" --facts "$facts" --out "$T/out" "${quick[@]}"
    [ ! -e "$T/out" ] || { echo "FAILED: $stage: an output was made"; failed=$((failed + 1)); }
    expect 0 "" edit
    rm -rf "$T/out"
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
