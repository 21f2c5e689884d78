#!/usr/bin/env bash
# What is printed arrives or the exit code says that it did not; options that make no sense are refused by name; more threads or less
# memory than there can be are named too.
# usage: test_limits.sh ERRATA_BINARY SOURCE_ROOT
set -uo pipefail
errata=$(realpath "$1")
root=$(realpath "$2")
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
failed=0
export HOME=$T XDG_CACHE_HOME=$T/cache
small=$root/tests/golden/memit/gpt2
model=(--model "$small/model")
job=("${model[@]}" --facts "$small/facts.jsonl" --layers 1,2 --device cpu --quiet)
fail() {
    echo "FAILED: $*"
    failed=$((failed + 1))
}
# expect CODE PATTERN COMMAND...: the exit code, and a line of stderr that fits
expect() {
    local code=$1 want=$2 got status
    shift 2
    got=$(timeout 60 "$@" 2>&1 >"$T/stdout" </dev/null)
    status=$?
    [ "$status" -eq "$code" ] || fail "${*:2}: exit $status, expected $code: $got"
    [ -z "$want" ] && [ -n "$got" ] && fail "${*:2}: $got"
    [ -z "$want" ] || grep -Eq -- "$want" <<<"$got" || fail "${*:2}: '$got', expected '$want'"
}
usage() { expect 2 "^errata $1: $2; see errata $1 --help\$" "$errata" "$1" "${@:3}"; }

# ---- stdout ----
edited=$T/edited
"$errata" edit "${job[@]}" --steps 2 --covariance-tokens 1300 --out "$edited" >/dev/null || fail "the edit that others read"
printing=("--version" "--help" "edit --help" "ask --help" "ask ${model[*]} --max-tokens 2 The" "ask ${model[*]} --json --max-tokens 2 The"
    "check ${job[*]}" "check ${job[*]} --json" "diff -q $small/model $edited" "diff -q --json $small/model $edited"
    "eval ${job[*]/--layers 1,2/} --limit 2" "cov ${model[*]} --layers 1 --sample --tokens 400 --quiet" "cov ${model[*]} --layers 1 --sample --tokens 400 --quiet --json")
for line in "${printing[@]}"; do
    line=${line/--layers 1,2/}
    [[ $line == check* ]] && line="$line --layers 1,2"
    read -ra words <<<"$line"
    expect 0 '' "$errata" "${words[@]}"
    [ -s "$T/stdout" ] || fail "$line: prints nothing"
    got=$("$errata" "${words[@]}" 2>&1 >/dev/full)
    status=$?
    [ $status -eq 74 ] && [ "$got" = "errata: stdout: No space left on device" ] || fail "$line >/dev/full: exit $status: $got"
    got=$("$errata" "${words[@]}" 2>&1 >&-)
    status=$?
    [ $status -eq 74 ] && [ "$got" = "errata: stdout: Bad file descriptor" ] || fail "$line >&-: exit $status: $got"
    got=$( ("$errata" "${words[@]}"; echo $? >"$T/status") 2>&1 | true)
    [ "$(cat "$T/status")" = 141 ] && [ -z "$got" ] || fail "$line | true: exit $(cat "$T/status"): $got"
done
# A file that a job opens never gets stdout's number: nothing is printed into it.
"$errata" edit "${job[@]}" --steps 2 --covariance-tokens 1300 --out "$T/closed" >&- 2>&- <&-
[ $? -eq 74 ] || fail "an edit without standard files: exit $?"
cmp -s "$T/closed/model.safetensors" "$edited/model.safetensors" || fail "an edit without standard files: other bytes"
# Nobody reads the words of a job any more: it goes on.
{ "$errata" edit "${job[@]}" --steps 2 --covariance-tokens 1300 --out "$T/unread" --verbose >/dev/null; echo $? >"$T/status"; } 2>&1 | true
[ "$(cat "$T/status")" = 0 ] && [ -e "$T/unread/model.safetensors" ] || fail "a job whose words nobody reads: exit $(cat "$T/status")"
(ulimit -f 8; exec "$errata" edit "${job[@]}" --steps 2 --covariance-tokens 1300 --out "$T/limited" --no-cache) >/dev/null 2>"$T/stderr"
[ $? -eq 74 ] && grep -q 'file too large' "$T/stderr" && [ ! -e "$T/limited" ] || fail "ulimit -f: $(cat "$T/stderr")"

# ---- options ----
for option in model facts out cache hparams layers templates profile covariance-text covariance-import device threads steps lambda; do
    usage edit "--$option: the value is empty" "${job[@]}" --out "$T/x" "--$option" ''
    usage edit "--$option: the value is empty" "${job[@]}" "--$option="
    usage edit "--$option needs a value, and '--force' looks like an option.*" "--$option" --force
    usage edit "--$option needs a value" "--$option"
done
usage check "--json takes no value" --json=yes
usage check "no option '-z'" -z
usage check "no option '--nope'" --nope
usage check "--cache and --no-cache exclude each other" "${job[@]}" --cache x --no-cache
for count in 'edit --limit 0' 'edit --batch-tokens 0' 'edit --batch-tokens 99999999999' 'edit --covariance-tokens 0' \
    'edit --covariance-tokens 99999999999' 'edit --seed 0' 'edit --seed 9007199254740992' 'edit --threads 0' 'edit --memory-limit 0' \
    'ask --max-tokens 0' 'ask --max-tokens 99999999999' 'ask --seed 0' 'eval --limit 0' 'eval --neighbors 0' 'eval --drift-tokens 0' \
    'cov --tokens 0' 'cov --tokens 99999999999' 'cov --sample-size 0' 'cov --sample-size 99999999999' 'cov --seed 0'; do
    read -r command option value <<<"$count"
    usage "$command" "$option $value is not in 1 \.\. [0-9]+" "$option" "$value"
    for value in -1 1.5 '' x 99999999999999999999999 ' 3' 0x10; do
        usage "$command" "$option( '$value' is not a whole number|: the value is empty)" "$option=$value"
    done
done
usage edit "--steps 0: one evaluation at least" --steps 0
expect 78 'v_num_grad_steps 99999999999 is not in 1\.\.100000' "$errata" check "${job[@]}" --steps 99999999999
for real in nan inf -inf 1e999 x '1 ' ' 1' 1,5; do
    usage edit "--lambda '$real' is not a number" "--lambda=$real"
    usage ask "--temperature '$real' is not a number" "--temperature=$real"
    usage ask "--top-p '$real' is not a number" "--top-p=$real"
done
expect 0 '^--limit is given more than once; the last, 3, counts$' "$errata" check --limit 2 --limit 3 "${job[@]}"
grep -q '^usable   3 facts' "$T/stdout" || fail "the last --limit does not count: $(head -1 "$T/stdout")"
expect 0 '' "$errata" cov "${model[@]}" --quiet --layers 1 --tokens 400 --corpus "$root/examples/prose.txt" --corpus "$root/examples/heldout.txt"
for batch in 1 16777216; do
    expect 0 '' "$errata" edit "${job[@]}" --limit 2 --steps 2 --covariance-tokens 1300 --batch-tokens $batch --out "$T/batch-$batch"
done

# ---- threads ----
ask=(ask "${model[@]}" --device cpu --max-tokens 3 'The old harbour of Selmarin lies on')
answer=$("$errata" "${ask[@]}" --threads 1)
expect 2 '^errata: 99999 threads: this process may use [0-9]+ processors?, so [0-9]+ at most$' "$errata" "${ask[@]}" --threads 99999
for setting in OMP_THREAD_LIMIT=1 OMP_DYNAMIC=true OMP_NUM_THREADS=99999 OMP_NUM_THREADS=abc OPENBLAS_NUM_THREADS=99999; do
    got=$(env "$setting" timeout 60 "$errata" "${ask[@]}" --threads 3 2>/dev/null)
    [ "$got" = "$answer" ] || fail "$setting: '$got', expected '$answer'"
done
expect 0 '^warning: OpenMP gives 1 of 3 threads; computing with 1$' env OMP_THREAD_LIMIT=1 "$errata" "${ask[@]}" --threads 3

# ---- memory ----
edit=("$errata" edit "${job[@]}" --limit 3 --steps 2 --covariance-tokens 1300 --no-cache --threads 1)
for command in edit check; do
    expect 1 '^errata: a memory limit of 1 bytes: this job takes [0-9]+ at least \(weights [0-9]+, ' \
        "$errata" "$command" "${job[@]}" --out "$T/never" --memory-limit 1
done
for command in "ask ${model[*]} The" "eval ${model[*]} --facts $small/facts.jsonl" "cov ${model[*]} --layers 1 --sample --tokens 400"; do
    read -ra words <<<"$command"
    expect 1 '^errata: [0-9]+ bytes, and [0-9]+ of the 1 allowed \(--memory-limit\) are taken$' \
        "$errata" "${words[@]}" --device cpu --quiet --memory-limit 1
done
expect 0 '' "${edit[@]}" --memory-limit 64M --out "$T/roomy"
got=$("${edit[@]}" --memory-limit 500K --out "$T/tight" 2>&1)
[ $? -eq 1 ] && [ ! -e "$T/tight" ] || fail "500K: $got"
if ! grep -q __asan_init "$errata"; then # sanitizers reserve terabytes
    for kilobytes in 100000 300000 420000 600000 1000000; do
        (ulimit -v $kilobytes; exec timeout 60 "${edit[@]}" --out "$T/space") >/dev/null 2>"$T/stderr"
        status=$?
        case $status in
        0) rm -r "$T/space" ;;
        1) [ "$(grep -c '^errata: ' "$T/stderr")" = 1 ] && [ ! -e "$T/space" ] || fail "ulimit -v $kilobytes: $(cat "$T/stderr")" ;;
        *) fail "ulimit -v $kilobytes: exit $status: $(cat "$T/stderr")" ;;
        esac
    done
fi

[ "$failed" -eq 0 ] && echo "all as it should be"
exit $((failed > 0))
