#!/usr/bin/env python
"""The paper's Table 3 in miniature, pre-training with all tasks and without one of five: `make bench-ablation`.

    python benchmarks/ablation.py --raw ../shared/corpora --evaluation ../shared/evaluation [--steps 300] [--seeds 0 1 2]

For each seed trains configs/bench.yaml six times, for the same steps on the same samples of the tasks that stay, and evaluates the columns
of Table 3. Writes OUT/ablation.md: the figures beside the paper's; for each cell whether the direction of the paper's difference shows,
does not show or is within noise; and held-out losses, which tell more than fine-tuning on a few hundred examples does. The figures of every
seed are in OUT/ablation.json. Started again, it continues. The last line is JSON: `ratio` is the share of the paper's directions that show.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.parts.ablation_page import loss_of, page
from benchmarks.parts.corpora import CONFIG, arguments, check, cores, data_steps, training
from benchmarks.parts.directions import ALL, COLUMNS, LEFT_OUT, NAMES, Figures, counted, directions
from benchmarks.parts.evaluations import FOLDERS, Evaluations, read, seeds_arguments
from benchmarks.parts.text_floors import one_caption, one_translation
from downstream.files import write_json, write_text
from downstream.metrics.captions import bleu4, cider
from downstream.metrics.tokens import words
from downstream.paper import PAPER_LANGUAGES
from downstream.quickstart.steps import Step, Steps, clock
from pretrain.config import TASKS
from pretrain.records import EVALUATION, read_lines
from shards.errors import continues, run_command

SEEN = 'multi30k_seen'
RETRIEVAL, ANSWERS, CAPTIONS, TRANSLATION = BENCHMARKS = ('multi30k-retrieval', 'xgqa', 'coco', 'multi30k-translation')
# Eighteen models are fine-tuned: less long than in results.py.
EPOCHS = {ANSWERS: 5, CAPTIONS: 5, TRANSLATION: 10}


@continues()
def main() -> int:
    parser = arguments(__doc__, 'runs/ablation', 'multi30k, multi30k_seen, xgqa, coco and tatoeba')
    parser.add_argument('--steps', type=int, default=300, help='of each pre-training; default: %(default)s')
    parser.add_argument(
        '--left-out', nargs='+', choices=LEFT_OUT, default=LEFT_OUT, metavar='TASK', help='in turn; default: each of the five'
    )
    parser.add_argument(
        '--benchmarks', nargs='+', choices=BENCHMARKS, default=BENCHMARKS, metavar='TASK', help='default: all that Table 3 has'
    )
    seeds_arguments(parser)
    options = parser.parse_args()
    check(options.raw, options.evaluation)
    record = Steps(options.out)
    record.run(data_steps(options.raw, options.evaluation, options.out, options.pieces, ()))
    seconds = sum(sum(record.run(steps(variant, seed, options)).values()) for seed in options.seeds for variant in variants(options))
    figures, measures = collect(options)
    floors = lowest(options)
    write_json(options.out / 'ablation.json', {'seeds': options.seeds, 'figures': figures, 'measures': measures, 'floors': floors})
    command = shlex.join(['python', 'benchmarks/ablation.py', *sys.argv[1:]])
    runs, seeds = len(variants(options)) * len(options.seeds), ' '.join(map(str, options.seeds))
    how = f'{runs} pre-trainings of {options.steps} steps of {CONFIG} (in the paper 50,000 of 512 samples a task), seeds {seeds}; '
    how += f'{clock(seconds)} minutes on {cores()} cores with what follows them.'
    found = directions(figures, floors)
    text = page(command, how, found, figures, measures, floors)
    write_text(options.out / 'ablation.md', text)
    print('\n' + text)
    print(json.dumps(counted(found)))
    return 0


def variants(options: argparse.Namespace) -> list[str]:
    """ALL, and what is left out in turn."""
    return [ALL, *options.left_out]


def folder(variant: str, seed: int, out: Path) -> Path:
    """What is made of one pre-training."""
    return out / f'seed-{seed}' / (ALL if variant == ALL else f'without-{variant}')


def steps(variant: str, seed: int, options: argparse.Namespace) -> list[Step]:
    """The commands of one pre-training. variant: the task that is left out, or ALL."""
    title, out = f'{NAMES[variant]}, seed {seed}', folder(variant, seed, options.out)
    settings = [*options.set, f'tasks=[{", ".join(task for task in TASKS if task != variant)}]']
    found = [training(f'pre-training, {title}', out / 'run', options.steps, seed, settings, options.out)]
    of_run = Evaluations(out / 'run', options.evaluation, out, title)
    if RETRIEVAL in options.benchmarks:
        found.append(of_run.evaluate(RETRIEVAL, SEEN))
    for task in EPOCHS:
        if task in options.benchmarks:
            found.append(of_run.finetune(task, options.ranks, [f'finetune.epochs={EPOCHS[task]}', f'seed={seed}', *options.tune]))
    return found


def collect(options: argparse.Namespace) -> tuple[Figures, Figures]:
    """The columns of Table 3, and measures that it has not: variant -> name -> a value a seed. All in percent, but for losses."""
    figures: Figures = {variant: {} for variant in variants(options)}
    measures: Figures = {variant: {} for variant in variants(options)}
    for variant in figures:
        for seed in options.seeds:
            out = folder(variant, seed, options.out)
            for name, value in columns(out, options.benchmarks).items():
                figures[variant].setdefault(name, []).append(value)
            for name, value in sensitive(out, options.benchmarks).items():
                measures[variant].setdefault(name, []).append(value)
    return figures, measures


def columns(out: Path, benchmarks: list[str]) -> dict[str, float]:
    """Column -> figure of one model."""
    found: dict[str, float] = {}
    if ANSWERS in benchmarks:
        result = read(out / f'tuned-{ANSWERS}')
        found |= {'xgqa_en': 100 * result['languages']['en']['accuracy'], 'xgqa_7avg': 100 * result['mean']['accuracy']}
    if RETRIEVAL in benchmarks:
        found['multi30k_mR'] = 100 * read(out / f'zero-shot-{SEEN}')['mean_paper']['mR']
    if CAPTIONS in benchmarks:
        scores = next(iter(read(out / f'tuned-{CAPTIONS}')['captioning']['tokens'].values()))
        found |= {'coco_B4': 100 * scores['BLEU-4'], 'coco_CIDEr': 100 * scores['CIDEr']}
    if TRANSLATION in benchmarks:
        # Smoothed: the literature's is 0 as soon as no four words of a text are right.
        found['multi30k_ende_B4'] = read(out / f'tuned-{TRANSLATION}')['languages']['de']['with_picture']['sacrebleu']['score']
    return with_mean(found)


def with_mean(found: dict[str, float]) -> dict[str, float]:
    """With the paper's mean, where there are all columns."""
    return found | ({'mean': float(np.mean(list(found.values())))} if len(found) == len(COLUMNS) - 1 else {})


def sensitive(out: Path, benchmarks: list[str]) -> dict[str, float]:
    """Measure -> figure of one model: held-out losses and accuracies of the tasks it was trained on, and text->image recalls."""
    found: dict[str, float] = {}
    if RETRIEVAL in benchmarks:
        result = read(out / f'zero-shot-{SEEN}')
        for key, title in (('mean_paper', ' '.join(PAPER_LANGUAGES)), ('mean', f'all {len(result["languages"])} languages')):
            found[f'text->image, mean of R@1/5/10, {title}, %'] = 100 * float(np.mean(list(result[key]['text_to_image'].values())))
    heldout = read_lines(out / 'run' / EVALUATION)[-1]['heldout']
    found |= {loss_of(task): heldout[task]['mean'] for task in TASKS if task in heldout}
    shares = {task: told['accuracy'] for task, told in heldout.items() if 'accuracy' in told}
    return found | {f'{task}, held-out accuracy, %': 100 * share for task, share in shares.items()}


def lowest(options: argparse.Namespace) -> dict[str, float]:
    """Column -> percent of who gives the same answer, ranking, caption or text whatever is asked."""
    found: dict[str, float] = {}
    out = folder(ALL, options.seeds[0], options.out)
    if ANSWERS in options.benchmarks:
        result = read(out / f'tuned-{ANSWERS}')
        found |= {'xgqa_en': 100 * result['languages']['en']['majority'], 'xgqa_7avg': 100 * result['mean']['majority']}
    if RETRIEVAL in options.benchmarks:
        found['multi30k_mR'] = 100 * read(out / f'zero-shot-{SEEN}')['mean_paper']['chance']['mR']
    if CAPTIONS in options.benchmarks:
        tuned = out / f'tuned-{CAPTIONS}'
        found |= {f'coco_{name}': 100 * one_caption(tuned, words, metric) for name, metric in (('B4', bleu4), ('CIDEr', cider))}
    if TRANSLATION in options.benchmarks:
        found['multi30k_ende_B4'] = one_translation(options.evaluation / FOLDERS[TRANSLATION], 'de')
    return with_mean(found)


if __name__ == '__main__':
    raise SystemExit(run_command(main))
