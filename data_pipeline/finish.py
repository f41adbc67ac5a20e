"""From complete units to streams: move the shards to their place, write index.json, multilingual.npy and, last, manifest.json."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from array import array
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data_pipeline import references
from data_pipeline.caption_store import key_hash
from data_pipeline.drops import Drops, Examples
from data_pipeline.job import SHARDS
from data_pipeline.lock import merging
from data_pipeline.plan import builds, missing, read_plan
from data_pipeline.work import facts, write_file
from shards.errors import UserError
from shards.schema import INDEX, KINDS, MANIFEST, MULTILINGUAL, Manifest
from shards.storage import Location, Remote

REMOVALS = 'removals.json'  # what `data_pipeline remove` has done, for the manifests
PENDING = 'removing.json'  # below .build: a removal is under way
OVERLAP = 'decontamination.json'  # beside the streams: what of each file of the evaluation sets was found, and left out
_AT_ONCE = 8
EMPTY = 'empty_streams.json'  # beside the streams: drop reasons of those that nothing is left of


def finish(out: Location, scratch: Path | None = None, corpora: Collection[str] = ()) -> dict[str, list[Manifest]]:
    """Finish the corpora, or every one below `out` that has been built. Raises UserError when units are missing, or nothing was built."""
    works = {work.name: work for work in builds(out, scratch)}
    lacking = [corpus for corpus in corpora if corpus not in works]
    if lacking or not works:
        what, corpus = (f'no build of {lacking[0]}', lacking[0]) if lacking else ('no build', 'CORPUS')
        remedy = f'run `data_pipeline build {corpus} --raw DIR --out {out}` first, or give the --scratch that it had'
        raise UserError(f'{out} holds {what} to finish; {remedy}')
    problems: list[str] = []
    finished: dict[str, list[Manifest]] = {}
    for corpus in sorted(set(corpora or works)):
        if problem := missing(out / corpus, works[corpus]):
            problems.append(problem)
        else:
            finished[corpus] = finish_corpus(out / corpus, works[corpus])
    if problems:
        raise UserError(problems[0])
    return finished


def finish_corpus(root: Location, work: Path) -> list[Manifest]:
    """Manifests of the corpus's streams, after putting everything in its place. Done again, it changes nothing; at the same time in another
    process, it waits for that one."""
    with merging(work):
        return _finish_corpus(root, work)


def _finish_corpus(root: Location, work: Path) -> list[Manifest]:
    if problem := missing(root, work):
        raise UserError(problem)
    plan = read_plan(work)
    units = {name: facts(work, 'build', name) or {} for name in plan['units']}
    # A stream without samples is not written; what was dropped from it, and warnings, are told beside the streams.
    belows = sorted({said['below'] for said in units.values()})
    empty: dict[str, dict[str, Any]] = {}
    tasks: list[Callable[[], Manifest]] = []
    sampling = _sampling(units, plan)
    for below in belows:
        members = {name: said for name, said in units.items() if said['below'] == below}
        streams = sorted({stream for said in members.values() for stream in said['streams']})
        drops = Drops()
        for said in (plan, *members.values()):
            drops.take(said)
        dropped = {'dropped': dict(sorted(drops.counts.items())), 'examples': _without(work, drops.examples)}
        dropped |= drops.counted_rewrites()
        for stream in streams:
            first = stream == streams[0]  # train comes first; the reasons concern the corpus, not a split: they are told once
            # Those of the plan concern the whole corpus: only its first stream tells them.
            warnings = (plan['warnings'] if not tasks else []) + [warning for said in members.values() for warning in said['warnings']]
            told = dropped | {'warnings': warnings} if first else {}
            weights = sampling if stream.startswith('train/') else None
            tasks.append(partial(_finish_stream, root, work, stream, members, plan, told, weights))
        if not streams:
            empty[below or 'train'] = dropped
    if not tasks:
        total: Counter[str] = Counter()
        for one in empty.values():
            total.update(one['dropped'])
        reasons = ', '.join(f'{reason} {number}' for reason, number in sorted(total.items()))
        raise UserError(f'{root}: nothing is left of this corpus ({reasons or "its files are empty"}); see docs/data.md for the reasons')
    # Streams know nothing of each other, and what takes time is waiting for the disk.
    with ThreadPoolExecutor(_AT_ONCE if isinstance(root, Path) else 1) as threads:
        manifests = list(threads.map(lambda task: task(), tasks))
    if empty:
        _write(root / EMPTY, (json.dumps(empty, ensure_ascii=False, indent=1, sort_keys=True) + '\n').encode())
    else:
        (root / EMPTY).unlink(missing_ok=True)
    if (work / references.REMOVED).exists():
        _write(root / references.REMOVED, (work / references.REMOVED).read_bytes())
    if (work / references.STAGE).is_dir():
        found = {one for said in units.values() for one in said.get('overlap', [])}.union(plan.get('overlap', []))
        if report := references.overlap_report(work, found):
            _write(root / OVERLAP, (json.dumps(report, ensure_ascii=False, indent=1) + '\n').encode())
    for folder in work.iterdir():  # what only served the build
        if folder.is_dir() and folder.name not in ('build', references.STAGE):
            shutil.rmtree(folder)
    for folder in work.glob(f'build/*/{SHARDS}'):  # empty by now
        shutil.rmtree(folder)
    return manifests


def _without(work: Path, examples: Examples) -> Examples:
    """The examples that name no picture which was taken down."""
    gone = references.removed(work)
    left = {reason: [one for one in some if key_hash(one.split(' ', 1)[0]) not in gone] for reason, some in examples.items()}
    return {reason: some for reason, some in sorted(left.items()) if some}


def _sampling(units: dict[str, dict[str, Any]], plan: dict[str, Any]) -> dict[str, Any] | None:
    """Weights of the languages of a text corpus, p proportional to n^alpha, n being the tokens of the train split."""
    if 'alpha' not in plan['settings']:
        return None
    alpha = plan['settings']['alpha']
    tokens: Counter[str] = Counter()
    for said in units.values():
        for stream, content in said['streams'].items():
            if stream.startswith('train/'):
                tokens.update(content['tokens'])
    total = sum(number**alpha for number in tokens.values())
    return {'alpha': alpha, 'languages': {language: number**alpha / total for language, number in sorted(tokens.items())}}


def _finish_stream(
    root: Location,
    work: Path,
    stream: str,
    units: dict[str, dict[str, Any]],
    plan: dict[str, Any],
    dropped: dict[str, Any],  # and examples, texts that were changed, and warnings, if this is the stream that tells them
    sampling: dict[str, Any] | None,
) -> Manifest:
    folder = root / stream
    if isinstance(folder, Path):
        folder.mkdir(parents=True, exist_ok=True)
    index: list[dict[str, Any]] = []
    files: list[dict[str, Any]] = []
    languages: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    licences: Counter[str] = Counter()
    multilingual = array('q')  # of 12 million records a list would take half a gigabyte
    samples = 0
    for name, said in units.items():
        content = said['streams'].get(stream)
        if content is None:
            continue
        if isinstance(folder, Path):  # in a store they are there already
            _move(work / 'build' / name / SHARDS / stream, folder / name)
        for shard in content['shards']:
            index.append(_prefixed(shard, name))
            file = index[-1]['zip_data'] or index[-1]['raw_data']
            files.append(
                {'file': file['basename'], 'bytes': file['bytes'], 'sha256': file['hashes']['sha256'], 'samples': shard['samples']}
            )
        multilingual.extend(samples + i for i in content['multilingual'])
        samples += content['samples']
        languages.update(content['languages'])
        tokens.update(content['tokens'])
        licences.update(content.get('licences', {}))  # a unit that an earlier version built has none
    if isinstance(folder, Path):
        for leftover in folder.glob('.*.part'):  # of a `finish` that was killed
            leftover.unlink()
    kind = KINDS[root.name]
    beside = {INDEX: json.dumps({'version': 2, 'shards': index}, sort_keys=True).encode()}
    if kind == 'pictures':
        content_bytes = io.BytesIO()
        np.save(content_bytes, np.array(multilingual, np.int64), allow_pickle=False)
        beside[MULTILINGUAL] = content_bytes.getvalue()
    for name, data in beside.items():
        _write(folder / name, data)
    sources = plan['sources'] + [source for said in units.values() for source in said['sources']]
    manifest = Manifest(
        corpus=root.name,
        split=stream.partition('/')[0],
        kind=kind,
        samples=samples,
        languages=dict(sorted(languages.items())),
        tokens=dict(sorted(tokens.items())),
        tokenizer=plan['tokenizer'],
        shards=files,
        sources=sorted(sources, key=lambda source: str(source['path'])),
        settings=plan['settings'],
        sampling=sampling,
        licences=dict(sorted(licences.items())),
        files={name: hashlib.sha256(data).hexdigest() for name, data in beside.items()} if plan.get('digests') else {},
        digest='' if plan.get('digests') else None,
        **dropped,
        removed=json.loads((work / REMOVALS).read_text(encoding='utf8')) if (work / REMOVALS).exists() else [],
    )
    _write(folder / MANIFEST, manifest.to_json().encode())
    return manifest


def _write(place: Location, content: bytes) -> None:
    """A file or an object that is whole or not there."""
    if isinstance(place, Remote):
        place.write_bytes(content)
    else:
        write_file(place, content)


def _prefixed(shard: dict[str, Any], unit: str) -> dict[str, Any]:
    """An entry of the unit's index as it stands in the stream's, where each unit is a folder."""
    result = dict(shard)
    for part in ('raw_data', 'zip_data'):
        if shard[part]:
            result[part] = {**shard[part], 'basename': f'{unit}/{shard[part]["basename"]}'}
    return result


def _move(source: Path, target: Path) -> None:
    """Rename the unit's folder into the stream. It is no longer at its source when an earlier `finish` did that."""
    if source.is_dir():
        shutil.rmtree(target, ignore_errors=True)
        source.rename(target)
