"""Where the ranks of a run meet while it is under way: they agree whether to stop, and hear what happened to one of them."""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import timedelta
from types import FrameType, TracebackType

import torch
import torch.distributed as dist

from pretrain.config import Watchdog as Options
from pretrain.engine.distributed import cpu_group
from pretrain.engine.launcher import Launcher
from pretrain.engine.stragglers import Stragglers
from pretrain.engine.watchdog import Watchdog

MISTAKE = 2  # exit code
PATIENCE = timedelta(hours=6)  # a rank that hangs is the watchdog's to notice


class Control:
    """Notes SIGINT, SIGTERM, SIGUSR1, SIGHUP (the terminal is closed), the end of the launcher, and what a rank has to `tell`; at every
    `point` all ranks agree.

    The messages go over gloo between the CPUs: on a GPU they wait for no kernel. `hear` gets what any rank told, on rank 0; `hung` the
    watchdog's verdict. The watchdog watches while this is entered, which may be several times.
    """

    def __init__(self, options: Options, device: torch.device, hear: Callable[[str], None], hung: Callable[[str], None]):
        self.stopping = 0  # the exit code with which all ranks stop, 0: they go on
        self.mistake: str | None = None  # what some rank failed with
        self.waited = 0.0  # the longest that a rank had waited, in seconds, when they last agreed
        self._signal = 0
        self._news: list[str] = []
        self._hear = hear
        self._group = cpu_group(PATIENCE)
        self._launcher = Launcher()
        self._watchdog = Watchdog(options.hang, hung)
        self._stragglers = Stragglers(options.slow, device, self._group)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._note)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it: the run outlives its terminal
            signal.signal(signal.SIGHUP, self._note)

    def __enter__(self) -> Control:
        self._watchdog.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._watchdog.stop()

    def begin(self, doing: str) -> None:
        """This rank begins something that it does alone."""
        self._watchdog.beat(doing)
        self._stragglers.start()

    def beat(self, doing: str) -> None:
        """This rank goes on, whether alone or with the others."""
        self._watchdog.beat(doing)

    def tell(self, news: str) -> None:
        """Something happened on this rank that the run survives; rank 0 hears of it at the next point."""
        self._news.append(news)

    def fail(self, mistake: str) -> None:
        """This rank cannot go on: all stop at the next point."""
        self.mistake = mistake

    def point(self, doing: str, alone: bool = True, waited: float = 0.0) -> bool:
        """All ranks call this at the same points, before they do what `doing` says, `alone` or together. `waited`: seconds for which this
        one has waited before; afterwards the attribute has the longest of all ranks. Returns whether to stop here.
        """
        self._stragglers.stop()
        self._watchdog.beat(doing)
        if not self._signal and self._launcher.gone():
            self._signal = signal.SIGTERM
        mine = 128 + self._signal if self._signal else MISTAKE if self.mistake else 0
        agreed = torch.tensor([mine, len(self._news), round(waited * 1e6)])
        dist.all_reduce(agreed, dist.ReduceOp.MAX, group=self._group)
        self.stopping, news, longest = agreed.tolist()
        self.waited = longest / 1e6
        if news or self.stopping == MISTAKE:
            self._share()
        if alone:
            self._stragglers.start()
        return self.stopping > 0

    def after_step(self) -> None:
        """All ranks, after each step: looks for slow ones now and then."""
        for rank, host, seconds, usual in self._stragglers.slow():
            if dist.get_rank() == 0:
                self._hear(f'rank {rank} on {host} is slow: {seconds:.2f} s of its own a step, the others {usual:.2f} s')

    def _share(self) -> None:
        every: list[tuple[list[str], str | None]] = [([], None)] * dist.get_world_size()
        dist.all_gather_object(every, (self._news, self.mistake), group=self._group)
        self._news = []
        self.mistake = next((mistake for _, mistake in every if mistake), None)
        if dist.get_rank() == 0:
            for rank, (news, _) in enumerate(every):
                for item in news:
                    self._hear(f'rank {rank}: {item}')

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signal = number
