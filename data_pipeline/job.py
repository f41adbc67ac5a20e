"""What one `data_pipeline build` is asked to do."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import xxhash

from data_pipeline.settings import Settings
from data_pipeline.source_hash import file_xxh3
from shards.errors import UserError
from shards.hashes import file_sha256
from shards.schema import KINDS, Kind
from shards.storage import Location, Remote
from shards.tokenizer import Tokenizer

BUILD = '.build'  # folder below OUT for units of work; holds facts about the units once the build is finished
SHARDS = 'shards'  # folder of a unit: shards/<stream>/shard.00000.mds


@dataclass(frozen=True)
class Job:
    """Paths and settings of a build. `images`, `translations` and `scratch` replace the places that are taken by default."""

    corpus: str
    raw: Path
    out: Location
    settings: Settings
    images: Path | None = None
    translations: Path | None = None
    tokenizer: Path | None = None
    exclude: tuple[Location, ...] = ()  # whose URLs are left out: built shards, or files of URLs
    decontaminate: tuple[Path, ...] = ()  # evaluation sets that must not be trained on
    scratch: Path | None = None

    @property
    def kind(self) -> Kind:
        return KINDS[self.corpus]

    @property
    def work(self) -> Path:
        return work_folder(self.out, self.scratch) / self.corpus

    @property
    def root(self) -> Location:
        """Where the corpus's streams go."""
        return self.out / self.corpus

    @property
    def loaded_tokenizer(self) -> Tokenizer:
        """The tokenizer. Raises UserError when none was given or it is damaged."""
        if self.tokenizer is None:
            raise UserError(f'{self.corpus} holds texts: give --tokenizer DIR (make one with `data_pipeline tokenizer train` or `import`)')
        return _load(self.tokenizer)


def work_folder(out: Location, scratch: Path | None) -> Path:
    """Where the units of all corpora are kept: below `out` if that is a folder, else below `scratch`, or a folder for temporary files."""
    if scratch is None and isinstance(out, Path):
        return out / BUILD
    place = scratch or Path(tempfile.gettempdir()) / f'ernie-unix2-{os.getuid()}'
    return place / f'build-{hashlib.sha256(str(out).encode()).hexdigest()[:12]}'


def out_of(folder: Location, scratch: Path | None) -> Location | None:
    """--out of the builds that a folder, at or below it, comes from; None when they left nothing here."""
    return next((place for place in _upwards(folder) if work_folder(place, scratch).is_dir()), None)


def _upwards(folder: Location) -> Iterator[Location]:
    """The folder and those above it."""
    if isinstance(folder, Path):
        yield from (folder, *folder.parents, *folder.absolute().parents)
        return
    yield folder
    for _ in folder.parts[1:]:
        folder = folder.parent
        yield folder


def is_at(folder: Location, out: Location, corpus: str) -> bool:
    """Whether a folder, at or below --out, is that of a corpus, or above or below it."""
    here, there = (place.parts if isinstance(place, Remote) else place.absolute().parts for place in (folder, out))
    below = here[len(there) :]
    return not below or below[0] == corpus


@cache
def _load(folder: Path) -> Tokenizer:
    return Tokenizer.load(folder)  # once a process


def source_of(path: Path, job: Job) -> dict[str, Any]:
    """{'path', 'bytes', 'sha256'} of a source file."""
    return {'path': relative(path, job), 'bytes': path.stat().st_size, 'sha256': file_sha256(path)}


def picture_source_of(path: Path, job: Job, known: Mapping[Path, str]) -> dict[str, Any]:
    """{'path', 'bytes', 'xxh3_128'} of a file of pictures, or of a folder as a whole (the hash of its files' names and hashes).

    `known` are hashes of files that were taken when these were read.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob('*') if file.is_file())
        listing = ''.join(f'{file_xxh3(file)}  {file.relative_to(path).as_posix()}\n' for file in files)
        size = sum(file.stat().st_size for file in files)
        return {'path': relative(path, job) + '/', 'bytes': size, 'xxh3_128': xxhash.xxh3_128_hexdigest(listing)}
    return {'path': relative(path, job), 'bytes': path.stat().st_size, 'xxh3_128': known.get(path) or file_xxh3(path)}


def relative(path: Path, job: Job) -> str:
    """A path as the manifest has it: below the raw folder, or from the name of the folder that --images or --translations gave."""
    for root in (job.raw, *(place.parent for place in (job.images, job.translations) if place)):
        if path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    return path.as_posix()


def inputs_of(paths: Iterable[Path], job: Job) -> list[tuple[str, int]]:
    """Name and size of each source, as a unit of work keeps them. Of a folder the sizes of its files are added up."""
    return [(relative(path, job), _size(path)) for path in paths]


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(entry.stat().st_size for entry in os.scandir(path) if entry.is_file())
    return path.stat().st_size
