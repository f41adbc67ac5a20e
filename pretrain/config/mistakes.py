"""What is said of a mistake in the settings: the key, where it was set, the valid choices, the nearest name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from pretrain.config.nearest import nearest
from pretrain.config.root import Config
from pretrain.config.section import keys

Layer = tuple[str, dict[str, Any]]  # where settings were given, as a sentence says it, and these; a later layer lies on top
Place = tuple[int | str, ...]  # a key, part by part
SHOWN = 8  # settings of a section, at most


def explain(error: ValidationError, layers: Sequence[Layer]) -> str:
    """The first problem of a validation, in one line."""
    problems = error.errors()
    first = next((problem for problem in problems if problem['type'] == 'extra_forbidden'), problems[0])  # others may follow from it
    place = first['loc']
    where = '.'.join(str(part) for part in place)
    if first['type'] == 'value_error':  # of settings that do not fit together: the message names them
        said = str(first['ctx']['error'])
        return f'{where or "configuration"}{_told(_of_named(said, place, layers) or _sources(place, layers))}: {said}'
    source = _told(_sources(place, layers))
    if first['type'] == 'extra_forbidden':
        near = nearest(where)
        return f'unknown setting {where}{source}' + (f'; did you mean {near}?' if near else '')
    said = f'{where} = {first["input"]!r}{source}: '
    if first['type'] == 'model_type':  # a section
        own = [key for key in keys(Config) if key.rpartition('.')[0] == where]
        return f'{said}{where} has settings of its own: {", ".join(own[:SHOWN])}{", …" * (len(own) > SHOWN)}'
    if first['type'] == 'dict_type':
        return f"{said}write KEY: VALUE pairs, as in '{where}={{KEY: VALUE}}', or {where}.KEY=VALUE"
    said += first['msg']
    if first['type'] == 'literal_error':  # one of some words
        alike = difflib.get_close_matches(str(first['input']), re.findall("'([^']+)'", first['ctx']['expected']), 1)
        said += f'; did you mean {alike[0]}?' if alike else ''
        if ',' in str(first['input']) and isinstance(place[-1], int):  # `tasks=mlm,mt`
            said += f'; a list is written {where.rpartition(".")[0]}=[{first["input"]}]'
    return said


def _told(sources: list[str]) -> str:
    return f' ({" and ".join(sources)})' if sources else ''


def _of_named(message: str, section: Place, layers: Sequence[Layer]) -> list[str]:
    """Where the settings that a message about a section names were given."""
    found: list[str] = []
    for word in re.findall(r'[a-z_]+(?:\.[a-z_]+)*', message):
        place = (*section, *word.split('.'))
        found += [name for name, raw in layers if any(not isinstance(value, dict) for value in _at(raw, place))][-1:]
    return [name for name, _ in layers if name in found]


def _sources(place: Place, layers: Sequence[Layer]) -> list[str]:
    """Where a setting was given: a single value where it was last, a section wherever a part of it was, a lacking one where others beside
    it were.
    """
    for depth in range(len(place), -1, -1):
        found = [(name, value) for name, raw in layers for value in _at(raw, place[:depth])]
        if found:
            return [name for name, value in found if value] if isinstance(found[-1][1], dict) else [found[-1][0]]
    return []


def _at(raw: Any, place: Place) -> list[Any]:
    """The value at a key, or of the list that holds it; nothing where there is none."""
    for part in place:
        if not isinstance(raw, dict):
            return [raw]
        key = next((key for key in raw if str(key) == str(part)), None)
        if key is None:
            return []
        raw = raw[key]
    return [raw]
