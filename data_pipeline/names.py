"""Names of units of work, which are also folders of a stream."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

_SUFFIXES = re.compile(r'\.(?:tar|parquet|zip|gz|xz|tgz|txt|tsv|tmx|csv|jsonl)$')


def unit_names(paths: Sequence[str]) -> list[str]:
    """A short, distinct, file-system-safe name for each relative path; it depends on that path (and on equal short names) alone."""
    plain = [_plain(path) for path in paths]
    counts = Counter(plain)
    return [
        name if counts[name] == 1 else f'{name}-{hashlib.sha256(path.encode()).hexdigest()[:8]}'
        for name, path in zip(plain, paths, strict=True)
    ]


def _plain(path: str) -> str:
    name = path.strip('/')
    while (shorter := _SUFFIXES.sub('', name)) != name:
        name = shorter
    return re.sub(r'[^A-Za-z0-9_.]+', '-', name).strip('-.') or 'unit'
