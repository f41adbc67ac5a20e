"""What may change between a checkpoint and the run that continues it."""
from __future__ import annotations

from pathlib import Path
from typing import Any

from pretrain.config import Config
from shards.errors import UserError

# Settings that say neither which samples come next, nor what is learned from them, nor what the parameters are.
FREE = (
    'out', 'steps', 'precision', 'optimizer', 'kernels', 'checkpoint', 'eval', 'log', 'batch.micro', 'model.recompute',
    'data.shards', 'data.tokenizer', 'data.cache', 'data.workers', 'data.prefetch',
)  # fmt: skip


def check_same_run(config: Config, saved: dict[str, Any], checkpoint: Path) -> None:
    """Raises UserError naming the first setting by which this run is another one than that of the checkpoint."""
    now, then = flat(config.model_dump(by_alias=True, mode='json')), flat(saved)
    for key in [*now, *then]:
        if now.get(key) != then.get(key) and not any(key == free or key.startswith(f'{free}.') for free in FREE):
            raise UserError(
                f'{checkpoint} was trained with {key} = {then.get(key)!r}, this run asks for {now.get(key)!r}, which would lose or repeat '
                'samples or change the model; set it back, or choose another `out`'
            )


def flat(settings: dict[str, Any], prefix: str = '') -> dict[str, Any]:
    """Settings by dotted key; lists stay whole."""
    out: dict[str, Any] = {}
    for name, value in settings.items():
        out |= flat(value, f'{prefix}{name}.') if isinstance(value, dict) else {f'{prefix}{name}': value}
    return out
