#!/usr/bin/env bash
# Submit a chain of jobs, one per file of facts, each of which starts when the one before it has succeeded.
#
#   chain.sh JOB_SCRIPT MODEL OUT_ROOT FACTS... [-- COMMAND...]
#
#   scripts/slurm/chain.sh scripts/slurm/one_node.sbatch models/base models/edits facts-2026-11-*.jsonl
#
# COMMAND is what errata is told in each link; the default is
#   edit --model {model} --facts {facts} --out {out}
# {facts} is the link's file, {out} is OUT_ROOT/NAME for facts NAME.jsonl, {base} is MODEL, and {model} is the output of the link
# before (MODEL in the first). Put further options into the environment's SBATCH_* variables or JOB_SCRIPT for slurm, and behind `--`
# for errata.
#
# Links whose output is there already are passed over, so that the same call with one more file adds one job, and a chain that broke
# is mended by giving it again. A link that fails ends the chain: the jobs behind it are cancelled. Prints a line per link:
# job's number (or -), facts, output.
set -euo pipefail

refuse() { # STATUS MESSAGE
    echo "chain.sh: $2" >&2
    exit "$1"
}
usage='usage: chain.sh JOB_SCRIPT MODEL OUT_ROOT FACTS... [-- COMMAND...]'
[ $# -ge 4 ] || refuse 2 "$usage"
script=$1 base=$2 root=$3
shift 3
facts=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    facts+=("$1")
    shift
done
[ $# -eq 0 ] || shift
command=("$@")
[ ${#command[@]} -gt 0 ] || command=(edit --model '{model}' --facts '{facts}' --out '{out}')
[ ${#facts[@]} -gt 0 ] || refuse 2 "$usage"
[ -r "$script" ] || refuse 66 "there is no job script $script"
[ -d "$base" ] || refuse 66 "there is no model $base"
command -v sbatch >/dev/null || refuse 66 "there is no sbatch here"

# All names first: nothing is submitted when one is wrong.
declare -A used=()
outs=()
for file in "${facts[@]}"; do
    [ -r "$file" ] || refuse 66 "there is no file of facts $file"
    name=$(basename "$file")
    out=$root/${name%.*}
    [ -z "${used[$out]-}" ] || refuse 2 "$file and ${used[$out]} would both make $out"
    used[$out]=$file
    outs+=("$out")
done

mkdir -p "$root"
model=$base before=
for i in "${!facts[@]}"; do
    out=${outs[i]}
    if [ -z "$before" ] && [ -e "$out/errata-manifest.json" ]; then
        echo "- ${facts[i]} $out"
    else
        words=()
        for word in "${command[@]}"; do
            word=${word//'{model}'/"$model"} word=${word//'{facts}'/"${facts[i]}"}
            word=${word//'{out}'/"$out"} word=${word//'{base}'/"$base"}
            words+=("$word")
        done
        dependency=()
        [ -z "$before" ] || dependency=("--dependency=afterok:$before" --kill-on-invalid-dep=yes)
        before=$(sbatch --parsable "${dependency[@]}" "$script" "${words[@]}")
        before=${before%%;*} # the number, without the cluster's name
        echo "$before ${facts[i]} $out"
    fi
    model=$out
done
