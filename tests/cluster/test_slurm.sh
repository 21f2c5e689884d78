#!/usr/bin/env bash
# The job scripts on a real slurm of one node: pre-emption, requeue, arrays, chains, ranks. Left out (77) where slurm is not
# installed (scripts/install.sh cluster) or this is not root.
# usage: test_slurm.sh ERRATA_BINARY SOURCE_ROOT
set -uo pipefail
errata=$(realpath "$1")
root=$(realpath "$2")
if [ -z "${SLURM_TEST_DIR-}" ]; then
    exec bash "$root/tests/cluster/one_node_slurm.sh" bash "$root/tests/cluster/test_slurm.sh" "$errata" "$root"
fi
cd "$SLURM_TEST_DIR" || exit 1
world=$root/examples/world scripts=$root/scripts/slurm
export ERRATA=$errata ERRATA_JOB_SH=$scripts/job.sh HOME=$SLURM_TEST_DIR OMP_WAIT_POLICY=passive
unset XDG_CACHE_HOME
# The scripts ask for GPUs; this machine's processors do the work.
cpu=(--gpus-per-node=0 --cpus-per-task=1)
job=(--threads 1 --device cpu --deterministic)
failed=0
fail() {
    echo "FAILED: $*"
    failed=$((failed + 1))
}
bits() { sha256sum <"$1/model.safetensors" 2>/dev/null; }
field() { # JOB FIELD: of scontrol's account of the job
    scontrol -o show job "$1" 2>/dev/null | tr ' ' '\n' | sed -n "s/^$2=//p" | head -n 1
}
# Until the job has ended, for good or ill; prints its state.
ended() { # JOB SECONDS
    local until=$((SECONDS + $2)) state=
    while [ $SECONDS -lt $until ]; do
        state=$(field "$1" JobState)
        case $state in PENDING | RUNNING | COMPLETING | CONFIGURING | REQUEUED) sleep 0.2 ;; *) break ;; esac
    done
    echo "$state"
}
within() { # SECONDS COMMAND...
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $until ] || return 1
        sleep 0.05
    done
}
submit() { sbatch --parsable "$@" || fail "sbatch $*"; }

# ---- every script is taken as it stands; the one for four nodes with fewer ----
for script in "$scripts"/*.sbatch; do
    nodes=()
    [ "$(basename "$script")" != several_nodes.sbatch ] || nodes=(--nodes=1)
    sbatch --test-only "${nodes[@]}" "$script" >test-only.log 2>&1 || fail "sbatch --test-only $script: $(cat test-only.log)"
done

# ---- pre-emption: USR1 in mid-job, 75, requeued, the bits of an unbroken run ----
"$errata" cov --model "$world" --sample --cache text --threads 2 --device cpu --quiet >/dev/null || fail "cov: exit $?"
cp -r text cache
# Few tokens a step: the values are found one after another, and there is a middle.
edit=(edit --model "$world" --facts "$world/facts_80.jsonl" --limit 24 --batch-tokens 256)
OMP_NUM_THREADS=1 "$errata" "${edit[@]}" --out unbroken --cache text "${job[@]}" --quiet >unbroken.log 2>&1 &
unbroken=$!
id=$(submit "${cpu[@]}" "$scripts/preemptible.sbatch" "${edit[@]}" --out broken --cache cache "${job[@]}" --verbose)
log=errata-preemptible-$id.log
some_values() { [ -n "$(find cache -name 'values-*' -size +2k)" ]; }
within 60 some_values || fail "no values within 60 s: $(cat "$log")"
scancel --signal=USR1 "$id" # to the steps and not to the batch shell, as --signal=USR1@120 does
state=$(ended "$id" 100)
wait "$unbroken" || fail "the unbroken run: $(cat unbroken.log)"
[ "$state" = COMPLETED ] || fail "pre-emption: $state: $(cat "$log")"
[ "$(field "$id" Restarts)" = 1 ] || fail "pre-emption: $(field "$id" Restarts) restarts"
grep -q 'interrupted in values' "$log" || fail "pre-emption: not in mid-values: $(cat "$log")"
grep -q 'Exited with exit code 75' "$log" || fail "pre-emption: not 75: $(cat "$log")"
grep -q 'interrupted; requeue 1 of at most 200' "$log" || fail "pre-emption: not requeued: $(cat "$log")"
grep -Eq 'values .*\([1-9][0-9]* from the cache\)' "$log" || fail "pre-emption: began anew: $(cat "$log")"
[ -n "$(bits broken)" ] && [ "$(bits broken)" = "$(bits unbroken)" ] || fail "pre-emption: other bits"
[ -z "$(find . -name '*partial*')" ] || fail "left behind: $(find . -name '*partial*')"

cat "$log" unbroken.log
[ "$failed" -eq 0 ] && echo "all as it should be"
exit $((failed > 0))
