"""What is said on stderr, where nobody may be left to hear it: a terminal that is closed must not end a program that goes on without it."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import TextIO

GONE = (errno.EIO, errno.EPIPE)  # of a terminal that was closed, of a pipe whose reader has ended


def tell(text: str, stream: TextIO | None = None) -> None:
    """Write and flush, to stderr unless to another stream. What cannot be written is lost. When nobody reads any more, /dev/null takes the
    place of stderr, and of a stdout that went there too, for whatever else prints in this process or is started by it.
    """
    stream = stream or sys.stderr
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        if error.errno in GONE:
            _silence(stream.fileno())


def _silence(descriptor: int) -> None:
    with suppress(OSError):
        heard = os.fstat(descriptor)
        same = [number for number in (1, 2) if number != descriptor and _is(number, heard)]
        nothing = os.open(os.devnull, os.O_WRONLY)
        for number in (descriptor, *same):
            os.dup2(nothing, number)
        os.close(nothing)


def _is(descriptor: int, file: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file)
    except OSError:  # there is none
        return False
