#!/usr/bin/env bash
# Build the shards of a corpus as an array job: each element does its share, and when all are done a job that depends on them merges. From the
# repository's root; arguments are those of `data_pipeline build`, without --task and --tasks:
#
#     sbatch slurm/build_shards.sh cc3m --raw corpora/cc3m --out data/shards
#     sbatch --array=0-63 --cpus-per-task=8 slurm/build_shards.sh cc12m --raw corpora/cc12m --out data/shards
#     sbatch slurm/build_shards.sh opus --raw corpora/opus --out data/shards --tokenizer data/tokenizer
#
# --workers is the number of cores that Slurm gives an element (--cpus-per-task), unless it is among the arguments. An element that is killed, or
# loses its node, is requeued and does only what is missing. Shards do not depend on the number of elements, so a second, smaller array
# may do what is left of a first. Corpora are independent of each other: submit all five at once.
#SBATCH --job-name=build_shards
#SBATCH --array=0-15
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --mem-per-cpu=2G
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@60
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm/logs/%x-%A_%a.log
if [[ ! -f slurm/lib.sh ]]; then
    echo "error: $PWD is not the root of the repository; submit there, or with sbatch --chdir=ROOT" >&2
    exit 2
fi
source slurm/lib.sh
(($#)) || fail 'name a corpus and its folders: sbatch slurm/build_shards.sh CORPUS --raw DIR --out DIR'

for argument; do
    case $argument in
        --task | --task=* | --tasks | --tasks=*) fail "$argument comes from the array: sbatch --array=0-63 …" ;;
    esac
done
corpus=$1 out=$(option --out "$@") scratch=$(option --scratch "$@")
[[ $corpus != -* ]] || fail "the corpus comes first, before $corpus"
[[ -n $out ]] || fail '--out is missing'

if [[ $1 == finish ]]; then
    run_attempt data_pipeline "$@"
    end_attempt
fi

[[ -n ${SLURM_ARRAY_JOB_ID:-} ]] || fail 'this is no array job; submit it with sbatch --array=0-15 …'
elements=$((SLURM_ARRAY_TASK_MAX - SLURM_ARRAY_TASK_MIN + 1))
((SLURM_ARRAY_TASK_COUNT == elements)) ||
    fail "the array has gaps ($SLURM_ARRAY_TASK_COUNT elements from $SLURM_ARRAY_TASK_MIN to $SLURM_ARRAY_TASK_MAX), whose shares nobody would build; submit it" \
        'as --array=FIRST-LAST (what is built is kept)'
if ((elements > 1 && SLURM_ARRAY_TASK_ID == SLURM_ARRAY_TASK_MIN)); then
    # (One element alone merges by itself.) Once, also when this element is requeued. The merge takes its place in the queue now, and starts when
    # every element has succeeded. It is charged as this job is, and may take as long.
    merge=finish-$SLURM_ARRAY_JOB_ID
    options=(--job-name="$merge" --dependency="afterok:$SLURM_ARRAY_JOB_ID" --kill-on-invalid-dep=yes --array=0 --cpus-per-task=1)
    options+=(--output="$(dirname "$log")/%x.log" --partition="$SLURM_JOB_PARTITION" --time="$(job_field TimeLimit)")
    for field in Account QOS; do
        value=$(job_field "$field")
        [[ -z $value || $value == '(null)' || $value == N/A ]] || options+=("--${field,,}=$value")
    done
    if [[ -z $(squeue --noheader --name="$merge" --format=%i) ]]; then
        # Of this corpus alone: the array of another one may still build, and has a merge of its own.
        finish=(slurm/build_shards.sh finish --out "$out" --corpus "$corpus" ${scratch:+--scratch "$scratch"})
        sbatch "${options[@]}" "${finish[@]}" ||
            say "the merge could not be submitted from here; when all are done: sbatch --array=0$(printf ' %q' "${finish[@]}")"
    fi
fi

# Units that are done, by all elements (where data_pipeline/job.py keeps them): as long as there are more, nobody is stopped in vain. A failure
# is an element's own, whatever the others have done.
[[ $out != *://* ]] || scratch=${scratch:-${TMPDIR:-/tmp}/ernie-unix2-$UID}
done_units() {
    local places=("$out/.build")
    [[ -z $scratch ]] || places=("$scratch"/build-*)
    find "${places[@]/%//$corpus}" -mindepth 2 -maxdepth 2 -not -name '.*' 2>/dev/null | wc -l
}
before=$(done_units)
run_attempt data_pipeline build --workers "$SRUN_CPUS_PER_TASK" "$@" \
    --task $((SLURM_ARRAY_TASK_ID - SLURM_ARRAY_TASK_MIN)) --tasks "$elements"
[[ $code != 138 && $code != 143 ]] || end_attempt "$(done_units)" "$before"
end_attempt
