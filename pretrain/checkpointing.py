"""The checkpoints of a run: resumed from, written beside the training, gone back to. What becomes of each is told to the run's records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pretrain.engine.checkpoint import load_checkpoint, step_of
from pretrain.engine.control import Control
from pretrain.engine.recovery import Recovery
from pretrain.engine.resume import Found, check_resumable, find_checkpoint
from pretrain.engine.saver import Saved, Saver
from pretrain.engine.zero import Engine
from pretrain.journal import Journal
from pretrain.model.folder import CHECKPOINTS
from pretrain.workload import Workload
from shards.errors import UserError


@dataclass(frozen=True)
class Resumed:
    """What a start found."""

    found: Found
    removal: str | None  # what to say of pictures that were taken out of the data since


class Checkpointing:
    """All ranks call the same methods in the same order."""

    def __init__(
        self, workload: Workload, engine: Engine, manifests: dict[str, str], recovery: Recovery, control: Control, journal: Journal
    ):
        self.workload, self.config, self.engine, self.manifests = workload, workload.config, engine, manifests
        self.recovery, self.control, self.journal = recovery, control, journal
        self.folder = Path(self.config.out) / CHECKPOINTS
        self.saver = Saver(engine, self.folder, self.config, manifests, journal.sync, workload.tokenizer.fingerprint)
        self.saved = -1  # updates in the newest checkpoint
        self.last: Saved | None = None  # what this process has written

    def resume(self, initialised: bool) -> Resumed:
        """Load the newest valid checkpoint of `out`, if there is one. `initialised`: the engine has the weights of a new run.

        Raises UserError on every rank when a checkpoint is of another run, or of other data, or went away.
        """
        self.control.beat('checking the checkpoints')
        found = find_checkpoint(self.folder)
        if found.path is None:
            if not initialised:
                raise UserError(f'the checkpoints in {self.folder} went away while this run started; start it again')
            return Resumed(found, None)
        self.control.beat(f'loading {found.path}')
        trained_on = check_resumable(self.config, found.path, self.workload.tokenizer.fingerprint)
        removal = self.workload.check_same_data(trained_on, self.manifests, found.path)
        self.recovery.load(load_checkpoint(self.engine, found.path).get('recovery', {}))
        self.saved = step_of(found.path)
        return Resumed(found, removal)

    def begin(self, done: int) -> None:
        """Begin a checkpoint of `done` updates; training goes on beside it. One that is still being written is waited for."""
        self.finish()
        self.control.beat(f'the snapshot after step {done}')
        self.saver.save(done, self.recovery.state())

    def finish(self) -> None:
        """Wait for the checkpoint that is being written, if one is."""
        self.control.beat('writing a checkpoint')
        self._ended(self.saver.ended(wait=True))

    def look(self) -> None:
        """Take note of one that has ended."""
        self._ended(self.saver.ended())

    def make(self, done: int) -> bool:
        """Wait until there is a checkpoint of `done` updates; returns whether there is, for it may have failed."""
        self.finish()
        if self.saved != done:
            self.begin(done)
            self.finish()
        return self.saved == done

    def _ended(self, saved: Saved | None) -> None:
        if saved is None:
            return
        if saved.problem is not None:
            self.journal.fault(f'no checkpoint of step {saved.step}: {saved.problem}', step=saved.step)
            return
        self.saved, self.last, self.recovery.rollbacks = saved.step, saved, 0
        if saved.warning is not None:
            self.journal.fault(saved.warning, step=saved.step)
        times = {'seconds': round(saved.seconds, 3), 'stall': round(saved.stall, 4)}
        self.journal.event('checkpoint', step=saved.step, path=str(saved.path), **times)
        self.journal.say(f'checkpoint of step {saved.step}: {saved.seconds:.1f} s, for {saved.stall:.2f} s of which training stood still')

    def go_back(self, last: int) -> int:
        """Too many updates in a row were not made, the last at step `last`: load the last checkpoint before them, and pass over the data
        since then. Returns its step. Raises UserError when there is none, or the run has gone back too often.
        """
        self.finish()
        bad = self.recovery.streak
        what = f'{bad} updates in a row were skipped, the last at step {last}'
        path = find_checkpoint(self.folder, up_to=last - bad).path
        if path is None:
            raise UserError(f'{what}, and there is no checkpoint before them; lower optimizer.lr, or checkpoint.every')
        if self.recovery.rollbacks >= self.config.recovery.rollbacks:
            times = self.recovery.rollbacks
            raise UserError(f'{what}, after going back {times} times to {path}; lower optimizer.lr, or look at the data (events.jsonl)')
        window = self.recovery.pass_over(last, step_of(path))
        load_checkpoint(self.engine, path)
        self.saved = step_of(path)
        self.journal.go_back(self.saved)
        self.journal.event('rollback', step=self.saved, last=last, skip=window, problem=what)
        self.journal.say(f'{what}: back to {path}; batches {window[0]} to {window[1] - 1} of the data are passed over from now on')
        return self.saved
