#!/usr/bin/env bash
# The job scripts on a real slurm of one node: pre-emption, requeue, arrays, chains, ranks. Left out (77) where slurm is not
# installed (scripts/install.sh cluster) or this is not root.
# usage: test_slurm.sh ERRATA_BINARY SOURCE_ROOT
# shellcheck disable=SC2317,SC2015 # functions called through within(); fail() after && is meant for both
set -uo pipefail
errata=$(realpath "$1")
root=$(realpath "$2")
if [ -z "${SLURM_TEST_DIR-}" ]; then
    if grep -q __asan_init "$errata"; then # the scripts are the same, and every wait would be longer
        echo "skipped: a build with sanitizers"
        exit 77
    fi
    exec bash "$root/tests/cluster/one_node_slurm.sh" bash "$root/tests/cluster/test_slurm.sh" "$errata" "$root"
fi
cd "$SLURM_TEST_DIR" || exit 1
world=$root/examples/world scripts=$root/scripts/slurm stand_in=$root/tests/cluster/stand_in.sh
export ERRATA=$errata ERRATA_JOB_SH=$scripts/job.sh HOME=$SLURM_TEST_DIR OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1
unset XDG_CACHE_HOME
no_gpu=(--gpus-per-node=0 --cpus-per-task=1) # the scripts ask for GPUs, and here processors do the work
job=(--threads 1 --device cpu --deterministic)
failed=0
fail() {
    echo "FAILED: $*"
    failed=$((failed + 1))
}
bits() { sha256sum <"$1/model.safetensors" 2>/dev/null; }
same_bits() { [ -n "$(bits "$1")" ] && [ "$(bits "$1")" = "$(bits "$2")" ]; }
field() { # JOB FIELD: of scontrol's account of the job
    scontrol -o show job "$1" 2>/dev/null | tr ' ' '\n' | sed -n "s/^$2=//p" | head -n 1
}
within() { # SECONDS COMMAND...
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $until ] || return 1
        sleep 0.1
    done
}
has_ended() {
    case $(field "$1" JobState) in PENDING | RUNNING | COMPLETING | CONFIGURING | REQUEUED | '') return 1 ;; esac
}
# Until the job has ended, for good or ill; then its state and exit code have to be these.
ends() { # JOB SECONDS STATE CODE LOG
    within "$2" has_ended "$1"
    local state code
    state=$(field "$1" JobState) code=$(field "$1" ExitCode)
    [ "$state $code" = "$3 $4:0" ] || fail "job $1: $state $code, not $3 $4:0: $(cat "$5")"
}
submit() { sbatch --parsable "$@" || fail "sbatch $*"; }

# ---- every script is taken as it stands; the one for four nodes with fewer ----
for script in "$scripts"/*.sbatch; do
    nodes=()
    [ "$(basename "$script")" != several_nodes.sbatch ] || nodes=(--nodes=1)
    sbatch --test-only "${nodes[@]}" "$script" >test-only.log 2>&1 || fail "sbatch --test-only $script: $(cat test-only.log)"
done

# ---- what needs no errata runs beside what does ----
# The scheduler's own USR1: the script asks for it 120 s ahead, so a limit of two minutes brings it as soon as slurm looks.
limit=$(ERRATA=$stand_in submit "${no_gpu[@]}" --time=2 "$scripts/preemptible.sbatch" edit until-USR1)
sed 's/^max_requeues=.*/max_requeues=1/' "$scripts/one_node.sbatch" >once.sbatch
once=$(ERRATA=$stand_in submit "${no_gpu[@]}" once.sbatch edit interrupted)
refused=$(ERRATA=$stand_in submit "${no_gpu[@]}" "$scripts/one_node.sbatch" edit failed)
lost=$(ERRATA=$stand_in submit "${no_gpu[@]}" "$scripts/one_node.sbatch" edit written --out appeared)
missing=$(submit "${no_gpu[@]}" "$scripts/one_node.sbatch" edit --model nowhere --facts none --out none)

# ---- pre-emption: USR1 in mid-job, 75, requeued, the bits of an unbroken run ----
"$errata" cov --model "$world" --sample --cache text --threads 2 --device cpu --quiet >/dev/null || fail "cov: exit $?"
cp -r text cache
# Few tokens a step: the values are found one after another, and there is a middle.
edit=(edit --model "$world" --facts "$world/facts_80.jsonl" --limit 16 --batch-tokens 256)
"$errata" "${edit[@]}" --out unbroken --cache text "${job[@]}" --quiet >unbroken.log 2>&1 &
unbroken=$!
id=$(submit "${no_gpu[@]}" "$scripts/preemptible.sbatch" "${edit[@]}" --out broken --cache cache "${job[@]}")
log=errata-preemptible-$id.log
some_values() { [ -n "$(find cache -name 'values-*' -size +2k)" ]; }
within 120 some_values || fail "no values within 120 s: $(cat "$log")"
scancel --signal=USR1 "$id" # to the steps and not to the batch shell, as --signal=USR1@120 does
ends "$id" 100 COMPLETED 0 "$log"
wait "$unbroken" || fail "the unbroken run: $(cat unbroken.log)"
[ "$(field "$id" Restarts)" = 1 ] || fail "pre-emption: $(field "$id" Restarts) restarts"
grep -q 'interrupted in values' "$log" || fail "pre-emption: not in mid-values: $(cat "$log")"
grep -q 'Exited with exit code 75' "$log" || fail "pre-emption: not 75: $(cat "$log")"
grep -q 'interrupted; requeue 1 of at most 200' "$log" || fail "pre-emption: not requeued: $(cat "$log")"
grep -Eq 'values .*\([1-9][0-9]* from the cache\)' "$log" || fail "pre-emption: began anew: $(cat "$log")"
same_bits broken unbroken || fail "pre-emption: other bits"

# ---- an array over two models, and a third task whose line is missing ----
short=(--facts "$world/facts_80.jsonl" --limit 4 --steps 3 --cache text "${job[@]}")
cp -r "$world" first && cp -r "$world" second
printf '%s\n' 'first first-out' 'second second-out' >models.txt
"$errata" edit --model "$world" "${short[@]}" --out plain --quiet >plain.log 2>&1 || fail "plain: $(cat plain.log)"
array=$(submit "${no_gpu[@]}" --array=1-3 "$scripts/array.sbatch" edit --model '{model}' --out '{out}' "${short[@]}")

# ---- a chain of two, each on the output of the one before; given again with a link that breaks, and one behind it ----
head -n 2 "$world/facts_80.jsonl" >2026-11-01.jsonl
sed -n 3,4p "$world/facts_80.jsonl" >2026-11-08.jsonl
echo '{"subject": "nobody"}' >2026-11-15.jsonl
sed -n 5,6p "$world/facts_80.jsonl" >2026-11-22.jsonl
options=(--steps 3 --covariance-tokens 1800 --cache text "${job[@]}")
chain() { # FACTS...
    "$scripts/chain.sh" "$scripts/one_node.sbatch" "$world" edits "$@" \
        -- edit --model '{model}' --facts '{facts}' --out '{out}' "${options[@]}"
}
chain 2026-11-01.jsonl nowhere.jsonl >refused.log 2>&1
[ $? -eq 66 ] && [ ! -e edits ] || fail "chain: a missing file: $(cat refused.log)"
chain 2026-11-01.jsonl 2026-11-08.jsonl >links || fail "chain: exit $?"
while read -r id facts out; do
    ends "$id" 120 COMPLETED 0 "errata-$id.log"
    [ "$out" = "edits/${facts%.jsonl}" ] || fail "chain: $facts goes to $out"
done <links
model=$world
for link in 2026-11-01 2026-11-08; do
    "$errata" edit --model "$model" --facts "$link.jsonl" --out "by-hand-$link" "${options[@]}" --quiet >by-hand.log 2>&1 ||
        fail "by hand: $(cat by-hand.log)"
    model=by-hand-$link
    same_bits "edits/$link" "$model" || fail "chain: $link has other bits than the same by hand"
done
chain 2026-11-01.jsonl 2026-11-08.jsonl 2026-11-15.jsonl 2026-11-22.jsonl >links || fail "chain again: exit $?"
[ "$(cut -d' ' -f1 links | head -n 2 | sort -u)" = - ] || fail "chain again: what is there is done again: $(cat links)"
broken=$(sed -n 3p links | cut -d' ' -f1) behind=$(sed -n 4p links | cut -d' ' -f1)
ends "$broken" 120 FAILED 65 "errata-$broken.log"
within 30 has_ended "$behind"
[ "$(field "$behind" JobState)" = CANCELLED ] || fail "behind a broken link: $(field "$behind" JobState)"

# ---- ranks: two tasks give what one gives, but for rounding ----
close() { # OUT: from `plain`, by errata diff
    local largest
    largest=$("$errata" diff plain "$1" --json --quiet | tr ',' '\n' | awk -F: '/"relative"/ && $2 > m { m = $2 } END { print m + 0 }')
    awk -v x="${largest:-1}" 'BEGIN { exit !(x <= 1e-6) }' && [ -e "$1/errata-manifest.json" ]
}
two=("$scripts/several_nodes.sbatch" edit --model "$world" "${short[@]}")
tasks=(--nodes=1 --ntasks-per-node=2 --gpus-per-task=0 --cpus-per-task=1)
if "$errata" edit --help | grep -- '--devices' >/dev/null; then
    "$errata" edit --model "$world" "${short[@]}" --devices cpu,cpu --out forked --quiet >forked.log 2>&1 || fail "forked: $(cat forked.log)"
    close forked || fail "--devices cpu,cpu: another edit"
    if [ -n "$(find "$(dirname "$errata")" -name '*mpi*.so*')" ]; then
        id=$(submit "${tasks[@]}" "${two[@]}" --out ranks) # Debian's OpenMPI joins under pmix, not under pmi2
        ends "$id" 120 COMPLETED 0 "errata-$id.log"
        close ranks || fail "two tasks: another edit: $(cat "errata-$id.log")"
    else
        echo "left out: srun with two tasks (this errata has no MPI module)"
    fi
else
    id=$(submit "${tasks[@]}" "${two[@]}" --out ranks)
    ends "$id" 120 FAILED 78 "errata-$id.log" # and not the whole job twice
    echo "left out: two tasks (this errata has no --devices)"
fi

# ---- what was begun above ----
for task in 1 2; do
    ends "${array}_$task" 120 COMPLETED 0 "errata-array-${array}_$task.log"
done
ends "${array}_3" 120 FAILED 65 "errata-array-${array}_3.log"
same_bits first-out plain && same_bits second-out plain || fail "array: other bits"
ends "$once" 120 FAILED 75 "errata-$once.log"
[ "$(field "$once" Restarts)" = 1 ] || fail "max_requeues: $(field "$once" Restarts) restarts"
grep -q 'requeued 1 times already' "errata-$once.log" || fail "max_requeues: $(cat "errata-$once.log")"
ends "$refused" 120 FAILED 70 "errata-$refused.log"
[ "$(field "$refused" Restarts)" = 0 ] || fail "a refusal was requeued"
ends "$missing" 120 FAILED 66 "errata-$missing.log"
within 30 grep -qs written "errata-$lost.log" && scontrol requeue "$lost"
ends "$lost" 120 COMPLETED 0 "errata-$lost.log"
grep -q 'written by an earlier start' "errata-$lost.log" || fail "a lost node: $(cat "errata-$lost.log")"
ends "$limit" 120 COMPLETED 0 "errata-preemptible-$limit.log"
grep -q 'got USR1' "errata-preemptible-$limit.log" || fail "the time limit's signal: $(cat "errata-preemptible-$limit.log")"

# ---- a job of another queue takes the node: SIGTERM, 75, and back into the queue ----
id=$(ERRATA=$stand_in submit --gpus-per-node=8 "$scripts/preemptible.sbatch" edit until-TERM --device cpu)
log=errata-preemptible-$id.log
within 30 grep -qs waiting "$log" || fail "does not start: $(cat "$log")"
urgent=$(submit --partition=urgent --gpus-per-node=8 --output=urgent.log --wrap 'sleep 1')
ends "$urgent" 60 COMPLETED 0 urgent.log
ends "$id" 60 COMPLETED 0 "$log"
grep -q 'got TERM' "$log" || fail "pre-emption by another queue: $(cat "$log")"
[ "$(field "$id" Restarts)" = 1 ] || fail "pre-emption by another queue: $(field "$id" Restarts) restarts"

left=$(find . \( -name '*partial*' -o -name '*.tmp*' \))
[ -z "$left" ] || fail "left behind: $left"
[ "$failed" -eq 0 ] && echo "all as it should be"
exit $((failed > 0))
