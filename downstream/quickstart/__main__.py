"""`python -m downstream.quickstart`: tokenizer, shards of five corpora, a run by the deepspeed launcher, evaluation, a table, a picture."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from shards.errors import UserError, interruptible_imports, run_command

interruptible_imports()

from downstream.files import write_json, write_text  # noqa: E402
from downstream.quickstart import figure, results  # noqa: E402
from downstream.quickstart.steps import Step, Steps, clock  # noqa: E402
from pretrain.config import Config, differences, load_config  # noqa: E402
from pretrain.evaluation.multi30k import read_split  # noqa: E402
from pretrain.ports import free_port  # noqa: E402
from pretrain.records import EVALUATION, METRICS, read_lines  # noqa: E402
from shards.arguments import Parser  # noqa: E402
from shards.schema import KINDS, SPECIAL_TOKENS  # noqa: E402

RAW = Path('sample/raw')
EVALUATED = [Path('sample/evaluation/multi30k_seen'), Path('sample/evaluation/multi30k_emoji')]
TATOEBA = Path('sample/evaluation/tatoeba')  # five of its lines occur in the texts of sample/raw
# What sample/NOTICE says of each corpus's files, which only look like the corpus: its own licence, that the readers know, is not theirs.
_CAPTIONS = 'captions: Unicode CLDR (Unicode-3.0)'
LICENCES = {
    'cc3m': f'Noto Emoji (Apache-2.0); {_CAPTIONS}',
    'cc12m': f'Twemoji (CC-BY-4.0), Noto Emoji (Apache-2.0); {_CAPTIONS}',
    'wit': f'Noto Emoji v1 (Apache-2.0); {_CAPTIONS}',
    'cc100': 'LibreOffice help (MPL-2.0), Universal Declaration of Human Rights',
    'opus': 'LibreOffice help (MPL-2.0)',
}
CONFIG = Path('configs/sample.yaml')
DS_CONFIG = Path('ds_configs/zero2.json')
FLOOR = Path('benchmarks/ridge_floor.py')
PIECES = 8000
HOLDOUT = 0.05  # the sample is small: the default share would leave single records to evaluate on
PROCESSES = 2


def main() -> int:
    """Run the demo from the repository's root. Raises UserError when a step fails."""
    parser = Parser(prog='python -m downstream.quickstart', description=__doc__)
    parser.add_argument('--out', type=Path, default=Path('runs/demo'), help='folder of all that the demo makes; default: %(default)s')
    parser.add_argument('--steps', type=int, help=f'training steps, fewer for a quick look; default: as {CONFIG}')
    parser.add_argument('--seed', type=int, default=0, help='of the training; default: %(default)s')
    options = parser.parse_args()
    for needed in (RAW, CONFIG, FLOOR):
        if not needed.exists():
            raise UserError(f'{needed} is not here; start the demo in the folder of the repository')
    config = load_config(CONFIG, settings(options.out, options.steps, options.seed))
    record = Steps(options.out)
    seconds = record.run(steps(options.out, config, overrides(config), gpus()))
    shown = report(options.out, config, seconds)
    if options.steps is None and (problem := results.too_low(shown)):
        print(f'note: {problem}', file=sys.stderr)  # another processor rounds otherwise, as another seed does: no failure
    return 0


def settings(out: Path, steps: int | None, seed: int) -> list[str]:
    """What the demo asks of the configuration, as key=value: its folders, its seed, and a schedule that fits a shortened run."""
    asked = [f'out={out / "run"}', f'data.shards={out / "shards"}', f'data.tokenizer={out / "tokenizer"}', f'seed={seed}']
    if steps is not None:
        asked += [f'steps={steps}', f'optimizer.warmup={max(1, steps // 10)}', f'eval.every={steps}', f'checkpoint.every={steps}']
    return asked


def overrides(config: Config) -> list[str]:
    """The least key=value arguments that make configs/sample.yaml this configuration: none for the plain demo."""
    wanted, base = (settings.model_dump(by_alias=True, mode='json') for settings in (config, load_config(CONFIG)))
    return [f'{key}={value}' for key, (value, _) in differences(wanted, base).items()]


def steps(out: Path, config: Config, changed: list[str], accelerators: int) -> list[Step]:
    """The commands, in order. `changed`: key=value arguments of the training; `accelerators`: GPUs, 0 for two processes on the CPU."""
    tokenizer, shards, run, export = (out / name for name in ('tokenizer', 'shards', 'run', 'export'))
    train = ['data_pipeline', 'tokenizer', 'train', '--raw', str(RAW), '--out', str(tokenizer), '--pieces', str(PIECES)]
    found = [Step('tokenizer', train, tokenizer, [RAW], resumes=False)]
    for corpus, licence in LICENCES.items():
        build = ['data_pipeline', 'build', corpus, '--raw', str(RAW / corpus), '--out', str(shards), '--holdout', str(HOLDOUT)]
        build += ['--licence', licence]
        if KINDS[corpus] != 'pictures':
            build += ['--tokenizer', str(tokenizer), '--decontaminate', str(TATOEBA)]
        if KINDS[corpus] == 'text':
            build += ['--max-tokens', str(config.data.text_tokens - SPECIAL_TOKENS)]
        found.append(Step(f'shards of {corpus}', build, shards / corpus, [RAW, TATOEBA]))
    launch = ['deepspeed', '--num_accelerators', str(min(accelerators, PROCESSES) or PROCESSES), 'pretrain/run.py']
    launch += ['--deepspeed', str(DS_CONFIG), '--config', str(CONFIG), *changed]
    # One thread a process: with more, the results would depend on the machine.
    environment = {} if accelerators else {'DS_ACCELERATOR': 'cpu', 'OMP_NUM_THREADS': '1'}
    # Without the launcher's own log, and at a port that no other demo, which may be at an earlier step, is about to take.
    own = ['--quiet', '--master_port', str(free_port())]
    found.append(Step('pre-training', launch, run, [RAW, CONFIG, DS_CONFIG], environment, own))
    for data in EVALUATED:
        evaluation = out / 'evaluation' / data.name
        evaluate = ['downstream', 'multi30k-retrieval', 'evaluate', '--model', str(run), '--data', str(data), '--out', str(evaluation)]
        floor = ['python', str(FLOOR), str(RAW), str(data), '--result', str(evaluation / 'result.json'), '--out', str(_floor(out, data))]
        logs = [out / 'logs' / f'{what}-{data.name}.txt' for what in ('evaluation', 'floor')]
        found.append(Step(f'evaluation on {data.name}', evaluate, evaluation, [data], log=logs[0]))
        found.append(Step(f'ridge floor on {data.name}', floor, _floor(out, data), [RAW, data, FLOOR], log=logs[1]))
    # Last, for the figures on its card.
    found.append(Step('export', ['pretrain', 'export', str(run), '--out', str(export), '--results', str(out / 'evaluation')], export))
    return found


def report(out: Path, config: Config, seconds: dict[str, float]) -> dict[str, Any]:
    """Print the tables; write OUT/results.json, OUT/results.txt and OUT/demo.png. Returns the recalls that the last line is about."""
    run = out / 'run'
    metrics, evaluations = read_lines(run / METRICS), read_lines(run / EVALUATION)
    if not metrics or not evaluations:
        raise UserError(f'{run} has no steps or no evaluation in its records; delete it and start again')
    evaluated = {data.name: json.loads((out / 'evaluation' / data.name / 'result.json').read_text(encoding='utf8')) for data in EVALUATED}
    sets = {
        data.name: results.retrieval(evaluated[data.name], json.loads(_floor(out, data).read_text(encoding='utf8'))) for data in EVALUATED
    }
    heldout = results.losses(evaluations)
    headline = EVALUATED[0]
    text = results.text(sets, heldout, results.pictured(out / 'shards'), headline.name)
    picture = out / 'demo.png'
    split = read_split(headline)
    figure.draw(picture, metrics, evaluations, split, figure.choose(split, out / 'evaluation' / headline.name))
    content = {
        'steps': config.steps,
        'seed': config.seed,
        'model_sha256': evaluated[headline.name]['model']['sha256'],
        'retrieval': sets,
        'heldout': heldout,
        'seconds': seconds,
    }
    write_json(out / 'results.json', content)
    write_text(out / 'results.txt', text + '\n')
    print(f'\n{text}\n\nTook {clock(sum(seconds.values()))} in all. Picture: {picture}   numbers: {out / "results.json"}   run: {run}')
    return sets[headline.name]


def gpus() -> int:
    """GPUs that torch can use."""
    import torch

    return torch.cuda.device_count()


def _floor(out: Path, data: Path) -> Path:
    return out / 'floor' / f'{data.name}.json'


if __name__ == '__main__':
    raise SystemExit(run_command(main))
