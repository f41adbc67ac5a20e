"""What a board is, and the thread in which one works that may be slow: it talks to a server, or starts a process."""

from __future__ import annotations

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress

from pretrain.boards.scalars import Scalars
from pretrain.terminal import say

WAITING = 10_000  # lines that wait for a slow board at most
LAST = 60.0  # seconds that the end of a run waits for a board


class Board(ABC):
    """Shows figures by step. Methods may raise anything: `Guarded` says it in one line and asks no more."""

    @abstractmethod
    def scalars(self, step: int, values: Scalars) -> None:
        """Figures of a step; steps ascend, but for what `back` undoes."""

    def back(self, done: int) -> None:  # noqa: B027 - for boards that can forget
        """The run goes on from `done` steps: what was said of later ones does not count."""

    def flush(self) -> None:  # noqa: B027 - for boards that keep figures back
        """Figures so far are to be seen."""

    @abstractmethod
    def close(self, code: int | None) -> None:
        """The run ends here, with this exit code; None: it is to go on in another one."""


class Guarded(Board):
    """A board that cannot fail: after the first error, whatever it is, it is silent."""

    def __init__(self, name: str, open_board: Callable[[], Board]):
        self.name = name
        self._board: Board | None = None
        try:
            self._board = open_board()
        except Exception as error:
            self._failed(error)

    def scalars(self, step: int, values: Scalars) -> None:
        self._ask(lambda board: board.scalars(step, values))

    def back(self, done: int) -> None:
        self._ask(lambda board: board.back(done))

    def flush(self) -> None:
        self._ask(lambda board: board.flush())

    def close(self, code: int | None) -> None:
        self._ask(lambda board: board.close(code))
        self._board = None

    def _ask(self, call: Callable[[Board], None]) -> None:
        if self._board is None:
            return
        try:
            call(self._board)
        except Exception as error:  # of whatever library, of whatever kind: it is no reason to lose a run
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._board = None
        why = getattr(error, 'strerror', None) or ' '.join(str(error).split())[:300] or type(error).__name__
        warn(f'{self.name} gets no more figures ({why}); metrics.jsonl has them')


class Background(Board):
    """A guarded board in a thread of its own, where it is opened too. What it cannot take in time is left out."""

    def __init__(self, name: str, open_board: Callable[[], Board]):
        self.name = name
        self._calls: queue.Queue[Callable[[Board], None] | None] = queue.Queue(WAITING)
        self._late = False
        self._thread = threading.Thread(target=self._work, args=(open_board,), name=name, daemon=True)
        self._thread.start()

    def scalars(self, step: int, values: Scalars) -> None:
        self._put(lambda board: board.scalars(step, values))

    def back(self, done: int) -> None:
        self._put(lambda board: board.back(done))

    def flush(self) -> None:
        self._put(lambda board: board.flush())

    def close(self, code: int | None) -> None:
        with suppress(queue.Full):  # a slow one is given time to end
            self._calls.put(lambda board: board.close(code), timeout=LAST)
            self._calls.put(None, timeout=LAST)
        self._thread.join(LAST)
        if self._thread.is_alive():
            warn(f'{self.name} has not taken the last figures in {LAST:g} s; metrics.jsonl has them')

    def _put(self, call: Callable[[Board], None]) -> None:
        try:
            self._calls.put_nowait(call)
        except queue.Full:
            if not self._late:
                warn(f'{self.name} is too slow for this run: it misses some figures; metrics.jsonl has them')
            self._late = True

    def _work(self, open_board: Callable[[], Board]) -> None:
        board = Guarded(self.name, open_board)
        while (call := self._calls.get()) is not None:
            call(board)


def warn(message: str) -> None:
    say(message)
