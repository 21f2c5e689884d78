# shellcheck shell=bash
# What the job scripts of this folder share: they set the variables below in their first ten lines, source this file and call one
# run_* function. Not a program.
#
#   errata        array: the program, with whatever starts it: (errata), (apptainer exec --nv errata.sif errata)
#   job           array: its command and options, such as (edit --model DIR --facts FILE --out DIR)
#   srun_options  array, may be missing: further options of srun, such as (--mpi=pmix)
#   max_requeues  how often an interrupted job is put back into the queue
#
# The scripts pass "$@" on: what stands behind the script's name on sbatch's command line replaces `job`.
#
# The exit status is errata's. 75 means "stopped by a signal, the same command goes on": the job is requeued under its own number
# and starts from the top, and errata takes up from its cache what was done. Every other status ends the job.
set -euo pipefail

say() { echo "${SLURM_JOB_NAME:-job} ${SLURM_JOB_ID:-}: $*"; }
refuse() { # STATUS MESSAGE...
    local status=$1
    shift
    say "$@" >&2
    exit "$status"
}

# Is there such an option among the words of the job?
job_has() { # OPTION
    local word
    for word in "${job[@]}"; do
        [ "$word" != "$1" ] && [[ $word != "$1="* ]] || return 0
    done
    return 1
}
# The value of an option of the job, as --option VALUE or --option=VALUE; the last counts, as in errata.
job_value() { # OPTION
    local i value=
    for ((i = 0; i < ${#job[@]}; i++)); do
        case ${job[i]} in
        "$1") value=${job[i + 1]-} ;;
        "$1="*) value=${job[i]#*=} ;;
        esac
    done
    printf '%s' "$value"
}
# {NAME} in the words of the job becomes VALUE.
fill() { # NAME VALUE
    local i
    for ((i = 0; i < ${#job[@]}; i++)); do
        job[i]=${job[i]//"{$1}"/"$2"}
    done
}

# Does this errata's command know the option? Its help says so.
errata_knows() { # OPTION
    [[ $'\n'$help =~ [[:space:]]$1([[:space:],]|$) ]]
}

check_settings() { # the script's arguments
    [ -n "${SLURM_JOB_ID-}" ] || refuse 2 "start this script with sbatch"
    [ $# -eq 0 ] || job=("$@")
    if [ -z "${errata[*]-}" ] || [ -z "${job[*]-}" ]; then
        refuse 2 "the script must set errata and job"
    fi
    [[ ${max_requeues-} =~ ^[0-9]+$ ]] || refuse 2 "max_requeues is '${max_requeues-}', not a number"
    declare -p srun_options >/dev/null 2>&1 || srun_options=()
    # With --container-image (Pyxis) the program is in a container that only srun opens.
    local ask=()
    if [[ ${srun_options[*]} = *--container-image* ]]; then
        ask=(srun --nodes=1 --ntasks=1 "${srun_options[@]}")
    else
        command -v "${errata[0]}" >/dev/null || refuse 66 "there is no program ${errata[0]} on $(hostname)"
    fi
    help=$("${ask[@]}" "${errata[@]}" "${job[0]}" --help) || refuse 2 "'${errata[*]} ${job[0]} --help' does not answer"

    local option path
    for option in --model --facts --base; do
        path=$(job_value "$option")
        [ -z "$path" ] || [ -e "$path" ] || refuse 66 "$option $path: there is no such file on $(hostname)"
    done
    say "start $((${SLURM_RESTART_COUNT:-0} + 1)) on ${SLURM_JOB_NODELIST-} at $(date -u +%FT%TZ): ${job[*]}"
}

# A job whose node failed between the output's appearance and the job's end is started again. Without --force the first start would
# have refused a folder that was there, so this one is ours.
leave_if_written() {
    local out
    out=$(job_value --out)
    if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] && [ -n "$out" ] && [ -e "$out/errata-manifest.json" ] && ! job_has --force; then
        say "$out was written by an earlier start of this job"
        exit 0
    fi
}

# As many CPU threads as slurm gave the task.
add_threads() {
    if [ -n "${SLURM_CPUS_PER_TASK-}" ] && ! job_has --threads && errata_knows --threads; then
        job+=(--threads "$SLURM_CPUS_PER_TASK")
    fi
}

# run_step SRUN_OPTION...: errata under srun, then the end of the script.
# From slurm 22.05 on srun does not take --cpus-per-task over from sbatch.
run_step() {
    local status=0
    [ -z "${SLURM_CPUS_PER_TASK-}" ] || set -- "$@" --cpus-per-task="$SLURM_CPUS_PER_TASK"
    srun --kill-on-bad-exit=1 "$@" "${srun_options[@]}" "${errata[@]}" "${job[@]}" || status=$?
    if [ "$status" -eq 75 ]; then
        requeue
    fi
    say "exit code $status"
    exit "$status"
}

requeue() {
    local so_far=${SLURM_RESTART_COUNT:-0}
    if [ "$so_far" -ge "$max_requeues" ]; then
        refuse 75 "interrupted, and requeued $so_far times already: submit it again to go on"
    fi
    say "interrupted; requeue $((so_far + 1)) of at most $max_requeues"
    # A scheduler that pre-empts by requeueing may have been faster; that is no failure.
    scontrol requeue "$SLURM_JOB_ID" || say "scontrol requeue said no: submit it again to go on unless squeue shows it"
    exit 75
}

# One process on one node, with every device of the job: none is the CPU, one is that GPU, more are one process each, which errata
# forks itself.
run_one_node() { # the script's arguments
    check_settings "$@"
    leave_if_written
    local gpus=${SLURM_GPUS_ON_NODE:-0}
    [[ $gpus =~ ^[0-9]+$ ]] || gpus=${gpus##*:} # some versions say gpu:8
    if job_has --device || job_has --devices || ! errata_knows --device; then
        add_threads
    elif [ "$gpus" -eq 0 ]; then
        job+=(--device cpu)
        add_threads
    elif [ "$gpus" -eq 1 ]; then
        job+=(--device cuda)
        add_threads
    elif errata_knows --devices; then
        job+=(--devices "0-$((gpus - 1))")
    else
        refuse 78 "this errata uses one GPU a job, and the job has $gpus: ask for --gpus-per-node=1"
    fi
    run_step --nodes=1 --ntasks=1
}

# A rank per task on all nodes of the job. Every task sees all GPUs of its node (--gpu-bind=none) and takes the one of its
# SLURM_LOCALID: with one visible GPU each, ranks of a node could not reach one another's memory directly.
run_ranks() { # the script's arguments
    check_settings "$@"
    leave_if_written
    if [ "${SLURM_NTASKS:-1}" -gt 1 ] && ! errata_knows --devices; then
        refuse 78 "this errata knows no ranks: $SLURM_NTASKS tasks would each do the whole job. Ask for --ntasks=1"
    fi
    local device=cuda bind=(--gpu-bind=none)
    if [ "${SLURM_GPUS_ON_NODE:-0}" = 0 ]; then
        device=cpu bind=()
    fi
    if ! job_has --device && errata_knows --device; then
        job+=(--device "$device")
    fi
    add_threads
    run_step "${bind[@]}"
}
