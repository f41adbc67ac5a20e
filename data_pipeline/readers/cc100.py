"""CC100: `<code>.txt.xz`, one paragraph a line, a blank line ends a document."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data_pipeline.drops import Drops
from data_pipeline.lines import text_lines
from shards.errors import UserError
from shards.languages import canonical

_LONGEST_DOCUMENT = 16 << 20  # characters; a longer one (a file without blank lines) is cut, so that memory stays bounded


def files(raw: Path) -> list[Path]:
    """The `<code>.txt.xz` (or `.txt`) of the folder, by name. Raises UserError when there is none or a name is no language code."""
    found = sorted([*raw.glob('*.txt.xz'), *raw.glob('*.txt')])
    if not found:
        raise UserError(f'{raw} holds no <code>.txt.xz of CC100; give --raw the folder that does')
    for path in found:
        language(path)
    return found


def language(path: Path) -> str:
    """Canonical language of a file, from its name."""
    try:
        return canonical(path.name.partition('.')[0])
    except UserError as error:
        raise UserError(f'{path}: {error}; move it out of the folder or name it <code>.txt.xz') from None


def documents(path: Path, drops: Drops) -> Iterator[list[str]]:
    """Documents of a file, each a list of its paragraphs."""
    document: list[str] = []
    size = 0
    for line in text_lines(path, drops):
        blank = not line.strip()
        if document and (blank or size + len(line) > _LONGEST_DOCUMENT):
            yield document
            document, size = [], 0
        if not blank:
            document.append(line)
            size += len(line)
    if document:
        yield document
