"""A run from start to end: open, train, evaluate, go back when it must, stop when asked. Its checkpoints are checkpointing.py's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from signal import Signals

import torch
import torch.distributed as dist

from pretrain.checkpointing import Checkpointing, Resumed
from pretrain.data.packing import StepData
from pretrain.engine.checkpoint import checkpoints
from pretrain.engine.control import MISTAKE, Control
from pretrain.engine.distributed import init_distributed, local_device
from pretrain.engine.environment import environment
from pretrain.engine.flops import peak_flops
from pretrain.engine.host import attention_kernel, keep_memory
from pretrain.engine.recovery import Recovery
from pretrain.engine.resume import changed_settings, from_rank_0
from pretrain.engine.schedule import learning_rate
from pretrain.engine.step import StepResult, train_step
from pretrain.engine.zero import Engine
from pretrain.header import header
from pretrain.journal import Journal
from pretrain.model.folder import CHECKPOINTS
from pretrain.model.unix2 import UniX2
from pretrain.preflight import check_run
from pretrain.progress import Progress, Standstill, evaluating, step_line
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
        start = None if checkpoints(self.out / CHECKPOINTS) else workload.weights()
        init_distributed(config.watchdog.hang, self.out / 'flight')
        keep_memory(local_device())
        self.recovery = Recovery(config.recovery)
        self.standstill = Standstill()
        self.journal = Journal(config)  # before the watchdog's time begins: another run's end may be waited for
        self.control = Control(config.watchdog, local_device(), self.journal.fault, self.journal.hung)
        with self.control:
            self.engine = make_engine(workload, start, ds_config)
            peak = peak_flops(config.log.peak_tflops, self.engine.device)
            self.peak = None if peak is None else peak * self.engine.world  # FLOP/s of all ranks
            self.environment = {**environment(), 'kernels': self.engine.kernels}
            self.checkpoints = Checkpointing(workload, self.engine, self.manifests, self.recovery, self.control, self.journal)
            resumed = self.checkpoints.resume(initialised=start is not None)
            self.done = max(0, self.checkpoints.saved)  # updates
            self.history: list[Evaluation] = self._open(resumed)  # the run's evaluations so far, on every rank
            self.journal.say(header(workload, self.engine, self.manifests, self.done, self.peak))

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
        progress = Progress(config, self.done, self.recovery.skipped, self.standstill)
        with self.workload.loader(engine.rank, engine.world, self.done, self.recovery.skip, control.tell) as loader:
            batches = iter(loader)
            while self.done < config.steps:
                began = time.perf_counter()
                control.begin(f'the data of step {self.done + 1}')
                data = self._next(batches)
                if control.point(f'step {self.done + 1}', waited=time.perf_counter() - began) or data is None:
                    return
                waited = control.waited  # by the rank whose data came last: all others have waited for it
                lr = learning_rate(config.optimizer, self.done, config.steps)
                result = train_step(engine, config, data, self.done, lr, self.recovery.judge, self._point)
                if result is None:  # asked to stop in the middle of the step, before its update
                    return
                self.done += 1
                self._record(progress, result, lr, waited, time.perf_counter() - began)
                if self.recovery.note(result.losses, result.skipped):
                    self.done = self.checkpoints.go_back(self.done)
                    self.history = [line for line in self.history if line['step'] <= self.done]
                    return
                due = self.done % config.checkpoint.every == 0 or self.done == config.steps
                if due and not self.recovery.streak:
                    self.checkpoints.begin(self.done)
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
        if self.journal.speaks:
            evaluating(self.done, self.standstill)
        found = self.workload.evaluate(self.engine, self.control)
        if found is None:
            return
        self.standstill.evaluation = time.perf_counter() - began
        evaluation = {'step': self.done, **found}
        self.history.append(evaluation)
        if self.journal.speaks:
            first, *others = self.workload.said(evaluation)
            self.journal.evaluation(evaluation, [f'{first}  ({self.standstill.evaluation:.1f} s)', *others])

    def _keep_best(self) -> None:
        """Keep the model as it is now when none before was better. It is kept from its checkpoint: after a crash it can be kept again."""
        if self.control.stopping or self.workload.best(self.history) != self.done:
            return
        if self.checkpoints.make(self.done):
            from_rank_0(lambda: self.workload.keep(self.checkpoints.folder / f'step-{self.done:07d}'))

    # ---- records ----------------------------------------------------------------------------------------------------------------------

    def _open(self, resumed: Resumed) -> list[Evaluation]:
        """Open the records, on rank 0, and say how the run begins; returns its evaluations so far."""
        found = resumed.found
        self.control.beat('opening the records')
        history = self.journal.open(self.done, self.environment, self.engine.ds_config)
        for problem in found.problems:
            self.journal.event('fault', problem=problem)
            self.journal.say(f'skipped a damaged checkpoint: {problem}')
        if resumed.removal is not None:
            self.journal.event('removal', problem=resumed.removal)
            self.journal.say(resumed.removal)
        if found.path is not None:
            changed = changed_settings(self.config, self.engine.ds_config, found.path)
            self.journal.event('resume', step=self.done, world=self.engine.world, changed=changed, environment=self.environment)
            self.journal.say(f'resuming after step {self.done} of {self.config.steps}')
        else:
            self.journal.event('start', step=0, world=self.engine.world, environment=self.environment)
        return history

    def _record(self, progress: Progress, result: StepResult, lr: float, waited: float, seconds: float) -> None:
        if (last := self.checkpoints.last) is not None:
            self.standstill.stall, self.standstill.writing = last.stall, last.seconds
        if self.journal.speaks:
            line = step_line(result, self.done, lr, self.engine.module.scale().item(), seconds, waited, self.peak)
            self.journal.step(line, result, progress)
        if result.problem:
            self.journal.event('fault', step=self.done, problem=f'the update was skipped: {result.problem}')
        self.control.after_step()
        self.checkpoints.look()

    def _end(self) -> int:
        """Save what is done unless it is saved, close the records; returns the exit code."""
        stopping = self.control.stopping
        saved = self.checkpoints.make(self.done)
        problems = [self.control.mistake] if stopping == MISTAKE and self.control.mistake else []
        room = f'make room in {self.out} and start the same command again, which resumes'  # said once, after what was lost for lack of it
        if not saved:
            problems.append(f'step {self.done} is not saved; {room}')
        code = MISTAKE if problems else stopping
        told = {'problem': '; '.join(problems)} if problems else {}
        self.journal.event('end', step=self.done, code=code, skipped=self.recovery.skipped, **told)
        lost = self.journal.close()
        if lost is not None:
            code = MISTAKE
            problems = [lost, *problems] if not saved else [*problems, f'{lost}; {room}']
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
