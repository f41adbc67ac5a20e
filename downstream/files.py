"""The files of results, each whole or not there."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shards.durable import replace
from shards.stderr import tell

RESULT = 'result.json'


def make_way(out: Path, patterns: Iterable[str], written: Collection[str]) -> None:
    """Before the files `written` come into OUT: removes result.json and what else of `patterns` an earlier evaluation left there, of which
    it says so. Such files would stand beside a result that they are not of.
    """
    (out / RESULT).unlink(missing_ok=True)
    stale = sorted(path for pattern in patterns for path in out.glob(pattern) if path.name not in written)
    for path in stale:
        path.unlink()
    if stale:
        names = ' '.join(path.name for path in stale)
        tell(f'{out}: removed {names}, of an earlier evaluation, for this one writes none; another --out keeps both\n')


def write_json(path: Path, content: Mapping[str, Any], indent: int | None = 1) -> None:
    """Write JSON so that a reader finds the old file or the whole new one."""
    write_text(path, json.dumps(content, ensure_ascii=False, indent=indent) + '\n')


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    _write(path, text.encode())


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write a .npy file that opens with `allow_pickle=False`, whole or not at all."""
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    _write(path, content.getbuffer())


def _write(path: Path, content: bytes | memoryview) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, [content], by_several=True)
