#!/bin/sh
# A compiler launcher: runs nvcc with a report of registers, and fails the object when a kernel spills to memory.
#
#   scripts/nvcc_no_spills.sh nvcc ARGUMENT... -o OBJECT
#
# Kernels that may spill, by a part of their names, with the reason; none so far:
allowed=""

object= last=
for argument in "$@"; do
    [ "$last" = -o ] && object=$argument
    last=$argument
done
report=$object.ptxas
"$@" -Xptxas=-v >"$report" 2>&1
rc=$?
grep -vE '^ptxas info|bytes stack frame|^nvcc_internal|^$' "$report" >&2
[ $rc -eq 0 ] || exit $rc
spills=$(awk -v allowed="$allowed" '
    BEGIN { n = split(allowed, may, " ") }
    /Compiling entry function/ { arch = $NF }
    /Function properties for/ { name = $NF }
    /bytes spill stores/ {
        for (i = 2; i <= NF; i++) if ($(i + 1) == "spill" && $(i + 2) ~ /^stores/ && $(i - 1) + 0 > 0) {
            skip = 0
            for (k = 1; k <= n; k++) if (index(name, may[k])) skip = 1
            if (!skip) print "  " name " for " arch ": " $0
        }
    }' "$report")
if [ -n "$spills" ]; then
    echo "registers spill to memory (scripts/nvcc_no_spills.sh lists the kernels that may):" >&2
    echo "$spills" >&2
    rm -f "$object"
    exit 1
fi
