"""The one exception that stands for a user's mistake: commands print it as a single line and exit with 2, never with a stack trace."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from shards.stderr import tell
from shards.unheard import unheard


class UserError(Exception):
    """What went wrong, which file (and row), and the remedy, in one line; only a list of commands stands below it."""

    code = 2  # exit code of a command that ends with it


class Continued(KeyboardInterrupt):
    """Ctrl-C in the middle of what goes on from there when it is started again."""


@contextmanager
def continues() -> Iterator[None]:
    """For what continues when the same command runs again: Ctrl-C ends it with a line that says so. Also a decorator."""
    try:
        yield
    except KeyboardInterrupt:
        raise Continued from None


def _stop(number: int, frame: FrameType | None) -> None:
    with suppress(OSError):  # nobody is left to read it
        os.write(2, b'interrupted\n')
    os._exit(130)


def interruptible_imports() -> None:
    """To be called before a program imports what takes seconds: Ctrl-C ends it with one line until `run_command` takes over. An exception
    would end as whatever the module that is being imported makes of it, a stack trace in any case.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as by nohup and `&`
        signal.signal(signal.SIGINT, _stop)


def run_command(main: Callable[[], int | None]) -> int:
    """Run a command's `main`; print a `UserError` as one line on stderr. Returns the exit code: 0, that of the
    UserError (2), 130 for Ctrl-C. That nobody reads what it prints changes neither what it does nor the code."""
    if signal.getsignal(signal.SIGINT) is _stop:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with unheard():
        try:
            return main() or 0
        except UserError as error:
            tell(f'error: {error}\n')
            return error.code
        except KeyboardInterrupt as stop:
            how = '; run the same command again to continue' if isinstance(stop, Continued) else ''
            tell(f'interrupted{how}\n')
            return 130
