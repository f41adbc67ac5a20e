"""What every result.json holds besides its scores: which model, which data, measured how, with which versions."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pretrain.config import Config
from pretrain.model.load import Loaded

RANKING = 'similarity:cosine|sums:float64|ties:expected'  # pretrain/evaluation/retrieval.py


def setting(config: Config, task: str) -> str:
    """What a model has seen of a benchmark."""
    tuned = config.finetune
    if tuned is None:
        return 'zero-shot'
    if tuned.benchmark != task:
        return f'zero-shot, after {tuned.benchmark}'
    pair = f'{tuned.source}-' if tuned.benchmark == 'multi30k-translation' else ''
    return 'fine-tuned on ' + ' '.join(pair + language for language in tuned.languages) + (', without pictures' if tuned.text_only else '')


def describe(
    task: str,
    model: Path,
    loaded: Loaded,
    data: dict[str, Any],
    metric: str,
    scores: dict[str, Any],
    packages: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The content of result.json.

    data: the folder, the hash of all that was read and what it holds; metric: the signature of how the figures were computed; scores:
    further entries; packages: those whose versions belong to the figures, besides torch, numpy and timm.
    """
    return {
        'task': task,
        'setting': setting(loaded.config, task),
        'model': {'folder': str(model), 'sha256': loaded.sha256, 'config': loaded.config.model_dump(by_alias=True, mode='json')},
        'data': data,
        'metric': metric,
        **scores,
        'versions': {name: version(name) for name in ('torch', 'numpy', 'timm', *packages)} | {'python': platform.python_version()},
    }
