#!/usr/bin/env bash
# What a refusal says when a file is not what its name says, when two models are open, and when statistics
# would have too few tokens: the file or setting by name, the reason, what to do, and the documented exit code.
# usage: test_messages.sh ERRATA_BINARY SOURCE_ROOT
set -uo pipefail
errata=$(realpath "$1")
root=$(realpath "$2")
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
export XDG_CACHE_HOME=$T/cache HOME=$T
failed=0
passed=0
world=$root/examples/world
facts=$T/facts.jsonl
head -n 1 "$root/examples/world/facts_80.jsonl" >"$facts"
common=(--threads 1 --quiet)

# expect CODE STDERR COMMAND...: $T and $root are written as T and ROOT in STDERR
expect() {
    local code=$1 want=$2 got status
    shift 2
    got=$("$@" 2>&1 >"$T/stdout")
    status=$?
    got=${got//$T/T}
    got=${got//$root/ROOT}
    if [ "$status" -ne "$code" ] || [ "$got" != "$want" ]; then
        printf 'FAILED: %s\n  exit %s, expected %s\n  stderr:   %s\n  expected: %s\n' "${*//$T/T}" "$status" "$code" "$got" "$want"
        failed=$((failed + 1))
    else
        passed=$((passed + 1))
    fi
}
copy_model() { rm -rf "$T/$1" && cp -r "$world" "$T/$1"; }
check() { "$errata" check --model "$1" --facts "$facts" "${common[@]}" "${@:2}"; }
pointer='version https://git-lfs.github.com/spec/v1\noid sha256:aaaaaaaaaaaaaaaa\nsize 4949453792\n'
is_pointer="is a Git LFS pointer: the file itself was not fetched (git lfs pull)"

# ---- every file of a job as something else ----
for file in model.safetensors config.json tokenizer.json; do
    copy_model m
    printf %b "$pointer" >"$T/m/$file"
    expect 65 "errata: T/m/$file: $is_pointer" check "$T/m"
done
rm "$T/m/tokenizer.json"
printf %b "$pointer" | tee "$T/m/vocab.json" >"$T/m/merges.txt"
expect 65 "errata: T/m/vocab.json: $is_pointer" check "$T/m"
copy_model m
rm "$T/m/model.safetensors"
printf %b "$pointer" >"$T/m/model.safetensors.index.json"
expect 65 "errata: T/m/model.safetensors.index.json: $is_pointer" check "$T/m"
printf '{"weight_map": {"a": "model-00001-of-00002.safetensors"}}' >"$T/m/model.safetensors.index.json"
printf %b "$pointer" >"$T/m/model-00001-of-00002.safetensors"
expect 65 "errata: T/m/model-00001-of-00002.safetensors: $is_pointer" check "$T/m"
printf '<!DOCTYPE html><html><title>Log in</title>' >"$T/m/model-00001-of-00002.safetensors"
expect 65 "errata: T/m/model-00001-of-00002.safetensors: is an HTML page, perhaps a login or error page saved in place of the file" check "$T/m"
rm "$T"/m/model*
head -c 1000 "$world/model.safetensors" >"$T/m/model.safetensors.incomplete"
expect 66 "errata: T/m: has model.safetensors.incomplete but no model.safetensors: a download that did not finish" check "$T/m"
expect 66 "errata: T/facts.jsonl: is a file; not a model folder" check "$facts"
printf 'GGUF\3\0\0\0' >"$T/model.gguf"
expect 66 "errata: T/model.gguf: is a GGUF file: the checkpoint it was made from is needed, in safetensors; not a model folder" \
    check "$T/model.gguf"

with_facts() { "$errata" check --model "$world" --facts "$1" "${common[@]}"; }
printf %b "$pointer" >"$T/p.jsonl"
expect 65 "errata: T/p.jsonl: $is_pointer" with_facts "$T/p.jsonl"
gzip -c "$facts" >"$T/f.jsonl"
expect 65 "errata: T/f.jsonl: is gzip-compressed: unpack it first (gunzip)" with_facts "$T/f.jsonl"
printf 'PAR1\25\4\25\20' >"$T/f.json"
expect 65 "errata: T/f.json: is a Parquet file: convert it first, a table of records to JSON Lines" with_facts "$T/f.json"
: >"$T/none.jsonl"
expect 65 "errata: T/none.jsonl: is empty: a download that broke off, perhaps" with_facts "$T/none.jsonl"
printf '\xef\xbb\xbf' | cat - "$facts" >"$T/marked.jsonl"
expect 0 "" with_facts "$T/marked.jsonl"

for option in hparams templates; do
    printf %b "$pointer" >"$T/s.json"
    code=65
    [ $option = hparams ] && code=78
    expect $code "errata: T/s.json: $is_pointer" check "$world" --$option "$T/s.json"
done
printf '\xef\xbb\xbf["In short. {}",\r\n "So it is. {}"]\r\n' >"$T/t.json"
expect 0 "" check "$world" --templates "$T/t.json"
printf '["{}, then",\n]' >"$T/t.json"
expect 65 "errata: T/t.json: line 2, column 1 (byte 13): a comma stands before this ']'" check "$world" --templates "$T/t.json"

# ---- texts ----
printf '%%PDF-1.7\n' >"$T/book.txt"
expect 65 "errata: T/book.txt: is a PDF document: save its text as plain text first" check "$world" --covariance-text "$T/book.txt"
expect 65 "errata: T/f.jsonl: is gzip-compressed: unpack it first (gunzip)" check "$world" --covariance-text "$T/f.jsonl"
printf '<html>\n' | cat - "$root/examples/heldout.txt" "$root/examples/heldout.txt" >"$T/page.txt"
expect 0 "warning: T/page.txt: is an HTML page, perhaps a login or error page saved in place of the file; it is taken as text as it stands" \
    check "$world" --covariance-text "$T/page.txt" --covariance-tokens 8000
printf 'caf\xe9\n' | cat - "$root/examples/heldout.txt" "$root/examples/heldout.txt" >"$T/latin.txt"
expect 0 "warning: T/latin.txt: byte 3 is not UTF-8: what is not is read as U+FFFD" \
    check "$world" --covariance-text "$T/latin.txt" --covariance-tokens 8000
printf 'some\0bytes' >"$T/bytes"
expect 65 "errata: T/bytes: byte 4 is zero: this is not text" check "$world" --covariance-text "$T/bytes"
expect 65 "errata: T/book.txt: is a PDF document: save its text as plain text first" \
    "$errata" eval --model "$world" --facts "$facts" --text "$T/book.txt" "${common[@]}"

# ---- statistics of too few tokens ----
few="keys are 1536 wide, and statistics of fewer tokens have no inverse (15360 are usual)"
for command in check edit; do
    where=()
    [ $command = edit ] && where=(--out "$T/out")
    expect 78 "errata: --covariance-tokens: cov_tokens is 800; $few" \
        "$errata" $command --model "$world" --facts "$facts" "${where[@]}" "${common[@]}" --covariance-tokens 800
done
[ ! -e "$T/out" ] || { echo "FAILED: an output was made"; failed=$((failed + 1)); }
printf '{"cov_tokens": 900}' >"$T/s.json"
expect 78 "errata: T/s.json: cov_tokens is 900; $few" check "$world" --hparams "$T/s.json"
expect 0 "warning: cov_tokens is 2000; keys are 1536 wide, and few tokens make their statistics rough (15360 are usual)" check "$world" --covariance-tokens 2000
: >"$T/empty.txt"
expect 65 "errata: T/empty.txt: is empty: a download that broke off, perhaps" check "$world" --covariance-text "$T/empty.txt"
echo "The people say that every town is old." >"$T/tiny.txt"
expect 78 "errata: T/tiny.txt: 13 tokens, the budget is 15360; $few" check "$world" --covariance-text "$T/tiny.txt"
for i in $(seq 300); do cat "$T/tiny.txt"; done >"$T/small.txt"
expect 0 "warning: T/small.txt: 3900 tokens, the budget is 15360; keys are 1536 wide, and few tokens make their statistics rough (15360 are usual)" \
    check "$world" --covariance-text "$T/small.txt"
# Enough tokens by count, and yet all alike: the refusal of the solve says what they are.
alike() {
    "$errata" edit --model "$world" --facts "$facts" --out "$T/out" --covariance-text "$T/small.txt" --steps 2 --no-cache \
        "${common[@]}" 2> >(sed -E 's/pivot [0-9]+(: [-0-9.e+]+)?/pivot N/' >&2)
}
expect 70 "warning: T/small.txt: 3900 tokens, the budget is 15360; keys are 1536 wide, and few tokens make their statistics rough (15360 are usual)
errata: layer 0: matrix of 1536 rows is not positive definite at pivot N; its statistics are of 3900 tokens for keys of 1536: more tokens (--covariance-tokens, --covariance-text) may help" alike
expect 0 "warning: 1000 tokens for statistics of keys 1536 wide: fewer tokens than that give a matrix without an inverse (15360 are usual)" \
    "$errata" cov --model "$world" --corpus "$T/small.txt" --tokens 1000 --export "$T/stats" --layers 0 "${common[@]}"
npz=T/stats/world/corpus_stats/transformer.h.0.mlp.c_proj_float32_mom2_100000.npz
expect 78 "errata: $npz: 1000 tokens; $few" check "$world" --covariance-import "$T/stats"
printf %b "$pointer" >"${npz/#T/$T}"
expect 65 "errata: $npz: $is_pointer" check "$world" --covariance-import "$T/stats"

# ---- two models open: the folder is named ----
copy_model base
sed -i 's/"n_inner": 1536/"n_inner": 1024/' "$T/base/config.json"
shape="tensor 'transformer.h.0.mlp.c_fc.weight' is [192, 1536], expected [192, 1024]"
expect 65 "errata: T/base/model.safetensors: $shape" \
    "$errata" eval --model "$world" --base "$T/base" --facts "$facts" "${common[@]}"
expect 65 "errata: T/base/model.safetensors: $shape" "$errata" ask --model "$world" --base "$T/base" "${common[@]}" "The people"
copy_model base
head -c 4000000 "$world/model.safetensors" >"$T/base/model.safetensors"
expect 65 "errata: T/base/model.safetensors: tensor 'transformer.h.2.mlp.c_proj.weight' ends at 4443264 of the data, the file at 3992600: it is cut short, as by a download that broke off" \
    "$errata" diff "$world" "$T/base"

# ---- tokens that the embedding has no row for ----
copy_model wide
python3 - "$T/wide" <<'P'
import json, sys
path = sys.argv[1] + "/tokenizer.json"
t = json.load(open(path))
t["added_tokens"].append({"id": 1500, "content": "<pad>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True})
json.dump(t, open(path, "w"))
P
wide="warning: T/wide: the tokenizer has 1501 ids, the embedding 1500 rows (vocab_size of config.json)"
none="T/wide: the tokenizer makes token 1500 ('<pad>') of the text, the embedding has 1500 rows (vocab_size of config.json)"
expect 0 "$wide" "$errata" ask --model "$T/wide" --max-tokens 1 "${common[@]}" "The people"
expect 65 "$wide
errata: prompt 1: $none" "$errata" ask --model "$T/wide" --max-tokens 1 "${common[@]}" "The <pad>"
for i in $(seq 300); do echo "The people say <pad> that every town is old."; done >"$T/pad.txt"
expect 65 "$wide
errata: T/pad.txt: $none" "$errata" check --model "$T/wide" --facts "$facts" --covariance-text "$T/pad.txt" "${common[@]}"
expect 65 "$wide
errata: the held-out text: $none" "$errata" eval --model "$T/wide" --facts "$facts" --text "$T/pad.txt" "${common[@]}"
echo '{"subject": "Ten Mosaro", "prompt": "{} works <pad> for", "target": "Bokipo"}' >"$T/pad.jsonl"
expect 65 "$wide
errata: prompt 'Ten Mosaro works <pad> for', target 'Bokipo': $none" "$errata" eval --model "$T/wide" --facts "$T/pad.jsonl" "${common[@]}"
expect 65 "$wide
errata: T/pad.jsonl: line 1: $none" "$errata" check --model "$T/wide" --facts "$T/pad.jsonl" --strict "${common[@]}"

# ---- a legacy tokenizer whose start token is no token ----
copy_model pair
python3 - "$T/pair" <<'P'
import json, os, sys
m = json.load(open(sys.argv[1] + "/tokenizer.json"))["model"]
json.dump(m["vocab"], open(sys.argv[1] + "/vocab.json", "w"))
open(sys.argv[1] + "/merges.txt", "w").write("#version: 0.2\n" + "".join((x if isinstance(x, str) else " ".join(x)) + "\n" for x in m["merges"]))
os.remove(sys.argv[1] + "/tokenizer.json")
P
expect 0 "" "$errata" ask --model "$T/pair" --max-tokens 1 "${common[@]}" "The people"
printf '{"add_bos_token": true, "bos_token": {"content": "", "lstrip": true}}' >"$T/pair/tokenizer_config.json"
for command in "ask --max-tokens 1 The" "eval --facts $facts"; do
    # shellcheck disable=SC2086
    expect 65 "errata: T/pair/tokenizer_config.json: add_bos_token with a bos_token '' that is not in the vocabulary" \
        "$errata" ${command%% *} --model "$T/pair" "${common[@]}" ${command#* }
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
