"""Bitext: OPUS's Moses zips, WikiMatrix's scored TSV, IITB's tar, TMX."""

from __future__ import annotations

import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO, cast

from data_pipeline.decompression import FLOOR, RATIO, BoundedGzip
from data_pipeline.drops import Drops
from data_pipeline.lines import aligned_lines, text_lines
from data_pipeline.readers import tmx
from data_pipeline.records import Pair
from shards.errors import UserError
from shards.languages import canonical

_LAYOUTS = {  # layout -> name of a file of it; group 1 are the languages, behind what OPUS's opus_get writes before them (it may have dots)
    'moses': re.compile(r'((?:.*_)?[^.]+-[^.]+)\.txt\.zip$'),
    'wikimatrix': re.compile(r'WikiMatrix\.([^.]+-[^.]+)\.tsv\.gz$'),
    'tmx': re.compile(r'((?:.*_)?[^.]+-[^.]+)\.tmx(?:\.gz)?$'),
    'iitb': re.compile(r'parallel(?:-n)?\.(?:tgz|tar\.gz)$'),
}
NAMES = 'xx-yy.txt.zip, WikiMatrix.xx-yy.tsv.gz, parallel.tgz, xx-yy.tmx.gz, CORPUS_VERSION_moses_xx-yy.txt.zip (opus_get)'
IITB_LANGUAGES = ('en', 'hi')
# By layout; of OPUS's own files WikiMatrix's are known by their path (OPUS-WikiMatrix/v1/…), what any other is under stands in OPUS.
LICENCES = {'wikimatrix': 'CC BY-SA (WikiMatrix)', 'iitb': "CC BY-NC 4.0 (IIT Bombay's: no commercial use)"}
OPUS_LICENCE = "that of each corpus' page in OPUS"
_MISSING = b'\n'  # no line contains its line end, so this is none of the file's


@dataclass(frozen=True)
class Bitext:
    """One file of pairs. `codes` are the file's own language codes in the order of its name."""

    path: Path
    layout: str
    codes: tuple[str, str]

    @property
    def languages(self) -> tuple[str, str]:
        """Canonical codes, alphabetical: the order of the stream's columns."""
        first, second = sorted(canonical(code) for code in self.codes)
        return first, second

    @property
    def licence(self) -> str:
        """As far as its name tells."""
        layout = 'wikimatrix' if any('WikiMatrix' in part for part in self.path.parts[-4:]) else self.layout
        return LICENCES.get(layout, OPUS_LICENCE)

    @property
    def pair(self) -> str:
        return '-'.join(self.languages)


def files(raw: Path) -> list[Bitext]:
    """Every bitext below the folder, by path. Raises UserError when there is none, or a name has an unknown language."""
    found = []
    for path in sorted(path for path in raw.rglob('*') if path.is_file()):
        for layout, pattern in _LAYOUTS.items():
            if match := pattern.match(path.name):
                codes = _codes(match[1]) if match.groups() else IITB_LANGUAGES
                found.append(_checked(Bitext(path, layout, codes)))
    if not found:
        raise UserError(f'{raw} holds no bitext ({NAMES}); give --raw the folder that does')
    return found


def _codes(name: str) -> tuple[str, str]:
    """The languages of `de-en`, of `zh_CN-pt_BR`, and of `JRC-Acquis_v3.0_moses_zh_CN-en`, as OPUS's opus_get calls it."""
    for hyphen in re.finditer('-', name):
        first, second = name[: hyphen.start()], name[hyphen.end() :]
        if _known(second):
            # All of it, or what is behind an underscore; the longest, as a code may have one itself.
            for begin in (0, *(underscore.end() for underscore in re.finditer('_', first))):
                if _known(first[begin:]):
                    return first[begin:], second
    first, _, second = name.rpartition('-')
    return first.rpartition('_')[2], second


def _known(code: str) -> bool:
    try:
        canonical(code)
    except UserError:
        return False
    return True


def _checked(bitext: Bitext) -> Bitext:
    try:
        first, second = bitext.languages
    except UserError as error:
        raise UserError(f'{bitext.path}: {error}') from None
    if first == second:
        raise UserError(f'{bitext.path} has both sides in the same language ({first}); move it out of the folder')
    return bitext


def pairs(bitext: Bitext, threshold: float, drops: Drops) -> Iterator[Pair]:
    """Pairs of one file, sides in the order of `bitext.languages`. `threshold` is WikiMatrix's margin score.

    Raises UserError for unequal numbers of lines, missing members, damaged archives.
    """
    rows = {'moses': _moses, 'iitb': _iitb, 'tmx': _tmx, 'wikimatrix': _wikimatrix}[bitext.layout](bitext, threshold, drops)
    swap = canonical(bitext.codes[0]) != bitext.languages[0]
    for first, second in rows:
        yield Pair(second, first) if swap else Pair(first, second)


def _moses(bitext: Bitext, threshold: float, drops: Drops) -> Iterator[tuple[str, str]]:
    try:
        with zipfile.ZipFile(bitext.path) as archive:
            members = [_member(bitext, archive.namelist(), code) for code in bitext.codes]
            for member in map(archive.getinfo, members):
                if member.file_size > max(FLOOR, RATIO * member.compress_size):
                    told = f'{member.filename} says that it unpacks to {member.file_size:,} bytes'
                    raise UserError(f'{bitext.path}: {told}; refused as a decompression bomb')
            with archive.open(members[0]) as first, archive.open(members[1]) as second:
                yield from _aligned(bitext.path, members, cast(BinaryIO, first), cast(BinaryIO, second), drops)
    except (zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f'{bitext.path} is truncated, damaged or no zip ({error}); download it again') from None
    except RuntimeError as error:  # how zipfile refuses an encrypted member, or a compression that it does not know
        raise UserError(f'{bitext.path} cannot be unpacked ({error}); download it again') from None


def _iitb(bitext: Bitext, threshold: float, drops: Drops) -> Iterator[tuple[str, str]]:
    # Two handles on the file, since a gzipped tar can only be read forwards and the sides must be read side by side.
    try:
        with (
            BoundedGzip(bitext.path) as one,
            BoundedGzip(bitext.path) as other,
            tarfile.open(fileobj=one) as left,
            tarfile.open(fileobj=other) as right,
        ):
            members = [_member(bitext, left.getnames(), code) for code in bitext.codes]
            first, second = left.extractfile(members[0]), right.extractfile(members[1])
            if first is None or second is None:
                raise UserError(f'{bitext.path}: {members} are not files; download it again')
            yield from _aligned(bitext.path, members, cast(BinaryIO, first), cast(BinaryIO, second), drops)
    except (tarfile.TarError, EOFError, OSError, KeyError, zlib.error) as error:  # KeyError: a link that leads nowhere in the archive
        raise UserError(f'{bitext.path} is truncated, damaged or no tar ({error}); download it again') from None


def _member(bitext: Bitext, names: list[str], code: str) -> str:
    found = [name for name in names if name.endswith(f'.{code}')]
    if len(found) != 1:
        raise UserError(f'{bitext.path} has {len(found)} members that end in .{code}, one is needed; download it again')
    return found[0]


def _aligned(path: Path, members: list[str], first: BinaryIO, second: BinaryIO, drops: Drops) -> Iterator[tuple[str, str]]:
    left, right = aligned_lines(first, path), aligned_lines(second, path)
    for row, (one, other) in enumerate(zip_longest(left, right, fillvalue=_MISSING), 1):
        if one is _MISSING or other is _MISSING:
            longer, shorter = (members[1], members[0]) if one is _MISSING else members
            raise UserError(f'{path}: {longer} has more lines than {shorter} ({row - 1}); the two must be aligned, download it again')
        if one is None or other is None:
            drops.add('line_too_long')
            continue
        try:
            yield one.decode('utf8'), other.decode('utf8')
        except UnicodeDecodeError:
            drops.add('invalid_utf8', 1, one, other)


def _tmx(bitext: Bitext, threshold: float, drops: Drops) -> Iterator[tuple[str, str]]:
    first, second = (canonical(code) for code in bitext.codes)
    for unit in tmx.units(bitext.path, drops):
        if first in unit and second in unit:
            yield unit[first], unit[second]
        else:
            drops.add('missing_side', 1, ' '.join(f'{code}: {text}' for code, text in unit.items()))


def _wikimatrix(bitext: Bitext, threshold: float, drops: Drops) -> Iterator[tuple[str, str]]:
    for row, line in enumerate(text_lines(bitext.path, drops), 1):
        cells = line.rstrip('\r').split('\t')
        try:
            score = float(cells[0])
        except ValueError:
            score = float('nan')
        if len(cells) != 3 or score != score:
            if row == 1:
                raise UserError(
                    f'{bitext.path} row 1 is not score<TAB>source<TAB>target: {line[:60]!r}; use the scored release, not the zips'
                )
            drops.add('malformed_row', 1, line)
        elif score < threshold:
            drops.add('below_threshold', 1, line)
        else:
            yield cells[1], cells[2]
