#!/usr/bin/env python
"""What an hour on two cores learns, measured by every benchmark of shared/evaluation: `make bench-pretrain`.

    python benchmarks/results.py --raw ../shared/corpora --evaluation ../shared/evaluation [--steps 4000] [--seeds 0 1 2]

For each seed: pre-training of configs/bench.yaml, all benchmarks zero-shot, then fine-tuned. Writes OUT/results.md, where a row counts as
learned only if it beats its floor by two standard errors over the seeds, and OUT/report, laid out as the paper's tables. Embeddings,
answers and texts behind the figures stay in OUT/seed-<n>/. Started again, it continues. The last line is JSON: `ratio` is the share of
the rows that count as learned.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.corpora import SETS, arguments, check, cores, data_steps, floor, training
from benchmarks.text_floors import ngram_accuracy, one_caption, text_only
from downstream.files import write_text
from downstream.metrics.tokens import jieba_words, words
from downstream.paper import percent
from downstream.quickstart.steps import Step, Steps, clock
from downstream.xgqa import XGQA
from downstream.xvnli import XVNLI
from shards.errors import continues, run_command
from shards.tables import table

Key = tuple[str, str, str]  # benchmark, metric, language
ZERO_SHOT = ('tatoeba', 'multi30k-translation', 'coco', 'coco-cn')
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


@dataclass
class Row:
    """A figure: its value for each seed, and what needs no model."""

    floor: float
    kind: str  # of floor
    values: list[float] = field(default_factory=list)

    @property
    def error(self) -> float:
        """Standard error of the mean; infinite for less than two seeds."""
        return float(np.std(self.values, ddof=1) / np.sqrt(len(self.values))) if len(self.values) > 1 else float('inf')

    @property
    def learned(self) -> bool:
        return float(np.mean(self.values)) - self.floor > 2 * self.error


@continues()
def main() -> int:
    parser = arguments(__doc__, 'runs/results', 'multi30k, multi30k_seen, multi30k_emoji, xvnli, xgqa, coco, coco-cn, tatoeba')
    parser.add_argument('--steps', type=int, default=4000, help='of pre-training; default: %(default)s')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], help='default: 0 1 2')
    parser.add_argument('--tune', nargs='*', default=[], metavar='KEY=VALUE', help='settings of every fine-tuning')
    parser.add_argument('--ranks', type=int, default=cores(), help='processes of a fine-tuning; default: %(default)s, one a core')
    options = parser.parse_args()
    check(options.raw, options.evaluation)
    record = Steps(options.out)
    record.run(data_steps(options.raw, options.evaluation, options.out, options.pieces))
    seconds = {seed: record.run(steps(seed, options)) for seed in options.seeds}
    rows = collect(options)
    text = markdown(rows, {seed: taken[f'pre-training, seed {seed}'] for seed, taken in seconds.items()}, options)
    write_text(options.out / 'results.md', text)
    runs = [f'seed-{seed}={options.out / f"seed-{seed}"}' for seed in options.seeds]
    report = options.out / 'report'
    record.run([Step('report', ['downstream', 'report', *runs, '--out', str(report)], report, resumes=False)])
    print('\n' + text)
    print(json.dumps(counted(rows)))
    return 0


def steps(seed: int, options: argparse.Namespace) -> list[Step]:
    """The commands of a seed."""
    out, logs = options.out / f'seed-{seed}', options.out / 'logs'
    run = out / 'run'
    found = [training(f'pre-training, seed {seed}', run, options.steps, seed, options.set, options.out)]

    def images(task: str) -> list[str]:
        return ['--images', str(options.evaluation / IMAGES[task])] if task in IMAGES else []

    def evaluate(task: str, model: Path, name: str, place: Path) -> Step:
        data = options.evaluation / name
        command = ['downstream', task, 'evaluate', '--model', str(model), '--data', str(data), '--out', str(place), *images(task)]
        return Step(f'{place.name}, seed {seed}', command, place / 'result.json', [data], log=logs / f'{place.name}-{seed}.txt')

    found += [evaluate('multi30k-retrieval', run, name, out / f'zero-shot-{name}') for name in SETS]
    found += [evaluate(task, run, FOLDERS.get(task, task), out / f'zero-shot-{task}') for task in ZERO_SHOT]
    for task, settings in TUNED.items():
        data, place = options.evaluation / FOLDERS.get(task, task), out / f'tuned-{task}'
        command = ['downstream', task, 'finetune', '--model', str(run), '--data', str(data), '--out', str(place)]
        command += ['--ranks', str(options.ranks), *images(task), *settings, *options.tune]
        environment = {'OMP_NUM_THREADS': '1'}
        log = logs / f'tuned-{task}-{seed}.txt'
        found.append(Step(f'{place.name}, seed {seed}', command, place / 'result.json', [data], environment, log=log))
    return found


def collect(options: argparse.Namespace) -> dict[Key, Row]:
    """Every row, with the values of all seeds."""
    floors = {name: floor(options.out, name) for name in SETS}
    alike = ngram_accuracy(options.evaluation / 'tatoeba')
    texts = {kind.name: text_only(kind, options.evaluation / kind.name) for kind in (XVNLI, XGQA)}
    rows: dict[Key, Row] = {}

    def add(key: Key, value: float, lowest: float, kind: str) -> None:
        rows.setdefault(key, Row(lowest, kind)).values.append(value)

    for seed in options.seeds:
        out = options.out / f'seed-{seed}'
        for name in SETS:
            for language, found in read(out / f'zero-shot-{name}')['languages'].items():
                key = f'{name}, zero-shot', 'text->image R@10', language
                add(key, found['text_to_image']['R@10'], floors[name][language], 'ridge')
        for language, found in read(out / 'tuned-multi30k-retrieval')['languages'].items():
            key = 'multi30k, fine-tuned', 'text->image R@10', language
            add(key, found['text_to_image']['R@10'], floors['multi30k'][language], 'ridge')
        for language, found in read(out / 'zero-shot-tatoeba')['languages'].items():
            add(('tatoeba, zero-shot', 'accuracy into English', language), found['to_english'], alike[language], 'n-grams')
        for task, floor_of in texts.items():
            for language, found in read(out / f'tuned-{task}')['languages'].items():
                add((f'{task}, fine-tuned on en', 'accuracy', language), found['accuracy'], floor_of[language], 'text only')
        for language, found in read(out / 'tuned-multi30k-translation')['languages'].items():
            ours, blinded = (found[way]['sacrebleu']['score'] / 100 for way in ('with_picture', 'text_only'))
            add(('multi30k, fine-tuned', 'sacreBLEU from English', language), ours, blinded, 'without the picture')
        for task, language, cut in (('coco', 'en', words), ('coco-cn', 'zh', jieba_words)):
            result = read(out / f'tuned-{task}')
            value = next(iter(result['captioning']['tokens'].values()))['CIDEr']
            add((f'{task}, fine-tuned', 'CIDEr', language), value, one_caption(out / f'tuned-{task}', cut), 'one caption for all')
    return rows


def read(folder: Path) -> dict[str, Any]:
    """A result."""
    content: dict[str, Any] = json.loads((folder / 'result.json').read_text(encoding='utf8'))
    return content


def counted(rows: dict[Key, Row]) -> dict[str, Any]:
    """The JSON line."""
    learned = sum(row.learned for row in rows.values())
    what = 'figures that are two standard errors above their floor; peer: all figures, each of a benchmark, metric and language'
    return {'benchmark': 'results', 'ratio': learned / len(rows), 'ours': learned, 'peer': len(rows), 'what': what}


def markdown(rows: dict[Key, Row], seconds: dict[int, float], options: argparse.Namespace) -> str:
    """The page: how it was made, and a table for each benchmark."""
    command = 'python benchmarks/results.py ' + ' '.join(sys.argv[1:])
    times = ', '.join(f'seed {seed} {clock(taken)}' for seed, taken in seconds.items())
    parts = [
        f'# Results\n\n    {command}\n\nPre-training: {options.steps} steps of configs/bench.yaml on {cores()} cores, minutes: {times}.',
        'In percent: mean over the seeds, and the standard error of it. *Learned*: above the floor by more than two standard errors.',
    ]
    groups: dict[tuple[str, str], list[tuple[str, Row]]] = defaultdict(list)
    for (benchmark, metric, language), row in rows.items():
        groups[benchmark, metric].append((language, row))
    for (benchmark, metric), own in groups.items():
        lines = []
        for language, row in own:
            figures = map(percent, (float(np.mean(row.values)), row.error, row.floor))
            lines.append([language, *figures, 'learned' if row.learned else 'at floor'])
        body = table(['language', 'ours', 'error', f'floor ({own[0][1].kind})', ''], lines)
        parts.append(f'## {benchmark}: {metric}\n\n' + '\n'.join(f'    {line}' for line in body.splitlines()))
    return '\n\n'.join(parts) + '\n'


if __name__ == '__main__':
    raise SystemExit(run_command(main))
