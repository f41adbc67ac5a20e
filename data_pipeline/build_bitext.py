"""OPUS: a file of pairs is cleaned and cut into chunks, each a unit.

Scan (chunks and hashes of the clean pairs) -> duplicates of each language pair over all its files -> token ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from data_pipeline.cleaning import normalise, pair_drop, pair_length_drop, rewrites
from data_pipeline.dedupe import KeyFile, hash64, marked
from data_pipeline.drops import Drops
from data_pipeline.frames import FRAME, append_frame, frame_lines
from data_pipeline.job import Job, inputs_of, relative, source_of
from data_pipeline.language_id import wrong_language
from data_pipeline.names import unit_names
from data_pipeline.near_duplicates import KEYS, BandFiles, save_marks
from data_pipeline.readers import opus
from data_pipeline.records import Pair
from data_pipeline.references import evaluation_of
from data_pipeline.work import Unit, facts
from data_pipeline.writer import UnitWriter

_BATCH = 1024  # pairs encoded at a time


def stages(job: Job) -> Iterator[list[Unit]]:
    """The stages of the build, each a list of units that need those of the stages before it."""
    bitexts = opus.files(job.raw)
    names = unit_names([relative(bitext.path, job) for bitext in bitexts])
    files = list(zip(names, bitexts, strict=True))
    yield [Unit('scan', name, inputs_of([bitext.path], job), partial(_scan, job, bitext)) for name, bitext in files]
    pairs: dict[str, dict[str, Path]] = {}
    for name, bitext in files:
        pairs.setdefault(bitext.pair, {})[name] = bitext.path
    scanned, near = job.work / 'scan', job.settings.near_duplicates
    yield [
        Unit('duplicates', pair, inputs_of(members.values(), job), partial(save_marks, scanned, list(members), near))
        for pair, members in pairs.items()
    ]
    yield [
        Unit('build', f'{name}-{chunk:05}', [(relative(bitext.path, job), said['bytes'])], partial(_build, job, name, chunk, bitext))
        for name, bitext in files
        for chunk, said in enumerate((facts(job.work, 'scan', name) or {})['chunks'])
    ]


def names(job: Job) -> str:
    """What files are recognised by, for people."""
    return opus.NAMES


def check(job: Job) -> list[Path]:
    """The files that the build reads. Raises UserError when something is missing."""
    files = [bitext.path for bitext in opus.files(job.raw)]
    job.loaded_tokenizer  # noqa: B018
    return files


def _clean(job: Job, bitext: opus.Bitext, drops: Drops) -> Iterator[Pair]:
    nfc = job.settings.applies('nfc')
    for pair in drops.told_if_empty(bitext.path, opus.pairs(bitext, job.settings.score, drops)):
        first, second = normalise(pair.first, nfc), normalise(pair.second, nfc)
        if first is not pair.first or second is not pair.second:
            for text, found in ((pair.first, first), (pair.second, second)):
                drops.rewritten.update(rewrites(text, found))
        reason = _reason(job, bitext, first, second, drops)
        if reason:
            drops.add(reason, 1, pair.first, pair.second)
        else:
            yield Pair(first, second)


def _reason(job: Job, bitext: opus.Bitext, first: str, second: str, drops: Drops) -> str | None:
    evaluation = evaluation_of(job)
    if evaluation.has_text(first, drops) | evaluation.has_text(second, drops):  # both are looked up, for the report
        return 'evaluation_text'
    if reason := pair_drop(first, second, job.settings):
        return reason
    if job.settings.applies('language'):
        one, other = bitext.languages
        if wrong_language(first, one, job.settings) or wrong_language(second, other, job.settings):
            return 'language'
    return None


def _chunk(number: int) -> str:
    return f'chunk-{number:05}.zst'


def _scan(job: Job, bitext: opus.Bitext, folder: Path, drops: Drops) -> dict[str, Any]:
    """Clean a file, and cut it into chunks of `chunk_bytes`, lightly compressed: archives can only be read from the start."""
    chunks: list[dict[str, int]] = []
    lines: list[bytes] = []  # of a frame
    pairs = size = held = 0

    def frame() -> None:
        nonlocal held
        append_frame(folder / _chunk(len(chunks)), lines)
        lines.clear()
        held = 0

    def flush() -> None:
        nonlocal pairs, size
        if lines:
            frame()
        chunks.append({'pairs': pairs, 'bytes': size})
        pairs = size = 0

    with KeyFile(folder / KEYS) as keys, BandFiles(folder, job.settings.near_duplicates) as bands:
        for first, second in _clean(job, bitext, drops):
            one, two = first.encode(), second.encode()  # normalised: there is no line end in them
            keys.append(hash64(one, two))
            bands.append(first, second)
            lines += one, two
            pairs += 1
            size += len(one) + len(two)
            held += len(one) + len(two)
            if size >= job.settings.chunk_bytes:
                flush()
            elif held >= FRAME:
                frame()
    if pairs or not chunks:  # an empty file still has its source and drop reasons to report
        flush()
    return {'chunks': chunks, 'source': source_of(bitext.path, job)}


def _build(job: Job, name: str, chunk: int, bitext: opus.Bitext, folder: Path, drops: Drops) -> dict[str, Any]:
    said = facts(job.work, 'scan', name) or {}
    before = sum(other['pairs'] for other in said['chunks'][:chunk])
    after = before + said['chunks'][chunk]['pairs']
    again = marked(job.work / 'duplicates' / bitext.pair / f'{name}.npy', before, after)
    near = again
    if job.settings.near_duplicates:
        near = marked(job.work / 'duplicates' / bitext.pair / f'{name}.near.npy', before, after)
    writer = UnitWriter(folder, 'bitext', job.settings, bitext.pair, job.settings.licence or bitext.licence)
    lines = frame_lines(job.work / 'scan' / name / _chunk(chunk)) if after > before else iter(())

    def distinct() -> Iterator[Pair]:
        for first, second, repeated, similar in zip(lines, lines, again.tolist(), near.tolist(), strict=False):
            if repeated or similar:
                drops.add('duplicate' if repeated else 'near_duplicate', 1, first, second)
            else:
                yield Pair(first, second)

    kept = distinct()
    while batch := list(islice(kept, _BATCH)):
        _write(job, bitext, batch, writer.add, drops)
    sources: list[dict[str, Any]] = []
    if chunk == 0:  # what was found while scanning is told once
        sources.append(said['source'])
        drops.take(said)
    return {'below': bitext.pair, 'sources': sources, 'streams': writer.finish()}


def _write(job: Job, bitext: opus.Bitext, batch: list[Pair], add: Any, drops: Drops) -> None:
    first_ids = job.loaded_tokenizer.encode_arrays([pair.first for pair in batch])
    second_ids = job.loaded_tokenizer.encode_arrays([pair.second for pair in batch])
    one, two = bitext.languages
    for pair, first, second in zip(batch, first_ids, second_ids, strict=True):
        reason = pair_length_drop(pair.first, pair.second, len(first), len(second), job.settings)
        if reason:
            drops.add(reason, 1, pair.first, pair.second)
            continue
        sample = {'source_ids': first, 'target_ids': second}
        add(sample, f'{pair.first}\n{pair.second}'.encode(), {one: 1, two: 1}, {one: len(first), two: len(second)})
