"""A line of the doctor's table."""

from __future__ import annotations

from dataclasses import dataclass

OK, NOTE, FAIL = 'ok', 'note', 'FAIL'  # a note: something is not there, and the run goes on without it


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is, and what to do about it."""

    group: str
    what: str
    state: str
    found: str
    remedy: str = ''
