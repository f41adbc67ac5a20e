"""WIT: 17-column TSV files with CSV quoting, pixels in Kaggle's `image_pixels/*.csv.gz` or an img2dataset download of the URLs."""

from __future__ import annotations

import base64
import binascii
import csv
from collections.abc import Iterator
from pathlib import Path

from data_pipeline.drops import Drops
from data_pipeline.lines import binary_lines, open_binary, text_lines
from data_pipeline.readers.captions import is_url
from data_pipeline.records import Caption, Picture
from shards.errors import UserError
from shards.languages import canonical

LICENCE = 'CC-BY-SA-3.0'
EMBEDDINGS = 'resnet_embeddings'  # Kaggle's folder beside image_pixels: files of the same names and form, which hold no pictures
NAMES = 'wit_v1.train.*.tsv.gz, image*/**/*.csv.gz (Kaggle)'
COLUMNS = [
    'language',
    'page_url',
    'image_url',
    'page_title',
    'section_title',
    'hierarchical_section_title',
    'caption_reference_description',
    'caption_attribution_description',
    'caption_alt_text_description',
    'mime_type',
    'original_height',
    'original_width',
    'is_main_image',
    'attribution_passes_lang_id',
    'page_changed_recently',
    'context_page_description',
    'context_section_description',
]
MIME_TYPES = ('image/jpeg', 'image/png', 'image/webp')
_RETURN = '\udc0d'  # not among the surrogates that stand for bytes that are not UTF-8
_FIELD_LIMIT = 64 << 20  # a page description can exceed csv's 128 KiB


def is_pixels(path: Path) -> bool:
    return path.name.endswith('.csv.gz')


def pixel_files(folder: Path) -> list[Path]:
    """Kaggle's files of pixels at any depth of a folder, by path."""
    return sorted(path for path in folder.rglob('*.csv.gz') if EMBEDDINGS not in path.relative_to(folder).parts)


def caption_files(raw: Path) -> list[Path]:
    """The `wit_v1.train.*.tsv.gz` of the folder, by name (without any of train: what is there).

    The 1 % sample repeats rows of the ten train files and is left out beside them.
    """
    files = sorted([*raw.glob('*.tsv.gz'), *raw.glob('*.tsv')])
    if not files:
        raise UserError(f'{raw} holds no WIT file (wit_v1.train.all-00000-of-00010.tsv.gz ...); give --raw the folder that does')
    files = [path for path in files if '.train.' in path.name] or files
    return [path for path in files if '1percent_sample' not in path.name] or files


def captions(path: Path, drops: Drops) -> Iterator[Caption]:
    """Reference captions of one TSV file, keyed by image URL. Raises UserError when the header is not WIT's."""
    rows = _rows(path, drops)
    header = next(rows, [])
    if header != COLUMNS:
        first = '\t'.join(header)[:60]
        raise UserError(f"{path} row 1 is not WIT's header of 17 columns ({first!r}); give --raw the folder of WIT's own wit_v1.*.tsv.gz")
    for row in rows:
        if len(row) != len(COLUMNS):
            drops.add('malformed_row', 1, ' '.join(row))
            continue
        url, text, mime = row[2], row[6].replace(_RETURN, '\r'), row[9]
        if not is_url(url):
            drops.add('malformed_row', 1, ' '.join(row))
        elif mime not in MIME_TYPES:
            drops.add('mime_type', 1, f'{url} {mime}')
        elif not text.strip():
            drops.add('empty_caption', 1, f'{url} {row[0]}:')
        elif any('\udc80' <= char <= '\udcff' for char in text):
            drops.add('invalid_utf8', 1, f'{url} {row[0]}: {text}')
        else:
            try:
                language = canonical(row[0])
            except UserError:
                drops.add('unknown_language', 1, f'{url} {row[0]}: {text}')
                continue
            yield Caption(url, language, text)


def _rows(path: Path, drops: Drops) -> Iterator[list[str]]:
    csv.field_size_limit(_FIELD_LIMIT)
    with open_binary(path) as handle:
        # Lines end at \n alone, and csv sees that \n. What is not UTF-8 passes csv as surrogates: to leave out a line would break the
        # quoting of its neighbours.
        reader = csv.reader(_for_csv(binary_lines(handle, path, drops)), delimiter='\t')
        while True:
            try:
                yield next(reader)
            except StopIteration:
                return
            except csv.Error:
                drops.add('malformed_row')


def _for_csv(lines: Iterator[bytes]) -> Iterator[str]:
    """Lines for csv, which takes a lone carriage return for the end of a row: within a line it stands as a lone surrogate."""
    for line in lines:
        text = line.decode('utf8', 'surrogateescape')
        yield text[:-1].replace('\r', _RETURN) + text[-1:] + '\n'


def pixels(path: Path, drops: Drops) -> Iterator[Picture]:
    """Pictures of one Kaggle file: image_url<TAB>base64[<TAB>metadata_url], no header.

    Raises UserError when its first row is of another form.
    """
    for row, line in enumerate(text_lines(path, drops), 1):
        url, tab, rest = line.rstrip('\r').partition('\t')
        encoded = rest.partition('\t')[0]
        numbers = row == 1 and ',' in encoded  # an embedding, of a folder that was renamed
        if not tab or not is_url(url) or numbers:
            if row == 1:
                raise UserError(f'{path} row 1 is not image_url<TAB>base64: {line[:60]!r}; is it one of image_pixels/*.csv.gz?')
            drops.add('malformed_row', 1, line)
            continue
        try:
            yield Picture(url, base64.b64decode(encoded, validate=True), '', LICENCE)
        except (binascii.Error, ValueError):
            drops.add('broken_base64', 1, url)
