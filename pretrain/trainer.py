"""A run from start to end: open, resume, train, evaluate, checkpoint, go back when it must, stop when asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from signal import Signals

import torch
import torch.distributed as dist

from pretrain.data.packing import StepData
from pretrain.engine.checkpoint import checkpoints, load_checkpoint, step_of
from pretrain.engine.control import MISTAKE, Control
from pretrain.engine.distributed import init_distributed, local_device
from pretrain.engine.environment import environment
from pretrain.engine.flops import peak_flops
from pretrain.engine.host import attention_kernel, keep_memory
from pretrain.engine.recovery import Recovery
from pretrain.engine.resume import changed_settings, check_resumable, find_checkpoint, from_rank_0
from pretrain.engine.saver import Saved, Saver
from pretrain.engine.schedule import learning_rate
from pretrain.engine.step import StepResult, train_step
from pretrain.engine.zero import Engine
from pretrain.header import header
from pretrain.journal import Journal
from pretrain.model.unix2 import UniX2
from pretrain.preflight import check_run
from pretrain.progress import Progress, step_line
from pretrain.workload import Evaluation, Weights, Workload
from shards.errors import UserError


class Trainer:
    """Everything that a run of a workload holds. `run()` trains to `config.steps`, or until the workload is settled, and returns the exit
    code.
    """

    def __init__(self, workload: Workload, ds_config: str | None):
        config = workload.config
        self.workload, self.config, self.out = workload, config, Path(config.out)
        # Before any worker or engine starts: what is missing is said at once, not at the first evaluation.
        self.manifests = check_run(workload, ds_config)
        # A run with a checkpoint goes on from it or not at all, and then needs no other weights.
        start = None if checkpoints(self.checkpoints) else workload.weights()
        init_distributed(config.watchdog.hang, self.out / 'flight')
        keep_memory(local_device())
        self.recovery = Recovery(config.recovery)
        self.done = 0  # updates
        self.saved = -1  # updates in the newest checkpoint
        self.history: list[Evaluation] = []  # the run's evaluations so far, on every rank
        self.journal = Journal(config)  # before the watchdog's time begins: another run's end may be waited for
        self.control = Control(config.watchdog, local_device(), self.journal.fault, self.journal.hung)
        with self.control:
            self.engine = make_engine(workload, start, ds_config)
            peak = peak_flops(config.log.peak_tflops, self.engine.device)
            self.peak = None if peak is None else peak * self.engine.world  # FLOP/s of all ranks
            self.environment = {**environment(), 'kernels': self.engine.kernels}
            self._open(initialised=start is not None)
            self.journal.say(header(workload, self.engine, self.manifests, self.done, self.peak))
            self.saver = Saver(self.engine, self.checkpoints, config, self.manifests, self.journal.sync)

    @property
    def checkpoints(self) -> Path:
        return self.out / 'checkpoints'

    def run(self) -> int:
        """Returns the exit code. Raises UserError, on every rank, when the run can neither go on nor go back."""
        with attention_kernel(self.engine.device), self.control:
            try:
                self._evaluate_if_due()
                while self.done < self.config.steps and not self.control.stopping and not self.settled:
                    self._train()
                return self._end()
            except UserError as error:
                self.journal.event('end', step=self.done, code=MISTAKE, problem=str(error))
                raise

    @property
    def settled(self) -> bool:
        """Whether the workload wants no more steps."""
        return self.workload.settled(self.history)

    def _train(self) -> None:
        """Train to the end, to where the run is asked to stop or settled, or to where it must go back."""
        config, control, engine = self.config, self.control, self.engine
        progress = Progress(config, self.done, self.recovery.skipped)
        with self.workload.loader(engine.rank, engine.world, self.done, self.recovery.skip, control.tell) as loader:
            batches = iter(loader)
            while self.done < config.steps:
                began = time.perf_counter()
                control.begin(f'the data of step {self.done + 1}')
                data = self._next(batches)
                waited = time.perf_counter() - began
                if control.point(f'step {self.done + 1}') or data is None:
                    return
                lr = learning_rate(config.optimizer, self.done, config.steps)
                result = train_step(engine, config, data, self.done, lr, self.recovery.judge, self._point)
                if result is None:  # asked to stop in the middle of the step, before its update
                    return
                self.done += 1
                self._record(progress, result, lr, waited, time.perf_counter() - began)
                if self.recovery.note(result.losses, result.skipped):
                    return self._go_back()
                due = self.done % config.checkpoint.every == 0 or self.done == config.steps
                if due and not self.recovery.streak:
                    self.checkpoint()
                self._evaluate_if_due()
                if control.stopping or self.settled:
                    return

    def _next(self, batches: Iterator[tuple[int, StepData]]) -> StepData | None:
        """The data of the next step; None when this rank cannot read it."""
        try:
            return next(batches)[1]
        except UserError as error:
            self.control.fail(str(error))
            return None

    def _point(self, doing: str, alone: bool) -> bool:
        return self.control.point(f'{doing} of step {self.done + 1}', alone)

    # ---- evaluation ------------------------------------------------------------------------------------------------------------------

    def _evaluate_if_due(self) -> None:
        """At the start, every `eval.every` steps and at the end, unless it is written: a run may have ended between a checkpoint and its
        evaluation.
        """
        due = self.done % self.config.eval.every == 0 or self.done == self.config.steps
        if due and all(line['step'] != self.done for line in self.history):
            self.evaluate()
        self._keep_best()

    def evaluate(self) -> None:
        """The workload's evaluation, written as one line of evaluation.jsonl. When the run is asked to stop it is given up in between: the
        next start makes it anew.
        """
        began = time.perf_counter()
        found = self.workload.evaluate(self.engine, self.control)
        if found is None:
            return
        evaluation = {'step': self.done, **found}
        self.history.append(evaluation)
        if self.journal.speaks:
            first, *others = self.workload.said(evaluation)
            self.journal.evaluation(evaluation, [f'{first}  ({time.perf_counter() - began:.1f} s)', *others])

    def _keep_best(self) -> None:
        """Keep the model as it is now when none before was better. It is kept from its checkpoint: after a crash it can be kept again."""
        if self.control.stopping or self.workload.best(self.history) != self.done:
            return
        if self.saved != self.done:
            self._finish_checkpoint()
        if self.saved != self.done:
            self.checkpoint()
            self._finish_checkpoint()
        if self.saved == self.done:
            from_rank_0(lambda: self.workload.keep(self.checkpoints / f'step-{self.done:07d}'))

    # ---- checkpoints -----------------------------------------------------------------------------------------------------------------

    def checkpoint(self) -> None:
        """Begin a checkpoint of what is done; training goes on beside it. One that is still being written is waited for."""
        self._finish_checkpoint()
        self.control.beat(f'the snapshot after step {self.done}')
        self.saver.save(self.done, self.recovery.state())

    def _finish_checkpoint(self) -> None:
        """Wait for the checkpoint that is being written, if one is."""
        self.control.beat('writing a checkpoint')
        self._checkpoint_ended(self.saver.ended(wait=True))

    def _checkpoint_ended(self, saved: Saved | None) -> None:
        if saved is None:
            return
        if saved.problem is not None:
            self.journal.fault(f'no checkpoint of step {saved.step}: {saved.problem}', step=saved.step)
            return
        self.saved, self.recovery.rollbacks = saved.step, 0
        if saved.warning is not None:
            self.journal.fault(saved.warning, step=saved.step)
        times = {'seconds': round(saved.seconds, 3), 'stall': round(saved.stall, 4)}
        self.journal.event('checkpoint', step=saved.step, path=str(saved.path), **times)
        self.journal.say(f'checkpoint of step {saved.step}: {saved.seconds:.1f} s, for {saved.stall:.2f} s of which training stood still')

    def _go_back(self) -> None:
        """Too many updates in a row were not made: load the last checkpoint before them, and pass over the data since then."""
        self._finish_checkpoint()
        bad, last = self.recovery.streak, self.done
        what = f'{bad} updates in a row were skipped, the last at step {last}'
        path = find_checkpoint(self.checkpoints, up_to=last - bad).path
        if path is None:
            raise UserError(f'{what}, and there is no checkpoint before them; lower optimizer.lr, or checkpoint.every')
        if self.recovery.rollbacks >= self.config.recovery.rollbacks:
            times = self.recovery.rollbacks
            raise UserError(f'{what}, after going back {times} times to {path}; lower optimizer.lr, or look at the data (events.jsonl)')
        window = self.recovery.pass_over(last, step_of(path))
        load_checkpoint(self.engine, path)
        self.done = self.saved = step_of(path)
        self.history = [line for line in self.history if line['step'] <= self.done]
        self.journal.go_back(self.done)
        self.journal.event('rollback', step=self.done, last=last, skip=window, problem=what)
        self.journal.say(f'{what}: back to {path}; batches {window[0]} to {window[1] - 1} of the data are passed over from now on')

    def _open(self, initialised: bool) -> None:
        """Load the newest valid checkpoint of `out`, if there is one, and open the records, on rank 0."""
        self.control.beat('checking the checkpoints')
        found = find_checkpoint(self.checkpoints)
        removal = None
        if found.path is not None:
            self.control.beat(f'loading {found.path}')
            trained_on = check_resumable(self.config, found.path)
            removal = self.workload.check_same_data(trained_on, self.manifests, found.path)
            self.recovery.load(load_checkpoint(self.engine, found.path).get('recovery', {}))
            self.done = self.saved = step_of(found.path)
        elif not initialised:
            raise UserError(f'the checkpoints in {self.checkpoints} went away while this run started; start it again')
        self.control.beat('opening the records')
        self.history = self.journal.open(self.done, self.environment)
        for problem in found.problems:
            self.journal.event('fault', problem=problem)
            self.journal.say(f'skipped a damaged checkpoint: {problem}')
        if removal is not None:
            self.journal.event('removal', problem=removal)
            self.journal.say(removal)
        if found.path is not None:
            changed = changed_settings(self.config, found.path)
            self.journal.event('resume', step=self.done, world=self.engine.world, changed=changed, environment=self.environment)
            self.journal.say(f'resuming after step {self.done} of {self.config.steps}')
        else:
            self.journal.event('start', step=0, world=self.engine.world, environment=self.environment)

    def _record(self, progress: Progress, result: StepResult, lr: float, waited: float, seconds: float) -> None:
        if self.journal.speaks:
            line = step_line(result, self.done, lr, self.engine.module.scale().item(), seconds, waited, self.peak)
            self.journal.step(line, result, progress)
        if result.problem:
            self.journal.event('fault', step=self.done, problem=f'the update was skipped: {result.problem}')
        self.control.after_step()
        self._checkpoint_ended(self.saver.ended())

    def _end(self) -> int:
        """Save what is done unless it is saved, close the records; returns the exit code."""
        stopping = self.control.stopping
        self._finish_checkpoint()
        if self.saved != self.done:
            self.checkpoint()
            self._finish_checkpoint()
        problems = [self.control.mistake] if stopping == MISTAKE and self.control.mistake else []
        room = f'make room in {self.out} and start the same command again, which resumes'  # said once, after what was lost for lack of it
        if self.saved != self.done:
            problems.append(f'step {self.done} is not saved; {room}')
        code = MISTAKE if problems else stopping
        told = {'problem': '; '.join(problems)} if problems else {}
        self.journal.event('end', step=self.done, code=code, skipped=self.recovery.skipped, **told)
        lost = self.journal.close()
        if lost is not None:
            code = MISTAKE
            problems = [lost, *problems] if self.saved != self.done else [*problems, f'{lost}; {room}']
        if problems:
            self.journal.say(f'error: {"; ".join(problems)}')
        elif stopping:
            self.journal.say(f'stopped by {Signals(stopping - 128).name} after step {self.done}; the same command continues')
        else:
            self.journal.say(f'trained {self.done} steps')
        dist.barrier()
        dist.destroy_process_group()
        return code


def make_engine(workload: Workload, start: Weights | None, ds_config: str | None) -> Engine:
    """The engine of a workload's model, the same on every rank, with the weights of `start`; without it their random values."""
    config = workload.config
    torch.manual_seed(config.seed)
    model = UniX2(config.model, workload.tokenizer.vocabulary)
    if start:
        start.load(model)
    return Engine(model, config, ds_config)
