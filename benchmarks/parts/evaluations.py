"""Evaluations and fine-tunings of a pre-trained model on the benchmarks of shared/evaluation, as benchmarks of learning start them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.parts.corpora import cores
from downstream.quickstart.steps import Step
from shards.arguments import Parser

# What the recipes of the paper leave open for data of a few hundred examples and a model of two million parameters.
TUNED = {
    'xvnli': ['optimizer.lr=5e-4', 'finetune.epochs=10', 'batch.global=32'],
    'xgqa': ['optimizer.lr=5e-4', 'finetune.epochs=10', 'batch.global=32'],
    'multi30k-retrieval': ['optimizer.lr=2e-4', 'finetune.epochs=20', 'batch.global=122', 'finetune.languages=[en, de, fr, cs]'],
    'multi30k-translation': ['optimizer.lr=5e-4', 'finetune.epochs=20', 'batch.global=32'],
    'coco': ['optimizer.lr=5e-4', 'finetune.epochs=20', 'batch.global=32'],
    'coco-cn': ['optimizer.lr=5e-4', 'finetune.epochs=20', 'batch.global=32'],
}
# Whose pictures a set has that comes without its own.
IMAGES = {'coco-cn': 'coco', 'xvnli': 'multi30k/images', 'xgqa': 'multi30k/images'}
FOLDERS = {'multi30k-retrieval': 'multi30k', 'multi30k-translation': 'multi30k'}  # of the evaluation; others are named as their task


def seeds_arguments(parser: Parser) -> None:
    """What benchmarks that repeat training and fine-tuning for several seeds are told besides."""
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], help='default: 0 1 2')
    parser.add_argument('--tune', nargs='*', default=[], metavar='KEY=VALUE', help='settings of every fine-tuning')
    parser.add_argument('--ranks', type=int, default=cores(), help='processes of a fine-tuning; default: %(default)s, one a core')


@dataclass(frozen=True)
class Evaluations:
    """The commands for one pre-trained model; each writes to a folder of its own below `out`."""

    model: Path  # the run
    evaluation: Path  # folder of the benchmarks
    out: Path
    title: str  # of the model, in the names of its steps

    def evaluate(self, task: str, name: str | None = None) -> Step:
        """Zero-shot. name: a set in place of the task's own; the result is in OUT/zero-shot-<it>."""
        return self._step(task, 'evaluate', name or FOLDERS.get(task, task), self.out / f'zero-shot-{name or task}', [])

    def finetune(self, task: str, ranks: int, settings: Sequence[str]) -> Step:
        """Fine-tuned and tested, to OUT/tuned-TASK. settings: before those of TUNED."""
        own = ['--ranks', str(ranks)]
        return self._step(task, 'finetune', FOLDERS.get(task, task), self.out / f'tuned-{task}', own, [*TUNED[task], *settings])

    def _step(self, task: str, what: str, name: str, place: Path, own: list[str], settings: Sequence[str] = ()) -> Step:
        data = self.evaluation / name
        command = ['downstream', task, what, '--model', str(self.model), '--data', str(data), '--out', str(place), *own]
        command += ['--images', str(self.evaluation / IMAGES[task])] if task in IMAGES else []
        environment = {'OMP_NUM_THREADS': '1'} if what == 'finetune' else {}
        log = self.out / 'logs' / f'{place.name}.txt'
        return Step(f'{place.name}, {self.title}', [*command, *settings], place / 'result.json', [data], environment, log=log)


def read(folder: Path) -> dict[str, Any]:
    """A result."""
    content: dict[str, Any] = json.loads((folder / 'result.json').read_text(encoding='utf8'))
    return content
