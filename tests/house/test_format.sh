#!/usr/bin/env bash
# Every source file is as .clang-format has it. Skipped (77) where clang-format 14 is not installed.
# usage: test_format.sh ERRATA_BINARY SOURCE_ROOT
set -uo pipefail
cd "$2" || exit 1
if ! clang-format --version 2>/dev/null | grep -q 'version 14\.'; then
    echo "skipped: no clang-format 14"
    exit 77
fi
bad=$(find benchmarks covariance engine io kernels tests -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' -o -name '*.cpp' |
    xargs clang-format --dry-run 2>&1 | grep -E 'clang-format-violations' | cut -d: -f1 | sort -u)
if [ -n "$bad" ]; then
    printf 'FAILED: not as clang-format has it:\n%s\n' "$bad"
    exit 1
fi
echo "1 passed, 0 failed"
