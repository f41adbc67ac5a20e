"""CC100: `<code>.txt.xz`, one paragraph a line, a blank line ends a document."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from data_pipeline.drops import Drops
from data_pipeline.lines import utf8_blocks
from shards.errors import UserError
from shards.languages import canonical

LICENCE = "Common Crawl's terms of use"
NAMES = '<code>.txt.xz or <code>.txt, directly in the folder'
_LONGEST_DOCUMENT = 16 << 20  # characters; a longer one (a file without blank lines) is cut, so that memory stays bounded
# A line of nothing but white space (of Unicode, in UTF-8) ends a document as an empty one does.
_SPACE = rb'[\t\x0b-\r\x1c- ]|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2(?:\x80[\x80-\x8a\xa8\xa9\xaf]|\x81\x9f)|\xe3\x80\x80'
_BLANK = re.compile(rb'\n(?:' + _SPACE + rb')+(?=\n|\Z)')


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


def documents(path: Path, drops: Drops) -> Iterator[str]:
    r"""Documents of a file: their paragraphs, none of which is blank, with a \n between them."""
    return map(bytes.decode, chain.from_iterable(document_blocks(path, drops)))


def document_blocks(path: Path, drops: Drops) -> Iterator[list[bytes]]:
    """`documents`, some at a time, in UTF-8."""
    rest = b''  # a document that may go on in the next block
    for block in utf8_blocks(path, drops):
        *whole, rest = _BLANK.sub(b'\n', b'%b\n%b' % (rest, block)).split(b'\n\n')
        if found := _stripped(whole):
            yield found
        if _too_long(rest):
            *whole, rest = _bounded(rest.lstrip(b'\n'))
            if whole:
                yield whole
    if found := _stripped([rest]):
        yield found


def _too_long(document: bytes) -> bool:
    return len(document) > _LONGEST_DOCUMENT and len(document.decode()) > _LONGEST_DOCUMENT


def _stripped(parts: list[bytes]) -> list[bytes]:
    found = [document for part in parts if (document := part.strip(b'\n'))]
    if max(map(len, found), default=0) > _LONGEST_DOCUMENT:
        return [part for document in found for part in _bounded(document)]
    return found


def _bounded(document: bytes) -> Iterable[bytes]:
    """The document as it is, or in parts of at most `_LONGEST_DOCUMENT` where its paragraphs allow that."""
    if not _too_long(document):
        return (document,) if document else ()
    parts: list[list[str]] = [[]]
    size = 0
    for paragraph in document.decode().split('\n'):
        if parts[-1] and size + len(paragraph) > _LONGEST_DOCUMENT:
            parts.append([])
            size = 0
        parts[-1].append(paragraph)
        size += len(paragraph)
    return ['\n'.join(part).encode() for part in parts]
