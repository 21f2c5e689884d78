#!/usr/bin/env bash
# Build errata from nothing and run every test.
#
#   scripts/test.sh           gcc with warnings as errors and ctest, then the same under ASan and UBSan, then the CUDA ops on
#                             CPU fibers and two jobs in one process under TSan
#   scripts/test.sh --quick   the first half only
#   scripts/test.sh --clang   and a clang build with warnings as errors
#   scripts/test.sh --ci      all of it
#
# Build folders are build-test/*; ccache is used where it is installed. ctest's summary is the last thing printed.
set -euo pipefail
cd "$(dirname "$0")/.."

sanitize=yes clang=no
for option in "$@"; do
    case $option in
    --quick) sanitize=no ;;
    --clang | --ci) clang=yes ;;
    *)
        echo "usage: scripts/test.sh [--quick] [--clang] [--ci]" >&2
        exit 2
        ;;
    esac
done

groups=(build test)
[ "$clang" = no ] || groups+=(clang mpi) # ranks are tested over MPI where it is there
scripts/install.sh "${groups[@]}"

jobs=$(nproc)
common=(-G Ninja -DERRATA_WERROR=ON)
if command -v ccache >/dev/null; then
    common+=(-DCMAKE_C_COMPILER_LAUNCHER=ccache)
fi

build() { # NAME CMAKE_OPTION...
    local folder=build-test/$1
    shift
    echo "== $folder"
    cmake -S . -B "$folder" "${common[@]}" "$@" >/dev/null
    cmake --build "$folder" -j "$jobs" -- --quiet
}

# Two threads in every test, so that the parallel paths run; passive waiting, so that tests side by side do not spin.
export OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive
run_tests() { # NAME
    echo "== ctest in build-test/$1"
    ctest --test-dir "build-test/$1" -j "$jobs" --output-on-failure
}

if [ "$clang" = yes ]; then
    build clang -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=Release
fi
build gcc -DCMAKE_C_COMPILER=gcc -DCMAKE_BUILD_TYPE=Release
run_tests gcc
if [ "$sanitize" = yes ]; then
    build asan -DCMAKE_C_COMPILER=gcc -DCMAKE_BUILD_TYPE=RelWithDebInfo -DERRATA_SANITIZE=address,undefined
    export UBSAN_OPTIONS=print_stacktrace=1
    run_tests asan
    echo "== build-test/tsan: the CUDA ops on CPU fibers, and two jobs side by side"
    cmake -S . -B build-test/tsan "${common[@]}" -DCMAKE_C_COMPILER=gcc -DCMAKE_BUILD_TYPE=RelWithDebInfo \
        -DERRATA_SANITIZE=thread >/dev/null
    cmake --build build-test/tsan -j "$jobs" --target shim_ops test_two_jobs -- --quiet
    # One OpenMP thread: libgomp is not instrumented, and its barriers would be taken for races.
    OMP_NUM_THREADS=1 TSAN_OPTIONS=suppressions=$PWD/tests/cuda_shim/tsan.supp ERRATA_TEST_QUICK=1 \
        ctest --test-dir build-test/tsan -j "$jobs" --output-on-failure --no-tests=error -L 'shim_ops|tsan' \
        -R '_(7|asc)$|^test_two_jobs$'
fi
