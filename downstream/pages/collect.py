"""Finds results below folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shards.errors import UserError

FILE = 'result.json'
ZERO_SHOT, FINE_TUNED_ON, TEXT_ONLY = 'zero-shot', 'fine-tuned on ', 'without pictures'  # parts of a setting (downstream/result.py)


@dataclass(frozen=True)
class Result:
    """One result.json. `run` is the name of the folder that it was looked for in."""

    run: str
    path: Path
    content: dict[str, Any]

    @property
    def task(self) -> str:
        return str(self.content['task'])

    @property
    def setting(self) -> str:
        return str(self.content['setting'])

    @property
    def split(self) -> str:
        return str(self.content['data'].get('split', 'test'))

    @property
    def data(self) -> str:
        """Name of the data's folder."""
        return Path(self.content['data']['folder']).resolve().name

    @property
    def folder(self) -> Path:
        """Where what belongs to the result is."""
        return self.path.parent


def collect(folders: Sequence[str]) -> list[Result]:
    """The results below every folder, each given as DIR or NAME=DIR; fine-tuned ones first, then by path.

    Raises UserError for a folder without a result, a file that is none, and two folders of one name.
    """
    found: list[Result] = []
    names: set[str] = set()
    for entry in folders:
        name, mark, place = entry.partition('=')
        if not mark or Path(entry).is_dir():
            name, place = Path(entry).resolve().name, entry
        if name in names:
            raise UserError(f'two folders are called {name}; name one of them: OTHER={place}')
        names.add(name)
        folder = Path(place)
        if not folder.is_dir():
            raise UserError(f'{folder} is no folder; give a run, an export or the --out of `downstream TASK evaluate`')
        paths = sorted(folder.rglob(FILE))
        if not paths:
            raise UserError(f'{folder} holds no {FILE}; `downstream TASK evaluate --model {folder} …` makes one')
        own = [Result(name, path, _read(path)) for path in paths]
        found += sorted(own, key=lambda result: (result.setting.startswith(ZERO_SHOT), str(result.path)))
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding='utf8'))
    except (OSError, ValueError) as error:
        raise UserError(f'{path} cannot be read ({error}); evaluate again, or move it away') from None
    if not isinstance(content, dict) or not {'task', 'setting', 'model', 'data', 'metric'} <= content.keys():
        raise UserError(f'{path} is no result of `downstream`; move it out of the folder')
    return content
