"""Every text of a folder that holds the corpora, for training a tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data_pipeline.drops import Drops
from data_pipeline.readers import captions, cc3m, cc12m, cc100, opus, wit
from shards.errors import UserError


def texts(raw: Path) -> Iterator[tuple[str, str]]:
    """(canonical language, text) of every corpus folder (cc3m cc12m wit cc100 opus) below `raw`.

    Raises UserError when there is none of them.
    """
    if not raw.is_dir():
        raise UserError(f'{raw} is no folder; give --raw the folder that holds the corpora (cc3m, cc12m, wit, cc100, opus)')
    sources = {'cc3m': _cc3m, 'cc12m': _cc12m, 'wit': _wit, 'cc100': _cc100, 'opus': _opus}
    found = [name for name in sources if (raw / name).is_dir()]
    if not found:
        raise UserError(f'{raw} holds none of the folders {" ".join(sources)}; give --raw the folder that holds the corpora')
    for name in found:
        yield from sources[name](raw / name)


def _cc3m(raw: Path) -> Iterator[tuple[str, str]]:
    for path in cc3m.caption_files(raw):
        yield from ((row.language, row.text) for row in cc3m.captions(path, Drops()))
    yield from _translations(raw)


def _cc12m(raw: Path) -> Iterator[tuple[str, str]]:
    for path in cc12m.caption_files(raw):
        yield from ((row.language, row.text) for row in cc12m.captions(path, Drops()))
    yield from _translations(raw)


def _translations(raw: Path) -> Iterator[tuple[str, str]]:
    for path in captions.translation_files(raw):
        yield from ((row.language, row.text) for row in captions.translations(path, Drops()))


def _wit(raw: Path) -> Iterator[tuple[str, str]]:
    for path in wit.caption_files(raw):
        yield from ((row.language, row.text) for row in wit.captions(path, Drops()))


def _cc100(raw: Path) -> Iterator[tuple[str, str]]:
    for path in cc100.files(raw):
        language = cc100.language(path)
        yield from ((language, paragraph) for document in cc100.documents(path, Drops()) for paragraph in document.split('\n'))


def _opus(raw: Path) -> Iterator[tuple[str, str]]:
    for bitext in opus.files(raw):
        first, second = bitext.languages
        for pair in opus.pairs(bitext, 0.0, Drops()):
            yield first, pair.first
            yield second, pair.second
