#!/usr/bin/env python
"""Who learns more in the same time on the same pictures and captions: open_clip's own CLIP, these eight tasks, or CLIP and MURAL presets.

    python benchmarks/learning.py --raw ../shared/corpora --evaluation ../shared/evaluation [--minutes 15] [--contenders open_clip ours …]

Builds tokenizer and shards, trains each contender for as many minutes on as many cores, and prints text->image R@10 by language beside the
ridge floor. Training is timed, start and evaluation are not. Ours take a number of steps: how many fit is measured first. The embeddings
behind every figure stay in OUT/<contender>/<set>/. Started again, it continues with what is not done. It wants the machine for itself.
The last line is JSON: `ratio` is ours by open_clip's, or by the ridge floor's without it, of the mean over the languages with pictures.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.parts.corpora import CONFIG, arguments, check, cores, data_steps, floor, training
from downstream.files import write_json
from downstream.paper import percent
from downstream.quickstart.steps import Step, Steps
from pretrain.config import load_config
from pretrain.evaluation.multi30k import Split, read_split
from pretrain.evaluation.retrieval import text_to_image
from pretrain.records import METRICS, read_lines
from shards.errors import continues, run_command
from shards.schema import KINDS
from shards.tables import table
from shards.tokenizer import MODEL

PEER = Path('benchmarks/peers/open_clip_trainer.py')
# What configs/baselines/ has as presets, where it says how they differ from the papers' models.
TASKS = {'ours': None, 'clip': 'tasks=[cmcl]', 'mural': 'tasks=[cmcl, clcl]'}
PICTURED, UNPICTURED = ('en', 'de', 'fr', 'cs', 'ja', 'zh'), ('ru', 'uk', 'ta', 'sw', 'et', 'gu')
SETS = ('multi30k_seen', 'multi30k_emoji')
LONGER = 1.03  # a step of a quarter of an hour may take, than one of the trial before


@continues()
def main() -> int:
    parser = arguments(__doc__, 'runs/bench', 'multi30k_seen, multi30k_emoji and tatoeba')
    parser.add_argument('--minutes', type=float, default=15.0, help='of training for each; default: %(default)s')
    parser.add_argument('--contenders', nargs='+', choices=['open_clip', *TASKS], default=['open_clip', *TASKS], help='default: all')
    parser.add_argument('--batch', type=int, default=256, help="open_clip's; default: %(default)s")
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--probe', type=int, default=150, help='steps of the run that measures their time; the first third is not counted')
    options = parser.parse_args()
    check(options.raw, options.evaluation)
    record = Steps(options.out)
    record.run(data_steps(options.raw, options.evaluation, options.out, options.pieces, SETS))
    found = {name: contend(record, name, options) for name in options.contenders}
    floors = {name: floor(options.out, name) for name in SETS}
    result = {'minutes': options.minutes, 'seed': options.seed, 'contenders': found, 'recall': recalls(options), 'floor': floors}
    write_json(options.out / 'learning.json', result)
    print('\n' + text(result))
    print(json.dumps(compared(result)))
    return 0


def contend(record: Steps, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train a contender and embed the evaluation sets. Returns its steps, samples and seconds of training."""
    out = options.out / name
    sets = [options.evaluation / data for data in SETS]
    if name == 'open_clip':
        streams = [str(options.out / 'shards' / corpus / 'train') for corpus, kind in KINDS.items() if kind == 'pictures']
        pieces = str(options.out / 'tokenizer' / MODEL)
        command = ['python', str(PEER), '--streams', *streams, '--sentencepiece', pieces, '--data', *map(str, sets)]
        command += ['--batch', str(options.batch), '--minutes', str(options.minutes), '--seed', str(options.seed)]
        command += ['--threads', str(cores()), '--out', str(out)]
        record.run([Step(name, command, out / 'trained.json', [PEER, options.out / 'tokenizer', options.out / 'shards'], resumes=False)])
        told = json.loads((out / 'trained.json').read_text(encoding='utf8'))
        return {key: told[key] for key in ('steps', 'samples', 'seconds')}
    settings = [*options.set, *([TASKS[name]] if TASKS[name] else [])]
    record.run([training(f'{name}, to measure a step', out / 'probe', options.probe, options.seed, settings, options.out)])
    steps = max(1, int(options.minutes * 60 / LONGER / mean(seconds(out / 'probe', settings)[options.probe // 3 :])))
    todo = [training(name, out / 'run', steps, options.seed, settings, options.out)]
    for data in sets:
        log, folder = options.out / 'logs' / f'{name}-{data.name}.txt', out / data.name
        evaluate = ['downstream', 'multi30k-retrieval', 'evaluate', '--model', str(out / 'run'), '--data', str(data), '--out', str(folder)]
        todo.append(Step(f'{name} on {data.name}', evaluate, folder, [data], log=log))
    record.run(todo)
    return {'steps': steps, 'samples': steps * samples(settings), 'seconds': sum(seconds(out / 'run', settings))}


def samples(settings: list[str]) -> int:
    """Samples of a step, all tasks together."""
    config = load_config(CONFIG, settings)
    return sum(config.batch.size(task) for task in config.tasks)


def seconds(run: Path, settings: list[str]) -> list[float]:
    """Seconds of each step of a run."""
    return [samples(settings) / line['samples_per_s'] for line in read_lines(run / METRICS)]


def recalls(options: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    """Set -> contender -> language -> text->image R@10, from the embeddings that each wrote."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in SETS:
        split = read_split(options.evaluation / name)
        found[name] = {contender: recall(split, options.out / contender / name) for contender in options.contenders}
    return found


def recall(split: Split, folder: Path) -> dict[str, float]:
    """Language -> text->image R@10."""
    images = np.load(folder / 'images.npy', allow_pickle=False)
    return {
        language: text_to_image(np.load(folder / f'texts.{language}.npy', allow_pickle=False), images, np.asarray(captions.rows))['R@10']
        for language, captions in split.captions.items()
    }


def text(result: dict[str, Any]) -> str:
    """The tables: R@10 by language and contender, means, and what each did in its time."""
    parts = []
    for name, by_contender in result['recall'].items():
        columns = {**by_contender, 'floor': result['floor'][name]}
        languages = [*PICTURED, *UNPICTURED, *sorted(set(columns['floor']) - {*PICTURED, *UNPICTURED})]
        rows = [[language, *(percent(column.get(language)) for column in columns.values())] for language in languages]
        for title, group in (('with pictures', PICTURED), ('without or few', UNPICTURED)):
            means = [float(np.mean([column[language] for language in group])) for column in columns.values()]
            rows.append([f'mean {title}', *map(percent, means)])
        parts.append(f'text->image R@10 on {name}, in percent\n' + table(['language', *columns], rows))
    work = [[name, str(told['steps']), f'{told["samples"]:,}', f'{told["seconds"]:.0f}'] for name, told in result['contenders'].items()]
    parts.append(table(['contender', 'steps', 'samples', 'seconds'], work))
    return '\n\n'.join(parts)


def compared(result: dict[str, Any]) -> dict[str, Any]:
    """The JSON line: of the first contender that is no peer, on the pictures of another vendor."""
    columns = {**result['recall'][SETS[0]], 'floor': result['floor'][SETS[0]]}
    peer = 'open_clip' if 'open_clip' in result['contenders'] and len(result['contenders']) > 1 else 'floor'
    own = next(name for name in result['contenders'] if name != peer)
    ours, theirs = (float(np.mean([columns[name][language] for language in PICTURED])) for name in (own, peer))
    what = f'text->image R@10 of {own} on {SETS[0]}, mean over {" ".join(PICTURED)}; peer: {peer}'
    return {
        'benchmark': 'learning', 'ratio': ours / theirs if theirs else None, 'ours': ours, 'peer': theirs, 'what': what,
        'contenders': result['contenders'],
    }  # fmt: skip


if __name__ == '__main__':
    raise SystemExit(run_command(main))
