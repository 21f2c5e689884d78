#!/usr/bin/env bash
# Comments keep to the column limit of .clang-format, which does not reflow them, and the files they name are there.
# usage: test_comments.sh ERRATA_BINARY SOURCE_ROOT   (the binary is not used)
set -euo pipefail
cd "${2:?usage: test_comments.sh BINARY SOURCE_ROOT}"
export LC_ALL=C.UTF-8  # columns are characters
limit=$(sed -n 's/^ColumnLimit: //p' .clang-format)

sources=$(find benchmarks covariance engine io kernels tests -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' -o -name '*.cpp' -o -name '*.def')
[ "$(wc -l <<<"$sources")" -gt 200 ] || { echo "only $(wc -l <<<"$sources") sources: is this the tree?"; exit 1; }
bad=0
wide=$(grep -cE "^.{$((limit + 1)),}" $sources | grep -v ':0$' || true)
while IFS=: read -r file count; do
    [ -n "$file" ] || continue
    echo "$file: $count lines of more than $limit columns"
    bad=$((bad + 1))
done <<<"$wide"

# A source, script or page that a comment names by its path or by its name alone.
everything=$(find . -path ./build-test -prune -o -path ./.git -prune -o -type f -print | sed 's|^\./||')
names=$(sed 's|.*/||' <<<"$everything" | sort -u)
while IFS=: read -r file line name; do
    [ -n "$file" ] || continue
    case $name in
    */*) grep -qE "(^|/)$name\$" <<<"$everything" && continue ;;
    *) grep -qxF "$name" <<<"$names" && continue ;;
    esac
    echo "$file:$line: there is no $name"
    bad=$((bad + 1))
done < <(grep -noE '//.*' $sources | grep -v '#include <' | grep -E '\.(c|h|cu|cuh|cpp|sh|py|md|def)\b' |
    sed -E 's/^([^:]*):([0-9]*):(.*)$/\1\t\2\t\3/' | awk -F'\t' '{
        rest = $3
        while (match(rest, /[A-Za-z0-9_][A-Za-z0-9_.\/-]*\.(cuh|cu|cpp|def|c|h|sh|py|md)/)) {
            after = substr(rest, RSTART + RLENGTH, 1)
            if (after !~ /[A-Za-z0-9_.]/ || after == "." ) print $1 ":" $2 ":" substr(rest, RSTART, RLENGTH)
            rest = substr(rest, RSTART + RLENGTH)
        } }' | sort -u)
[ "$bad" -eq 0 ] || { echo "$bad violations"; exit 1; }
echo "$(wc -l <<<"$sources") sources keep to $limit columns"
