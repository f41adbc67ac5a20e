"""From a step to what one rank trains on in it."""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker
from types import TracebackType
from typing import Any, Self

import torch
from torch.utils.data import DataLoader, Dataset

from pretrain.config import Config
from pretrain.data.batch import TaskBatch, collate
from pretrain.data.examples import Examples
from pretrain.data.order import TaskOrder, data_step, merged, rank_positions
from pretrain.data.packing import Packed, StepData, pack, unpack
from pretrain.data.parts import Parts
from pretrain.data.rng import generator
from pretrain.data.shared_order import SharedOrder, task_orders
from pretrain.data.step_pictures import StepPictures
from pretrain.data.streams import Catalog
from shards.errors import UserError
from shards.tokenizer import Tokenizer

RESTARTS = 3  # in a row, without a step in between
WARNINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)  # what asks a run to stop
_KILLED = ('DataLoader worker', 'Pin memory thread exited')  # how torch says so
# What the fork server imports once, so that loader processes start at once.
_PRELOAD = ['pretrain.data.loader', 'shards.streaming_parts']


class StepBatches(Dataset[Packed | str]):
    """Map-style data set whose index is the optimizer step: the micro-batches of one rank, by part of the step. Every copy of it gives
    the same.
    """

    def __init__(self, config: Config, tokenizer: Tokenizer, rank: int, world: int, skip: Sequence[Sequence[int]] = ()) -> None:
        self.config, self.skip = config, merged(skip)
        self.positions: dict[str, range] = {task: rank_positions(config, task, rank, world) for task in config.tasks}
        self.catalog = Catalog(config.data.shards, tokenizer, config.data.cache)
        self.orders: dict[str, TaskOrder | SharedOrder] = task_orders(config, self.catalog)
        self.parts = Parts(config)
        self.examples = Examples(config, tokenizer)

    def batches(self, task: str, batch: int, pictures: StepPictures | None = None) -> list[TaskBatch]:
        """The rank's micro-batches of one global batch of a task, with the `pictures` that the tasks share, if they do."""
        pool = self.orders[task].batch(batch)
        made = []
        for position in self.positions[task]:
            drawn = generator(self.config.seed, f'{task}/example', batch, position)
            made.append(self.examples.make(task, pool, position, drawn, pictures=pictures))
        micro = self.config.batch.micro
        return [collate(task, made[first : first + micro]) for first in range(0, len(made), micro)]

    def step_data(self, step: int) -> StepData:
        """The rank's micro-batches of every part of a step."""
        number = data_step(step, self.skip)
        pictures = StepPictures(self.config, number) if self.config.mixture.share_images else None
        return {part.name: self.batches(part.task, part.batch, pictures) for part in self.parts.at(number)}

    def __getitem__(self, step: int) -> Packed | str:
        try:
            return pack(self.step_data(step))
        except UserError as error:  # a DataLoader would wrap it in the stack trace of its process
            return str(error)


class StepLoader:
    """Iterates (step, {part: micro-batches}) for the steps start_step ... config.steps - 1 of one rank: `dataset[step]`, packed, or why
    there is none.

    The batches do not depend on `data.workers`. When a loader process is killed, all are started again, `tell` hears of it, and nothing is
    lost: the data is a function of the step. Raises UserError for what cannot be read.
    """

    def __init__(
        self, config: Config, dataset: Dataset[Packed | str], start_step: int = 0, tell: Callable[[str], object] = lambda news: None
    ) -> None:
        self.config, self.dataset, self.start_step, self.tell = config, dataset, start_step, tell
        self._iterator: Iterator[Packed | str] | None = None
        if config.data.workers:
            # Processes forked from a program with gloo, CUDA or OpenMP threads may hang, and spawned ones import torch for seconds each.
            # A fork server does neither, and its one import runs beside whatever the trainer sets up next.
            multiprocessing.forkserver.set_forkserver_preload(_PRELOAD)
            start_servers()

    def __iter__(self) -> Iterator[tuple[int, StepData]]:
        self.close()
        step, fruitless = self.start_step, 0
        while step < self.config.steps:
            if self._iterator is None:
                self._iterator = self._start(range(step, self.config.steps))
            try:
                packed = next(self._iterator)
            except (RuntimeError, ConnectionError, EOFError, FileNotFoundError) as error:
                # A process of the loader was killed: torch says so, or a tensor that it had made cannot be fetched from it any more, by
                # this thread or by the one that pins.
                if isinstance(error, RuntimeError) and not any(words in str(error) for words in _KILLED):
                    raise
                self.close()
                fruitless += 1
                if fruitless > RESTARTS:
                    raise UserError(
                        f'the loader processes die again and again at step {step + 1}; if memory is short, lower data.workers or prefetch'
                    ) from None
                self.tell(f'a loader process was killed before step {step + 1}; all were started again')
                continue
            if isinstance(packed, str):
                self.close()
                raise UserError(packed)
            yield step, unpack(packed)
            step, fruitless = step + 1, 0
        self.close()

    def _start(self, steps: range) -> Iterator[Packed | str]:
        options: dict[str, Any] = {}
        if self.config.data.workers:
            options = {
                'num_workers': min(self.config.data.workers, len(steps)), 'prefetch_factor': self.config.data.prefetch,
                'multiprocessing_context': 'forkserver', 'worker_init_fn': _start_worker, 'pin_memory': _pins(),
            }  # fmt: skip
        # A generator of its own: the default one must not depend on how often a loader was started.
        return iter(DataLoader(self.dataset, batch_size=None, sampler=steps, collate_fn=_same, generator=torch.Generator(), **options))

    def close(self) -> None:
        """Stop the loader processes."""
        self._iterator = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class TrainLoader(StepLoader):
    """The batches of a pre-training. `skip` are windows [first, last) of data that are passed over (after a rollback).

    Raises UserError when the data does not fit the run: at once for what the manifests show, while iterating for a broken shard.
    """

    def __init__(
        self,
        config: Config,
        tokenizer: Tokenizer,
        rank: int = 0,
        world: int = 1,
        start_step: int = 0,
        skip: Sequence[Sequence[int]] = (),
        tell: Callable[[str], object] = lambda news: None,
    ) -> None:
        self.batches = StepBatches(config, tokenizer, rank, world, skip)
        super().__init__(config, self.batches, start_step, tell)

    @property
    def manifests(self) -> dict[str, str]:
        """Stream -> sha256 of its manifest: for checkpoints, which must not go on with other data."""
        return self.batches.catalog.digests()


def _same(packed: Any) -> Any:
    return packed


def _pins() -> bool:
    """Whether batches go to a GPU. To pin for none would still claim memory of one, which others may use."""
    return os.environ.get('DS_ACCELERATOR') != 'cpu' and torch.cuda.is_available()


def start_servers() -> None:
    """Start multiprocessing's fork server and resource tracker with the signals that ask a run to stop blocked, which their processes
    inherit: a scheduler sends them to every process of a group, and these two must outlive the step that the trainer finishes.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, WARNINGS)  # one that comes meanwhile is the trainer's when it is unblocked
    try:
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, WARNINGS)  # the tracker's start has unblocked two of them
        multiprocessing.forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(worker: int) -> None:
    """One thread; signals that ask a run to stop are the trainer's to act on: Ctrl-C reaches every process of the group, a
    launcher's SIGTERM
    every process below it, and the trainer still needs the data of the step that it finishes.

    No loader process outlives the trainer, however that one ended. (For the system its parent is the fork server, so torch's watchdog would
    wait in vain.)
    """
    torch.set_num_threads(1)
    for warning in WARNINGS:
        signal.signal(warning, signal.SIG_IGN)

    def follow() -> None:
        trainer = multiprocessing.parent_process()
        assert trainer is not None
        trainer.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
