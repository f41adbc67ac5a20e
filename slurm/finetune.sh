#!/usr/bin/env bash
# Fine-tune or evaluate on a downstream task: runs whatever `downstream` command it is given, on one GPU. From the repository's root:
#
#     sbatch slurm/finetune.sh multi30k-retrieval evaluate --model runs/paper --data multi30k
#     sbatch --dependency=afterok:JOB slurm/finetune.sh …      # behind a pre-training
#     for language in de fr cs; do sbatch slurm/finetune.sh …; done
#     sbatch --gpus-per-node=8 slurm/finetune.sh xvnli finetune --model runs/paper --data xvnli --out runs/xvnli
#
# `downstream --help` lists what there is. Fine-tuning takes all GPUs of its node.
#
# Stopped by Slurm or with its node lost it is requeued, and the same command runs again: a fine-tuning continues, an evaluation starts over.
#SBATCH --job-name=finetune
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=6
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm/logs/%x-%j.log
if [[ ! -f slurm/lib.sh ]]; then
    echo "error: $PWD is not the root of the repository; submit there, or with sbatch --chdir=ROOT" >&2
    exit 2
fi
source slurm/lib.sh
(($#)) || fail 'name a task and what to do: sbatch slurm/finetune.sh TASK evaluate|finetune --model DIR --data DIR'

# The newest checkpoint of a fine-tuning. An evaluation has none: it starts over, so often as stops without progress are allowed.
folder=$(option --out "$@")
folder=${folder:-$(option --model "$@")/downstream/$1}
newest() { find "$folder" -maxdepth 4 -path '*/checkpoints/step-*' -prune -printf '%T@ %p\n' 2>/dev/null | sort -n | tail -n 1; }

network
before=$(newest)
run_attempt downstream "$@"
end_attempt "$(newest)" "$before"
