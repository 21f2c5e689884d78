#!/usr/bin/env bash
# A sample of what inject.py does in full: calls and allocations that fail, over cold jobs. `inject.py --every 1` is the whole.
# usage: test_inject.sh ERRATA_BINARY SOURCE_ROOT
set -uo pipefail
errata=$(realpath "$1")
root=$(realpath "$2")
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
failed=0
build() { "${CC:-cc}" -std=gnu17 -O1 -shared -fPIC "$@" -o "$T/inject.so" "$root/tests/torture/inject.c" -ldl || exit 1; }
sweep() { python3 "$root/tests/torture/inject.py" "$errata" "$root" "$preload" "$@" || failed=1; }

# A sanitizer wants to be the first library and allocates by itself: files alone.
asan=$(ldd "$errata" | sed -nE 's/.*libasan[^ ]* => ([^ ]+).*/\1/p')
if [ -n "$asan" ]; then
    build -DINJECT_FILES_ALONE
    preload=$asan:$T/inject.so
    sweep --jobs edit --calls rename,mkdir
    sweep --jobs edit --calls fsync,close,dir,open,write,read,stat --most 3
    sweep --jobs cov,eval,ask --calls open,read,write --most 2
    exit $failed
elif grep -q __asan_init "$errata" || grep -q __tsan_init "$errata"; then
    echo "skipped: this sanitizer cannot be preloaded"
    exit 0
fi
build
preload=$T/inject.so
sweep --jobs edit --calls rename,mkdir,ftruncate,thread
sweep --jobs edit --calls fsync,close,dir,open,write,read,stat,unlink,flock,clone,copy,mmap --most 6
sweep --jobs force --calls rename,fsync,unlink --most 4
sweep --jobs edit --calls write,read,open,flock --with 4 --most 4     # EINTR
sweep --jobs edit --calls write,read --with short --most 5
sweep --jobs edit,cov --calls write,fsync,mkdir --with 28 --most 4    # ENOSPC
sweep --jobs cov,eval --calls open,write,close,read --most 4
sweep --jobs edit --calls own --most 40
sweep --jobs ask,check,eval,diff --calls own --most 12
sweep --jobs edit --calls lib --most 25
exit $failed
