"""The units of a stage on several processes, beside other tasks that may be doing the same ones."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver
from pathlib import Path

from tqdm import tqdm

from data_pipeline.work import Unit, execute, facts, is_done, remove_leftovers
from shards.durable import PART, sync_all
from shards.errors import UserError

_LOOK = 5.0  # seconds between two looks at what other tasks have done


def largest_first(units: Iterable[Unit]) -> list[Unit]:
    """The order to do units in: a large one that is left to the end keeps one worker busy, and all others wait."""
    return sorted(units, key=lambda unit: -unit.size)


def run_units(work: Path, units: Sequence[Unit], title: str, workers: int, shared: bool = False) -> None:
    """Do the units that are not done, all of one stage, in this order, on `workers` processes, with a progress bar on stderr. Raises
    UserError from a unit.

    shared: other tasks may be doing the same units; what they have done meanwhile is left out, and what they are at comes last.
    """
    todo = [unit for unit in units if not is_done(work, unit)]
    if not todo:
        return
    total, left = (sum(unit.size for unit in some) for some in (units, todo))
    # On a terminal the bar moves; in a log it is a line now and then.
    pause = 0.1 if sys.stderr.isatty() else 10.0
    with tqdm(
        total=total, initial=total - left, desc=title, unit='B', unit_scale=True, unit_divisor=1024, dynamic_ncols=True, mininterval=pause
    ) as bar:
        for unit, warnings in _results(_Queue(work, todo, shared), workers):
            for warning in warnings:
                bar.write(f'warning: {warning}', file=sys.stderr)
            bar.update(unit.size)


class _Queue:
    """Units that are left. Which is next is decided when a worker is free: by then other tasks may have done it, or begun it."""

    def __init__(self, work: Path, units: Sequence[Unit], shared: bool) -> None:
        self.work, self.shared = work, shared
        self._left = dict(enumerate(units))

    def __len__(self) -> int:
        return len(self._left)

    def take(self, idle: bool) -> Unit | None:
        """The next unit. Those that another task is at come last, and only when this task is idle, so one at a time.

        Nobody knows whether that other task still lives, so it is not waited for. But most likely it does, and this one should not fill
        the disk, and its cores, with all that the other is going to have done.
        """
        begun = _begun(self.work, next(iter(self._left.values())).stage) if self.shared and self._left else []
        least: tuple[int, int] | None = None
        for number, unit in self._left.items():
            others = sum(name.startswith(f'.{unit.name}.') for name in begun)
            if others == 0 or is_done(self.work, unit):
                return self._left.pop(number)
            least = min(least or (others, number), (others, number))
        return self._left.pop(least[1]) if least and idle else None


def _begun(work: Path, stage: str) -> list[str]:
    """Names of the temporary folders of units that somebody is at, or was when he was killed."""
    return [path.name for path in (work / stage).glob(f'.*{PART}')]


def _results(queue: _Queue, workers: int) -> Iterator[tuple[Unit, list[str]]]:
    workers = workers if queue.shared else min(workers, len(queue))
    if workers <= 1:
        while unit := queue.take(idle=True):
            yield unit, execute(queue.work, unit)
        return
    prepare_workers()
    while queue:
        yield from _of_workers(queue, workers)


def _of_workers(queue: _Queue, workers: int) -> Iterator[tuple[Unit, list[str]]]:
    """Results of units on processes, until none is left, or other tasks have done all that these are at: then they are ended."""
    work, futures = queue.work, dict[Future[list[str]], Unit]()
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context('forkserver'), _start_worker)
    try:
        while queue or futures:
            # Not more than there are workers: what is submitted can no longer be left to another task.
            while len(futures) < workers and (unit := queue.take(idle=not futures)):
                futures[pool.submit(execute, work, unit)] = unit
            done = wait(futures, _LOOK if queue.shared else None, FIRST_COMPLETED).done
            for future in done:
                yield futures.pop(future), future.result()
            if not done and all(is_done(work, unit) for unit in futures.values()):
                _kill_workers()
                remove_leftovers(work)
                sync_all({work / unit.stage for unit in futures.values()})  # if it was one of these after all, a moment ago
                yield from ((unit, (facts(work, unit.stage, unit.name) or {})['warnings']) for unit in futures.values())
                return
    except BrokenProcessPool:
        raise UserError('a worker process was killed (out of memory?); run the same command again, with fewer --workers') from None
    except BaseException:
        _kill_workers()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _kill_workers() -> None:
    for process in multiprocessing.active_children():
        process.kill()
        process.join()


def prepare_workers() -> None:
    """Start the process that workers are forked from, unless it runs. It imports what they need while this one looks at the input."""
    multiprocessing.set_forkserver_preload(['data_pipeline.build'])
    forkserver.ensure_running()


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """A killed build must leave no process that goes on writing, or waits for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
