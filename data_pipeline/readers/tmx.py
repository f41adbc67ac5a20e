"""TMX, streamed. A document type declaration is refused: that is where entity expansion and outside files come from."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from xml.parsers import expat

from data_pipeline.drops import Drops
from data_pipeline.lines import open_binary
from shards.errors import UserError
from shards.languages import canonical

_CHUNK = 1 << 16
_LONGEST_UNIT = 1 << 20  # characters; a longer translation unit is counted, not kept


class _Units:
    """Collects finished translation units: {language: text}."""

    def __init__(self, path: Path, drops: Drops) -> None:
        self.path, self.drops = path, drops
        self.done: list[dict[str, str]] = []
        self._unit: dict[str, str] = {}
        self._language = ''
        self._text: list[str] | None = None
        self._length = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == 'tu':
            self._unit, self._length = {}, 0
        elif tag == 'tuv':
            code = attributes.get('xml:lang') or attributes.get('lang')
            if not code:
                raise UserError(f'{self.path} has a <tuv> without xml:lang or lang; it is not TMX as OPUS publishes it')
            try:
                self._language = canonical(code)
            except UserError as error:
                raise UserError(f'{self.path}: {error}') from None
        elif tag == 'seg':
            self._text = []

    def end(self, tag: str) -> None:
        if tag == 'seg' and self._text is not None:
            self._unit[self._language] = ''.join(self._text)
            self._text = None
        elif tag == 'tu':
            if self._length > _LONGEST_UNIT:
                self.drops.add('line_too_long')
            else:
                self.done.append(self._unit)

    def characters(self, data: str) -> None:
        if self._text is not None:
            self._length += len(data)
            if self._length <= _LONGEST_UNIT:
                self._text.append(data)


def units(path: Path, drops: Drops) -> Iterator[dict[str, str]]:
    """Translation units of a `.tmx` or `.tmx.gz`, each {canonical language: text}.

    Raises UserError when it is not well-formed or declares a document type.
    """

    def refuse(*_: object) -> None:
        raise UserError(f'{path} declares a document type (entities), which TMX of OPUS never does; it is refused as unsafe')

    collected = _Units(path, drops)
    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = collected.start, collected.end, collected.characters
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    with open_binary(path) as handle:
        try:
            while chunk := handle.read(_CHUNK):
                parser.Parse(chunk, False)
                yield from collected.done
                collected.done.clear()
            parser.Parse(b'', True)
        except expat.ExpatError as error:
            raise UserError(f'{path} is not well-formed TMX ({error}); download it again') from None
        except (EOFError, OSError, zlib.error) as error:
            raise UserError(f'{path} is truncated or damaged ({error}); download it again') from None
