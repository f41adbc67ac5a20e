"""Recipes of fine-tuning, and from one, a base model and a few settings to a configuration. No import of torch: `--help` shows them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretrain.config import Config, override, validated
from pretrain.config.help import described, fields
from shards.errors import UserError

if TYPE_CHECKING:
    from downstream.benchmark import Benchmark
    from pretrain.model.load import Found

LR = 5e-5  # everywhere (paper, section 4.1)


@dataclass(frozen=True)
class Recipe:
    """What differs between benchmarks (paper, section 4.1 and appendix; docs/downstream.md has the decisions where it is silent)."""

    batch: int  # samples an update
    epochs: float
    warmup: int | None  # updates; none: 10 % of them
    tokens: int  # longest text
    spike: float = 2.0  # `recovery.spike`: what counts as a jump of the loss, in nats
    languages: tuple[str, ...] = ('en',)  # `finetune.languages`, unless it is given


_WRITING = Recipe(batch=256, epochs=20, warmup=None, tokens=64)
RECIPES = {
    'multi30k-retrieval': Recipe(batch=4096, epochs=10, warmup=50, tokens=64),
    'multi30k-translation': replace(_WRITING, languages=('de',)),
    'coco': _WRITING,
    'coco-cn': replace(_WRITING, languages=('zh',)),
    'xvnli': Recipe(batch=1024, epochs=10, warmup=2000, tokens=80),
    # Binary cross-entropy summed over 1,842 answers begins at 1,300 nats, and jumps by more than two.
    'xgqa': Recipe(batch=1024, epochs=5, warmup=2000, tokens=40, spike=20.0),
}


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
    raw['finetune']['languages'] = list(recipe.languages)
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


def recipe_help(benchmark: str) -> str:
    """What a fine-tuning sets, as `--help` lists it."""
    recipe = RECIPES[benchmark]
    tenth = 'a tenth of steps'
    known = dict(fields())
    values: dict[str, object] = {
        'steps': 'finetune.epochs * examples / batch.global',
        'batch.global': recipe.batch,
        'optimizer.lr': LR,
        'optimizer.lr_min': 0.0,
        'optimizer.warmup': tenth if recipe.warmup is None else f'{recipe.warmup}, or {tenth} where that is more than half of them',
        'data.caption_tokens': recipe.tokens,
        'eval.every': 'steps / finetune.epochs',
        'checkpoint.every': 'steps / finetune.epochs',
        'recovery.spike': recipe.spike,
        'finetune.epochs': recipe.epochs,
        'finetune.languages': f'[{", ".join(recipe.languages)}]',
    }
    own = ('source', 'text_only', 'patience')
    values |= {f'finetune.{name}': known[f'finetune.{name}'].default for name in own}
    lines = [described(key, str(value).lower() if isinstance(value, bool) else value, known[key]) for key, value in values.items()]
    others = 'precision, sizes, dropout, augmentation and kernels are those of MODEL, unless given; docs/configuration.md has all settings'
    return '\n'.join([f'settings with the values of the recipe for {benchmark}:', *lines, '', others])
