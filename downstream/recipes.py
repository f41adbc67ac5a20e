"""From a base model, a benchmark and a few settings to the configuration of a fine-tuning."""
from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from downstream.benchmark import Benchmark
from pretrain.config import Config, override, validated
from pretrain.model.load import Found
from shards.errors import UserError

LR = 5e-5  # everywhere (paper, section 4.1)


def compose(
    kind: type[Benchmark], model: Path, base: Found, data: Path, images: Path | None, out: Path, settings: list[str]
) -> tuple[Config, Benchmark]:
    """The configuration, and the benchmark's training and development set.

    `base` is the model of the folder `model`. What the paper says of fine-tuning comes from the benchmark's recipe, what it does not from
    the base model's configuration: sizes, dropout, precision, augmentation. `settings` (`key.sub=value`) replace both. The number of steps,
    and what follows from it, depends on the number of training examples. Raises UserError for a wrong setting, and data that is missing or
    broken.
    """
    recipe, before = kind.recipe, base.config.model_dump(by_alias=True, mode='json')
    raw: dict[str, Any] = {name: before[name] for name in ('precision', 'data', 'task', 'kernels')} | {
        'out': str(out),
        'tasks': [kind.task],
        'model': before['model'] | {'labels': None},
        'batch': {'global': recipe.batch},
        'optimizer': {'lr': LR, 'lr_min': 0.0},
        'recovery': {'spike': recipe.spike},
        'finetune': {'benchmark': kind.name, 'model': str(model), 'data': str(data), 'epochs': recipe.epochs},
    }
    raw['finetune']['languages'] = list(kind.languages)
    raw['data'] |= {'tokenizer': str(base.tokenizer), 'caption_tokens': min(recipe.tokens, base.config.model.max_positions)}
    raw['finetune']['images'] = None if images is None else str(images)
    override(raw, settings)
    asked = validated(raw)  # before any data is read
    if asked.finetune is None or asked.finetune.benchmark != kind.name or asked.finetune.classes or asked.tasks != [kind.task]:
        raise UserError(f'tasks, finetune.benchmark and finetune.classes are what `downstream {kind.name} finetune` says and reads')
    benchmark = kind(asked.finetune)
    raw['finetune']['classes'] = list(benchmark.classes)
    raw['model']['labels'] = len(benchmark.classes) or None
    finetune, optimizer = asked.finetune, raw['optimizer']
    steps = raw.setdefault('steps', math.ceil(finetune.epochs * len(benchmark) / asked.batch.size(kind.task)))
    tenth = steps // 10
    optimizer.setdefault('warmup', recipe.warmup if recipe.warmup is not None and 2 * recipe.warmup <= steps else tenth)
    for section in ('eval', 'checkpoint'):  # once an epoch
        raw.setdefault(section, {}).setdefault('every', max(1, round(steps / finetune.epochs)))
    return validated(raw), benchmark
