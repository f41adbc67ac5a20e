"""RUN/trackers.json: which run of each tracker is this one, so that a start that goes on goes on there as well, and which attempt at it."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from shards.durable import replace

FILE = 'trackers.json'
ATTEMPT = 'attempt'
Name = dict[str, str]
_lock = threading.Lock()  # every tracker has a thread of its own, and all have one file


def kept(out: Path, tracker: str) -> Name:
    """What was kept of a tracker; empty when nothing was, or the file is damaged: then a new run begins there."""
    try:
        name = json.loads((out / FILE).read_text(encoding='utf8'))[tracker]
        return {str(key): str(value) for key, value in name.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def keep(out: Path, tracker: str, name: Name) -> None:
    """Raises OSError."""
    with _lock:
        try:
            known = json.loads((out / FILE).read_text(encoding='utf8'))
        except (OSError, ValueError):
            known = {}
        replace(out / FILE, [json.dumps({**(known if isinstance(known, dict) else {}), tracker: name}, indent=1).encode()])


class Attempt:
    """Counts the times that a run of a tracker began or went on, from 1. A tracker cannot forget, so that steps which are made again are
    there twice: by the number of their attempt they are told apart.
    """

    def __init__(self, out: Path, tracker: str, name: Name):
        """The next attempt at the run that `name` names, which is kept. Raises OSError."""
        self._out, self._tracker, self._name = out, tracker, name
        known = kept(out, tracker)
        same = known.items() >= name.items()
        last = known.get(ATTEMPT, '1')  # a run of an older version has no number
        self.number = int(last) if same and last.isdigit() else 0
        self.next()

    def next(self) -> None:
        """Raises OSError."""
        self.number += 1
        keep(self._out, self._tracker, {**self._name, ATTEMPT: str(self.number)})
