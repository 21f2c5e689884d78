#!/usr/bin/env bash
# errata.h: it includes standard headers only, compiles as C17 and as C++11 and later with all warnings, stands beside the internal
# headers in either order, and has the values and layouts that those have.
# usage: test_header.sh ERRATA_BINARY SOURCE_ROOT
set -euo pipefail
build=$(dirname "$(realpath "$1")")
root=$(realpath "$2")
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cc=$(sed -n 's/^CMAKE_C_COMPILER:[A-Z]*=//p' "$build/CMakeCache.txt")
flags=(-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wmissing-field-initializers -Werror -fsyntax-only)
mkdir "$T/include"
cp "$root/engine/errata.h" "$T/include"

if grep -E '^ *# *include' "$T/include/errata.h" | grep -vE '<(stddef|stdint)\.h>'; then
    echo "errata.h includes more than standard headers"
    exit 1
fi

# The program at the head of the header, as it stands there.
sed -n 's|^//     ||p' "$T/include/errata.h" | sed -n '/^#include/,/^}/p' >"$T/head.c"
[ "$(wc -l <"$T/head.c")" -gt 10 ]
"$cc" -std=c17 "${flags[@]}" -Wstrict-prototypes -I"$T/include" "$T/head.c"
if cxx=$(command -v g++ || command -v clang++); then
    cp "$T/head.c" "$T/head.cpp"
    for standard in c++11 c++17 c++20; do
        "$cxx" -std=$standard "${flags[@]}" -I"$T/include" "$T/head.cpp"
    done
fi

# Values of the enumerators and the layout of the event, of the public header and of those that the library is built from.
values() { # INCLUDE...
    {
        for header in "$@"; do echo "#include $header"; done
        printf '%s\n' '#include <stddef.h>' '#include <stdio.h>' 'int main(void) {'
        for name in ER_OK ER_ENOMEM ER_EIO ER_ENOENT ER_EFORMAT ER_EUNSUPPORTED ER_EARG ER_ECONFIG ER_EOUTPUT ER_ENUMERIC ER_EDEVICE \
            ER_ENODEVICE ER_EINTERRUPTED ER_LOG_QUIET ER_LOG_WARN ER_LOG_INFO ER_LOG_DEBUG ER_PROGRESS_BEGIN ER_PROGRESS_UPDATE \
            ER_PROGRESS_END; do
            echo "printf(\"$name %d\\n\", (int)$name);"
        done
        for member in phase stage unit done total seconds; do
            echo "printf(\"$member %zu\\n\", offsetof(er_progress_event, $member));"
        done
        echo 'printf("%zu\n", sizeof(er_progress_event)); return 0; }'
    } >"$T/values.c"
    "$cc" -D_GNU_SOURCE -I"$T/include" -I"$root" "$T/values.c" -o "$T/values"
    "$T/values"
}
values '<errata.h>' >"$T/public"
values '"io/base/status.h"' '"io/base/log.h"' >"$T/internal"
diff "$T/public" "$T/internal"
values '<errata.h>' '"io/base/status.h"' '"io/base/log.h"' | diff "$T/public" -
values '"io/base/log.h"' '"io/base/status.h"' '"engine/errata.h"' | diff "$T/public" -
# None is left out above: as many in the header.
[ "$(grep -cE '^ +ER_[A-Z]+ = [0-9]+,' "$T/include/errata.h")" = 13 ]

# The exit codes that the header names are those of er_exit_code(), beside which the table of the internal one stands.
table() { sed -nE 's/^ +(ER_[A-Z]+)( = [0-9]+)?,.* ([0-9]+)$/\1 \3/p' "$1" | sort; }
table "$T/include/errata.h" | grep -v '^ER_OK' >"$T/public"
table "$root/io/base/status.h" | diff "$T/public" -
[ "$(wc -l <"$T/public")" = 12 ]
echo "errata.h stands alone, in C and C++"
