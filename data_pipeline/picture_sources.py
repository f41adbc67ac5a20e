"""What a build of pictures reads: files of captions, and shards of pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from data_pipeline.job import Job, relative
from data_pipeline.names import unit_names
from data_pipeline.readers import PICTURES, img2dataset, wit
from data_pipeline.readers import captions as caption_readers
from shards.errors import UserError


@dataclass(frozen=True)
class CaptionSource:
    """A file of captions: the corpus's own or translations."""

    name: str
    path: Path
    own: bool


@dataclass(frozen=True)
class PictureSource:
    """A shard of img2dataset, one of WIT's pixel files, or a translations file with pictures inline."""

    name: str
    path: Path
    shard: img2dataset.Shard | None

    @property
    def files(self) -> list[Path]:
        return self.shard.files if self.shard else [self.path]


def sources(job: Job) -> tuple[list[CaptionSource], list[PictureSource]]:
    """Everything that the build reads. Raises UserError when pictures, or WIT's captions, are missing."""
    own = PICTURES[job.corpus].caption_files(job.raw)
    place = job.translations or job.raw
    translations = [place] if place.is_file() else caption_readers.translation_files(place)
    if job.translations and not translations:
        raise UserError(f'--translations {place} holds no translations*.jsonl or .tsv; name the file itself')
    paths = own + translations
    texts = [
        CaptionSource('captions-' + name, path, path in own)
        for name, path in zip(unit_names([relative(path, job) for path in paths]), paths, strict=True)
    ]
    # Inline pictures come last: where a picture is in the corpus already, that one is kept, and their captions join it.
    inline = [path for path in translations if caption_readers.has_inline_pictures(path)]
    found = _picture_files(job) + [(path, None) for path in inline]
    names = unit_names([relative(path, job) for path, _ in found])
    return texts, [PictureSource(name, path, shard) for name, (path, shard) in zip(names, found, strict=True)]


def _picture_files(job: Job) -> list[tuple[Path, img2dataset.Shard | None]]:
    """Shards of img2dataset with their paths, and WIT's pixel files."""
    folders = [job.images] if job.images else sorted(path for path in job.raw.glob('image*') if path.is_dir())
    if not folders:
        wanted = 'image_data_train/image_pixels (Kaggle) or images (img2dataset)' if job.corpus == 'wit' else 'images (img2dataset)'
        raise UserError(f'{job.raw} holds no folder {wanted}; give --images DIR')
    found: list[tuple[Path, img2dataset.Shard | None]] = []
    for folder in folders:
        pixels = wit.pixel_files(folder) if job.corpus == 'wit' else []
        found += [(path, None) for path in pixels] or [(shard.path, shard) for shard in img2dataset.shards(folder)]
    return found
