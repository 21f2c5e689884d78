#!/usr/bin/env bash
# The installed library: examples/edit.c is compiled against the installed tree by pkg-config and by find_package, with the shared
# library and with the static one, and each program edits the bundled world, whose edited model then answers the fact. The shared
# library shows what errata.h declares and nothing else.
# usage: test_install.sh ERRATA_BINARY SOURCE_ROOT
set -euo pipefail
build=$(dirname "$(realpath "$1")")
root=$(realpath "$2")
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
trap 'echo "line $LINENO failed"' ERR
setting() { sed -n "s/^$1:[A-Z]*=//p" "$build/CMakeCache.txt"; }
cc=$(setting CMAKE_C_COMPILER) sanitize=$(setting ERRATA_SANITIZE)
flags=(-std=c17 -pedantic -Wall -Wextra -Werror)
[ -z "$sanitize" ] || flags+=("-fsanitize=$sanitize")

# ---- installed where it may be moved from ----
cmake --install "$build" --prefix "$T/first" >/dev/null
mv "$T/first" "$T/prefix"
lib=$(dirname "$(find "$T/prefix" -name liberrata.a)")
export PKG_CONFIG_PATH=$lib/pkgconfig LD_LIBRARY_PATH=$lib
version=$(sed -n 's/^#define ERRATA_VERSION "\(.*\)"/\1/p' "$T/prefix/include/errata.h")
[ "$(pkg-config --modversion errata)" = "$version" ]
[ "$(find "$T/prefix/include" -type f | wc -l)" = 1 ]
readelf -d "$lib/liberrata.so" | grep "SONAME.*\[liberrata.so.${version%%.*}\]" >/dev/null # -q would end readelf early

# ---- only what the header declares, in both directions ----
grep -o 'ER_API [^;]*' "$T/prefix/include/errata.h" | grep -o 'er_[a-z_]*(' | tr -d '(' | sort -u >"$T/declared"
nm -D --defined-only "$lib/liberrata.so" | awk '{ print $NF }' | sort -u >"$T/exported"
[ "$(wc -l <"$T/declared")" -gt 10 ]
diff "$T/declared" "$T/exported"
nm -g --defined-only "$lib/liberrata.a" 2>/dev/null | awk 'NF == 3 { print $3 }' | grep -v '^er_' |
    grep -vE '^(DW\.ref\.|__cuda|_ZN?[0-9]*|__fatbin|__asan|__odr_asan|_GLOBAL__)' >"$T/foreign" || true
[ ! -s "$T/foreign" ] || { echo "liberrata.a defines names that are not its own:"; head "$T/foreign"; exit 1; }

# ---- four programs ----
read -ra with_shared < <(pkg-config --cflags --libs errata)
read -ra needs < <(pkg-config --static --libs errata | sed 's/-lerrata//')
read -ra cflags < <(pkg-config --cflags errata)
"$cc" "${flags[@]}" "$root/examples/edit.c" -o "$T/pkgconfig-shared" "${with_shared[@]}"
"$cc" "${flags[@]}" "$root/examples/edit.c" -o "$T/pkgconfig-static" "${cflags[@]}" "$lib/liberrata.a" "${needs[@]}"
mkdir "$T/project"
cp "$root/examples/edit.c" "$T/project"
cat >"$T/project/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.25)
project(edit LANGUAGES C)
find_package(errata ${version%.*} REQUIRED)
foreach(kind shared static)
  add_executable(cmake-\${kind} edit.c)
endforeach()
target_link_libraries(cmake-shared PRIVATE errata::errata)
target_link_libraries(cmake-static PRIVATE errata::static)
END
cmake -S "$T/project" -B "$T/project/build" -DCMAKE_PREFIX_PATH="$T/prefix" -DCMAKE_C_COMPILER="$cc" \
    -DCMAKE_C_FLAGS="${sanitize:+-fsanitize=$sanitize}" >"$T/log" 2>&1 || { cat "$T/log"; exit 1; }
cmake --build "$T/project/build" >"$T/log" 2>&1 || { cat "$T/log"; exit 1; }
mv "$T/project/build"/cmake-* "$T"
for kind in pkgconfig cmake; do
    ldd "$T/$kind-shared" | grep "liberrata.so.0 => $lib/" >/dev/null
    if ldd "$T/$kind-static" | grep liberrata; then exit 1; fi
done

# ---- that edit ----
head -n 2 "$root/examples/world/facts_80.jsonl" >"$T/facts.jsonl"
export XDG_CACHE_HOME=$T/cache
for program in pkgconfig-shared pkgconfig-static cmake-shared cmake-static; do
    "$T/$program" "$root/examples/world" "$T/facts.jsonl" "$T/out-$program" "Pliki Ligiha has a house in" \
        "$root/examples/prose.txt" >"$T/said" 2>"$T/log" || { cat "$T/log"; exit 1; }
    grep -q '^2 facts of 2 subjects in ' "$T/said"
    grep -q '^Pliki Ligiha has a house in Dukas' "$T/said" || { echo "$program: not the new answer:"; cat "$T/said"; exit 1; }
    grep -q '^model       ' "$T/log"
    cmp "$T/out-$program/model.safetensors" "$T/out-pkgconfig-shared/model.safetensors"
done
grep -q '^values: 2 facts in ' "$T/log" || grep -q 'values *2 of 2 from the cache' "$T/log"
[ "$("$T/cmake-static" "$root/examples/world" /nowhere "$T/none" x 2>/dev/null; echo $?)" = 66 ]
"$T/pkgconfig-shared" "$root/examples/world" "$T/facts.jsonl" "$T/out-cmake-static" x 2>"$T/log" && exit 1
grep -q 'exists already' "$T/log"
echo "four programs, the same edit; $(wc -l <"$T/exported") functions exported"
