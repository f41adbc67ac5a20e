"""A run whose checkpoint was made before pictures were taken out of its shards (`data_pipeline remove`)."""

from __future__ import annotations

from pathlib import Path

from pretrain.config import Config
from shards.errors import UserError
from shards.schema import read_manifest
from shards.storage import location


def check_same_shards(config: Config, saved: dict[str, str], present: dict[str, str], checkpoint: Path) -> str | None:
    """Compare the manifests (stream -> sha256) of a checkpoint with those that are there now.

    After a take-down the old shards must not come back, but the samples that are left stand at other places of the order: with
    `data.accept_removals` that is only worth a warning, which is returned. Raises UserError without, and for any other change.
    """
    changed = sorted(name for name in saved.keys() | present.keys() if saved.get(name) != present.get(name))
    removals = [read_manifest(location(config.data.shards) / name).removed if name in saved and name in present else [] for name in changed]
    if not all(removals):
        other = next(name for name, removed in zip(changed, removals, strict=True) if not removed)
        raise UserError(
            f'{checkpoint} was trained on other shards: {other} has changed in {config.data.shards}, so its samples would be lost '
            'or repeated; restore those shards, or choose another `out`'
        )
    if not changed:
        return None
    taken = ', '.join(
        f'{sum(int(removal["pictures"]) for removal in removed)} pictures from {name} (last on {removed[-1]["date"]})'
        for name, removed in zip(changed, removals, strict=True)
    )
    told = (
        f'{checkpoint} was trained before a take-down of {taken}: what is left stands in another order, '
        'so that some of this epoch come twice or not at all'
    )
    if not config.data.accept_removals:
        raise UserError(f'{told}; set data.accept_removals=true to go on all the same, or choose another `out`')
    return told
