#!/usr/bin/env bash
# Who may know whom: engine -> covariance -> kernels -> io. Reads every #include of the tree.
# usage: test_layering.sh ERRATA_BINARY SOURCE_ROOT   (the binary is not used)
set -euo pipefail
root=${2:?usage: test_layering.sh BINARY SOURCE_ROOT}
cd "$root"

allowed() { # folder -> folders it may include
    case $1 in
    io) echo "io" ;;
    kernels) echo "io kernels" ;;
    covariance) echo "io kernels covariance" ;;
    engine) echo "io kernels covariance engine" ;;
    esac
}

bad=0
count=0
for folder in io kernels covariance engine; do
    while IFS=: read -r file line text; do
        target=$(sed -E 's/.*"([^"]+)".*/\1/' <<<"$text")
        count=$((count + 1))
        case $target in
        */*) ;;
        *)
            echo "$file:$line: \"$target\" is not named from the root of the tree"
            bad=$((bad + 1))
            continue
            ;;
        esac
        case " $(allowed "$folder") " in
        *" ${target%%/*} "*) ;;
        *)
            echo "$file:$line: $folder must not include $target"
            bad=$((bad + 1))
            ;;
        esac
    done < <(grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' --include='*.[ch]' --include='*.cu' --include='*.cuh' "$folder" || true)
done

# The command line is on top: nothing below may know it. CUDA headers stay in kernels/cuda.
if grep -rnE '#[[:space:]]*include[[:space:]]*"engine/cli/' --include='*.[ch]' io kernels covariance engine | grep -v '^engine/cli/'; then
    echo "engine/cli/ is included from below"
    bad=$((bad + 1))
fi
if grep -rnE '#[[:space:]]*include[[:space:]]*<(cuda|cublas|cusolver|nccl)' --include='*.[ch]' --include='*.cu' --include='*.cuh' \
    io kernels covariance engine | grep -v '^kernels/cuda/'; then
    echo "a CUDA header outside kernels/cuda/"
    bad=$((bad + 1))
fi

[ "$count" -gt 50 ] || { echo "only $count includes found: is $root the tree?"; exit 1; }
[ "$bad" -eq 0 ] || { echo "$bad violations"; exit 1; }
echo "$count includes, all along engine -> covariance -> kernels -> io"
