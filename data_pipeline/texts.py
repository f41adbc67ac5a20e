"""Every text of a folder that holds the corpora, for training a tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from data_pipeline.drops import Drops
from data_pipeline.readers import PICTURES, CaptionReader, captions, cc100, opus
from shards.errors import UserError
from shards.schema import KINDS

Texts = Iterator[tuple[str, str]]  # (canonical language, text)


def texts(raw: Path) -> Texts:
    """The texts of every corpus folder (cc3m cc12m wit cc100 opus) below `raw`. Raises UserError when there is none of them."""
    if not raw.is_dir():
        raise UserError(f'{raw} is no folder; give --raw the folder that holds the corpora ({", ".join(KINDS)})')
    sources: dict[str, Callable[[Path], Texts]] = {corpus: partial(_captions, reader) for corpus, reader in PICTURES.items()}
    sources |= {'cc100': _cc100, 'opus': _opus}
    found = [name for name in KINDS if (raw / name).is_dir()]
    if not found:
        raise UserError(f'{raw} holds none of the folders {" ".join(KINDS)}; give --raw the folder that holds the corpora')
    return chain.from_iterable(sources[name](raw / name) for name in found)


def _captions(reader: CaptionReader, raw: Path) -> Texts:
    for path in reader.caption_files(raw):
        yield from ((row.language, row.text) for row in reader.captions(path, Drops()))
    for path in captions.translation_files(raw):
        yield from ((row.language, row.text) for row in captions.translations(path, Drops()))


def _cc100(raw: Path) -> Texts:
    for path in cc100.files(raw):
        language = cc100.language(path)
        yield from ((language, paragraph) for document in cc100.documents(path, Drops()) for paragraph in document.split('\n'))


def _opus(raw: Path) -> Texts:
    for bitext in opus.files(raw):
        first, second = bitext.languages
        for pair in opus.pairs(bitext, 0.0, Drops()):
            yield first, pair.first
            yield second, pair.second
