"""RUN/trackers.json: which run of each tracker is this one, so that a start that goes on goes on there as well."""
from __future__ import annotations

import json
from pathlib import Path

from shards.durable import replace

FILE = 'trackers.json'
Name = dict[str, str]


def kept(out: Path, tracker: str) -> Name:
    """What was kept of a tracker; empty when nothing was, or the file is damaged: then a new run begins there."""
    try:
        name = json.loads((out / FILE).read_text(encoding='utf8'))[tracker]
        return {str(key): str(value) for key, value in name.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def keep(out: Path, tracker: str, name: Name) -> None:
    """Raises OSError."""
    try:
        known = json.loads((out / FILE).read_text(encoding='utf8'))
    except (OSError, ValueError):
        known = {}
    replace(out / FILE, [json.dumps({**(known if isinstance(known, dict) else {}), tracker: name}, indent=1).encode()])
