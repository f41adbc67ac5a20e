# Shared by the scripts of this folder, which source it from the repository's root: environment, network, and slurm/attempts.sh.
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

# One thread a process, unless the submitter says otherwise: results on a CPU depend on the number, and on a GPU node the loader's processes
# already fill the cores.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# From Slurm 22.05 on srun no longer takes this over from sbatch.
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}

attempt=$((${SLURM_RESTART_COUNT:-0} + 1)) # the first is 1; Slurm counts requeues
log=$(job_field StdOut)
log=${log%.*} # files of the job lie beside its log: LOG.attempt-N.log, LOG.failures
attempt_log=$log.attempt-$attempt.log

# The value of option $1 among the arguments behind it; nothing where it is not among them.
option() {
    local name=$1 value=
    while shift && (($#)); do
        case $1 in
            "$name") value=${2:-} ;;
            "$name="*) value=${1#*=} ;;
        esac
    done
    printf %s "$value"
}

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

source slurm/attempts.sh

if ! command -v data_pipeline >/dev/null; then
    missing="no data_pipeline in $venv/bin"
    ((attempt > 1)) || fail "$missing; run \`make setup\` first, or name the environment: VENV=DIR sbatch …"
    say "$missing as $(hostname) sees it; it was there when the job was submitted" # a file system that this node has lost
    code=1
    end_attempt
fi
