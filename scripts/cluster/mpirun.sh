#!/usr/bin/env bash
# errata's ranks with OpenMPI's mpirun and a list of machines, where there is no scheduler.
#
#   scripts/cluster/mpirun.sh HOSTFILE COMMAND...
#   scripts/cluster/mpirun.sh scripts/cluster/hostfile edit --model DIR --facts FILE --out DIR --cache DIR
#
# Needs: a login without password from here to every machine, and model, facts, output, cache and errata under the same paths on
# all. One rank per slot of the hostfile; ERRATA names the program, MPIRUN_OPTIONS further options of mpirun (words).
# Exits as errata does: 75 was interrupted (SIGTERM, SIGUSR1), and the same call goes on.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: mpirun.sh HOSTFILE COMMAND..." >&2; exit 2; }
hostfile=$1
shift
[ -r "$hostfile" ] || { echo "mpirun.sh: $hostfile cannot be read" >&2; exit 66; }
errata=$(command -v "${ERRATA:-errata}") || { echo "mpirun.sh: there is no program ${ERRATA:-errata}" >&2; exit 66; }
errata=$(realpath "$errata")
ranks=$(sed 's/#.*//' "$hostfile" | awk 'NF { n = 1; for (i = 2; i <= NF; i++) if (sub(/^slots=/, "", $i)) n = $i; sum += n } END { print sum + 0 }')
[ "$ranks" -gt 0 ] || { echo "mpirun.sh: $hostfile names no machine" >&2; exit 65; }
if [ "$ranks" -gt 1 ] && ! "$errata" "$1" --help | grep -- --devices >/dev/null; then
    echo "mpirun.sh: this errata knows no ranks: $ranks of them would each do the whole job" >&2
    exit 78
fi
read -r -a options <<<"${MPIRUN_OPTIONS-}"
# Unbound: OpenMPI would bind a rank to one core, and errata has threads.
exec mpirun --hostfile "$hostfile" -np "$ranks" --bind-to none "${options[@]}" "$errata" "$@"
