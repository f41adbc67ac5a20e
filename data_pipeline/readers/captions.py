"""Caption files of the picture corpora that are not the corpus's own: translations keyed by URL, or with the picture inline."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from data_pipeline.drops import Drops
from data_pipeline.lines import text_lines
from data_pipeline.pictures import image_id
from data_pipeline.records import PICTURE_KEY, Caption, Picture
from shards.errors import UserError
from shards.languages import canonical

_SURROGATE = re.compile('[\ud800-\udfff]')


def check_tsv(path: Path, url_column: int, remedy: str) -> None:
    """Raise UserError unless most of the first lines of a two-column TSV have a URL in `url_column` (0 or 1) and none in the other."""
    bad = []
    rows = 0
    for rows, line in enumerate(islice(text_lines(path, Drops()), 100), 1):
        cells = line.rstrip('\r').split('\t')
        if len(cells) != 2 or not is_url(cells[url_column]) or is_url(cells[1 - url_column]):
            bad.append((rows, line))
    if rows == 0:
        raise UserError(f'{path} is empty; download it again')
    if 2 * len(bad) >= rows:  # a few bad rows are counted when they are read; this is another file
        wanted = 'url<TAB>caption' if url_column == 0 else 'caption<TAB>url'
        raise UserError(f'{path} row {bad[0][0]} is not {wanted}: {bad[0][1][:60]!r}; {remedy}')


def is_url(text: str) -> bool:
    return text.startswith(('http://', 'https://'))


def is_unicode(text: str) -> bool:
    """Whether the text has no lone surrogate, which JSON can spell (`"\\ud83d"`) and UTF-8 cannot."""
    return text.isascii() or not _SURROGATE.search(text)


def tsv_captions(path: Path, url_column: int, drops: Drops) -> Iterator[Caption]:
    """English captions of CC3M's and CC12M's two-column TSV. Split at the tab alone: a quote is an ordinary character."""
    for line in text_lines(path, drops):
        cells = line.rstrip('\r').split('\t')
        if len(cells) != 2 or not is_url(cells[url_column]):
            drops.add('malformed_row', 1, line)
            continue
        yield Caption(cells[url_column], 'en', cells[1 - url_column])


def translations(path: Path, drops: Drops) -> Iterator[Caption]:
    """Captions of a translations file. Raises UserError for an unknown layout. Known are

    JSONL with `url` (or `binary`, the picture in base64) and `caption: {language: text}`;
    TSV `url<TAB>language<TAB>text`, or with a header `url<TAB>de<TAB>fr...`.
    """
    if '.tsv' in path.suffixes:
        yield from _translations_tsv(path, drops)
        return
    for row, record in json_rows(path, drops):
        captions = record.get('caption')
        if not isinstance(captions, dict):
            raise UserError(f'{path} row {row} has no "caption": {{language: text}}; translations are JSONL keyed by url, see docs/data.md')
        if isinstance(record.get('url'), str):
            key = record['url']
            if not is_unicode(key):
                drops.add('malformed_row', 1, ascii(key))
                continue
        else:
            image = inline_image(path, row, record)
            if image is None:
                drops.add('broken_base64', 1, f'row {row} of {path.name}')
                continue
            key = PICTURE_KEY + image_id(image)
        for code, text in captions.items():
            if isinstance(text, str):
                yield Caption(key, _language(code, path, row), text)
            else:
                drops.add('malformed_row', 1, f'{key} {code}: {text}')


def inline_pictures(path: Path, licence: str, drops: Drops) -> Iterator[Picture]:
    """Pictures of a JSONL with inline images; its captions come from `translations`. Broken rows are counted there."""
    for row, record in json_rows(path, Drops()):
        image = None if isinstance(record.get('url'), str) else inline_image(path, row, record)
        if image is not None:
            yield Picture('', image, '', licence)


def has_inline_pictures(path: Path) -> bool:
    """Whether the first row of a translations file carries its picture."""
    return '.tsv' not in path.suffixes and any(
        'binary' in record and 'url' not in record for _, record in islice(json_rows(path, Drops()), 1)
    )


def inline_image(path: Path, row: int, record: dict[str, Any]) -> bytes | None:
    """Bytes of the record's picture, None if the base64 is broken. Raises UserError when there is neither url nor picture."""
    binary = record.get('binary')
    if not isinstance(binary, str):
        raise UserError(f'{path} row {row} has neither "url" nor "binary"; translations are JSONL keyed by url, see docs/data.md')
    try:
        return base64.b64decode(binary, validate=True)
    except (binascii.Error, ValueError):
        return None


def json_rows(path: Path, drops: Drops) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row number from 1, object) of a JSONL file.

    The first row must be valid (else UserError: this is another format); later bad ones are counted.
    """
    for row, line in enumerate(text_lines(path, drops), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):  # RecursionError: nested too deeply
            record = None
        if isinstance(record, dict):
            yield row, record
        elif row == 1:
            raise UserError(
                f'{path} row 1 is not a JSON object: {line[:60]!r}; translations are JSONL or TSV keyed by url, see docs/data.md'
            )
        else:
            drops.add('malformed_row', 1, line)


def _translations_tsv(path: Path, drops: Drops) -> Iterator[Caption]:
    header: list[str] | None = None
    for row, line in enumerate(text_lines(path, drops), 1):
        cells = line.rstrip('\r').split('\t')
        if row == 1 and cells[0].lower() == 'url':
            header = [_language(code, path, row) for code in cells[1:]]
        elif not is_url(cells[0]) or (len(cells) != 3 if header is None else len(cells) != len(header) + 1):
            if row <= 2:
                wanted = 'url<TAB>language<TAB>text' if header is None else 'one cell for each column of the header'
                raise UserError(f'{path} row {row} is not {wanted}: {line[:60]!r}; see docs/data.md')
            drops.add('malformed_row', 1, line)
        elif header is None:
            yield Caption(cells[0], _language(cells[1], path, row), cells[2])
        else:
            # An empty cell is a missing translation, nothing that was lost.
            yield from (Caption(cells[0], language, text) for language, text in zip(header, cells[1:], strict=True) if text)


def _language(code: str, path: Path, row: int) -> str:
    try:
        return canonical(code)
    except UserError as error:
        raise UserError(f'{path} row {row}: {error}') from None


def translation_files(raw: Path) -> list[Path]:
    """`translations*.jsonl`, `.jsonl.gz`, `.tsv`, `.tsv.gz` of a folder, by name."""
    return sorted(path for suffix in ('jsonl', 'jsonl.gz', 'tsv', 'tsv.gz') for path in raw.glob(f'translations*.{suffix}'))
