#!/usr/bin/env bash
# A cache that cannot be written, read or locked stops no job: the edit comes out bit for bit as with a sound one, and one warning
# says that nothing is kept and why. errata cov, whose purpose the cache is, fails.
# usage: test_cache_lost.sh ERRATA_BINARY SOURCE_ROOT
set -uo pipefail
errata=$(realpath "$1")
root=$(realpath "$2")
T=$(mktemp -d)
mounted=()
holder=
cleanup() {
    [ -n "$holder" ] && kill "$holder" 2>/dev/null
    for m in "${mounted[@]:-}"; do [ -n "$m" ] && umount "$m" 2>/dev/null; done
    rm -rf "$T"
}
trap cleanup EXIT
failed=0
export HOME=$T XDG_CACHE_HOME=$T/xdg
job=(--model "$root/examples/world" --threads 1 --device cpu)
short=(--facts "$root/examples/world/facts_80.jsonl" --steps 2 --covariance-tokens 1800 --deterministic --quiet)

fail() {
    echo "FAILED: $*"
    failed=$((failed + 1))
}
# edit [OPTION...]: with --limit=N so many facts, else four
edit() {
    local limit=--limit=4
    [[ "$*" == *--limit=* ]] && limit=
    rm -rf "$T/out" && "$errata" edit "${job[@]}" "${short[@]}" $limit --out "$T/out" "$@" >"$T/stdout" 2>"$T/all"
    local status=$?
    grep -v 'cov_tokens is 1800' "$T/all" >"$T/stderr" # few tokens are all this job needs
    return $status
}
edit --no-cache || fail "the unbroken job: $(cat "$T/stderr")"
want=$(sha256sum <"$T/out/model.safetensors")

# same NAME WARNINGS PATTERN [OPTION...]: exit 0, the same bits, so many warnings, one of which fits
same() {
    local name=$1 warnings=$2 pattern=$3
    shift 3
    edit "$@" || { fail "$name: exit $?: $(cat "$T/stderr")"; return; }
    [ "$(sha256sum <"$T/out/model.safetensors")" = "$want" ] || fail "$name: other bits"
    [ "$(grep -c '^warning: ' "$T/stderr")" = "$warnings" ] || fail "$name: $(cat "$T/stderr")"
    [ "$warnings" = 0 ] || grep -Eq "^warning: $pattern" "$T/stderr" || fail "$name: $(cat "$T/stderr")"
    [ "$warnings" = 0 ] || grep -q '"warnings":' "$T/out/errata-manifest.json" || fail "$name: the manifest does not say so"
}
lost='; nothing more is kept in .* for later jobs$'

same sound 0 '' --cache "$T/good"
same warm 0 '' --cache "$T/good"

echo occupied >"$T/file"
same 'a file in its place' 1 ".*/file: cannot be created.*$lost" --cache "$T/file"
same 'below a file' 1 ".*/file.*$lost" --cache "$T/file/below"
same 'no folder can be made' 1 ".*$lost" --cache /proc/none
(unset HOME XDG_CACHE_HOME; same 'no home' 1 'neither HOME nor XDG_CACHE_HOME names a folder'; exit $failed); failed=$((failed + $?))
if [ "$(id -u)" -ne 0 ]; then
    cp -r "$T/good" "$T/closed" && chmod 555 "$T/closed"
    rm -f "$T/closed"/*.tokens.npz
    same 'a folder of others, some of it there' 1 '.*' --cache "$T/closed"
fi

# What is there is used: the whole cache, read-only, and a full one.
mkdir "$T/ro" "$T/full"
if [ "$(id -u)" -eq 0 ] && mount -t tmpfs -o size=64m tmpfs "$T/ro" 2>/dev/null; then
    mounted+=("$T/ro")
    cp "$T/good"/* "$T/ro" && mount -o remount,ro "$T/ro"
    edit --cache "$T/ro" || fail "read-only: exit $?"
    grep -q '4 from the cache' "$T/stdout" || fail "read-only: what is there is not used: $(cat "$T/stdout")"
    same 'read-only, all there' 0 '' --cache "$T/ro"
    mount -o remount,rw "$T/ro" && rm "$T/ro"/values-* && mount -o remount,ro "$T/ro"
    same 'read-only, no values' 1 '.*/values-.*Read-only file system; target values are no longer kept.*' --cache "$T/ro"
    mount -o remount,rw "$T/ro" && rm "$T/ro"/* && mount -o remount,ro "$T/ro"
    same 'read-only, empty' 1 ".*read-only file system$lost" --cache "$T/ro"
fi
for size in 4k 64k 1m; do # no room for the text, the sums, the last values
    if [ "$(id -u)" -eq 0 ] && mount -t tmpfs -o size=$size tmpfs "$T/full" 2>/dev/null; then
        same "a disk of $size" 1 ".*no space left on device$lost" --cache "$T/full"
        [ -z "$(find "$T/full" -name '*.partial-*')" ] || fail "a disk of $size: left behind: $(ls "$T/full")"
        umount "$T/full"
    fi
done
edit --no-cache --limit=24 2>/dev/null
want24=$(sha256sum <"$T/out/model.safetensors")
if [ "$(id -u)" -eq 0 ] && mount -t tmpfs -o size=20m tmpfs "$T/full" 2>/dev/null; then # fills up between two values
    cp "$T/good"/*.npz "$T/full"
    head -c $(($(df --output=avail -B1 "$T/full" | tail -1) - 8192)) /dev/zero >"$T/full/filler"
    edit --cache "$T/full" --limit=24 || fail "full in mid-values: $(cat "$T/stderr")"
    [ "$(sha256sum <"$T/out/model.safetensors")" = "$want24" ] || fail 'full in mid-values: other bits'
    grep -Eq 'values-.*No space left on device; target values are no longer kept' "$T/stderr" || fail "full in mid-values: $(cat "$T/stderr")"
    rm "$T/full/filler" # the next job takes the values that had room, and keeps the others
    edit --cache "$T/full" --limit=24 || fail "room again: $(cat "$T/stderr")"
    grep -Eq '[1-9][0-9]* from the cache' "$T/stdout" || fail "what had room is not used: $(cat "$T/stdout")"
    [ "$(sha256sum <"$T/out/model.safetensors")" = "$want24" ] || fail 'room again: other bits'
    umount "$T/full"
fi

# Damaged, unreadable.
cp -r "$T/good" "$T/bad"
for f in "$T/bad"/*.npz; do head -c 1000 "$f" >"$T/cut" && mv "$T/cut" "$f"; done
printf 'x%.0s' {1..5000} >"$T/values" && for f in "$T/bad"/values-*; do cp "$T/values" "$f"; done
edit --cache "$T/bad" || fail "damaged: exit $?: $(cat "$T/stderr")"
[ "$(sha256sum <"$T/out/model.safetensors")" = "$want" ] || fail "damaged: other bits"
grep -q 'computed anew' "$T/stderr" || fail "damaged sums: $(cat "$T/stderr")"
cp -r "$T/good" "$T/folders"
for f in "$T/folders"/*; do rm "$f" && mkdir "$f" && touch "$f/x"; done
edit --cache "$T/folders" || fail "folders for files: exit $?: $(cat "$T/stderr")"
[ "$(sha256sum <"$T/out/model.safetensors")" = "$want" ] || fail "folders for files: other bits"

# A lock that somebody sits on.
values=$(echo "$T/good"/values-*)
head -c 50 "$values" >"$T/cut" && mv "$T/cut" "$values" # so that there is something to keep
flock "$values" sleep 60 &
holder=$!
sleep 0.3
same 'locked by another process' 1 '.*locked by another process; target values are not kept.*' --cache "$T/good"
kill "$holder" 2>/dev/null
holder=

# errata cov: a failure, unless it exports.
cov() { "$errata" cov "${job[@]}" --sample --tokens 1800 --layers 0 --quiet "$@" >"$T/stdout" 2>"$T/stderr"; }
cov --cache "$T/file"
[ $? -eq 73 ] || fail "cov into a file: $(cat "$T/stderr")"
cov --cache "$T/file" --export "$T/exported" || fail "cov --export without a cache: $(cat "$T/stderr")"
[ -n "$(find "$T/exported" -name '*.npz')" ] || fail "cov --export: nothing exported"
cov --cache "$T/cov" --export "$T/file/x"
[ $? -eq 73 ] || fail "cov --export below a file: $(cat "$T/stderr")"
(unset HOME XDG_CACHE_HOME; cov); [ $? -eq 2 ] || fail "cov without a place: $(cat "$T/stderr")"

[ "$failed" -eq 0 ] && echo "all as it should be"
exit $((failed > 0))
