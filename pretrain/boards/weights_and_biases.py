"""Weights & Biases (`log.wandb`): its own files in RUN/wandb, sent to its server when there is one and a key for it."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any, Literal

from pretrain.boards.board import Board, warn
from pretrain.boards.kept import Attempt, kept
from pretrain.boards.scalars import Scalars
from pretrain.terminal import say

TRACKER = 'wandb'
SECONDS = 60.0  # for its server to answer


class WeightsAndBiases(Board):
    """One run of `project`, the same after every start in `out`. Its axis is `step`, our own: wandb's refuses steps that are made again."""

    def __init__(self, project: str, out: Path, settings: dict[str, Any]):
        if not os.environ.get('WANDB_MODE'):
            os.environ.pop('WANDB_MODE', None)  # set and empty, which is no mode of wandb's

        import wandb

        known = kept(out, TRACKER)
        ours = known.get('project') == project and 'id' in known
        name = {'project': project, 'id': known['id'] if ours else uuid.uuid4().hex[:12]}
        self._attempt = Attempt(out, TRACKER, name)
        # silent: of what it says a person needs the line below; no console: the run's own output stays where it goes.
        options = wandb.Settings(silent=True, console='off', disable_git=True, disable_code=True, init_timeout=SECONDS)
        common: dict[str, Any] = {**name, 'name': out.resolve().name, 'dir': str(out), 'config': settings, 'settings': options}
        mode, where = os.environ.get('WANDB_MODE'), None
        try:
            online = _online(out)
            unsent: Literal['disabled', 'offline'] = 'disabled' if mode == 'disabled' else 'offline'
            self._run = wandb.init(**common, mode=None if online else unsent, resume='allow' if online else None)
            if online:
                where = self._run.url
            elif mode and mode != 'disabled':  # why nothing is sent without a mode has been said
                where = f'WANDB_MODE={mode}, so nothing is sent; {_later(out)}'
        except wandb.errors.CommError as error:  # of the key's check as well, which is the first to ask the server
            warn(f'the server of log.wandb does not answer, or refuses the key ({" ".join(str(error).split())[:200]}); {_later(out)}')
            self._run = wandb.init(**common, mode='offline')
        self._run.define_metric('step', hidden=True)
        self._run.define_metric('*', step_metric='step')
        if where:
            say(f'log.wandb: {where}')

    def scalars(self, step: int, values: Scalars) -> None:
        self._run.log({**values, 'attempt': self._attempt.number, 'step': step})

    def back(self, done: int) -> None:
        self._attempt.next()

    def close(self, code: int | None) -> None:
        self._run.finish(exit_code=code or 0)


def _online(out: Path) -> bool:
    """Whether figures are to be sent: as WANDB_MODE says, else when there is a key, which it would ask for on the terminal. Raises
    CommError when the server does not take it.
    """
    import wandb

    if mode := os.environ.get('WANDB_MODE'):
        return mode in ('online', 'shared')
    if wandb.login(prompt=False):
        return True
    warn(f'log.wandb: no key here (`wandb login`), so nothing is sent; {_later(out)}')
    return False


def _later(out: Path) -> str:
    return f'its files are kept: `wandb sync {out}/wandb/offline-run-*` sends them'
