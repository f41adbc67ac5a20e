"""A run from start to end: open, resume, train, evaluate, checkpoint, stop when asked."""
from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import FrameType

import torch
import torch.distributed as dist

from pretrain.config import Config, dump_config
from pretrain.data.batch import TaskBatch
from pretrain.data.heldout import HeldOut
from pretrain.data.loader import TrainLoader
from pretrain.data.order import check_data, rank_positions
from pretrain.engine.checkpoint import load_checkpoint, newest_valid, read_state, save_checkpoint
from pretrain.engine.host import attention_kernel, keep_memory
from pretrain.engine.resume import check_same_run
from pretrain.engine.schedule import learning_rate
from pretrain.engine.step import StepResult, train_step
from pretrain.engine.zero import Engine, init_distributed, local_device
from pretrain.evaluation.curve import retrieval_curve, retrieval_split
from pretrain.evaluation.heldout import heldout_losses
from pretrain.model.unix2 import UniX2
from pretrain.progress import Progress
from pretrain.records import Records, RunLock
from pretrain.tasks.contrastive import Contrast
from shards.errors import UserError
from shards.tokenizer import Tokenizer


class Trainer:
    """Everything that a run holds. `run()` trains to `config.steps` and returns the exit code."""

    def __init__(self, config: Config, ds_config: str | None):
        self.config = config
        self.out = Path(config.out)
        # Before any worker or engine starts: what is missing is said at once, not at the first evaluation.
        self.tokenizer = Tokenizer.load(Path(config.data.tokenizer), config.model.family)
        self.manifests = check_data(config, self.tokenizer)
        retrieval_split(config)
        init_distributed()
        for task in config.tasks:
            rank_positions(config, task, dist.get_rank(), dist.get_world_size())
        keep_memory(local_device())
        self.stop = StopSignal()
        torch.manual_seed(config.seed)  # the same initial weights on every rank
        self.engine = Engine(UniX2(config.model, self.tokenizer.vocabulary), config, ds_config)
        self.done = self._resume()
        self.records = self._open_records() if self.engine.rank == 0 else None

    def run(self) -> int:
        with attention_kernel(self.engine.device):
            return self._train()

    def _train(self) -> int:
        config, engine = self.config, self.engine
        if self._evaluation_is_due():
            self.evaluate()
        progress = Progress(config, self.done) if engine.rank == 0 else None
        loader = TrainLoader(config, self.tokenizer, engine.rank, engine.world, self.done)
        waiting = began = time.perf_counter()
        for step, data in loader:
            waited = time.perf_counter() - waiting
            lr = learning_rate(config.optimizer, step, config.steps)
            result = train_step(engine, config, data, step, lr)
            self.done = step + 1
            now = time.perf_counter()
            if progress and self.records:
                self.records.metrics(self._metrics(result, lr, waited, now - began))
                if result.skipped:
                    self.records.event('fault', step=self.done, problem='the update was skipped: a gradient is not finite')
                progress.step(result, self.done, lr, now - began, waited)
            stopping = self.stop.requested(engine.device)
            if stopping or self.done % config.checkpoint.every == 0 or self.done == config.steps:
                self.checkpoint()
            if stopping:
                name = signal.Signals(stopping).name
                return self._end(f'stopped by {name} after step {self.done}; the same command continues', 128 + stopping)
            if self._evaluation_is_due():
                self.evaluate()
            waiting = began = time.perf_counter()
        return self._end(f'trained {self.done} steps', 0)

    def _evaluation_is_due(self) -> bool:
        """At the start, every `eval.every` steps and at the end, unless it is written: a run may have ended between a checkpoint and its
        evaluation.
        """
        if self.done % self.config.eval.every and self.done != self.config.steps:
            return False
        written = [self.records is not None and self.records.evaluated(self.done)]
        dist.broadcast_object_list(written)
        return not written[0]

    def evaluate(self) -> None:
        """Held-out losses and the retrieval curve, written as one line of evaluation.jsonl."""
        began = time.perf_counter()
        held_out = HeldOut(self.config, self.tokenizer)
        pools: dict[str, Iterable[tuple[str, list[TaskBatch]]]] = {
            task: held_out.batches(task, self.engine.rank, self.engine.world) for task in self.config.eval_tasks
        }
        losses = heldout_losses(self.engine, pools, Contrast.of(self.config))
        retrieval = retrieval_curve(self.engine, self.config, self.tokenizer)
        if self.records:
            self.records.evaluation({'step': self.done, 'heldout': losses, 'retrieval': retrieval})
            means = '  '.join(f'{task} {report["mean"]:.3f}' for task, report in losses.items() if report['mean'] is not None)
            say(f'held-out loss at step {self.done}: {means}  ({time.perf_counter() - began:.1f} s)')
            if retrieval:
                recalls = '  '.join(f'{language} {recall["text_to_image"][2]:.2f}' for language, recall in retrieval.items())
                say(f'zero-shot text->image R@10: {recalls}')

    def checkpoint(self) -> None:
        began = time.perf_counter()
        if self.records:
            self.records.sync()
        path = save_checkpoint(self.engine, self.out / 'checkpoints', self.done, self.config, self.manifests)
        if self.records:
            self.records.event('checkpoint', step=self.done, path=str(path), seconds=round(time.perf_counter() - began, 3))

    def _resume(self) -> int:
        """Load the newest valid checkpoint of `out`; returns the updates done, 0 for a new run."""
        found: list[object] = [None, []]
        if self.engine.rank == 0:
            try:
                self._lock = RunLock(self.out)
                path, problems = newest_valid(self.out / 'checkpoints')
                found = [str(path) if path else None, problems]
            except UserError as error:
                found = [error, []]
        dist.broadcast_object_list(found)
        chosen, self.problems = found
        if isinstance(chosen, UserError):
            raise chosen
        if chosen is None:
            return 0
        path = Path(str(chosen))
        state = read_state(path)
        check_same_run(self.config, state['config'], path)
        saved = state['manifests']
        changed = sorted(name for name in saved.keys() | self.manifests.keys() if saved.get(name) != self.manifests.get(name))
        if changed:
            raise UserError(
                f'{path} was trained on other shards: {changed[0]} has changed in {self.config.data.shards}, so its samples would be lost '
                'or repeated; restore those shards, or choose another `out`'
            )
        done = load_checkpoint(self.engine, path)
        if done > self.config.steps:
            asked = self.config.steps
            raise UserError(f'{path} has {done} steps, the configuration asks for {asked}; raise `steps` or choose another `out`')
        return done

    def _open_records(self) -> Records:
        self.out.mkdir(parents=True, exist_ok=True)
        records = Records(self.out, self.done, self.config.log.tensorboard)
        (self.out / 'config.yaml').write_text(dump_config(self.config), encoding='utf8')
        for problem in self.problems:  # type: ignore[attr-defined]
            records.event('fault', problem=problem)
            say(f'skipped a damaged checkpoint: {problem}')
        if self.done:
            records.event('resume', step=self.done, world=self.engine.world)
            say(f'resuming after step {self.done} of {self.config.steps}')
        else:
            records.event('start', step=0, world=self.engine.world)
        return records

    def _metrics(self, result: StepResult, lr: float, waited: float, seconds: float) -> dict[str, object]:
        return {
            'step': self.done,
            'loss': {**result.losses, 'total': result.total},
            'lr': lr,
            'grad_norm': result.grad_norm if math.isfinite(result.grad_norm) else None,  # JSON has no infinity
            'samples': result.samples,
            'samples_per_s': result.size / seconds,
            'skipped': result.skipped,
            'data_wait': waited / seconds,
            'logit_scale': self.engine.module.scale().item(),
            'targets': result.targets,
            'examples': result.examples,
        }

    def _end(self, message: str, code: int) -> int:
        if self.records:
            self.records.event('end', step=self.done, code=code)
            self.records.close()
            self._lock.close()
            say(message)
        dist.barrier()
        dist.destroy_process_group()
        return code


class StopSignal:
    """Notes SIGINT, SIGTERM and SIGUSR1; all ranks stop after the same step, even when only one was told."""

    def __init__(self) -> None:
        self.number = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._note)

    def requested(self, device: torch.device) -> int:
        """The signal's number, 0 for none; the same on every rank."""
        number = torch.tensor(self.number, device=device)
        dist.all_reduce(number, dist.ReduceOp.MAX)
        return int(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
