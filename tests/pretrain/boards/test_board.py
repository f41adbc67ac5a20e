"""A board that fails, and one that is slow: a line each, and the caller neither waits nor sees an error."""

from __future__ import annotations

import threading
import time

import pytest

from pretrain.boards import board
from pretrain.boards.board import Background, Board, Guarded
from pretrain.boards.scalars import Scalars


class Taking(Board):
    """Notes what it is told; waits for `go` before each line, and fails at a step."""

    def __init__(self, go: threading.Event | None = None, fails: int = -1):
        self.go, self.fails = go, fails
        self.told: list[object] = []

    def scalars(self, step: int, values: Scalars) -> None:
        if self.go:
            self.go.wait()
        if step == self.fails:
            raise RuntimeError('no\nmore')
        self.told.append((step, values))

    def close(self, code: int | None) -> None:
        self.told.append(code)


def test_after_an_error_it_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    taking = Taking(fails=2)
    guarded = Guarded('log.x', lambda: taking)
    for step in range(1, 5):
        guarded.scalars(step, {'a': 0.5})
    guarded.close(0)
    assert taking.told == [(1, {'a': 0.5})]
    assert capsys.readouterr().err == 'log.x gets no more figures (no more); metrics.jsonl has them\n'


def test_one_that_cannot_be_opened(capsys: pytest.CaptureFixture[str]) -> None:
    def opened() -> Board:
        raise OSError(28, 'No space left on device')

    both = Guarded('log.x', opened), Background('log.y', opened)
    for one in both:
        one.scalars(1, {})
        one.close(0)
    assert capsys.readouterr().err.splitlines() == [
        f'log.{name} gets no more figures (No space left on device); metrics.jsonl has them' for name in 'xy'
    ]


def test_in_the_background_in_order_to_the_end() -> None:
    taking = Taking()
    behind = Background('log.x', lambda: taking)
    for step in range(100):
        behind.scalars(step, {})
    behind.close(138)
    assert taking.told == [*((step, {}) for step in range(100)), 138]


def test_a_slow_one_holds_nobody_up(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(board, 'WAITING', 3)
    monkeypatch.setattr(board, 'LAST', 0.1)
    go = threading.Event()
    behind = Background('log.x', lambda: Taking(go))
    began = time.monotonic()
    for step in range(20):
        behind.scalars(step, {})
    behind.close(0)
    assert time.monotonic() - began < 5
    go.set()
    assert capsys.readouterr().err.splitlines() == [
        'log.x is too slow for this run: it misses some figures; metrics.jsonl has them',
        'log.x has not taken the last figures in 0.1 s; metrics.jsonl has them',
    ]
