#!/usr/bin/env bash
# A slurm of one node, for as long as one command runs: munged, slurmctld and slurmd with keys, sockets, ports, state and logs of
# their own in a temporary folder. Needs root, no systemd, and nothing of a slurm that the machine may already have.
#
#   tests/cluster/one_node_slurm.sh [--install] COMMAND [ARGUMENT...]
#
# COMMAND finds sbatch, srun, squeue and the rest set up (SLURM_CONF), an empty folder to work in ($SLURM_TEST_DIR), and a node that
# says it has 64 processors and 8 GPUs: both are only counted, so that job scripts written for such nodes can be submitted as they are.
# Jobs of the partition `urgent` take their place from those of `test`, the default, which get SIGTERM and 8 seconds.
# --install fetches the packages (group `cluster` of scripts/packages.txt). Exits with COMMAND's status, with 77 when slurm is not
# installed or cannot run here, and with 1 when it does not come up.
# shellcheck disable=SC2317 # what the trap calls is reached
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)

if [ "${1-}" = --install ]; then
    shift
    "$root/scripts/install.sh" cluster
fi
[ $# -gt 0 ] || { echo "usage: $0 [--install] COMMAND [ARGUMENT...]" >&2; exit 2; }
PATH=$PATH:/usr/sbin:/sbin
for program in munged slurmctld slurmd sbatch srun scontrol; do
    command -v "$program" >/dev/null || { echo "skipped: no $program (scripts/install.sh cluster)" >&2; exit 77; }
done
[ "$(id -u)" -eq 0 ] || { echo "skipped: a slurm of one's own needs root" >&2; exit 77; }

work=$(mktemp -d /tmp/errata-slurm.XXXXXX)
export SLURM_CONF=$work/slurm.conf SLURM_TEST_DIR=$work/test
unset "${!SLURM_JOB@}" "${!SBATCH_@}" "${!SRUN_@}"
daemons=()
command_pid=

# Processes of this slurm: its daemons and all they started inherited SLURM_CONF from here. Never this shell.
ours() {
    grep -lzxF "SLURM_CONF=$SLURM_CONF" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3 | grep -vx "$$" || true
}
take_down() {
    trap '' INT TERM HUP
    [ -z "$command_pid" ] || kill "$command_pid" 2>/dev/null || true
    # Jobs first, by the book; then the daemons; then, by force, whatever is left.
    if [ ${#daemons[@]} -eq 3 ]; then
        timeout 5 scancel --user=root 2>/dev/null || true
        for _ in {1..25}; do
            [ -n "$(timeout 5 squeue -h 2>/dev/null)" ] || break
            sleep 0.2
        done
    fi
    [ ${#daemons[@]} -eq 0 ] || kill "${daemons[@]}" 2>/dev/null || true
    for _ in {1..30}; do
        [ -n "$(ours)" ] || break
        sleep 0.1
    done
    # shellcheck disable=SC2046 # one word per process
    kill -9 $(ours) 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap take_down EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

die() {
    echo "one_node_slurm: $*" >&2
    tail -n 20 "$work"/*.log >&2 || true
    exit 1
}
wait_for() { # SECONDS WHAT COMMAND...
    local until=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ $SECONDS -lt $until ] || die "$what does not come up"
        sleep 0.1
    done
}
free_port() {
    local port
    while port=$((20000 + RANDOM % 10000)); (: >"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
    echo "$port"
}
node_is_idle() { [ "$(timeout 5 sinfo -h -p test -o %T 2>/dev/null)" = idle ]; }

chmod 755 "$work"
mkdir "$work/state" "$work/spool" "$SLURM_TEST_DIR"
(umask 077; head -c 128 /dev/urandom >"$work/munge.key")
host=$(hostname -s)

# cred_expire is also how long a requeued job waits before it starts again (120 s where nobody sets it).
# config_overrides: the node has what this file says, whatever the machine has.
cat >"$SLURM_CONF" <<CONF
ClusterName=errata
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge.socket,cred_expire=5
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1
PriorityType=priority/basic
JobAcctGatherType=jobacct_gather/none
KillWait=5
MaxArraySize=101
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=64 RealMemory=1000000 Gres=gpu:8 State=UNKNOWN
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
PartitionName=test Nodes=$host Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=8
PartitionName=urgent Nodes=$host MaxTime=INFINITE State=UP PriorityTier=2
CONF
touch "$work"/gpu{0..7}
echo "Name=gpu File=$work/gpu[0-7]" >"$work/gres.conf"

munged --foreground --force --key-file="$work/munge.key" --socket="$work/munge.socket" --pid-file="$work/munged.pid" \
    --log-file="$work/munged.log" --seed-file="$work/munged.seed" >/dev/null 2>&1 &
daemons+=($!)
wait_for 10 munged test -S "$work/munge.socket"
slurmctld -D -i -f "$SLURM_CONF" >"$work/slurmctld.out.log" 2>&1 &
daemons+=($!)
slurmd -D -f "$SLURM_CONF" >"$work/slurmd.out.log" 2>&1 &
daemons+=($!)
wait_for 30 "the node" node_is_idle

# In the background, so that a signal to this script takes everything down at once; with this script's input all the same.
cd "$SLURM_TEST_DIR"
exec 3<&0
"$@" <&3 &
command_pid=$!
status=0
wait "$command_pid" || status=$?
command_pid=
exit "$status"
