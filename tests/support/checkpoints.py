"""A checkpoint, at once."""

from __future__ import annotations

from pathlib import Path

from pretrain.config import Config
from pretrain.engine.saver import Saver
from pretrain.engine.zero import Engine


def save_checkpoint(engine: Engine, folder: Path, step: int, config: Config, manifests: dict[str, str]) -> Path:
    """Save and wait for it; all ranks take part. Returns the checkpoint's folder."""
    saver = Saver(engine, folder, config, manifests)
    saver.save(step, {})
    saved = saver.ended(wait=True)
    assert saved is not None and saved.problem is None, saved
    return saved.path
