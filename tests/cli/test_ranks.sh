#!/usr/bin/env bash
# errata edit as several ranks: --devices and mpirun give the bits of one rank, a signal stops all and another number of ranks goes on,
# a rank that is killed ends all with one message, and misuse is told.
set -uo pipefail
errata=$1 root=$2
world=$root/examples/world
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1
unset OMP_NUM_THREADS
failed=0
wrong() {
    echo "FAILED: $*"
    sed 's/^/    /' said
    failed=1
}
edit() { # OUT OPTION...
    local out=$1
    shift
    [ -z "${in_background:-}" ] || exec "$errata" edit --model "$world" --facts "$world/facts_80.jsonl" --limit 24 --steps 400 \
        --deterministic --covariance-tokens 2000 --batch-tokens 64 --out "$out" "$@" >said 2>&1
    "$errata" edit --model "$world" --facts "$world/facts_80.jsonl" --limit 24 --steps 6 --deterministic --covariance-tokens 2000 \
        --batch-tokens 256 --out "$out" --force "$@" >said 2>&1
}
same() { cmp -s one/model.safetensors "$1/model.safetensors" || wrong "$2: other bits"; }

edit one --cache c1 --threads 1 || wrong "one rank: $?"
for devices in cpu,cpu cpu,cpu,cpu; do
    edit many --cache "c-$devices" --devices $devices --threads 1 || wrong "$devices: $?"
    same many "$devices"
    [ "$(grep -c '^edited' said)" = 1 ] && [ "$(grep -c '^ranks ' said)" = 1 ] || wrong "$devices: said twice"
    grep -q "\"ranks\":[[:space:]]*$(tr -cd , <<<"$devices," | wc -c)" many/errata-manifest.json || wrong "$devices: the manifest"
done

# What one rank of two has found is kept when all are asked to stop; three go on.
in_background=1 edit stopped --cache c2 --devices cpu,cpu --threads 1 &
parent=$!
for _ in $(seq 600); do
    ls c2/values-*.bin >/dev/null 2>&1 && [ "$(cat c2/values-*.bin | wc -c)" -gt 3000 ] && break
    sleep 0.05
done
kill -USR1 $parent
wait $parent
code=$?
[ $code = 75 ] && [ "$(grep -c 'errata: interrupted in values' said)" = 1 ] || wrong "a stop: $code"
[ ! -e stopped ] || wrong "a stop left an output"
kept=$(cat c2/values-*.bin | wc -c)
edit resumed --cache c2 --devices cpu,cpu,cpu --threads 1 --steps 400 --batch-tokens 64 || wrong "three ranks go on: $?"
grep -q 'values .* of 24 from the cache' said || wrong "three ranks found none of $kept bytes"
edit whole --cache c5 --threads 1 --steps 400 --batch-tokens 64 || wrong "unbroken: $?"
cmp -s resumed/model.safetensors whole/model.safetensors || wrong "three ranks that went on: other bits"

# A rank that is killed.
in_background=1 edit killed --cache c3 --devices cpu,cpu --threads 1 &
parent=$!
sleep 1.5
start=$(date +%s)
read -ra pids <"/proc/$parent/task/$parent/children"
kill -KILL "${pids[1]}"
wait $parent
code=$?
[ $code = 69 ] && [ "$(grep -c 'errata: rank 1: was killed by signal 9' said)" = 1 ] || wrong "a killed rank: $code"
[ $(($(date +%s) - start)) -le 30 ] || wrong "a killed rank: it took $(($(date +%s) - start)) s"
[ ! -e killed ] || wrong "a killed rank left an output"
[ ! -d "/proc/${pids[0]}" ] || wrong "a killed rank left the other one"

"$errata" edit --model "$world" --facts none.jsonl --out x --devices cpu,cpu >said 2>&1
code=$?
[ $code = 66 ] && [ "$(grep -c 'errata: none.jsonl' said)" = 1 ] || wrong "no facts: $code"
for list in "" 7-3 gpu cpu, 0-99 cpu:1 1-2-3; do
    "$errata" edit --model "$world" --facts "$world/facts_80.jsonl" --out x --devices "$list" >said 2>&1
    code=$?
    [ $code = 2 ] && grep -q -e --devices said || wrong "--devices '$list': $code"
done
OMPI_COMM_WORLD_SIZE=2 "$errata" edit --model m --facts f --out x --devices cpu,cpu >said 2>&1
[ $? = 2 ] || wrong "--devices under a launcher"

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_btl=self,vader
if [ -f "$(dirname "$errata")/errata_mpi.so" ] && timeout 30 mpirun -np 2 true >/dev/null 2>&1; then
    timeout 120 mpirun -np 2 "$errata" edit --model "$world" --facts "$world/facts_80.jsonl" --limit 24 --steps 6 --deterministic \
        --covariance-tokens 2000 --batch-tokens 256 --out mpi --cache c4 --threads 1 >said 2>&1 || wrong "mpirun: $?"
    same mpi mpirun
    [ "$(grep -c '^edited' said)" = 1 ] || wrong "mpirun: said twice"
fi
exit $failed
