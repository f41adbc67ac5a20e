"""The data that benchmarks of learning share: tokenizer, shards and ridge floors of a folder of raw corpora, made once."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from downstream.quickstart.steps import Step
from pretrain.config import load_config
from pretrain.ports import free_port
from shards.arguments import Parser
from shards.errors import UserError
from shards.schema import KINDS, SPECIAL_TOKENS

CONFIG = Path('configs/bench.yaml')
DS_CONFIG = Path('ds_configs/zero2.json')
FLOOR = Path('benchmarks/ridge_floor.py')
SETS = ('multi30k_seen', 'multi30k_emoji', 'multi30k')  # concepts seen in training, by another vendor; unseen ones; photographs


def arguments(text: str | None, out: str, evaluated: str) -> Parser:
    """A parser with what both benchmarks are told: data, results, tokenizer, settings."""
    parser = Parser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('--raw', type=Path, required=True, help='folder of the raw corpora: cc3m, cc12m, wit, cc100, opus')
    add('--evaluation', type=Path, required=True, help=f'folder of {evaluated}')
    add('--out', type=Path, default=Path(out), help='default: %(default)s')
    add('--pieces', type=int, default=64000, help='of the tokenizer; default: %(default)s')
    add('--set', nargs='*', default=[], metavar='KEY=VALUE', help=f'settings beside {CONFIG}')
    return parser


def check(*folders: Path) -> None:
    """Raises UserError when one is not there, or this is not the repository's root."""
    for needed in (*folders, CONFIG):
        if not needed.exists():
            raise UserError(f'{needed} is not here; start in the folder of the repository; --raw and --evaluation name the data')


def data_steps(raw: Path, evaluation: Path, out: Path, pieces: int, sets: tuple[str, ...] = SETS) -> list[Step]:
    """Commands that make OUT/tokenizer, OUT/shards and OUT/floor/<set>.json. What overlaps EVALUATION's Tatoeba is left out."""
    tokenizer, shards, tatoeba = out / 'tokenizer', out / 'shards', evaluation / 'tatoeba'
    train = ['data_pipeline', 'tokenizer', 'train', '--raw', str(raw), '--out', str(tokenizer), '--pieces', str(pieces)]
    train += ['--character-coverage', '1']  # of a small corpus 0.9998 leaves out a character of every second Chinese caption
    found = [Step('tokenizer', train, tokenizer, [raw], resumes=False)]
    longest = load_config(CONFIG).data.text_tokens - SPECIAL_TOKENS
    for corpus, kind in KINDS.items():
        build = ['data_pipeline', 'build', corpus, '--raw', str(raw / corpus), '--out', str(shards), '--holdout', '0.02']
        build += [] if kind == 'pictures' else ['--tokenizer', str(tokenizer), '--decontaminate', str(tatoeba)]
        build += ['--max-tokens', str(longest)] if kind == 'text' else []
        found.append(Step(f'shards of {corpus}', build, shards / corpus, [raw, tatoeba]))
    for name in sets:
        data, result = evaluation / name, out / 'floor' / f'{name}.json'
        fit = ['python', str(FLOOR), str(raw), str(data), '--out', str(result)]
        found.append(Step(f'ridge floor on {name}', fit, result, [data, FLOOR], log=out / 'logs' / f'floor-{name}.txt'))
    return found


def training(title: str, run: Path, steps: int, seed: int, settings: list[str], data: Path) -> Step:
    """A run of CONFIG by the deepspeed launcher, in one process of as many threads as cores: two would exchange the gradients of the whole
    token table at every step, which took a tenth of it. data: the folder of `data_steps`."""
    asked = [f'out={run}', f'data.shards={data / "shards"}', f'data.tokenizer={data / "tokenizer"}', f'seed={seed}', *settings]
    asked += [f'steps={steps}', f'eval.every={steps}', f'checkpoint.every={max(1, steps // 10)}']
    launch = ['deepspeed', '--num_accelerators', '1', 'pretrain/run.py', '--deepspeed', str(DS_CONFIG), '--config', str(CONFIG)]
    inputs = [CONFIG, CONFIG.with_name('sample.yaml'), DS_CONFIG, data / 'tokenizer', data / 'shards']  # other data: another run
    environment = {'DS_ACCELERATOR': 'cpu', 'OMP_NUM_THREADS': str(cores())}
    own = ['--quiet', '--master_port', str(free_port())]  # another run may have the launcher's own port
    return Step(title, [*launch, *asked], run, inputs, environment, own)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def floor(out: Path, name: str) -> dict[str, float]:
    """Language -> text->image R@10 of the regression on a set."""
    content = json.loads((out / 'floor' / f'{name}.json').read_text(encoding='utf8'))
    return {language: values[-1] for language, values in content['text_to_image'].items()}
