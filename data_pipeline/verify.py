"""`data_pipeline verify`: does every stream still hold what its manifest says?"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from data_pipeline.job import BUILD, is_at, out_of, work_folder
from data_pipeline.plan import unfinished
from data_pipeline.settings import switched_off
from data_pipeline.takedown import read_request
from shards.errors import UserError
from shards.languages import LANGUAGES
from shards.pictures import open_picture
from shards.schema import COLUMNS, INDEX, MANIFEST, MULTILINGUAL, Manifest, is_intact, read_manifest
from shards.storage import Location, Remote

_KNOWN = frozenset(LANGUAGES)


@dataclass
class Report:
    """What was looked at, and a line for everything that is bad."""

    streams: int = 0
    shards: int = 0
    samples: int = 0
    bad: list[str] = field(default_factory=list)
    undigested: list[Location] = field(default_factory=list)  # manifests of an earlier version, whose own damage nothing tells


@dataclass
class _Counts:
    """What the samples of a stream add up to."""

    samples: int = 0
    languages: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)  # of pictures, which have their own
    multilingual: list[int] = field(default_factory=list)


def stream_folders(folder: Location) -> list[Location]:
    """Folders of streams at or below `folder`. Raises UserError when there is none."""
    if not folder.is_dir():
        raise UserError(f'{folder} is no folder; give --out of a build')
    found: set[Location] = {path.parent for name in (MANIFEST, INDEX) for path in folder.rglob(name)}
    found = {path for path in found if BUILD not in path.parts[len(folder.parts) :]}
    if not found:
        raise UserError(f'{folder} holds no stream (no {MANIFEST} below it); give --out of a finished build')
    return sorted(found, key=str)


def verify(folder: Location, scratch: Path | None = None) -> Report:
    """Check every stream at or below a folder, with a progress bar on stderr. `scratch` is that of the builds."""
    report = Report(bad=list(_incomplete(folder, scratch)))
    streams = stream_folders(folder)
    manifests: list[tuple[Location, Manifest]] = []
    for stream in streams:
        try:
            manifests.append((stream, read_manifest(stream)))
        except UserError as error:
            report.bad.append(str(error))
    total = sum(_size(manifest) for _, manifest in manifests)
    with tqdm(total=total, desc='verify', unit='B', unit_scale=True, unit_divisor=1024, dynamic_ncols=True) as bar:
        for stream, manifest in manifests:
            if manifest.digest is None:
                report.undigested.append(stream / MANIFEST)
            report.bad += _problems(stream, manifest, bar)
            report.shards += len(manifest.shards)
            report.samples += manifest.samples
    report.streams = len(streams)
    return report


def _incomplete(folder: Location, scratch: Path | None) -> Iterator[str]:
    """Builds and removals that were not ended, of the corpora at, below or above the folder."""
    out = out_of(folder, scratch)
    if out is None:
        return
    yield from (told for corpus, told in unfinished(out, scratch).items() if is_at(folder, out, corpus))
    if request := read_request(work_folder(out, scratch)):
        for corpus in (one for one in request.corpora if is_at(folder, out, one)):
            yield f'{out / corpus}: a removal of pictures was interrupted; run `data_pipeline remove` with the same file again'


def _size(manifest: Manifest) -> int:
    try:
        return sum(shard['bytes'] for shard in manifest.shards)
    except (KeyError, TypeError):  # damaged: `_problems` says so
        return 0


def _problems(stream: Location, manifest: Manifest, bar: Any) -> Iterator[str]:
    try:
        yield from _stream(stream, manifest, bar)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:  # of fields that are not what they should be
        yield f'{stream}: {MANIFEST} or {INDEX} is damaged ({type(error).__name__}: {error}); run `data_pipeline finish`'


def _digests(stream: Location, manifest: Manifest) -> Iterator[str]:
    """Whether the manifest, and the files beside the shards, are what was written to the bit."""
    path = stream / MANIFEST
    if is_intact(path.read_bytes()) is False:
        yield f'{path} is damaged (its SHA-256 differs from `digest` in it); run `data_pipeline finish`'
    for name, digest in sorted(manifest.files.items()):
        try:
            same = hashlib.sha256((stream / name).read_bytes()).hexdigest() == digest
        except OSError:
            continue  # missing: that is told where it is read
        if not same:
            yield f'{stream / name} is damaged (its SHA-256 differs from the manifest); run `data_pipeline finish`'


def _stream(stream: Location, manifest: Manifest, bar: Any) -> Iterator[str]:
    yield from _digests(stream, manifest)
    entries = _index(stream, manifest)
    if isinstance(entries, str):
        yield entries
        return
    expected = {MANIFEST, INDEX} | ({MULTILINGUAL} if manifest.kind == 'pictures' else set()) | {shard['file'] for shard in manifest.shards}
    # streaming decompresses beside the compressed file
    expected |= {entry['raw_data']['basename'] for entry in entries}
    present = {'/'.join(path.parts[len(stream.parts) :]) for path in _files(stream)}
    yield from (f'{stream / name} belongs to no manifest; remove it' for name in sorted(present - expected))
    counts = _Counts()
    whole = True
    for shard, entry in zip(manifest.shards, entries, strict=True):
        problems = list(_shard(stream, shard, entry, manifest, counts))
        whole = whole and not problems
        yield from problems
        bar.update(shard['bytes'])
    if whole:  # else the sums are off in any case
        yield from _sums(stream, manifest, counts)


def _files(stream: Location) -> Iterator[Location]:
    """Every file below a stream."""
    return stream.rglob('*') if isinstance(stream, Remote) else (path for path in stream.rglob('*') if path.is_file())


def _index(stream: Location, manifest: Manifest) -> list[dict[str, Any]] | str:
    """Entries of index.json, or what is wrong with it."""
    path = stream / INDEX
    try:
        content = json.loads(path.read_text(encoding='utf8'))
        entries: list[dict[str, Any]] = content['shards']
        told = [
            {'file': file['basename'], 'bytes': file['bytes'], 'sha256': file['hashes']['sha256'], 'samples': entry['samples']}
            for entry in entries
            for file in [entry['zip_data'] or entry['raw_data']]
        ]
        columns = [dict(zip(entry['column_names'], entry['column_encodings'], strict=True)) for entry in entries]
    except FileNotFoundError:
        return f'{path} is missing; run `data_pipeline finish`'
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f'{path} is damaged ({type(error).__name__}: {error}); run `data_pipeline finish`'
    if told != manifest.shards:
        return f'{path} disagrees with {MANIFEST} about the shards; run `data_pipeline finish`'
    if any(own != COLUMNS[manifest.kind] for own in columns):
        return f'{path} has other columns than {manifest.kind} have; build this stream again'
    return entries


def _shard(stream: Location, shard: dict[str, Any], entry: dict[str, Any], manifest: Manifest, counts: _Counts) -> Iterator[str]:
    path = stream / shard['file']
    remedy = 'delete it and run the build again'
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        yield f'{path} is missing; run the build again'
        return
    except OSError as error:
        yield f'{path} cannot be read ({error.strerror or error})'
        return
    if len(data) != shard['bytes']:
        yield f'{path} has {len(data)} bytes instead of {shard["bytes"]}; {remedy}'
        return
    if hashlib.sha256(data).hexdigest() != shard['sha256']:
        yield f'{path} is damaged (its SHA-256 differs from the manifest); {remedy}'
        return
    try:
        samples = decode_samples(data, entry)
    except Exception as error:  # whatever a decoder stumbles over is the finding
        yield f'{path} cannot be decoded ({type(error).__name__}: {error}); {remedy}'
        return
    for number, sample in enumerate(samples):
        problem = _sample(sample, manifest, counts, stream)
        if problem:
            yield f'{path} sample {number}: {problem}'


def decode_samples(data: bytes, entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Samples of a shard, given its file and its entry of the index, by streaming's reader. Raises whatever that stumbles over."""
    from shards.streaming_parts import decompress, reader_from_json  # torch comes with it, which `--help` need not wait for

    if entry['zip_data']:
        data = decompress(entry['compression'], data)
        if hashlib.sha256(data).hexdigest() != entry['raw_data']['hashes']['sha256']:
            raise ValueError('the decompressed data differ from the index')
    reader = reader_from_json('', '', entry)
    reader.validate(False)
    number = int(np.frombuffer(data, np.uint32, 1)[0])
    if number != entry['samples']:
        raise ValueError(f'{number} samples instead of {entry["samples"]}')
    offsets = np.frombuffer(data, np.uint32, number + 1, 4).tolist()
    return [reader.decode_sample(data[begin:end]) for begin, end in pairwise(offsets)]


def _sample(sample: dict[str, Any], manifest: Manifest, counts: _Counts, stream: Location) -> str | None:
    """What is wrong with a sample; adds it to the counts."""
    number = counts.samples
    counts.samples += 1
    if manifest.kind == 'pictures':
        captions = sample['captions']
        if not captions or not set(captions) <= _KNOWN or not all(texts and all(texts) for texts in captions.values()):
            return f'captions {str(captions)[:80]!r} are not {{language: [text, ...]}}'
        counts.languages.update({language: len(texts) for language, texts in captions.items()})
        counts.licences[sample['licence']] += 1
        if len(captions) >= 2:
            counts.multilingual.append(number)
        try:
            open_picture(sample['image']).convert('RGB')
        except Exception as error:  # Pillow's plugins raise many kinds; each is the finding
            return f'the picture of {sample["url"]} does not open ({error}); `data_pipeline remove` takes it out by its URL'
        return None
    languages = [stream.name] if manifest.kind == 'text' else sorted(manifest.languages)
    most = manifest.settings['max_tokens' if manifest.kind == 'text' else 'max_length']
    if manifest.kind == 'bitext' and 'length' in switched_off(manifest.settings.get('without', '')):
        most = np.iinfo(np.int32).max
    for language, ids in zip(languages, (sample[name] for name in COLUMNS[manifest.kind]), strict=True):
        if not 0 < len(ids) <= most or ids.min() < 3 or ids.max() > manifest.settings['pieces']:
            return f'{len(ids)} ids from {ids.min()} to {ids.max()}: allowed are {most} of 3 to {manifest.settings["pieces"]}'
        counts.languages[language] += 1
        counts.tokens[language] += len(ids)
    return None


def _sums(stream: Location, manifest: Manifest, counts: _Counts) -> Iterator[str]:
    for name, told, found in (
        ('samples', manifest.samples, counts.samples),
        ('languages', manifest.languages, dict(counts.languages)),
        ('tokens', manifest.tokens, dict(counts.tokens)),
    ):
        if told != found:
            yield f'{stream / MANIFEST} says {name} {told}, the shards hold {found}; run `data_pipeline finish`'
    if manifest.licences and manifest.kind == 'pictures' and manifest.licences != counts.licences:
        yield f'{stream / MANIFEST} says licences {manifest.licences}, the shards hold {dict(counts.licences)}; run `data_pipeline finish`'
    if manifest.kind == 'pictures':
        path = stream / MULTILINGUAL
        try:
            same = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False).tolist() == counts.multilingual
        except Exception:  # numpy raises many kinds for a damaged header
            same = False
        if not same:
            yield f'{path} is missing, or not the list of records with several languages; run `data_pipeline finish`'
