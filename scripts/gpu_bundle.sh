#!/usr/bin/env bash
# Collect what errata links to, for a machine that has CUDA, gcc, cmake and ninja but not these packages: headers and
# libraries of cJSON, libcrypto, zlib, oniguruma, utf8proc, libyaml, OpenBLAS and cmocka. Runs where the packages are.
#
#   scripts/gpu_bundle.sh [FOLDER]      build-gpu/deps by default; build with -DERRATA_DEPS=FOLDER
#
# FOLDER.tar.gz holds the same, to carry. Of OpenBLAS and libcrypto only the functions that the sources name come along, as
# small shared libraries: OpenBLAS for every kind of processor is 36 MB otherwise. oneDNN stays behind; it is optional.
set -euo pipefail
cd "$(dirname "$0")/.."

deps=${1:-build-gpu/deps}
rm -rf "$deps" "$deps.tar.gz"
mkdir -p "$deps/include" "$deps/lib"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

find_library() { # FILE: where the linker finds it
    local path
    path=$(gcc -print-file-name="$1")
    [ -e "$path" ] || return 1
    readlink -f "$path"
}
soname() { readelf -d "$1" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p'; }

take_static() { # NAME
    cp "$(find_library "lib$1.a")" "$deps/lib/lib$1.a"
    strip --strip-debug "$deps/lib/lib$1.a"
}
take_shared() { # NAME
    local from name
    from=$(find_library "lib$1.so")
    name=$(soname "$from")
    cp "$from" "$deps/lib/$name"
    chmod u+w "$deps/lib/$name"
    strip "$deps/lib/$name"
    [ "$name" = "lib$1.so" ] || ln -s "$name" "$deps/lib/lib$1.so"
}

# A shared library of those functions of lib$1.a that our sources name.
grep -rhoE '[A-Za-z_][A-Za-z0-9_]+' --include='*.[ch]' io kernels covariance engine tests benchmarks | sort -u >"$scratch/ours"
take_part() { # NAME LIBRARY...
    local from name symbol wanted=()
    from=$(find_library "lib$1.a")
    name=$(soname "$(find_library "lib$1.so")")
    nm --defined-only -g "$from" 2>/dev/null | awk '$2 ~ /[TDBRi]/ { print $3 }' | sort -u >"$scratch/theirs"
    while read -r symbol; do
        wanted+=("-Wl,-u,$symbol")
    done < <(comm -12 "$scratch/ours" "$scratch/theirs")
    gcc -shared -s -o "$deps/lib/$name" "-Wl,-soname,$name" -Wl,--gc-sections "${wanted[@]}" "$from" "${@:2}"
    ln -s "$name" "$deps/lib/lib$1.so"
}

take_shared cjson
take_shared onig
take_shared cmocka
take_static z
take_static utf8proc
take_static yaml
take_part crypto -ldl -lpthread
take_part openblas -lgomp -lpthread -lm

# Every header that ours reach outside the C library and gcc, where it lies below its include folder.
for header in cjson/cJSON.h openssl/sha.h zlib.h oniguruma.h utf8proc.h yaml.h cmocka.h; do
    echo "#include <$header>"
done >"$scratch/all.c"
sed -i '1i #include <stdarg.h>\n#include <stddef.h>\n#include <stdint.h>\n#include <setjmp.h>' "$scratch/all.c"
gcc -M "$scratch/all.c" | tr -d '\\' | tr ' ' '\n' |
    grep -E '/(cjson|openssl)/|/(zlib|zconf|oniguruma|utf8proc|yaml|cmocka)\.h$' | while read -r header; do
    case $header in
    */cjson/* | */openssl/*) to=$(basename "$(dirname "$header")")/ ;;
    *) to= ;;
    esac
    mkdir -p "$deps/include/$to"
    cp "$header" "$deps/include/$to"
done
blas=$(dirname "$(find_library libopenblas.so)")
for header in cblas.h openblas_config.h; do
    for folder in "/usr/include/$(gcc -print-multiarch)/$(basename "$blas")" "/usr/include/$(gcc -print-multiarch)" \
        /usr/include/openblas /usr/include; do
        if [ -f "$folder/$header" ]; then
            cp "$folder/$header" "$deps/include/"
            break
        fi
    done
done

tar -C "$deps" -czf "$deps.tar.gz" include lib
du -sh "$deps" "$deps.tar.gz"
