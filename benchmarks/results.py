#!/usr/bin/env python
"""What an hour on two cores learns, measured by every benchmark of shared/evaluation: `make bench-pretrain`.

    python benchmarks/results.py --raw ../shared/corpora --evaluation ../shared/evaluation [--steps 1500] [--seeds 0 1 2]

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

from benchmarks.parts.corpora import SETS, arguments, check, cores, data_steps, floor, training
from benchmarks.parts.evaluations import TUNED, Evaluations, read, seeds_arguments
from benchmarks.parts.text_floors import ngram_accuracy, one_caption, text_only
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
    parser.add_argument('--steps', type=int, default=1500, help='of pre-training; default: %(default)s')
    seeds_arguments(parser)
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
    out = options.out / f'seed-{seed}'
    run, of_run = out / 'run', Evaluations(out / 'run', options.evaluation, out, f'seed {seed}')
    found = [training(f'pre-training, seed {seed}', run, options.steps, seed, options.set, options.out)]
    found += [of_run.evaluate('multi30k-retrieval', name) for name in SETS]
    found += [of_run.evaluate(task) for task in ZERO_SHOT]
    return found + [of_run.finetune(task, options.ranks, options.tune) for task in TUNED]


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
