"""The files of results, each whole or not there."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shards.durable import replace


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
