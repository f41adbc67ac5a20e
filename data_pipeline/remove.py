"""`data_pipeline remove`: takes pictures out of built shards, without building anything again.

Only shards that hold such a picture are written anew, under new names. The order of the steps makes a kill at any moment harmless:

1  removing.json  what is asked for, of which corpora: whatever list comes next, this one is completed first
2  removed.npy    what is asked for, and all names of the pictures that were found, are noted: from now on a build leaves them out too
3  shards         the new ones appear beside the old ones, to which index and manifest still point
4  unit.json      the unit's facts point to the new ones
5  `finish`       writes index, multilingual.npy and manifest of each stream from the facts
6  old shards     are deleted; after the last corpus removing.json

The same command does what is left of these. In an object store it is the same: an object is there as a whole or not at all, and the facts
of the units are on this machine, where the shards were built.
"""

from __future__ import annotations

import datetime
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_pipeline.finish import PENDING, REMOVALS, finish_corpus
from data_pipeline.job import BUILD, is_at, out_of, work_folder
from data_pipeline.mds import ShardWriter
from data_pipeline.plan import PLAN, missing, read_plan
from data_pipeline.references import REMOVED, UrlSet, load_hashes, save_hashes
from data_pipeline.shard_urls import Sample, samples_of
from data_pipeline.takedown import FOUND, Request, Search, read_list, read_request
from data_pipeline.work import FACTS, facts, write_text
from shards.durable import sync
from shards.errors import UserError
from shards.schema import COLUMNS, INDEX, KINDS, MANIFEST
from shards.storage import Location, Remote


@dataclass(frozen=True)
class Removal:
    """What was done in one corpus. `date` is that of an interrupted removal by another list, which was completed first; '' for this one."""

    corpus: str
    pictures: int
    shards: int
    date: str
    knows_aliases: bool  # whether its build noted the further URLs of its pictures


@dataclass(frozen=True)
class Takedown:
    """What was done in all corpora. `not_found` are the lines of the list that name no picture that is, or was once, in them."""

    removals: list[Removal]
    lines: int
    not_found: list[str]


def remove(folder: Location, urls: Path, scratch: Path | None = None) -> Takedown:
    """Take the pictures of the URLs (or image ids) in a file, one a line, out of every picture corpus at or below a folder.

    `scratch` is that of the builds. Raises UserError when there is no finished build, or the file has a line that is neither.
    """
    out, corpora = _place(folder, scratch)
    asked, digest = read_list(urls)
    work = work_folder(out, scratch)
    removals: list[Removal] = []
    date = datetime.date.today().isoformat()
    if begun := read_request(work):
        if begun.digest == digest and set(corpora) <= set(begun.corpora):
            date, corpora = begun.date, begun.corpora
        else:
            removals += _complete(out, work, begun, begun.date)
    request = Request(date, digest, sorted(asked), corpora)
    removals += _complete(out, work, request, '')
    found = {one for corpus in corpora for one in load_hashes(work / corpus / FOUND).tolist()}
    return Takedown(removals, len(asked), [text for one, text in asked.items() if one not in found])


def _place(folder: Location, scratch: Path | None) -> tuple[Location, list[str]]:
    """--out of the builds, and the picture corpora at or below the folder that are built there."""
    out = out_of(folder, scratch)
    if out is None:
        where = f'beside or above it has no {BUILD}' if isinstance(folder, Path) and scratch is None else 'is in --scratch'
        remedy = 'give --out of a build (and its --scratch, if it had one), or build again with --exclude'
        raise UserError(f'{folder}: nothing {where}, which tells what was built from what; {remedy}')
    work = work_folder(out, scratch)
    built = sorted(path.name for path in work.iterdir() if path.is_dir() and KINDS.get(path.name) == 'pictures')
    corpora = [corpus for corpus in built if is_at(folder, out, corpus)]
    if not corpora:
        raise UserError(f'{folder} holds no pictures; only picture corpora have URLs that can be removed')
    return out, corpora


def _complete(out: Location, work: Path, request: Request, date: str) -> list[Removal]:
    if problem := next(filter(None, (missing(out / corpus, work / corpus) for corpus in request.corpora)), None):
        raise UserError(problem)
    write_text(work / PENDING, request.to_json())
    removals = [_remove(out / corpus, work / corpus, request, date) for corpus in request.corpora]
    (work / PENDING).unlink()
    return removals


def _remove(root: Location, work: Path, request: Request, date: str) -> Removal:
    plan = read_plan(work)
    names = plan['units']
    asked = np.union1d(load_hashes(work / REMOVED), np.array(request.hashes, np.uint64))
    search = Search(root, work, names, UrlSet(asked))
    # Under all their names: the picture is to come back by none, neither here nor in a corpus that is built with `--exclude` of this one.
    asked = np.union1d(asked, search.found)
    save_hashes(work / REMOVED, asked)
    save_hashes(work / FOUND, np.union1d(load_hashes(work / FOUND), search.found))
    shards = sum(_unit(root, work, name, UrlSet(asked)) for name in search.units)
    removals: list[dict[str, Any]] = json.loads((work / REMOVALS).read_text()) if (work / REMOVALS).exists() else []
    units = [facts(work, 'build', name) or {} for name in names]
    pictures = sum(said['dropped'].get('removed', 0) for said in units) - sum(removal['pictures'] for removal in removals)
    if pictures:
        # The manifests become others in any case: those of an earlier version may have digests from now on.
        write_text(work / PLAN, json.dumps(plan | {'digests': True}, ensure_ascii=False, indent=1, sort_keys=True) + '\n')
        write_text(work / REMOVALS, json.dumps([*removals, request.told() | {'pictures': pictures}], indent=1) + '\n')
    if any(said['streams'] for said in units):
        _delete_old(root, {manifest.split for manifest in finish_corpus(root, work)})
    elif root.is_dir():
        _delete(root)  # nothing is left
    return Removal(root.name, pictures, shards, date, search.knows_aliases)


def _unit(root: Location, work: Path, name: str, asked: UrlSet) -> int:
    """Write the shards of a unit anew that hold a picture to remove, then its facts; returns how many."""
    said = facts(work, 'build', name) or {}
    rewritten = 0
    for stream, content in list(said['streams'].items()):
        start = 0
        shards: list[dict[str, Any]] = []
        left: list[int] = []  # of the old numbers of samples
        gone: list[Sample] = []
        for number, entry in enumerate(content['shards']):
            samples = samples_of(root / stream / name, entry)
            unwanted = [sample.url_hash in asked or sample.image_hash in asked for sample in samples]
            left += (start + i for i, one in enumerate(unwanted) if not one)
            if any(unwanted):
                gone += (sample for sample, one in zip(samples, unwanted, strict=True) if one)
                kept = [sample for sample, one in zip(samples, unwanted, strict=True) if not one]
                shards += _written(root / stream / name, entry, number, kept)
                rewritten += 1
            else:
                shards.append(entry)
            start += entry['samples']
        if not gone:
            continue
        places = {old: new for new, old in enumerate(left)}
        multilingual = [places[old] for old in content['multilingual'] if old in places]
        languages = Counter(content['languages'])
        for sample in gone:
            languages.subtract({language: len(texts) for language, texts in sample.captions.items()})
        content |= {'samples': len(left), 'shards': shards, 'multilingual': multilingual, 'languages': dict(sorted((+languages).items()))}
        if 'licences' in content:
            licences = Counter(content['licences']) - Counter(sample.licence for sample in gone)
            content['licences'] = dict(sorted(licences.items()))
        if not left:
            del said['streams'][stream]
        said['dropped']['removed'] = said['dropped'].get('removed', 0) + len(gone)
    if rewritten:
        write_text(work / 'build' / name / FACTS, json.dumps(said, ensure_ascii=False, sort_keys=True) + '\n')
    return rewritten


def _written(folder: Location, entry: dict[str, Any], number: int, samples: list[Sample]) -> Iterator[dict[str, Any]]:
    """The entry of a new shard with these samples, which is put beside the old one; none without samples."""
    if not samples:
        return
    with tempfile.TemporaryDirectory(prefix='.remove.', suffix='.part', dir=folder if isinstance(folder, Path) else None) as name:
        writer = ShardWriter(Path(name) / 'new', COLUMNS['pictures'], entry['compression'], (1 << 32) - 1)
        for sample in samples:
            writer.write_encoded(sample.columns)
        writer.finish()
        (new,) = writer.shards
        new['size_limit'] = entry['size_limit']
        # The name tells the content, so that the same removal, done again after a kill, writes the same file.
        stem = f'shard.{number:05}.{new["raw_data"]["hashes"]["sha256"][:12]}.mds'
        file = new['zip_data'] or new['raw_data']
        suffix = file['basename'].removeprefix(new['raw_data']['basename'])
        path = Path(name) / 'new' / file['basename']
        if isinstance(folder, Remote):
            (folder / f'{stem}{suffix}').write_bytes(path.read_bytes())
        else:
            sync(path)
            path.rename(folder / f'{stem}{suffix}')
            sync(folder)
    new['raw_data']['basename'] = stem
    if new['zip_data']:
        new['zip_data']['basename'] = f'{stem}{suffix}'
    yield new


def _delete_old(root: Location, splits: set[str]) -> None:
    """Delete the shards that no index has any more, what a kill has left, and streams that nothing is left of."""
    streams: list[Location] = [path.parent for path in root.rglob(MANIFEST)]
    for stream in streams:
        if stream.name not in splits:
            _delete(stream)
            continue
        index = json.loads((stream / INDEX).read_text(encoding='utf8'))
        wanted = {part['basename'] for entry in index['shards'] for part in (entry['raw_data'], entry['zip_data']) if part}
        files: list[Location] = list(stream.rglob('*'))
        for path in files:
            name = '/'.join(path.parts[len(stream.parts) :])
            if path.name.startswith('shard.') and name not in wanted and path.is_file():
                path.unlink()
        if isinstance(stream, Path):
            for leftover in stream.glob('*/.remove.*.part'):
                shutil.rmtree(leftover)
            for folder in [path for path in stream.iterdir() if path.is_dir() and not any(path.iterdir())]:
                folder.rmdir()


def _delete(place: Location) -> None:
    """Everything below, the manifest last: until then it can be found again."""
    if isinstance(place, Path):
        shutil.rmtree(place)
        return
    for path in sorted(place.rglob('*'), key=lambda path: path.name == MANIFEST):
        path.unlink()
