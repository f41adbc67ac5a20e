"""Checks of the nodes of a job before it trains: `srun python -m pretrain.health` (slurm/healthcheck.sh)."""
