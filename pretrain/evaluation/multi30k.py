"""Multi30k as its repository (multi30k/dataset) lays it out, with the pictures in `images/`.

DATA/data/task1/image_splits/<split>.txt            picture of each line; mscoco lines carry `#<caption id>`
DATA/data/task1/raw/<split>.<language>.gz           one caption a picture
DATA/data/task2/raw/<split>.{1..5}.<language>.gz    five captions a picture (train, val, test_2016; en and de)
DATA/images/<picture>
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path

from pretrain.evaluation.lines import STRIPPED, stripped_lines, text_lines
from pretrain.evaluation.picture_files import existing
from shards.errors import UserError
from shards.languages import canonical

SOURCE = 'github.com/multi30k/dataset'

# Task 2 names the Flickr test set of 2016 without its source, and has no other test set.
TASK2_SPLITS = {'train': 'train', 'val': 'val', 'test_2016_flickr': 'test_2016'}
TASK2_CAPTIONS = 5


@dataclass(frozen=True)
class Captions:
    """One language's captions of a split."""

    language: str  # canonical code
    texts: list[str]
    rows: list[int]  # the picture of each text, as a row of `Split.names`
    sources: list[str]  # files, relative to the data folder


@dataclass(frozen=True)
class Split:
    """A split: its pictures in the order of the image list, and every language's captions."""

    root: Path
    name: str
    names: list[str]  # picture file names, one a row
    paths: list[Path]  # none when it was read without pictures
    captions: dict[str, Captions]  # canonical language -> captions

    def picture(self, row: int) -> bytes:
        """The file of a picture. Raises UserError when it cannot be read."""
        try:
            return self.paths[row].read_bytes()
        except OSError as error:
            raise UserError(f'picture {self.paths[row]} cannot be read ({error.strerror}); see its file permissions') from None

    def first(self, count: int) -> Split:
        """The first `count` pictures with their captions."""
        captions = {}
        for language, of in self.captions.items():
            kept = [number for number, row in enumerate(of.rows) if row < count]
            texts, rows = [of.texts[number] for number in kept], [of.rows[number] for number in kept]
            captions[language] = Captions(of.language, texts, rows, of.sources)
        return Split(self.root, self.name, self.names[:count], self.paths[:count], captions)

    def sha256(self) -> str:
        """Hash of all that an evaluation of this split depends on: names, bytes of the pictures, captions and their pictures."""
        digest = hashlib.sha256()
        for row, name in enumerate(self.names):
            picture = hashlib.sha256(self.picture(row)).hexdigest() if self.paths else ''
            digest.update(f'{name}\0{picture}\n'.encode())
        for language, captions in sorted(self.captions.items()):
            for text, row in zip(captions.texts, captions.rows, strict=True):
                digest.update(f'{language}\0{row}\0{text}\n'.encode())
        return digest.hexdigest()


def read_split(
    root: Path, split: str = 'test_2016_flickr', languages: list[str] | None = None, images: Path | None = None,
    translations: bool = False, pictures: bool = True,
) -> Split:  # fmt: skip
    """A split with the captions of the named languages (none: all that it has), pictures from `images` (none: ROOT/images).

    English and German take task 2's five captions a picture where they are there, as the literature's retrieval does; others task 1's one.
    With `translations` it is task 1's for all, which are each other's translation. Without `pictures` none need be there.
    Raises UserError for a folder in another layout, unequal counts, empty captions, missing pictures, a language that is not there.
    """
    if not root.is_dir():
        raise UserError(f'{root} is no folder; give one laid out as {SOURCE}')
    names = _names(root / 'data' / 'task1' / 'image_splits' / f'{split}.txt', root)
    found = _caption_files(root, split, translations)
    wanted = sorted(found) if not languages else list(dict.fromkeys(map(_wanted, languages)))
    for language in wanted:
        if language not in found:
            raise UserError(f'{root} has no captions in {language} for {split}; it has {" ".join(sorted(found)) or "none"}')
    if not wanted:
        raise UserError(f'{root / "data/task1/raw"} has no {split}.<language>.gz; --split names the split')
    captions = {language: _captions(root, split, language, found[language], names) for language in wanted}
    return Split(root, split, names, existing(names, images or root / 'images') if pictures else [], captions)


def _names(path: Path, root: Path) -> list[str]:
    """The image list: one picture a line."""
    if not path.is_file():
        splits = sorted(other.stem for other in path.parent.glob('*.txt'))
        hint = f'the folder has {" ".join(splits)}' if splits else f'{root} is not in the layout of {SOURCE}'
        raise UserError(f'{path} is missing; {hint}')
    names = [line.split('#')[0].strip(STRIPPED) for line in text_lines(path, path.read_bytes(), SOURCE)]
    for number, name in enumerate(names, 1):
        if not name or '/' in name or name in ('.', '..'):
            raise UserError(f'{path}:{number}: {name!r} is no picture file name; take this file from {SOURCE} again')
    if not names:
        raise UserError(f'{path} is empty; take this file from {SOURCE} again')
    return names


def _caption_files(root: Path, split: str, translations: bool) -> dict[str, list[Path]]:
    """Canonical language -> its caption files: task 2's five where all are there, else task 1's one."""
    found = {_language(path, 1): [path] for path in sorted((root / 'data/task1/raw').glob(f'{split}.*.gz'))}
    if split in TASK2_SPLITS and not translations:
        raw = root / 'data/task2/raw'
        for first in sorted(raw.glob(f'{TASK2_SPLITS[split]}.1.*.gz')):
            code = first.name.split('.')[2]
            paths = [raw / f'{TASK2_SPLITS[split]}.{number}.{code}.gz' for number in range(1, TASK2_CAPTIONS + 1)]
            missing = [path for path in paths if not path.is_file()]
            if missing:
                raise UserError(f'{missing[0]} is missing beside {first.name}: task 2 has five captions a picture; add it')
            found[_language(first, 2)] = paths
    return found


def _language(path: Path, field: int) -> str:
    try:
        return canonical(path.name.split('.')[field])
    except UserError as error:
        raise UserError(f'{path}: {error}') from None


def _wanted(code: str) -> str:
    """A language that is asked for: canonical, or as it is where nobody knows it, which no folder has."""
    try:
        return canonical(code)
    except UserError:
        return repr(code)


def _captions(root: Path, split: str, language: str, paths: list[Path], names: list[str]) -> Captions:
    texts: list[str] = []
    rows: list[int] = []
    order = list(range(len(names)))
    own = root / 'data/task2/image_splits' / f'{TASK2_SPLITS.get(split, split)}_images.txt'
    if len(paths) > 1 and own.is_file():  # task 2's files follow its own list of pictures
        row_of = {name: row for row, name in enumerate(names)}
        listed = _names(own, root)
        strangers = [name for name in listed if name not in row_of]
        if strangers:
            raise UserError(f'{own} lists {strangers[0]}, which task 1 does not list for {split}; take both files from one release')
        order = [row_of[name] for name in listed]
    for path in paths:
        lines = stripped_lines(path, _gunzip(path), SOURCE, 'caption')
        if len(lines) != len(order):
            raise UserError(f'{path} has {len(lines)} captions, the image list of {split} {len(order)}; take both from one release')
        texts += lines
        rows += order
    return Captions(language, texts, rows, [str(path.relative_to(root)) for path in paths])


def _gunzip(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f'{path} is no whole gzip file ({error}); take it from {SOURCE} again') from None
