"""What is said on stderr, where nobody may be left to hear it: a terminal that is closed must not end a program that goes on without it."""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import suppress
from typing import TextIO


def tell(text: str, stream: TextIO | None = None) -> None:
    """Write and flush, to stderr unless to another stream. What cannot be written is lost. When nobody reads any more, /dev/null takes the
    place of stderr, and of a stdout that went there too, for whatever else prints in this process or is started by it.
    """
    stream = stream or sys.stderr
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        if is_gone(error, stream):
            silence(stream)


def is_gone(error: OSError, stream: TextIO) -> bool:
    """Whether what could not be written had no reader any more: a pipe, or a terminal that was closed (a disk has that error as well)."""
    return error.errno == errno.EPIPE or (error.errno == errno.EIO and stat.S_ISCHR(os.fstat(stream.fileno()).st_mode))


def silence(stream: TextIO) -> None:
    """Put /dev/null in the place of a stream, for the processes that are started from here as well."""
    descriptor = stream.fileno()
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
