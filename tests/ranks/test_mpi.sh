#!/usr/bin/env bash
# Ranks over the MPI module, as mpirun starts them: every collective, a failure, a rank that is killed, one that hangs, a signal.
set -uo pipefail
build=$(dirname "$1")
[ -f "$build/errata_mpi.so" ] && command -v mpirun >/dev/null || exit 77
export ERRATA_MPI_MODULE=$build/errata_mpi.so OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1
export OMPI_MCA_btl=self,vader OMPI_MCA_hwloc_base_binding_policy=none
timeout 30 mpirun -np 2 true >/dev/null 2>&1 || exit 77 # an MPI that starts nothing here
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
failed=0
wrong() {
    echo "FAILED: $*"
    sed 's/^/    /' "$out/said"
    failed=1
}
ranks() { timeout 60 mpirun -np "$1" "$build/mpi_ranks" "$2" >"$out/said" 2>&1; }
said() { [ "$(grep -c -- "$2" "$out/said")" -ge "$1" ]; }

for n in 1 2 3 5; do
    ranks $n every_collective || wrong "every collective of $n ranks: exit code $?"
    said $n "of $n, . of $n here: 0" || wrong "every collective of $n ranks"
done
ranks 4 fails_while_others_sum
code=$?
[ $code = 65 ] && said 4 ': 65 rank 1: line 3: no subject' || wrong "a failure of one: $code"
ranks 3 all_fail
code=$?
[ $code = 66 ] && said 3 ': 66 facts.jsonl: no such file' || wrong "a failure of all: $code"
ranks 3 works_until_raised
code=$?
[ $code = 74 ] && said 3 ': 74 rank 0: disk full' || wrong "an alarm: $code"
start=$(date +%s)
ranks 3 dies && wrong "a rank that is killed: exit code 0"
ranks 3 hangs && wrong "a rank that hangs: exit code 0"
said 1 'rank 1 has given no sign of life' || wrong "a rank that hangs"
ranks 2 comes_late && wrong "a rank that comes late: exit code 0"
said 1 'waited 1 s in agree for rank 1' || wrong "a rank that comes late"
[ $(($(date +%s) - start)) -le 60 ] || wrong "the ends took $(($(date +%s) - start)) s"
mpirun -np 2 "$build/mpi_ranks" stops_with_all >"$out/said" 2>&1 &
sleep 2
kill -USR1 $!
wait $!
code=$?
[ $code = 75 ] && said 2 ': 75 after a layer' || wrong "a signal: $code"
ERRATA_MPI_MODULE=$out/none "$build/mpi_ranks" all_fail >"$out/said"
[ $? = 69 ] && said 1 'ERRATA_MPI_MODULE' || wrong "no module"
exit $failed
