"""What a data folder looks like, for the message when it is another benchmark's; and what the readers of JSON have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shards.errors import UserError
from shards.languages import canonical

MARKS = {
    'multi30k': 'data/task1/image_splits',
    'xgqa': 'few_shot',
    'xvnli': '*/test.jsonl',
    'coco': 'dataset_coco.json',
    'coco-cn': 'imageid.*-caption.txt',
    'tatoeba': 'tatoeba.*-eng.eng',
}  # benchmark -> a path that only its layout has


def looks_like(root: Path) -> str:
    """`; it looks like …'s` when a folder is laid out as another benchmark, else nothing."""
    found = [name for name, mark in MARKS.items() if any(root.glob(mark))]
    return f'; the folder looks like that of {found[0]}' if found else ''


def read_file(root: Path, name: str, source: str) -> bytes:
    """A file of a data folder. Raises UserError when the folder or the file is not there."""
    if not root.is_dir():
        raise UserError(f'{root} is no folder; --data takes the folder of {source}')
    try:
        return (root / name).read_bytes()
    except FileNotFoundError:
        raise UserError(f'{root / name} is missing{looks_like(root)}; take it from {source}') from None
    except OSError as error:
        raise UserError(f'{root / name} cannot be read ({error.strerror}); see its file permissions') from None


def parse(path: Path, content: bytes, source: str) -> Any:
    """JSON of a file or of a line, which `path` names. Raises UserError."""
    try:
        return json.loads(content)
    except ValueError as error:  # UnicodeDecodeError is one
        raise UserError(f'{path}: not JSON ({error}); take this file from {source} again') from None


def fields(path: Path, row: Any, kinds: Mapping[str, type], benchmark: str) -> list[Any]:
    """The named fields of a row. Raises UserError when one is missing or of another type: the file is another benchmark's."""
    if not isinstance(row, dict):
        raise UserError(f'{path}: a row is no object; this is no file of {benchmark}')
    for name, kind in kinds.items():
        if name not in row:
            has = ' '.join(map(str, list(row)[:6]))
            raise UserError(f'{path}: a row has no {name!r}, only {has}; this is no file of {benchmark}')
        if not isinstance(row[name], kind):
            raise UserError(f'{path}: {name} = {row[name]!r} is no {kind.__name__}; this is no file of {benchmark}')
    return [row[name] for name in kinds]


def tested(root: Path, pattern: str, languages: list[str] | None, source: str, optional: bool = False) -> dict[str, str]:
    """Canonical language -> file below ROOT, English first, of a pattern like `few_shot/*/test.json` whose `*` is the language.

    languages: those wanted, in any spelling; none: all. Raises UserError for one that is not there; `optional`: it is left out, as are all
    when there is no file.
    """
    before, after = (len(part) for part in pattern.split('*'))
    found: dict[str, str] = {}
    for path in sorted(root.glob(pattern)):
        name = path.relative_to(root).as_posix()
        try:
            found[canonical(name[before : len(name) - after])] = name
        except UserError as error:
            raise UserError(f'{path}: {error}') from None
    if not found and not optional:
        raise UserError(f'{root} has no {pattern.replace("*", "<language>")}{looks_like(root)}; take it from {source}')
    if languages is None:
        return dict(sorted(found.items(), key=lambda item: (item[0] != 'en', item[0])))
    wanted = {canonical(code): None for code in languages}
    for language in wanted:
        if language not in found and not optional:
            raise UserError(f'{root} has no {pattern.replace("*", language)}; it has {" ".join(sorted(found))}')
    return {language: found[language] for language in wanted if language in found}
