"""Texts on pictures, each with what is true of it: what XVNLI's and xGQA's readers give."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pretrain.evaluation.picture_files import REMEDY, refuse_missing
from shards.errors import UserError

Target = tuple[tuple[int, float], ...]  # (class, how true it is), the truest first


@dataclass(frozen=True)
class Labelled:
    """Rows of one language. A target is None where people did not agree on a class, and empty where the model has no such class."""

    language: str  # canonical code
    source: str  # file, relative to the data folder
    ids: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)  # file names
    targets: list[Target | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, name: str, text: str, picture: str, target: Target | None) -> None:
        """Append a row."""
        self.ids.append(name)
        self.texts.append(text)
        self.pictures.append(picture)
        self.targets.append(target)

    def first(self, count: int) -> Labelled:
        """The first `count` rows."""
        parts = (self.ids, self.texts, self.pictures, self.targets)
        return Labelled(self.language, self.source, *(part[:count] for part in parts))  # type: ignore[arg-type]  # each of its own kind

    def sha256(self) -> str:
        """Hash of every row and its place."""
        digest = hashlib.sha256(self.language.encode())
        for row in zip(self.ids, self.texts, self.pictures, self.targets, strict=True):
            digest.update(f'{row!r}\n'.encode())
        return digest.hexdigest()


def pictures_folder(data: Path, images: str | Path | None) -> Path:
    """The folder of a benchmark's pictures."""
    return data / 'images' if images is None else Path(images)


class Pictures:
    """The folder with a benchmark's pictures, listed once. Raises UserError when there is none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            with os.scandir(folder) as entries:
                self._sizes = {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f'{folder} is no folder; {REMEDY}') from None

    def check(self, rows: Labelled) -> None:
        """Raises UserError naming a picture that rows are about and that is not there."""
        wanted = dict.fromkeys(rows.pictures)
        missing = [self.folder / name for name in wanted if name not in self._sizes]
        refuse_missing(missing, len(wanted), source=rows.source)

    def read(self, name: str) -> bytes:
        """The file of a picture. Raises UserError when it cannot be read."""
        try:
            return (self.folder / name).read_bytes()
        except OSError as error:
            raise UserError(f'picture {self.folder / name} cannot be read ({error.strerror}); see its file permissions') from None

    def sizes(self, names: Iterable[str]) -> str:
        """Hash of names and sizes of these pictures: a hundred thousand of them are not read for it."""
        listed = ''.join(f'{name}\0{self._sizes[name]}\n' for name in sorted(set(names)))
        return hashlib.sha256(listed.encode()).hexdigest()

    def contents(self, names: Iterable[str]) -> str:
        """Hash of names and bytes of these pictures."""
        digest = hashlib.sha256()
        for name in sorted(set(names)):
            digest.update(f'{name}\0{hashlib.sha256(self.read(name)).hexdigest()}\n'.encode())
        return digest.hexdigest()
