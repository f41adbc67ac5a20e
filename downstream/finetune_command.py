"""`downstream BENCHMARK finetune`: train with DeepSpeed's launcher, keep the model that is best on the development set, test it."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from downstream.benchmark import Benchmark
from downstream.caption_finetuning import COCO, COCOCN
from downstream.files import RESULT, write_json
from downstream.finetuning import FineTuning, bound_to, check_bound
from downstream.launch import run_group
from downstream.recipes import compose
from downstream.retrieval_finetuning import Retrieval
from downstream.translation_finetuning import Translation
from downstream.xgqa import XGQA
from downstream.xvnli import XVNLI
from pretrain.config import Config, differences, read_saved, within
from pretrain.dry_run import dry_run
from pretrain.engine.checkpoint import checkpoints, read_state
from pretrain.engine.distributed import launched_world
from pretrain.model.folder import BEST, CHECKPOINTS, CONFIG
from pretrain.model.load import Found, find_model
from pretrain.ports import free_port
from pretrain.preflight import check_newest_checkpoint
from pretrain.records import EVALUATION, read_lines
from pretrain.trainer import Trainer
from shards.errors import UserError, continues

BENCHMARKS: dict[str, type[Benchmark]] = {kind.name: kind for kind in (Retrieval, Translation, COCO, COCOCN, XVNLI, XGQA)}
RUN = Path(__file__).with_name('run.py')
# What may differ between the run that a result is of, and the call that asks for it: folders (told by their hashes) and the speed.
UNTOLD = (
    'out', 'finetune.model', 'finetune.data', 'finetune.images', 'data.tokenizer', 'data.workers', 'data.prefetch', 'data.cache', 'log',
)  # fmt: skip


@dataclass(frozen=True)
class Prepared:
    """What a fine-tuning is, before anything runs."""

    config: Config
    benchmark: Benchmark
    base: Found

    @cached_property
    def bound(self) -> dict[str, str]:
        """Name -> sha256 of the base model and the data."""
        return bound_to(self.benchmark, self.base)


def prepare(benchmark: str, model: Path, data: Path, images: Path | None, out: Path, settings: list[str]) -> Prepared:
    """The same in the command and in every rank that it starts. Raises UserError for whatever cannot be."""
    base = find_model(model)
    return Prepared(*compose(BENCHMARKS[benchmark], model, base, data, images, out, settings), base)


@continues()
def finetune(
    benchmark: str, model: Path, data: Path, images: Path | None, out: Path, settings: list[str], languages: list[str] | None,
    ranks: int | None, dry: bool = False,
) -> int:  # fmt: skip
    """Returns the exit code: 0, what the training ended with, or 128 + the number of the signal that stopped it.

    Started by a launcher, this is one of the ranks, which only train. A call that was stopped goes on when it is made again; one that is
    done prints its result again. `dry`: everything but the first step. Raises UserError for a call that does not fit what OUT holds.
    """
    prepared = prepare(benchmark, model, data, images, out, settings)
    if launched_world() > 1 or 'RANK' in os.environ:
        workload = FineTuning(prepared.config, prepared.benchmark, prepared.base)
        return dry_run(workload, None) if dry else Trainer(workload, None).run()
    kind = prepared.benchmark
    # Mistakes in what is tested, or where, are not found out after the training, or by every rank.
    tested, tests = kind.tested(languages)
    _check_checkpoint(out, prepared)
    done = _done(out, prepared)
    if done is None or any(done['data'].get(name) != value for name, value in tests.items()):
        ranks = ranks or torch.cuda.device_count() or 1
        folders = ['--data', str(data), '--out', str(out), *([] if images is None else ['--images', str(images)])]
        code = launch(ranks, [benchmark, 'finetune', '--model', str(model), *folders, *settings, *(['--dry-run'] if dry else [])])
        if code or dry:
            return code
        if not (out / BEST / CONFIG).is_file():  # the launcher gives 0 when its processes were killed
            raise UserError(f'the training of {out} ended before its first evaluation; the same command continues')
        if ranks == 1 or not torch.cuda.is_available():  # on a CPU one process has all cores
            kind.test(out / BEST, out, languages)
        elif code := launch(ranks, [benchmark, 'evaluate', '--model', str(out / BEST), *folders, *tested]):
            return code
        done = _completed(out, prepared)
    if dry:
        print(f'dry run: {out / RESULT} is this fine-tuning, done; the same command prints it')
        return 0
    print(kind.show(done))
    print(f'written: {out / RESULT}; the model: {out / BEST}')
    return 0


def launch(ranks: int, words: list[str]) -> int:
    """Run a `downstream` command with DeepSpeed's launcher; returns the exit code."""
    deepspeed = str(Path(sys.executable).with_name('deepspeed'))
    launcher = [deepspeed, '--quiet', '--num_accelerators', str(ranks), '--master_port', str(free_port())]
    # One thread a process: with more, the results would depend on the machine.
    environment = {} if torch.cuda.is_available() else {'DS_ACCELERATOR': 'cpu', 'OMP_NUM_THREADS': os.environ.get('OMP_NUM_THREADS', '1')}
    return run_group([*launcher, str(RUN), *words], environment)


def _completed(out: Path, prepared: Prepared) -> dict[str, Any]:
    """The result of the tests, with what was trained."""
    result: dict[str, Any] = json.loads((out / RESULT).read_text(encoding='utf8'))
    result['trained'] = {
        'from': prepared.bound,
        'examples': len(prepared.benchmark),
        'dev': read_lines(out / EVALUATION),
        'settings': prepared.config.model_dump(by_alias=True, mode='json'),
    }
    write_json(out / RESULT, result)
    return result


def _check_checkpoint(out: Path, prepared: Prepared) -> None:
    """Raises UserError when OUT holds a checkpoint of another run, or from another base model or other data."""
    check_newest_checkpoint(prepared.config)
    for path in reversed(checkpoints(out / CHECKPOINTS)):
        try:
            saved = read_state(path)['manifests']
        except UserError:  # damaged: an older one counts
            continue
        check_bound(saved, prepared.bound, path, prepared.config)
        return


def _done(out: Path, prepared: Prepared) -> dict[str, Any] | None:
    """The result that OUT holds, if it is there. Raises UserError when it is of another run."""
    path = out / RESULT
    if not path.is_file():
        return None
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding='utf8'))
        trained = result.get('trained')
        if trained is None:  # it was stopped before it was whole
            return None
        settings, gone = read_saved(trained['settings'])
        changed = differences(prepared.config.model_dump(by_alias=True, mode='json'), settings)
        check_bound(trained['from'], prepared.bound, path, prepared.config)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f'{path} is no result of a fine-tuning; choose another --out') from None
    for key, then in gone.items():
        if not within(key, UNTOLD):
            raise UserError(f'{out} holds a run with {key} = {then!r}, a setting that this version does not have; choose another --out')
    for key, (now, then) in changed.items():
        if not within(key, UNTOLD):
            raise UserError(f'{out} holds a run with {key} = {then!r}, this one asks for {now!r}; choose another --out')
    return result
