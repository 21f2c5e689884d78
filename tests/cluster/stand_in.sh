#!/usr/bin/env bash
# Stands in for errata where only the job scripts are looked at: ends as its second argument says. Takes errata's options and no notice
# of them, but for --out.
#
#   stand_in.sh edit HOW [--out DIR]
out=
for ((i = 1; i < $#; i++)); do
    [ "${!i}" != --out ] || { i=$((i + 1)) && out=${!i}; }
done
case ${2-} in
--help) echo "  --device NAME" ;;
interrupted) exit 75 ;;
failed) exit 70 ;;
until-*) # the first start waits for this signal of the scheduler's, as long as a time limit of two minutes lets it
    [ "${SLURM_RESTART_COUNT:-0}" = 0 ] || exit 0
    signal=${2#until-}
    # shellcheck disable=SC2064 # which signal is known now
    trap "echo got $signal; exit 75" "$signal"
    echo waiting
    for _ in {1..600}; do sleep 0.2; done
    exit 70
    ;;
written) # the output appears, and the node is lost before the job ends
    [ ! -e "$out" ] || exit 73
    mkdir "$out" && echo '{}' >"$out/errata-manifest.json"
    echo written
    for _ in {1..600}; do sleep 0.2; done
    ;;
*) exit 2 ;;
esac
