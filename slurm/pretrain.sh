#!/usr/bin/env bash
# Pre-train on a Slurm cluster: the paper's run, 4 nodes with 8 GPUs each. From the repository's root:
#
#     sbatch slurm/pretrain.sh                                         # configs/paper.yaml
#     sbatch slurm/pretrain.sh --config configs/paper.yaml steps=20    # arguments are those of pretrain/run.py
#     sbatch --nodes=2 --partition=gpu --time=8:00:00 slurm/pretrain.sh out=runs/half
#     sbatch --nodes=2 --ntasks-per-node=1 --gpus-per-node=0 --cpus-per-task=1 slurm/pretrain.sh --config configs/sample.yaml     # CPUs
#
# Options of sbatch replace the #SBATCH lines below. Environment (sbatch passes it on): VENV, MAX_FAILURES, MAX_STOPS, MAX_UNFIT, MASTER_ADDR, MASTER_PORT, what
# slurm/lib.sh sets for NCCL, and HEALTHCHECK (options of slurm/healthcheck.sh; `off` leaves the check out).
#
# One Slurm task per GPU, not one per node with the deepspeed launcher: all that launcher does on a node is to start a process per GPU and set
# RANK, LOCAL_RANK and WORLD_SIZE, and Slurm does that itself. It then also delivers its signals to every rank (the launcher dies of SIGTERM and
# leaves its ranks behind), ends every rank, counts and binds its cores, and names the node of one that died. A task sees all GPUs of its node, as
# NCCL needs for NVLink, and takes the one of its local rank.
#
# Slurm's signal comes ahead of the time limit and of a preemption: the ranks finish their step, write a checkpoint and exit; this script then
# requeues the job, which continues by itself. Everything about one attempt is in LOG.attempt-N.log, all attempts in a line or two each in LOG.
#SBATCH --job-name=pretrain
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=6
#SBATCH --mem=0
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm/logs/%x-%j.log
if [[ ! -f slurm/lib.sh ]]; then
    echo "error: $PWD is not the root of the repository; submit there, or with sbatch --chdir=ROOT" >&2
    exit 2
fi
source slurm/lib.sh

# A mistake in the configuration is told before any node is checked; `out` is needed below.
settings=$(python pretrain/run.py --print-config "$@")
code=$?
((code != 2)) || exit 2
((code == 0)) || end_attempt # no mistake: an import that fails on a sick node
out=$(python -c 'import sys, yaml; print(yaml.safe_load(sys.stdin)["out"])' <<<"$settings")
code=$?
((code == 0)) || end_attempt
newest() { find "$out/checkpoints" -maxdepth 1 -name 'step-*' 2>/dev/null | sort -V | tail -n 1; }

network
flight=$out/flight
[[ " $* " != *" --dry-run "* ]] || flight=$(mktemp -d) # which writes nothing to `out`
collectives "$flight"
before=$(newest)
if [[ ${HEALTHCHECK:-} != off ]]; then
    bash slurm/healthcheck.sh --folder "$out" ${HEALTHCHECK:-} | tee "$attempt_log"
    code=${PIPESTATUS[0]}
    bad=$(sed -nE 's/^bad node ([^:]+):.*/\1/p' "$attempt_log" | sort -u | paste -sd, -)
    [[ $code == 2 || -z $bad ]] || exclude "$bad"
    ((code == 0)) || end_attempt "$before" "$before"
fi
run_attempt python pretrain/run.py "$@"
end_attempt "$(newest)" "$before"
