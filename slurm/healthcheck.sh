#!/usr/bin/env bash
# Check the nodes of a job: GPUs (number, ECC and Xid errors), disks, clocks, and the bandwidth of an all-reduce. slurm/pretrain.sh does this before
# every attempt. By itself, on whatever nodes sbatch is asked for:
#
#     sbatch --nodes=4 slurm/healthcheck.sh                     # the nodes that Slurm chooses
#     sbatch --nodelist=a[01-16] --nodes=16 slurm/healthcheck.sh
#
# Arguments are those of `python -m pretrain.health` (its --help has them). Prints a line per check and node, and `bad node NAME: reason` for each that
# is unfit. What is bad on every one of several nodes is none of theirs: it is told in lines `error: …`, with exit code 2. Exit code 0: all fit; any
# other: some are not, or, without such a line, the check could not be made. Without nvidia-smi it checks the rest and says so.
#SBATCH --job-name=healthcheck
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=2
#SBATCH --time=00:10:00
#SBATCH --output=slurm/logs/%x-%j.log
if [[ ! -f slurm/lib.sh ]]; then
    echo "error: $PWD is not the root of the repository; submit there, or with sbatch --chdir=ROOT" >&2
    exit 2
fi
source slurm/lib.sh
network

# A node that hangs (a dead disk, a driver) is named by the others within --timeout; then this ends what hangs.
nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | paste -sd, -)
srun --kill-on-bad-exit=0 --wait=10 --gpu-bind=none timeout --kill-after=10 "${HEALTH_SECONDS:-240}" python -m pretrain.health --nodes "$nodes" "$@"
