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

# The rooms of engine/, each of which may include those before it; a header engine/X.h belongs to the room X.
rooms=(presets model hparams forward prompts generate statistics targets solve keys editors store evaluate report diff job library cli)
room_of() { # engine/...: its room
    local path=${1#engine/}
    case $path in
    errata.h | estimate.h) echo job ;;
    sequences.h) echo generate ;;
    */*) echo "${path%%/*}" ;;
    *) echo "${path%.h}" ;;
    esac
}
rank() { # room: its place in the order
    local i
    for i in "${!rooms[@]}"; do
        [ "${rooms[$i]}" != "$1" ] || { echo "$i"; return; }
    done
    echo "-1"
}
inside=0
while IFS=: read -r file _ text; do
    target=$(sed -E 's/.*"([^"]+)".*/\1/' <<<"$text")
    from=$(room_of "$file") to=$(room_of "$target")
    inside=$((inside + 1))
    [ "$from" != "$to" ] || continue
    if [ "$(rank "$from")" -lt 0 ] || [ "$(rank "$to")" -lt 0 ] || [ "$(rank "$to")" -gt "$(rank "$from")" ]; then
        echo "$file: $from must not include $target"
        bad=$((bad + 1))
    fi
done < <(grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"engine/' --include='*.[ch]' engine)

# X_internal.h is for the folder it stands in.
while IFS=: read -r file _ text; do
    target=$(sed -E 's/.*"([^"]+)".*/\1/' <<<"$text")
    if [ "$(dirname "$file")" != "$(dirname "$target")" ]; then
        echo "$file: $target is private to its folder"
        bad=$((bad + 1))
    fi
done < <(grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"[^"]*_internal\.h"' --include='*.[ch]' engine covariance kernels)

[ "$count" -gt 50 ] || { echo "only $count includes found: is $root the tree?"; exit 1; }
[ "$bad" -eq 0 ] || { echo "$bad violations"; exit 1; }
[ "$inside" -gt 50 ] || { echo "only $inside includes inside engine/"; exit 1; }
echo "$count includes, all along engine -> covariance -> kernels -> io, $inside of them between the rooms of engine/"
