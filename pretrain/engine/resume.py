"""Where a run goes on: the newest valid checkpoint, and what may change between it and the run that continues it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch.distributed as dist

from pretrain.config import Config, differences, read_saved, within
from pretrain.engine.checkpoint import LATEST, newest_valid, publish, read_state, tidy
from pretrain.engine.ds_config import OWNED
from shards.errors import UserError

Result = TypeVar('Result')

# Settings that say neither which samples come next, nor what is learned from them, nor what the parameters are. (`init` is read by a new
# run only.)
FREE = (
    'out', 'steps', 'precision', 'init', 'optimizer', 'kernels', 'checkpoint', 'eval', 'log', 'recovery', 'watchdog', 'batch.micro',
    'model.recompute',
    'data.shards', 'data.tokenizer', 'data.cache', 'data.workers', 'data.prefetch',
    'data.accept_removals',
    'finetune.model', 'finetune.data', 'finetune.images', 'finetune.epochs', 'finetune.patience',  # files are told by their hashes
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """The checkpoint to go on from, None for a new run, and what was wrong with newer ones."""

    path: Path | None
    problems: list[str]


def find_checkpoint(folder: Path, up_to: int | None = None) -> Found:
    """The newest valid checkpoint below `folder`, of step `up_to` at most: rank 0 looks, all ranks get the same.

    `latest` is made to name it again, and what an attempt that died left half done is removed. Raises UserError on every rank when there
    are checkpoints and none is valid.
    """

    def find() -> Found:
        try:
            tidy(folder)
            path, problems = newest_valid(folder, up_to)
            latest = folder / LATEST
            if path and (not latest.exists() or latest.read_text(encoding='utf8').strip() != path.name):
                publish(folder, path.name)
        except OSError as error:
            raise UserError(f'{folder} cannot be used ({error.strerror}); correct that, or choose another `out`') from None
        return Found(path, problems)

    return from_rank_0(find)


def from_rank_0(function: Callable[[], Result]) -> Result:
    """What `function` returns on rank 0, on every rank; a UserError that it raises there is raised on every rank."""
    answer: list[Any] = [None]
    if dist.get_rank() == 0:
        try:
            answer = [function()]
        except UserError as error:
            answer = [error]
    dist.broadcast_object_list(answer)
    if isinstance(answer[0], UserError):
        raise answer[0]
    result: Result = answer[0]
    return result


def check_resumable(config: Config, path: Path, tokenizer: str) -> dict[str, str]:
    """The manifests (name -> sha256) of the data that the checkpoint was trained on. `tokenizer`: fingerprint of this run's.

    Raises UserError when the run that wrote it was another one, had another tokenizer, or went further.
    """
    state = read_state(path)
    check_same_run(config, state['config'], path)
    if state.get('tokenizer') not in (None, tokenizer):  # none: of an earlier version
        had = f'{path} was trained with tokenizer {state["tokenizer"]}, {config.data.tokenizer} is {tokenizer}'
        raise UserError(f'{had}; set data.tokenizer to the one that it had, or choose another `out`')
    if state['step'] > config.steps:
        asked = config.steps
        raise UserError(f'{path} has {state["step"]} steps, the configuration asks for {asked}; raise `steps` or choose another `out`')
    manifests: dict[str, str] = state['manifests']
    return manifests


def check_same_run(config: Config, saved: dict[str, Any], checkpoint: Path) -> None:
    """Raises UserError naming the first setting by which this run is another one than that of the checkpoint. A setting that its version
    did not have was at its default.
    """
    settings, gone = read_saved(saved)
    for key, then in gone.items():
        if not within(key, FREE):
            why = f'was trained with {key} = {then!r}, a setting that this version does not have'
            raise UserError(f'{checkpoint} {why}; go on with the version that wrote it, or choose another `out`')
    for key, (now, then) in differences(config.model_dump(by_alias=True, mode='json'), settings).items():
        if not within(key, FREE):
            raise UserError(
                f'{checkpoint} was trained with {key} = {then!r}, this run asks for {now!r}, which would lose or repeat '
                'samples or change the model; set it back, or choose another `out`'
            )


def changed_settings(config: Config, ds_config: dict[str, Any], path: Path) -> dict[str, Any]:
    """Settings by dotted key that are others now than in the run that wrote the checkpoint; None for one that is not there any more. Those
    of the DeepSpeed JSON are below `deepspeed`, without what the YAML, or the number of processes, says there.
    """
    state = read_state(path)
    settings, gone = read_saved(state['config'])
    changed = differences(config.model_dump(by_alias=True, mode='json'), settings)
    told = {key: now for key, (now, _) in changed.items()} | dict.fromkeys(gone)
    if 'deepspeed' in state:  # else it is of an earlier version
        changed = differences(ds_config, state['deepspeed'])
        told |= {f'deepspeed.{key}': now for key, (now, _) in changed.items() if key not in OWNED}
    return told
