"""Which folder holds a model, told without torch: a mistake in its name is said before anything that takes seconds is imported."""

from __future__ import annotations

from pathlib import Path

from shards.errors import UserError

CONFIG = 'config.json'  # of an export
CHECKPOINTS = 'checkpoints'  # folder of a run
BEST = 'best'  # folder of a fine-tuning's run: the export of its best checkpoint


def model_folder(folder: Path) -> Path:
    """Where the model of a folder is: the export, that of a fine-tuning's best, or the folder of a run's checkpoints.

    Raises UserError when the folder is neither a run nor an export.
    """
    for export in (folder, folder / BEST):
        if (export / CONFIG).is_file():
            return export
    if (folder / CHECKPOINTS).is_dir():
        return folder / CHECKPOINTS
    remedy = '`pretrain export RUN --out DIR` makes one'
    raise UserError(f'{folder} is neither a run (it has no {CHECKPOINTS}/) nor an export (it has no {CONFIG}); {remedy}')
