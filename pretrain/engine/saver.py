"""Writes checkpoints beside the training: the ranks stop for a copy of their state, and a thread of each brings it to the disk.

Staged, synced, read back and compared, hashed, renamed, then published by an atomic `latest`; only then do older ones go. Whatever ends the
processes in between leaves the previous checkpoints as they were.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import safe_open
from torch import Tensor

from pretrain.config import Config
from pretrain.engine.checkpoint import FORMAT, MOMENTS, STATE, check, digest, publish, put_away, read_state, retire
from pretrain.engine.distributed import cpu_group
from pretrain.engine.environment import environment
from pretrain.engine.zero import Engine
from pretrain.weights_file import save_weights
from shards.durable import make_folder, sync
from shards.errors import UserError
from shards.hashes import file_sha256

SAVING = 'checkpoint'  # name of the thread
PATIENCE = timedelta(hours=6)  # for the slowest rank's disk; a rank that dies is noticed at once


@dataclass(frozen=True)
class Saved:
    """How a save ended, the same on every rank."""

    step: int
    path: Path
    stall: float  # seconds that this rank's training stood still
    seconds: float  # from the beginning until it was published
    problem: str | None = None  # why there is no checkpoint
    warning: str | None = None  # what could not be done after it was there


class Saver:
    """Saves the state of `engine` below `folder`. All ranks call the same methods in the same order.

    `before_publishing` runs on rank 0 (in the thread) when the files are on the disk: what the checkpoint relies on, it can sync there.
    """

    def __init__(
        self, engine: Engine, folder: Path, config: Config, manifests: dict[str, str], before_publishing: Callable[[], None] = lambda: None,
        tokenizer: str | None = None,
    ):  # fmt: skip
        """manifests, tokenizer: the hashes of the data, and the fingerprint of the tokenizer, that the run trains with."""
        self.engine, self.folder, self.config, self.manifests, self.before_publishing = engine, folder, config, manifests, before_publishing
        self.tokenizer = tokenizer
        self.group = cpu_group(PATIENCE)  # the threads' own: they never meet in the training's collectives
        self._thread: threading.Thread | None = None
        self._ended: Saved | None = None
        # Made, and touched, now: memory that is new costs several times what copying costs.
        pinned = engine.device.type == 'cuda'
        self._copies = {name: torch.zeros(tensor.shape, pin_memory=pinned).fill_(0) for name, tensor in self._live().items()}

    def save(self, step: int, recovery: dict[str, Any]) -> None:
        """Copy the state after `step` updates, and write it beside what follows. The previous save must have been taken by `ended`."""
        assert self._thread is None and self._ended is None
        began = time.perf_counter()
        for name, tensor in self._live().items():
            self._copies[name].copy_(tensor, non_blocking=True)
        if self.engine.device.type == 'cuda':
            torch.cuda.synchronize()
        state = {'step': step, 'updates': self.engine.updates, 'recovery': recovery}
        stall = time.perf_counter() - began
        self._thread = threading.Thread(target=self._write, args=(state, began, stall), name=SAVING, daemon=True)
        self._thread.start()

    def ended(self, wait: bool = False) -> Saved | None:
        """The save that has ended since the last call, if one has; with `wait`, the one that is under way is waited for."""
        if self._thread is None or not (wait or self._ended):
            return None
        self._thread.join()
        saved, self._thread, self._ended = self._ended, None, None
        return saved

    def _live(self) -> dict[str, Tensor]:
        """This rank's state by the names of its file; AdamW has no moments yet when every update so far was skipped."""
        tensors = {}
        for number, piece in enumerate(self.engine.slices()):
            tensors[f'group{number}.master'] = piece.master
            for name in MOMENTS:
                tensors[f'group{number}.{name}'] = piece.moments[name] if name in piece.moments else torch.zeros_like(piece.master)
        return tensors

    def _write(self, state: dict[str, Any], began: float, stall: float) -> None:
        """The thread. No rank leaves it before all know how the save ended, so that a failed one is removed when nobody writes there."""
        step = state['step']
        target = self.folder / f'step-{step:07d}'
        staging = self.folder / f'.staging-{target.name}'
        try:
            files: list[dict[str, Any]] = [{}] * self.engine.world
            dist.all_gather_object(files, self._write_mine(staging), group=self.group)
            problems = [entry['problem'] for entry in files if 'problem' in entry]
            outcome: list[str | None] = [problems[0] if problems else None, None]  # the problem, the warning
            if self.engine.rank == 0:
                if not problems:
                    outcome[0] = self._finish(staging, target, {**state, 'files': files})
                if outcome[0]:
                    shutil.rmtree(staging, ignore_errors=True)
                else:
                    outcome[1] = self._publish(target, state)
            dist.broadcast_object_list(outcome, group=self.group)
            problem, warning = outcome
        except Exception as error:  # another rank is gone, and with it the run; anything else must not make the save vanish in silence
            problem, warning = f'checkpoint {target}: {error!r}', None
        self._ended = Saved(step, target, stall, time.perf_counter() - began, problem, warning)

    def _write_mine(self, staging: Path) -> dict[str, Any]:
        """This rank's file, synced and read back. Returns its entry in the state, or the problem."""
        path = staging / f'weights-{self.engine.rank:05d}-of-{self.engine.world:05d}.safetensors'
        try:
            make_folder(staging)
            save_weights(self._copies, path)
            sync(path)
            forget(path)
            with safe_open(path, framework='pt') as file:
                other = [name for name, tensor in self._copies.items() if not torch.equal(file.get_tensor(name), tensor)]
            if lost := [name for name in other if self._copies[name].isnan().any()]:  # NaN is not equal to itself
                return {'problem': f'{path} would hold NaN ({", ".join(lost)}), and is not kept: nothing could be resumed from it'}
            if other:
                return {'problem': f'{path} does not hold what was written to it; is the disk sound?'}
            return {'file': path.name, 'sha256': file_sha256(path), 'starts': [piece.start for piece in self.engine.slices()]}
        except Exception as error:  # of whatever kind: the other ranks wait for this one's answer
            return {'problem': described(path, error)}

    def _finish(self, staging: Path, target: Path, state: dict[str, Any]) -> str | None:
        """Rank 0, when every rank's file is on the disk: write the state, rename. Returns the problem."""
        try:
            state |= {
                'format': FORMAT,
                'groups': [{'names': names, 'shapes': shapes} for names, shapes in zip(self.engine.names, self.engine.shapes, strict=True)],
                'config': self.config.model_dump(by_alias=True, mode='json'),
                'manifests': self.manifests,
                'tokenizer': self.tokenizer,
                'deepspeed': self.engine.ds_config,
                'environment': environment(),
            }
            state = json.loads(json.dumps(state))  # the digest must be that of what is read back: lists, not tuples
            (staging / STATE).write_text(json.dumps({**state, 'sha256': digest(state)}, indent=1), encoding='utf8')
            sync(staging / STATE)
            sync(staging)
            self.before_publishing()
            forget(staging / STATE)
            if not holds(staging, state):
                return f'{staging / STATE} does not hold what was written to it; is the disk sound?'
            old = staging
            if not holds(target, state) or check(target):
                if target.exists():  # damaged, or of data that a rollback has passed over since
                    old = put_away(target)
                staging.rename(target)
            sync(self.folder)
            shutil.rmtree(old, ignore_errors=True)  # the staged one, when an earlier save of this step failed after its rename
        except Exception as error:
            return described(target, error)
        return None

    def _publish(self, target: Path, state: dict[str, Any]) -> str | None:
        """Rank 0, when the checkpoint is there: name it, remove what it makes superfluous. Returns what could not be done."""
        try:
            publish(self.folder, target.name)
            if not state['recovery'].get('streak'):  # a run that must go back needs the one before the skipped updates
                retire(self.folder, state['step'], self.config.checkpoint.keep, self.config.checkpoint.forever)
        except Exception as error:
            return f'{target} is whole, but {described(self.folder, error)}'
        return None


def holds(path: Path, state: dict[str, Any]) -> bool:
    """Whether a checkpoint's folder has this state."""
    try:
        return read_state(path) == state
    except UserError:
        return False


def forget(path: Path) -> None:
    """Drop a synced file from the system's cache: what is read next comes from the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


def described(path: Path, error: Exception) -> str:
    """What hindered a write, in one line."""
    why = error.strerror if isinstance(error, OSError) and error.strerror else ' '.join(str(error).split()) or type(error).__name__
    return f'{path} cannot be written ({why})'
