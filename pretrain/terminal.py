"""What rank 0 says to a person: lines, and on a terminal a panel below them that is drawn anew in its place.

The cursor waits at the panel's first place. Any rank takes the panel away before it says something. What a library writes stands in the
panel's stead and is never erased, though what was longer of the panel's line stays behind it, and the panel moves below it.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Sequence

from shards.stderr import tell

GAP = '  '  # between the parts of a line
PAUSE = 0.1  # seconds between two drawings at least

_drawn = 0.0  # when the panel was drawn last; 0: it is not there


def say(message: str) -> None:
    """Print a line above the panel, whichever rank has drawn it."""
    _clear(f'{message}\n')


def clear() -> None:
    """Take the panel away, if it is there: of this process or, on the terminal that ranks share, of another."""
    _clear('')


def _clear(then: str) -> None:
    global _drawn
    tell(f'\r\033[J{then}' if is_live() else then, sys.stderr)
    _drawn = 0.0


def is_live() -> bool:
    """Whether somebody looks at a terminal that can draw a panel."""
    return sys.stderr.isatty() and os.environ.get('TERM', '') not in ('', 'dumb')


def show(parts: Sequence[str], at_once: bool = False) -> None:
    """Draw the panel: these parts, in as many lines as the terminal's width asks for, and as its height has room for: if it scrolled, the
    panel could not be taken away. A part is never divided, but cut off at the width. `at_once`: what is to be seen for longer.
    """
    global _drawn
    if not at_once and time.monotonic() - _drawn < PAUSE:
        return
    width, height = _size()
    lines = wrapped(parts, width)[: max(1, height - 1)]
    up = f'\033[{len(lines) - 1}A' if len(lines) > 1 else ''
    tell('\r\033[J' + '\n'.join(lines) + up + '\r', sys.stderr)
    _drawn = time.monotonic()


def wrapped(parts: Sequence[str], width: int) -> list[str]:
    """Lines of less than `width` characters: in the last column some terminals begin a new line."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1] + GAP + part) < width:
            lines[-1] += GAP + part
        else:
            lines.append(part[: width - 1])
    return lines


def _size() -> tuple[int, int]:
    """Columns and rows."""
    try:
        columns, rows = os.get_terminal_size(sys.stderr.fileno())
    except OSError:
        return 80, 24
    return columns or 80, rows or 24  # 0: of a terminal that nobody has given a size


def _leave() -> None:
    if _drawn:
        clear()


atexit.register(_leave)
