"""A program whose output nobody reads any more, as in `… | head`: what it still prints is lost, what it does is not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from shards.stderr import is_gone, silence


@contextmanager
def unheard() -> Iterator[None]:
    """stdout and stderr whose reader may go: /dev/null takes the place of such a one. At the end they are flushed and put back: Python does
    it at its own end, and makes exit code 120 of what it meets there.
    """
    real: dict[str, TextIO] = {name: stream for name in ('stdout', 'stderr') if (stream := getattr(sys, name)) is not None}
    ours = {name: _Stream(stream) for name, stream in real.items()}
    for name, stream in ours.items():
        setattr(sys, name, stream)
    try:
        yield
    finally:
        for name, stream in ours.items():
            with suppress(OSError):  # a full disk, which Python reports
                stream.flush()
            if getattr(sys, name) is stream:
                setattr(sys, name, real[name])


class _Stream:
    """The stream below it, but for what becomes of words that nobody can read."""

    def __init__(self, below: TextIO):
        self.below = below

    def __getattr__(self, name: str) -> Any:
        return getattr(self.below, name)

    def write(self, text: str) -> int:
        with self._silent():
            self.below.write(text)
        return len(text)

    def flush(self) -> None:
        with self._silent():
            self.below.flush()

    @contextmanager
    def _silent(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not is_gone(error, self.below):
                raise
            silence(self.below)
