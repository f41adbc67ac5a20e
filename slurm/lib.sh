# Shared by the scripts of this folder, which source it from the repository's root: environment, network, attempts, requeueing.
set -uo pipefail

say() { printf '%s  %s\n' "$(date '+%F %T')" "$*"; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

[[ -n ${SLURM_JOB_ID:-} ]] || fail "this runs inside a Slurm job; submit it: sbatch $0 …"

# This job as scontrol wants it named. An element of an array has an id of its own, but that of the last is the id of the whole array: what is said
# to it is said to every element.
self=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
self=${self:-$SLURM_JOB_ID}

# What Slurm says of this job: `job_field JobState`.
job_field() { scontrol show job "$self" | sed -nE "s/^(.* )?$1=([^ ]*).*/\2/p" | head -n 1; }

# VENV: the environment with the project's commands; default .venv, as `make setup` makes it.
venv=${VENV:-.venv}
if [[ -d $venv/bin ]]; then
    PATH=$(realpath "$venv")/bin:$PATH
fi
export PATH
command -v data_pipeline >/dev/null || fail "no data_pipeline in $venv/bin; run \`make setup\` first, or name the environment: VENV=DIR sbatch …"

# One thread a process, unless the submitter says otherwise: results on a CPU depend on the number, and on a GPU node the loader's processes
# already fill the cores.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# From Slurm 22.05 on srun no longer takes this over from sbatch.
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}

attempt=$((${SLURM_RESTART_COUNT:-0} + 1)) # the first is 1; Slurm counts requeues
log=$(job_field StdOut)
log=${log%.*} # files of the job lie beside its log: LOG.attempt-N.log, LOG.failures
attempt_log=$log.attempt-$attempt.log

# Where the ranks meet: the first node, by the address that Slurm itself reaches it at, and a port that differs from job to job (below the range
# that the system hands out by itself) and that nothing listens on.
network() {
    local first
    first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    if [[ -z ${MASTER_ADDR:-} ]]; then
        MASTER_ADDR=$(scontrol show node "$first" | sed -nE 's/.*NodeAddr=([^ ]+).*/\1/p')
    fi
    if [[ -z ${MASTER_PORT:-} ]]; then
        MASTER_PORT=$((16000 + (SLURM_JOB_ID * 8 + attempt) % 16000))
        while (exec 3<>"/dev/tcp/$MASTER_ADDR/$MASTER_PORT") 2>/dev/null; do MASTER_PORT=$((MASTER_PORT + 1)); done
    fi
    export MASTER_ADDR MASTER_PORT
}

# What NCCL and PyTorch do when a node or the network goes wrong; each can be set otherwise by the submitter. $1: folder for flight records.
collectives() {
    # A collective that fails, or passes its time-out, ends its process; without it the other ranks would wait for ever. 3 does not abort the
    # communicator first, which may hang itself.
    export TORCH_NCCL_ASYNC_ERROR_HANDLING=${TORCH_NCCL_ASYNC_ERROR_HANDLING:-3}
    # That time-out, in minutes. Longer than the run's own watchdog, which speaks first and names the rank; this is for when it cannot.
    export DEEPSPEED_TIMEOUT=${DEEPSPEED_TIMEOUT:-30}
    # NCCL's own thread is stuck for so many seconds (a driver that hangs): end the process.
    export TORCH_NCCL_HEARTBEAT_TIMEOUT_SEC=${TORCH_NCCL_HEARTBEAT_TIMEOUT_SEC:-600}
    # Flight recorder: the last collectives of each rank, written to a file when one times out, and read with
    # `torchfrtrace`: who did not come. The ring holds about three steps of the paper's run.
    export TORCH_FR_BUFFER_SIZE=${TORCH_FR_BUFFER_SIZE:-2000}
    export TORCH_NCCL_DUMP_ON_TIMEOUT=${TORCH_NCCL_DUMP_ON_TIMEOUT:-1}
    export TORCH_FR_DUMP_TEMP_FILE=${TORCH_FR_DUMP_TEMP_FILE:-$1/attempt-$attempt.rank-}
    mkdir -p "$1"
    # Only what is wrong. Interfaces and InfiniBand are the site's: set NCCL_SOCKET_IFNAME, NCCL_IB_HCA … before sbatch, they are passed on.
    export NCCL_DEBUG=${NCCL_DEBUG:-WARN}
}

# Run a command on every task of the job; its output goes to the attempt's own file, each line with the number of its rank. Sets `code`.
run_attempt() {
    say "attempt $attempt of job $SLURM_JOB_ID, $SLURM_NTASKS tasks on $SLURM_JOB_NODELIST: $*"
    say "output: $attempt_log"
    # A rank that dies leaves the others a minute for their stacks and flight records; then they are ended, they cannot go on. In the background,
    # so that the trap below runs at once and not after srun. Every task sees all GPUs of its node.
    srun --label --kill-on-bad-exit=0 --wait=60 --gpu-bind=none --open-mode=append --output="$attempt_log" "$@" &
    local srun=$!
    while
        wait "$srun"
        code=$?
        kill -0 "$srun" 2>/dev/null
    do :; done # a signal ends `wait`, not srun
    # srun returns 0 when Slurm has ended it together with its tasks.
    if [[ $code == 0 && $(job_field JobState) != RUNNING ]]; then
        code=143
    fi
}

# What follows from the attempt's exit code. $1: a word that differs when the attempt has got further (the newest checkpoint), $2: its value
# before the attempt; without them nobody knows how far it got. Never returns.
end_attempt() {
    local failures=0 stops=0
    if [[ ${1:-} == "${2:-}" && -f $log.failures ]]; then
        read -r failures stops <"$log.failures"
    fi
    trap '' TERM # the ranks have ended: what is left takes a second, and nothing may come between
    [[ $code == 0 ]] || grep -E '^ *[0-9]+: ' "$attempt_log" | tail -n 12
    case $code in
        0)
            rm -f "$log.failures"
            say "attempt $attempt: done"
            exit 0
            ;;
        2)
            say "attempt $attempt: a mistake in what was asked (above); mend it and submit again"
            exit 2
            ;;
        130)
            say "attempt $attempt: stopped by SIGINT; not requeued, submit again to continue"
            exit 130
            ;;
        138 | 143) # SIGUSR1, SIGTERM: preempted, or out of time
            say "attempt $attempt: stopped by Slurm (exit code $code)"
            if (($# == 0)); then
                failures=0 # it may have got far
            elif [[ $1 == "$2" ]] && ((++stops >= ${MAX_STOPS:-5})); then
                say "giving up: stopped $stops times without a new checkpoint; no step fits into the time limit (--time is to hold the start, a step" \
                    "and what --signal is ahead) or between two preemptions. Submitted again, the job continues where it is"
                rm -f "$log.failures"
                [[ -z $requeued ]] || scancel "$self"
                exit "$code"
            fi
            ;;
        *)
            failures=$((failures + 1))
            say "attempt $attempt: failed with exit code $code; failure $failures without progress"
            if ((failures >= ${MAX_FAILURES:-3})); then
                say "giving up; the reason is in $attempt_log. Submitted again, the job continues where it is"
                rm -f "$log.failures"
                exit "$code"
            fi
            ;;
    esac
    echo "$failures $stops" >"$log.failures"
    requeue
}

# Put this job back into the queue, without the nodes $1 if given (a,b,c). Never returns.
requeue() {
    local without=${1:-}
    # Once it has been cancelled, or requeued (by Slurm: a dead node, a preemption without grace; by on_sigterm), a job is COMPLETING: requeueing it
    # now would undo the one and double the other. At its time limit it is COMPLETING as well.
    if [[ -n $requeued || ($(job_field JobState) != RUNNING && $(job_field Reason) != TimeLimit) ]]; then
        say "ended by Slurm (cancelled, or requeued already): nothing more is done"
        exit "${code:-1}"
    fi
    trap '' TERM # the requeue ends this script, which still has something to say
    if [[ -z $without ]]; then
        scontrol requeue "$self" && say "requeued" && exit "${code:-1}"
    else
        without=$(job_field ExcNodeList | sed 's/(null)//'),$without
        # Only a waiting job can be told to avoid a node: so it waits, is told, and is let go.
        scontrol requeuehold "$self" && scontrol update JobId="$self" ExcNodeList="${without#,}" &&
            scontrol release "$self" && say "requeued without ${without#,}" && exit "${code:-1}"
    fi
    say "could not be requeued (sbatch --no-requeue?); submit again to continue${without:+, with --exclude=${without#,}}"
    exit "${code:-1}"
}

# Slurm sends SIGTERM to this shell too. It must not end it before the ranks have written their checkpoint. When the time limit has come without
# that (ranks that hang, a checkpoint that takes longer than --signal is ahead), Slurm will end the job for good, in KillWait seconds.
requeued=
on_sigterm() {
    if [[ -z $requeued && $(job_field Reason) == TimeLimit ]] && scontrol requeue "$self"; then
        requeued=yes
        say "attempt $attempt: its time was over before the ranks had stopped; requeued, to go on at the last checkpoint"
    fi
}
trap on_sigterm TERM
