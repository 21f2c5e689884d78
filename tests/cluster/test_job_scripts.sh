#!/usr/bin/env bash
# Job scripts, images and docs/cluster.md without slurm, docker or kubernetes: syntax, options that exist, and what the scripts do when
# srun, scontrol and sbatch are stand-ins that write down how they are called.
# usage: test_job_scripts.sh ERRATA_BINARY SOURCE_ROOT
# shellcheck disable=SC2317 # functions called through is()
set -uo pipefail
errata=$(realpath "$1")
root=$(realpath "$2")
scripts=$root/scripts/slurm
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
failed=0
fail() {
    echo "FAILED: $*"
    failed=$((failed + 1))
}

# ---- syntax ----
files=("$scripts"/*.sbatch "$scripts"/*.sh "$root"/scripts/cluster/*.sh "$root"/tests/cluster/*.sh)
for file in "${files[@]}"; do
    bash -n "$file" || fail "bash -n $file"
    case $file in */job.sh) continue ;; esac
    [ -x "$file" ] || [[ $file = */test_*.sh ]] || fail "$file cannot be executed"
done
if command -v shellcheck >/dev/null; then
    (cd "$root" && shellcheck -x -S warning "${files[@]}") || fail shellcheck
fi
python3 "$root/tests/cluster/check_job_files.py" "$errata" "$root" || fail "check_job_files.py"

# ---- stand-ins ----
mkdir "$T/bin" && cd "$T" || exit 1
cat >bin/srun <<'SRUN'
#!/usr/bin/env bash
printf '%s\n' "$*" >>"$CALLS"
if [[ $* = *--help ]]; then exec errata; fi
exit "${SRUN_STATUS:-0}"
SRUN
cat >bin/scontrol <<'SCONTROL'
#!/usr/bin/env bash
printf 'scontrol %s\n' "$*" >>"$CALLS"
exit "${SCONTROL_STATUS:-0}"
SCONTROL
cat >bin/sbatch <<'SBATCH'
#!/usr/bin/env bash
printf 'sbatch %s\n' "$*" >>"$CALLS"
echo "$(wc -l <"$CALLS");cluster"
SBATCH
cat >bin/errata <<'ERRATA'
#!/usr/bin/env bash
echo "  --device NAME   where"
echo "  --threads N"
[ -z "${WITH_RANKS-}" ] || echo "  --devices LIST  ranks"
ERRATA
chmod +x bin/*
export PATH=$T/bin:$PATH CALLS=$T/calls ERRATA_JOB_SH=$scripts/job.sh ERRATA=errata
unset "${!SLURM_@}"
touch m f

# run STATUS SCRIPT [NAME=VALUE...] -- [ARGUMENT...]: the script as slurm starts it, with those variables; its exit status
run() {
    local want=$1 script=$2 set=(SLURM_JOB_ID=7 SLURM_JOB_NAME=test)
    shift 2
    while [ "$1" != -- ]; do
        set+=("$1")
        shift
    done
    shift
    : >"$CALLS"
    env "${set[@]}" bash "$script" "$@" >log 2>&1
    local status=$?
    [ $status -eq "$want" ] || fail "$script ${set[*]}: $status, not $want: $(cat log)"
}
called() { # CALL...: these calls, a line each, and no other
    [ "$(cat "$CALLS")" = "$(printf '%s\n' "$@")" ] || fail "called: $(cat "$CALLS"); not: $*"
}
says() { grep -q -- "$1" log || fail "does not say '$1': $(cat log)"; }
one=$scripts/one_node.sbatch many=$scripts/several_nodes.sbatch
words='edit --model m --facts f --out o'
step='--kill-on-bad-exit=1 --nodes=1 --ntasks=1'

# ---- devices and threads ----
# shellcheck disable=SC2086 # words
{
    run 0 $one -- $words
    called "$step errata $words --device cpu"
    run 0 $one SLURM_CPUS_PER_TASK=6 -- $words
    called "$step --cpus-per-task=6 errata $words --device cpu --threads 6"
    run 0 $one SLURM_CPUS_PER_TASK=6 -- $words --threads=2
    called "$step --cpus-per-task=6 errata $words --threads=2 --device cpu"
    run 0 $one SLURM_GPUS_ON_NODE=1 -- $words
    called "$step errata $words --device cuda"
    run 0 $one SLURM_GPUS_ON_NODE=1 -- $words --device cuda:1
    called "$step errata $words --device cuda:1"
    run 78 $one SLURM_GPUS_ON_NODE=8 -- $words
    called ''
    run 0 $one SLURM_GPUS_ON_NODE=8 WITH_RANKS=1 -- $words
    called "$step errata $words --devices 0-7"
    run 0 $one SLURM_GPUS_ON_NODE=8 WITH_RANKS=1 -- $words --devices 0,1
    called "$step errata $words --devices 0,1"
    run 78 $many SLURM_NTASKS=2 -- $words
    called ''
    run 0 $many SLURM_NTASKS=2 WITH_RANKS=1 SLURM_GPUS_ON_NODE=2 -- $words
    called "--kill-on-bad-exit=1 --gpu-bind=none --mpi=pmix errata $words --device cuda"
    run 0 $many SLURM_NTASKS=2 WITH_RANKS=1 ERRATA_MPI=pmi2 -- $words
    called "--kill-on-bad-exit=1 --mpi=pmi2 errata $words --device cpu"

    # ---- 75 is requeued, up to a point; nothing else is ----
    run 75 $one SRUN_STATUS=75 -- $words
    called "$step errata $words --device cpu" 'scontrol requeue 7'
    says 'requeue 1 of at most 20'
    run 75 $one SRUN_STATUS=75 SLURM_RESTART_COUNT=19 -- $words
    says 'requeue 20 of at most 20'
    run 75 $one SRUN_STATUS=75 SLURM_RESTART_COUNT=20 -- $words
    called "$step errata $words --device cpu"
    says 'submit it again to go on'
    run 75 $one SRUN_STATUS=75 SCONTROL_STATUS=1 -- $words
    says 'scontrol requeue said no'
    for status in 1 65 69 70 74 137; do
        run $status $one SRUN_STATUS=$status -- $words
        called "$step errata $words --device cpu"
    done

    # ---- a second start finds the output there: done, unless --force says that it was there before ----
    mkdir o && touch o/errata-manifest.json
    run 0 $one SLURM_RESTART_COUNT=1 -- $words
    called ''
    run 0 $one SLURM_RESTART_COUNT=1 -- $words --force
    called "$step errata $words --force --device cpu"
    run 0 $one -- $words # the first start: errata itself refuses
    called "$step errata $words --device cpu"
    rm -r o

    # ---- what cannot be is refused before srun ----
    run 66 $one -- edit --model nowhere --facts f --out o
    says 'nowhere: there is no such file'
    run 66 $one ERRATA=no-such-program -- $words
    run 2 $one SLURM_JOB_ID= -- $words
    says 'sbatch'
    # A program that is in a container only.
    sed 's/^max_requeues=.*/&\nsrun_options=(--container-image=x.sqsh)/' $one >pyxis.sbatch
    run 0 pyxis.sbatch ERRATA=inside -- $words
    called "--nodes=1 --ntasks=1 --container-image=x.sqsh inside edit --help" \
        "$step --container-image=x.sqsh inside $words --device cpu"

    sed 's/^max_requeues=.*/max_requeues=often/' $one >odd.sbatch
    run 2 odd.sbatch -- $words
    called ''
}

# ---- spaces in names survive ----
mkdir 'a model' && touch 'some facts'
run 0 "$one" -- edit --model 'a model' --facts 'some facts' --out 'an output'
called "$step errata edit --model a model --facts some facts --out an output --device cpu"

# ---- arrays: the task's line, and nothing else will do ----
array=$scripts/array.sbatch
printf '%s\n' 'm o1' 'm o2 too-much' 'm' >models.txt
link=(edit --model '{model}' --facts f --out '{out}')
run 0 "$array" SLURM_ARRAY_TASK_ID=1 -- "${link[@]}"
called "$step errata edit --model m --facts f --out o1 --device cpu"
for task in 2 3 4; do
    run 65 "$array" SLURM_ARRAY_TASK_ID=$task -- "${link[@]}"
done
run 2 "$array" -- "${link[@]}"
run 66 "$array" SLURM_ARRAY_TASK_ID=1 MODELS=nowhere -- "${link[@]}"

# ---- chains ----
chain() { # STATUS ARGUMENT...
    local want=$1
    shift
    : >"$CALLS"
    "$scripts/chain.sh" "$@" >log 2>&1
    local status=$?
    [ $status -eq "$want" ] || fail "chain.sh $*: $status, not $want: $(cat log)"
}
mkdir base && touch 1.jsonl 2.jsonl 3.jsonl 2.json job.sbatch
after='--kill-on-invalid-dep=yes job.sbatch'
chain 0 job.sbatch base r 1.jsonl 2.jsonl 3.jsonl
called 'sbatch --parsable job.sbatch edit --model base --facts 1.jsonl --out r/1' \
    "sbatch --parsable --dependency=afterok:1 $after edit --model r/1 --facts 2.jsonl --out r/2" \
    "sbatch --parsable --dependency=afterok:2 $after edit --model r/2 --facts 3.jsonl --out r/3"
[ "$(cat log)" = $'1 1.jsonl r/1\n2 2.jsonl r/2\n3 3.jsonl r/3' ] || fail "chain.sh says $(cat log)"
mkdir r/1 && touch r/1/errata-manifest.json
chain 0 job.sbatch base r 1.jsonl 2.jsonl -- other --of '{base}' --add '{facts}' --to '{out}' --from '{model}'
called 'sbatch --parsable job.sbatch other --of base --add 2.jsonl --to r/2 --from r/1'
chain 66 job.sbatch base r 1.jsonl nowhere.jsonl
chain 66 job.sbatch nowhere r 1.jsonl
chain 66 nowhere.sbatch base r 1.jsonl
chain 2 job.sbatch base r 2.jsonl 2.json
chain 2 job.sbatch base r -- edit
called ''

# ---- mpirun: a rank per slot ----
cat >bin/mpirun <<'MPIRUN'
#!/usr/bin/env bash
printf 'mpirun %s\n' "$*" >>"$CALLS"
MPIRUN
chmod +x bin/mpirun
mpirun_sh() { # STATUS ARGUMENT...
    local want=$1
    shift
    : >"$CALLS"
    bash "$root/scripts/cluster/mpirun.sh" "$@" >log 2>&1
    local status=$?
    [ $status -eq "$want" ] || fail "mpirun.sh $*: $status, not $want: $(cat log)"
}
hostfile=$root/scripts/cluster/hostfile
mpirun_sh 78 "$hostfile" edit
WITH_RANKS=1 mpirun_sh 0 "$hostfile" edit --out o
called "mpirun --hostfile $hostfile -np 16 --bind-to none $T/bin/errata edit --out o"
echo 'alone # and no slots=4' >alone
mpirun_sh 0 alone edit
called "mpirun --hostfile alone -np 1 --bind-to none $T/bin/errata edit"
: >nobody
mpirun_sh 65 nobody edit
mpirun_sh 66 nowhere edit
mpirun_sh 2 alone

[ "$failed" -eq 0 ] && echo "all as it should be"
exit $((failed > 0))
