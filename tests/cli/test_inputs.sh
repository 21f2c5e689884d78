#!/usr/bin/env bash
# Inputs that are no plain files, have no end or names that the system refuses: an answer at once and the documented exit code.
# Facts from pipes; which files travel into the output.
# usage: test_inputs.sh ERRATA_BINARY SOURCE_ROOT
set -uo pipefail
errata=$(realpath "$1")
root=$(realpath "$2")
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
failed=0
passed=0
export XDG_CACHE_HOME=$T/cache HOME=$T
model=$root/examples/world
facts=$T/facts.jsonl
head -n 2 "$model/facts_80.jsonl" >"$facts"
quick=(--layers 0-1 --steps 2 --covariance-tokens 8000 --threads 1 --quiet)
mkfifo "$T/fifo"

# expect CODE WORDS COMMAND...: exit code, and WORDS in the one line on stderr; 124 would be a command that hangs
expect() {
    local code=$1 words=$2 got status
    shift 2
    got=$("$@" 2>&1 >"$T/stdout")
    status=$?
    if [ "$status" -ne "$code" ] || [[ $got != *"$words"* ]] || [ "$(wc -l <<<"$got")" -gt 1 ]; then
        printf 'FAILED: %.300s\n  exit %s, expected %s\n  stderr: %.300s\n  expected in it: %s\n' "${*//$T/T}" "$status" "$code" "$got" "$words"
        failed=$((failed + 1))
    else
        passed=$((passed + 1))
    fi
}
check_that() { # WHAT TEST...
    local what=$1
    shift
    if "$@"; then passed=$((passed + 1)); else echo "FAILED: $what"; failed=$((failed + 1)); fi
}
export errata model facts T
model_with() { # NAME: a copy of the model in T/NAME
    rm -rf "${T:?}/$1"
    mkdir "$T/$1"
    cp "$model"/{config.json,tokenizer.json,model.safetensors} "$T/$1/"
}
go() { timeout 60 "$errata" "$@"; }
run_edit() { timeout 60 "$errata" edit --facts "$facts" --out "$T/out" "${quick[@]}" "$@"; }

# ---- facts from pipes ----
run_edit --model "$model" >/dev/null 2>&1 && mv "$T/out" "$T/want"
for how in dash stdin file substitution; do
    case $how in
    dash) run_edit --model "$model" --facts - <"$facts" ;;
    stdin) cat "$facts" | run_edit --model "$model" --facts /dev/stdin ;;
    file) cat "$facts" | run_edit --model "$model" --facts - ;;
    substitution) run_edit --model "$model" --facts <(cat "$facts") ;;
    esac >/dev/null 2>"$T/stderr"
    check_that "facts by $how" cmp -s "$T/want/model.safetensors" "$T/out/model.safetensors"
    [ -s "$T/stderr" ] && cat "$T/stderr"
    rm -rf "$T/out"
done
check_that "check reads standard input" sh -c '"$errata" check --model "$model" --facts - -q <"$facts" | grep -q "usable   2 facts"'
check_that "eval reads standard input" sh -c '"$errata" eval --model "$model" --facts - -q <"$facts" | grep -q "efficacy"'
check_that "the manifest names it" sh -c '"$errata" check --model "$model" --facts - -q --json <"$facts" | grep -q "\"standard input\""'
for command in check eval; do
    expect 65 "/dev/zero: is a device, not a file or a pipe" go $command --model "$model" --facts /dev/zero -q
    expect 65 "$T: is a folder, not a file" go $command --model "$model" --facts "$T" -q
    expect 75 "fifo: stopped while it was read" timeout --preserve-status -s TERM 1 "$errata" $command --model "$model" --facts "$T/fifo" -q
done
expect 65 "standard input: none of " bash -c 'yes "not a record" | "$errata" check --model "$model" --facts - -q'

# ---- everything else is a regular file ----
long=$(printf 'x%.0s' {1..300})
for option in --hparams --templates --covariance-text; do
    expect 65 "/dev/zero: is a device, not a regular file" run_edit --model "$model" $option /dev/zero
    expect 65 "fifo: is a pipe, not a regular file" run_edit --model "$model" $option "$T/fifo"
    expect 65 "is a folder, not a file" run_edit --model "$model" $option "$T"
    expect 66 "none: no such file" run_edit --model "$model" $option "$T/none"
    expect 65 "file name too long" run_edit --model "$model" $option "$T/$long"
done
expect 65 "/dev/null: is a device, not a regular file" run_edit --model "$model" --covariance-text /dev/null
: >"$T/empty"
expect 65 "empty: is empty" run_edit --model "$model" --covariance-text "$T/empty"
truncate -s 1T "$T/huge"
expect 65 "1099511627776 bytes" run_edit --model "$model" --covariance-text "$T/huge"
expect 65 "1099511627776 bytes" go cov --model "$model" --corpus "$T/huge" -q
expect 65 "1099511627776 bytes" go eval --model "$model" --facts "$facts" --text "$T/huge" -q
expect 65 "fifo: is a pipe, not a regular file" go eval --model "$model" --facts "$facts" --text "$T/fifo" -q
rm "$T/huge"
for file in config.json tokenizer.json model.safetensors tokenizer_config.json; do
    for kind in fifo zero folder loop; do
        model_with odd
        rm -f "$T/odd/$file"
        case $kind in
        fifo) mkfifo "$T/odd/$file" ;;
        zero) ln -s /dev/zero "$T/odd/$file" ;;
        folder) mkdir "$T/odd/$file" ;;
        loop) ln -s "$file" "$T/odd/$file" ;;
        esac
        expect 65 "odd/$file: " run_edit --model "$T/odd"
    done
    if [ "$(id -u)" -ne 0 ] && [ -f "$model/$file" ]; then
        model_with odd
        chmod 0 "$T/odd/$file"
        expect 66 "odd/$file: may not be read: permission denied" run_edit --model "$T/odd"
    fi
done

# ---- names that the system refuses ----
expect 66 "file name too long" run_edit --model "$T/$long"
expect 65 "file name too long" go check --model "$model" --facts "$T/$long" -q
expect 73 "its name has 300 bytes" run_edit --model "$model" --out "$T/$long"
expect 73 "its name has 245 bytes" run_edit --model "$model" --out "$T/${long:0:245}"
deep=$T$(printf '/d%.0s' {1..2100})
expect 66 "file name too long" run_edit --model "$deep"
expect 73 "its path has" run_edit --model "$model" --out "$deep/out"
index() { # NAME WORDS: an index that maps a tensor to this name
    model_with indexed
    rm "$T/indexed/model.safetensors"
    printf '{"weight_map":{"a":"%s"}}' "$1" >"$T/indexed/model.safetensors.index.json"
    expect 65 "$2" run_edit --model "$T/indexed"
}
index "$long.safetensors" "a file name of 312 bytes: 255 are possible"
index "../model.safetensors" "which is no plain file name"
index ".." "which is no plain file name"
index "a\\u0000b" "u0000 in a string"
index "sub/a.safetensors" "which is no plain file name"

# ---- what travels ----
model_with full
for f in tf_model.h5 flax_model.msgpack rust_model.ot model.onnx q4.gguf consolidated.00.pth pytorch_model.bin model.fp16.safetensors; do
    echo x >"$T/full/$f"
done
cp "$model/model.safetensors" "$T/full/consolidated.safetensors"
cp "$model/model.safetensors" "$T/full/model-00001-of-00002.safetensors"
echo '{"weight_map":{"a":"model-00001-of-00002.safetensors"}}' >"$T/full/model.safetensors.index.json"
echo '{}' >"$T/full/generation_config.json"
mkdir "$T/full/extra"
echo text >"$T/full/extra/notes.txt"
expect 0 "full: 11 left behind, which hold other weights than the edited ones: consolidated.00.pth" run_edit --model "$T/full"
check_that "the edited model alone" [ "$(cd "$T/out" && find . -type f | sort | tr '\n' ' ')" = \
    "./config.json ./errata-manifest.json ./extra/notes.txt ./generation_config.json ./model.safetensors ./tokenizer.json " ]
check_that "the manifest says what was left" grep -q "11 left behind" "$T/out/errata-manifest.json"
rm -rf "$T/out"
expect 0 "" run_edit --model "$T/full" --copy-all
check_that "all of it" [ "$(find "$T/out" -type f | wc -l)" -eq 17 ]
check_that "copied as it is" cmp -s "$T/full/consolidated.safetensors" "$T/out/consolidated.safetensors"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
