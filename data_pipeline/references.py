"""What a build is held against: URLs that another corpus has (`--exclude`), evaluation sets (`--decontaminate`).

Each is read once, by a unit of work of the first stage `references`, into arrays that the workers of later stages load. They stay
below `.build` with the facts of the units, for the report of what was found.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_pipeline import evaluation_hashes as hashes
from data_pipeline.caption_store import key_hash
from data_pipeline.drops import Drops
from data_pipeline.job import BUILD, Job, is_at, out_of, work_folder
from data_pipeline.lines import text_lines
from data_pipeline.pictures import BadPicture
from data_pipeline.readers import evaluation
from data_pipeline.readers.captions import is_url
from data_pipeline.shard_urls import shard_urls
from data_pipeline.work import Unit, facts, write_file
from shards.errors import UserError
from shards.schema import MANIFEST
from shards.storage import Location, Remote

STAGE = 'references'
_TEXTS, _FILES, _PICTURES, _THUMBNAILS, _URLS = 'texts.npy', 'files.npy', 'pictures.npy', 'thumbnails.npy', 'urls.npy'

# Below .build/CORPUS, and beside the streams, where a copy of the shards keeps it: hashes of the URLs and image ids that
# `data_pipeline remove` was asked for, and of those of the pictures that it took out.
REMOVED = 'removed.npy'

Hashes = npt.NDArray[np.uint64]


def units(job: Job) -> list[Unit]:
    """A unit for each folder or file of --decontaminate and --exclude."""
    found = [Unit(STAGE, f'evaluation-{i}', _inputs(path), partial(_evaluation, path)) for i, path in enumerate(job.decontaminate)]
    return found + [Unit(STAGE, f'exclude-{i}', _inputs(path), partial(_exclude, path, job.scratch)) for i, path in enumerate(job.exclude)]


def listing(job: Job) -> list[tuple[str, int]]:
    """Name and size of each reference, as `job.inputs_of` has those of the sources."""
    return [one for path in (*job.decontaminate, *job.exclude) for one in _inputs(path)]


def described(job: Job) -> dict[str, Any]:
    """What the manifest says about them, under `decontaminate` and `exclude`, once their units are done."""
    return {
        name: [{'path': str(path), **_said(job.work, f'{unit}-{i}')['told']} for i, path in enumerate(paths)]
        for name, unit, paths in (('decontaminate', 'evaluation', job.decontaminate), ('exclude', 'exclude', job.exclude))
        if paths
    }


def _said(work: Path, unit: str) -> dict[str, Any]:
    return facts(work, STAGE, unit) or {}


def _inputs(path: Location) -> list[tuple[str, int]]:
    if isinstance(path, Remote):
        return [(str(path), sum(size for file, size in path.sizes() if file.name == MANIFEST))]
    if not path.is_dir():
        return [(path.as_posix(), path.stat().st_size)]
    names = (MANIFEST,) if any(path.rglob(MANIFEST)) else ()
    files = [file for file in path.rglob('*') if file.is_file() and (not names or file.name in names)]
    return [(path.as_posix(), sum(file.stat().st_size for file in files))]


# --- evaluation sets --------------------------------------------------------------------------------------------------------------------


def _evaluation(root: Path, folder: Path, drops: Drops) -> dict[str, Any]:
    found = evaluation.read(root)
    rows: list[tuple[int, int]] = []  # (hash of a text, number of its file), one for each line
    counts: dict[str, int] = {}
    for number, (name, texts) in enumerate(found.texts):
        own = [one for one in map(hashes.text_hash, texts) if one != hashes.NO_TEXT]
        counts[name] = len(own)
        rows += ((one, number) for one in own)
    rows.sort()
    pictures, thumbnails, unreadable = [], [], 0
    for path in found.pictures:
        try:
            one, thumbnail = hashes.picture_hash(path.read_bytes())
        except BadPicture:
            unreadable += 1
            continue
        pictures.append(one)
        thumbnails.append(thumbnail)
    if found.ignored:
        drops.warn(f'--decontaminate {root}: {len(found.ignored)} files of no known layout are ignored, such as {found.ignored[0]}')
    if unreadable:
        drops.warn(f'--decontaminate {root}: {unreadable} pictures cannot be read and are not looked for')
    arrays: dict[str, npt.NDArray[Any]] = {
        _TEXTS: np.array([one for one, _ in rows], np.uint64),
        _FILES: np.array([number for _, number in rows], np.uint32),
        _PICTURES: np.array(pictures, np.uint64),
        _THUMBNAILS: np.array(thumbnails, np.uint8).reshape(-1, hashes.THUMBNAIL),
    }
    for name, array in arrays.items():
        np.save(folder / name, array, allow_pickle=False)
    digest = hashlib.sha256(b''.join(array.tobytes() for array in arrays.values())).hexdigest()
    told = {'texts': len({one for one, _ in rows}), 'pictures': len(pictures), 'sha256': digest}
    return {'told': told, 'root': root.name, 'files': counts, 'pictures': [path.relative_to(root).as_posix() for path in found.pictures]}


class Evaluation:
    """The texts and pictures that must not be trained on."""

    def __init__(self, job: Job) -> None:
        folders = [job.work / STAGE / f'evaluation-{i}' for i in range(len(job.decontaminate))]
        settings = job.settings
        self._texts = set(_joined(folders, _TEXTS).tolist()) if settings.applies('evaluation_text') else set()
        self._pictures = _joined(folders, _PICTURES) if settings.applies('evaluation_picture') else np.empty(0, np.uint64)
        self._thumbnails = np.concatenate([np.load(folder / _THUMBNAILS) for folder in folders]) if folders else np.empty(0, np.uint8)
        self._distance = settings.picture_distance

    @property
    def has_texts(self) -> bool:
        return len(self._texts) > 0

    def has_text(self, text: str, drops: Drops) -> bool:
        """Whether a text is one of them; notes which."""
        if not self._texts or (found := hashes.text_hash(text)) not in self._texts:
            return False
        drops.overlap.add(found)
        return True

    @property
    def has_pictures(self) -> bool:
        return len(self._pictures) > 0

    def has_picture(self, image: bytes, drops: Drops) -> bool:
        """Whether a picture looks like one of them; notes which. Raises BadPicture."""
        if not self.has_pictures:
            return False
        one, thumbnail = hashes.picture_hash(image)
        near = np.flatnonzero(np.bitwise_count(self._pictures ^ np.uint64(one)) <= self._distance)
        alike = near[hashes.same_colours(self._thumbnails[near], thumbnail)] if len(near) else near
        drops.overlap.update(self._pictures[alike].tolist())
        return len(alike) > 0


def _joined(folders: Iterable[Path], name: str) -> Hashes:
    return np.concatenate([np.empty(0, np.uint64), *(np.load(folder / name) for folder in folders)])


@cache
def evaluation_of(job: Job) -> Evaluation:
    """Once a process."""
    return Evaluation(job)


def overlap_report(work: Path, found: set[int]) -> dict[str, dict[str, int]]:
    """{file of an evaluation set, or the folder itself for its pictures: {'texts' or 'pictures': number, 'found': number}}."""
    report: dict[str, dict[str, int]] = {}
    hits = np.array(sorted(found), np.uint64)
    for folder in sorted((work / STAGE).glob('evaluation-*')):
        said = _said(work, folder.name)
        texts, files = np.load(folder / _TEXTS), np.load(folder / _FILES)
        numbers = np.bincount(files[np.isin(texts, hits)], minlength=len(said['files'])).tolist()
        for (name, total), number in zip(said['files'].items(), numbers, strict=True):
            report[f'{said["root"]}/{name}'] = {'texts': total, 'found': number}
        pictures = np.load(folder / _PICTURES)
        if len(pictures):
            report[f'{said["root"]} (pictures)'] = {'pictures': len(pictures), 'found': int(np.isin(pictures, hits).sum())}
    return report


# --- URLs -------------------------------------------------------------------------------------------------------------------------------


def _exclude(path: Location, scratch: Path | None, folder: Path, drops: Drops) -> dict[str, Any]:
    gone = _taken_down(path, scratch) if path.is_dir() else np.empty(0, np.uint64)
    urls = np.unique(np.fromiter(map(key_hash, excluded_urls(path, drops)), np.uint64))
    if not len(urls) and not len(gone):
        raise UserError(f'{path} holds no URL; give built shards of pictures, a list of URLs, or the TSV of CC3M or CC12M')
    np.save(folder / _URLS, urls, allow_pickle=False)
    np.save(folder / REMOVED, gone, allow_pickle=False)
    told = {'urls': len(urls), 'sha256': hashlib.sha256(urls.tobytes()).hexdigest()}
    if len(gone):
        told |= {'removed': len(gone), 'removed_sha256': hashlib.sha256(gone.tobytes()).hexdigest()}
    return {'told': told}


def _taken_down(folder: Location, scratch: Path | None) -> Hashes:
    """What was taken out of the shards at or below a folder: it is in none of them any more, and must not come back by another corpus."""
    if isinstance(folder, Remote):
        contents = [path.read_bytes() for path in (*folder.rglob(REMOVED), folder.parent / REMOVED) if path.is_file()]
        return np.unique(np.concatenate([np.empty(0, np.uint64), *(np.load(io.BytesIO(content)) for content in contents)]))
    beside = [path for path in folder.rglob(REMOVED) if BUILD not in path.parts[len(folder.parts) :]]
    places = {path for path in (*beside, folder.parent / REMOVED) if path.exists()}
    for base in {None, scratch}:
        if out := out_of(folder, base):
            places.update(path for path in work_folder(out, base).glob(f'*/{REMOVED}') if is_at(folder, out, path.parent.name))
    return np.unique(np.concatenate([np.empty(0, np.uint64), *map(np.load, sorted(places))]))


def excluded_urls(path: Location, drops: Drops) -> Iterator[str]:
    """URLs of built picture shards (a folder, here or in a store), or of a file: one a line, or in a cell of it, as in CC3M and CC12M."""
    return _file_urls(path, drops) if isinstance(path, Path) and not path.is_dir() else shard_urls(path)


def _file_urls(path: Path, drops: Drops) -> Iterator[str]:
    for line in text_lines(path, drops):
        url = next((cell for cell in line.strip().split('\t') if is_url(cell)), None)
        if url is None and line.lstrip().startswith('{'):
            url = json.loads(line).get('url')
        if url:
            yield url


class UrlSet:
    """Hashes of URLs (`key_hash`), sorted, 8 bytes each."""

    def __init__(self, hashed: Hashes) -> None:
        self._hashes = hashed

    def __contains__(self, hashed: int) -> bool:
        place = int(np.searchsorted(self._hashes, np.uint64(hashed))) if len(self._hashes) else 0
        return place < len(self._hashes) and int(self._hashes[place]) == hashed

    def mask(self, hashed: Hashes) -> npt.NDArray[np.bool_]:
        """Which of many hashes are in it."""
        return np.isin(hashed, self._hashes) if len(self._hashes) else np.zeros(len(hashed), bool)


@cache
def excluded(job: Job) -> UrlSet:
    """All URLs of --exclude. Once a process."""
    return UrlSet(np.unique(_joined((job.work / STAGE / f'exclude-{i}' for i in range(len(job.exclude))), _URLS)))


@cache
def removed_outside(job: Job) -> UrlSet:
    """What was taken down from the shards of --exclude, by URL or image id. Once a process."""
    folders = (job.work / STAGE / f'exclude-{i}' for i in range(len(job.exclude)))
    return UrlSet(np.unique(_joined((folder for folder in folders if (folder / REMOVED).exists()), REMOVED)))


def removed(work: Path) -> UrlSet:
    """What was taken down, by URL or image id, and must not come back when a lost shard is built again."""
    return UrlSet(load_hashes(work / REMOVED))


def load_hashes(path: Path) -> Hashes:
    """Hashes of a file; none where there is no file."""
    found: Hashes = np.load(path) if path.exists() else np.empty(0, np.uint64)
    return found


def save_hashes(path: Path, hashed: Hashes) -> None:
    """Write them so that the file is whole or not there."""
    content = io.BytesIO()
    np.save(content, hashed, allow_pickle=False)
    write_file(path, content.getvalue())
