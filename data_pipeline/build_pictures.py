"""CC3M, CC12M, WIT: every shard of pictures is a unit.

scan    captions of each source into sorted runs; of each shard of pictures the hashes of URLs and pictures
group   captions of each partition by key, and which pictures are duplicates (in the same stage, as neither needs the other)
build   pictures with all their captions into shards
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from data_pipeline.caption_store import NO_URL, Captions, CaptionStore, group, key_hash, merge, partition_of, partitions, spill
from data_pipeline.clean_captions import clean_captions
from data_pipeline.dedupe import Keys, Marks, Rows, repeated
from data_pipeline.drops import Drops
from data_pipeline.job import Job, inputs_of, picture_source_of, source_of
from data_pipeline.picture_sources import CaptionSource, PictureSource, sources
from data_pipeline.pictures import BadPicture, image_number, prepare
from data_pipeline.readers import PICTURES, img2dataset, wit
from data_pipeline.readers import captions as caption_readers
from data_pipeline.records import Caption, Picture
from data_pipeline.references import UrlSet, evaluation_of, excluded, removed, removed_outside
from data_pipeline.shard_urls import ALIASES
from data_pipeline.work import Unit, facts
from data_pipeline.writer import UnitWriter

_URLS, _IDS, _FAILED, _FOUND = 'urls.npy', 'ids.npy', 'failed.npy', 'found.json'


def names(job: Job) -> str:
    """What files are recognised by, for people."""
    own = PICTURES[job.corpus].NAMES
    return f'{own}, translations*.jsonl or .tsv (also .gz), image*/**/NNNNN.tar, NNNNN/ or NNNNN.parquet (img2dataset)'


def check(job: Job) -> list[Path]:
    """The files that the build reads. Raises UserError when something is missing."""
    texts, shards = sources(job)
    return sorted({source.path for source in texts} | {path for source in shards for path in source.files})


def stages(job: Job) -> Iterator[list[Unit]]:
    """The stages of the build, each a list of units that need those of the stages before it."""
    texts, shards = sources(job)
    captions = inputs_of([source.path for source in texts], job)
    yield [
        *(Unit('scan', source.name, [one], partial(_spill, job, source)) for source, one in zip(texts, captions, strict=True)),
        *(Unit('scan', source.name, inputs_of(source.files, job), partial(_scan, job, source)) for source in shards),
    ]
    names = [source.name for source in shards]
    said = {name: facts(job.work, 'scan', name) or {} for name in [*(source.name for source in texts), *names]}
    number = partitions(sum(one['caption_bytes'] for one in said.values()))
    spread = (f'{number} partitions', 0)  # a group of another number of partitions is of no use
    runs = [job.work / 'scan' / name / run for name, one in said.items() for run in one['runs']]
    yield [
        *(Unit('group', f'partition-{i:04}', [*captions, spread], partial(_group, job, runs, names, i, number)) for i in range(number)),
        Unit('group', 'duplicates', captions, partial(_duplicates, job, names)),
    ]
    yield [Unit('build', source.name, inputs_of(source.files, job), partial(_build, job, source, number)) for source in shards]


def _spill(job: Job, source: CaptionSource, folder: Path, drops: Drops) -> dict[str, Any]:
    rows = PICTURES[job.corpus].captions(source.path, drops) if source.own else caption_readers.translations(source.path, drops)
    rows = drops.told_if_empty(source.path, rows)
    return {'sources': [source_of(source.path, job)], **spill(clean_captions(rows, False, job, drops), False, folder)}


def _pictures(job: Job, source: PictureSource, drops: Drops, hashes: dict[Path, str] | None = None) -> Iterator[Picture]:
    licence = PICTURES[job.corpus].LICENCE
    if source.shard:
        return img2dataset.pictures(source.shard, licence, drops, hashes)
    return wit.pixels(source.path, drops) if wit.is_pixels(source.path) else caption_readers.inline_pictures(source.path, licence, drops)


def _found(job: Job, source: PictureSource) -> Iterator[Picture]:
    """The pictures of `_pictures` once more: those of a tar need not be looked for again. The first pass has counted what is dropped."""
    found = job.work / 'scan' / source.name / _FOUND
    if source.shard and found.exists():
        return img2dataset.at(source.shard, json.loads(found.read_text(encoding='utf8')), PICTURES[job.corpus].LICENCE)
    return _pictures(job, source, Drops())


def _scan(job: Job, source: PictureSource, folder: Path, drops: Drops) -> dict[str, Any]:
    """Hashes of URLs and pictures in the order of the records, URLs of failed downloads and of what a broken tar lost, img2dataset's
    own captions as a fallback."""
    urls, ids = array('Q'), array('Q')
    found: list[tuple[str, int, int]] = []
    read: dict[Path, str] = {}  # files that are hashed as they are read

    def own_captions(pictures: Iterable[Picture]) -> Iterator[Caption]:
        for picture in pictures:
            urls.append(key_hash(picture.url))
            ids.append(image_number(picture.image))
            if source.shard:  # of other files, which are one unit whatever their size, nothing more is kept of a record than two hashes
                found.append((picture.url, picture.place, len(picture.image)))
            if job.corpus != 'wit':  # where img2dataset does not know the language
                yield Caption(picture.url, 'en', picture.caption)

    failed = img2dataset.failures(source.shard, drops)[0] if source.shard else []
    said = spill(clean_captions(own_captions(_pictures(job, source, drops, read)), True, job, drops), True, folder)
    if source.shard and drops.counts['truncated_tar']:  # counted as such; their captions are not once more counted as without a picture
        failed += img2dataset.lost(source.shard, {url for url, _, _ in found})
    for name, hashes in ((_URLS, urls), (_IDS, ids), (_FAILED, array('Q', map(key_hash, failed)))):
        np.save(folder / name, np.frombuffer(hashes, np.uint64), allow_pickle=False)
    if found and min(place for _, place, _ in found) >= 0:
        (folder / _FOUND).write_text(json.dumps(found, ensure_ascii=False), encoding='utf8')
    sources: list[dict[str, Any]] = []  # a file of inline pictures is a source of captions, and listed there
    if source.shard:
        sources = [picture_source_of(path, job, read) for path in source.files]
    elif wit.is_pixels(source.path):
        sources = [source_of(source.path, job)]
    return {'sources': sources, **said}


def _group(job: Job, runs: list[Path], shards: list[str], partition: int, number: int, folder: Path, drops: Drops) -> dict[str, Any]:
    pictured = []
    for name in shards:
        for file in (_URLS, _FAILED, _IDS):  # ids: captions that came with an inline picture are keyed by it
            hashes = np.load(job.work / 'scan' / name / file)
            pictured.append(hashes[partition_of(hashes, number) == partition])
    group(runs, partition, number, np.unique(np.concatenate(pictured)), folder, drops)
    return {}


def _duplicates(job: Job, shards: list[str], folder: Path, drops: Drops) -> dict[str, Any]:
    """Rows whose URL or picture occurred before, over all shards.

    For the first record of a picture also the URLs of the others with it, whose captions join it.
    """
    scan = job.work / 'scan'
    sizes = [len(np.load(scan / name / _URLS, mmap_mode='r')) for name in shards]
    by_url, by_picture = Marks(sizes), Marks(sizes)

    def urls() -> Iterator[tuple[Keys, Rows]]:
        for name, start in zip(shards, by_url.starts, strict=True):
            keys = np.load(scan / name / _URLS)
            rows = np.flatnonzero(keys != np.uint64(NO_URL))  # records without a URL are not duplicates of each other by URL
            yield keys[rows], start + rows

    def ids() -> Iterator[tuple[Keys, Rows]]:  # of the records that are left
        for number, (name, start) in enumerate(zip(shards, by_url.starts, strict=True)):
            rows = np.flatnonzero(~by_url.of(number))
            yield np.load(scan / name / _IDS)[rows], start + rows

    for rows, _ in repeated(urls(), sum(sizes), folder):
        by_url.add(rows)
    pairs = [np.empty((0, 2), np.int64)]  # (row, row of the first record with the same picture)
    for rows, firsts in repeated(ids(), sum(sizes), folder):
        by_picture.add(rows)
        pairs.append(np.stack([rows, firsts], 1))
    same = np.concatenate(pairs)
    _save_joined(scan, shards, by_url, same[np.argsort(same[:, 0])], folder)
    for number, name in enumerate(shards):
        np.save(folder / f'{name}.npy', by_url.of(number) + 2 * by_picture.of(number).astype(np.uint8), allow_pickle=False)
    return {}


def _save_joined(scan: Path, shards: list[str], marks: Marks, same: npt.NDArray[np.int64], folder: Path) -> None:
    """Per shard (row, URL hash of another record with the same picture); `same` are (row, first row) of all shards, ascending."""
    joined = np.empty((len(same), 2), np.uint64)
    joined[:, 0] = same[:, 1].view(np.uint64)
    starts = np.array([*marks.starts, np.iinfo(np.int64).max])
    ends = np.searchsorted(same[:, 0], starts).tolist()
    for name, start, begin, end in zip(shards, marks.starts, ends[:-1], ends[1:], strict=True):
        if begin < end:
            joined[begin:end, 1] = np.load(scan / name / _URLS)[same[begin:end, 0] - start]
    joined = joined[joined[:, 1] != np.uint64(NO_URL)]
    joined = joined[np.argsort(joined[:, 0], kind='stable')]
    ends = np.searchsorted(joined[:, 0], starts.astype(np.uint64)).tolist()
    for name, start, begin, end in zip(shards, marks.starts, ends[:-1], ends[1:], strict=True):
        np.save(folder / f'{name}.extra.npy', joined[begin:end] - np.array([start, 0], np.uint64), allow_pickle=False)


# By number; the first two as `_duplicates` has them. What was taken down is to be forgotten: without an example, from _FORGOTTEN on.
_REASONS = ('', 'duplicate_url', 'duplicate_picture', 'excluded_url', 'removed', 'excluded_url')
_EXCLUDED, _FORGOTTEN, _REMOVED, _REMOVED_OUTSIDE = 3, 4, 4, 5
_ROWS = 4096  # whose facts are Python's objects at a time; as such they take ten times the arrays, and a unit has as many as its file


class _Decided(NamedTuple):
    """What is known of a record before its picture is read."""

    reason: int  # why it is left out, in _REASONS; 0: it is not
    number: int  # of its picture
    further: list[int]  # hashes of other URLs that have the same picture
    places: list[tuple[int, int]]  # where in the store its captions are


def _decided(job: Job, source: PictureSource, store: CaptionStore) -> Iterator[_Decided]:
    """Of each record, in order."""
    duplicates = job.work / 'group' / 'duplicates'
    ids, urls = (np.load(job.work / 'scan' / source.name / name) for name in (_IDS, _URLS))
    reasons, extra = (np.load(duplicates / f'{source.name}{end}.npy') for end in ('', '.extra'))  # extra: (row, URL), by row

    def named(names: UrlSet) -> npt.NDArray[np.bool_]:
        """The same picture, whichever of its names somebody gives."""
        mask = names.mask(urls) | names.mask(ids)
        mask[extra[names.mask(extra[:, 1]), 0].astype(np.intp)] = True
        return mask

    reasons[(reasons == 0) & named(removed(job.work))] = _REMOVED
    reasons[named(removed_outside(job))] = _REMOVED_OUTSIDE
    reasons[named(excluded(job))] = _EXCLUDED
    for begin in range(0, len(ids), _ROWS):
        rows = slice(begin, begin + _ROWS)
        # By URL; captions that came with the picture; those of the other URLs.
        places = [list(two) for two in zip(store.places(urls[rows]), store.places(ids[rows]), strict=True)]
        further: list[list[int]] = [[] for _ in places]
        more = extra[slice(*np.searchsorted(extra[:, 0], np.array([begin, begin + _ROWS], np.uint64)))]
        found = zip((more[:, 0] - np.uint64(begin)).tolist(), more[:, 1].tolist(), store.places(more[:, 1]), strict=True)
        for row, url, place in found:
            further[row].append(url)
            places[row].append(place)
        yield from map(_Decided, reasons[rows].tolist(), ids[rows].tolist(), further, places)


def _build(job: Job, source: PictureSource, number: int, folder: Path, drops: Drops) -> dict[str, Any]:
    writer = UnitWriter(folder, 'pictures', job.settings)
    evaluation = evaluation_of(job)
    aliases: list[tuple[int, int]] = []  # of the pictures that are written
    with CaptionStore([job.work / 'group' / f'partition-{i:04}' for i in range(number)]) as store:
        for decided, picture in zip(_decided(job, source, store), _found(job, source), strict=True):
            if decided.reason:
                drops.add(_REASONS[decided.reason], 1, picture.url if decided.reason < _FORGOTTEN else '')
                continue
            captions: Captions = {}
            for place in decided.places:
                merge(captions, store.at(place))
            if not captions:
                drops.add('no_caption', 1, picture.url)
                continue
            try:
                image = prepare(picture.image, job.settings)
                seen = evaluation.has_picture(image, drops)
            except BadPicture as bad:
                drops.add(str(bad), 1, picture.url)
                continue
            if seen:
                drops.add('evaluation_picture', 1, picture.url)
                continue
            name = f'{decided.number:016x}'  # `image_id`, which the scan has computed
            sample = {
                'image': image,
                'captions': dict(sorted(captions.items())),
                'url': picture.url,
                'licence': job.settings.licence or picture.licence,
                'image_id': name,
            }
            writer.add(sample, name.encode(), {language: len(texts) for language, texts in captions.items()}, {})
            aliases += ((key, decided.number) for key in decided.further)
    np.save(folder / ALIASES, np.array(aliases, np.uint64).reshape(-1, 2), allow_pickle=False)
    return {'below': '', 'sources': [], 'streams': writer.finish()}
