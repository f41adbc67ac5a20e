"""CC100: a file is cut between documents into chunks, each a unit.

Split (chunks and hashes of documents) -> duplicates of each language -> token ids.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import accumulate, compress
from pathlib import Path
from typing import Any

import numpy as np
import zstd
from numpy.typing import NDArray

from data_pipeline.clean_documents import clean_documents
from data_pipeline.dedupe import KeyFile, hashes64, marked
from data_pipeline.drops import Drops
from data_pipeline.job import Job, inputs_of, relative, source_of
from data_pipeline.names import unit_names
from data_pipeline.near_duplicates import KEYS, BandFiles, save_marks
from data_pipeline.packing import packed
from data_pipeline.readers import cc100
from data_pipeline.references import evaluation_of
from data_pipeline.work import Unit, facts
from data_pipeline.writer import UnitWriter
from shards.durable import begin_sync


def stages(job: Job) -> Iterator[list[Unit]]:
    """The stages of the build, each a list of units that need those of the stages before it."""
    files = cc100.files(job.raw)
    names = unit_names([relative(path, job) for path in files])
    yield [Unit('split', name, inputs_of([path], job), partial(_split, job, path)) for name, path in zip(names, files, strict=True)]
    languages: dict[str, dict[str, Path]] = {}
    for name, path in zip(names, files, strict=True):
        languages.setdefault(cc100.language(path), {})[name] = path
    scanned, near = job.work / 'split', job.settings.near_duplicates
    yield [
        Unit('duplicates', language, inputs_of(members.values(), job), partial(save_marks, scanned, list(members), near))
        for language, members in languages.items()
    ]
    yield [
        Unit('build', f'{name}-{chunk:05}', [(relative(path, job), said['bytes'])], partial(_build, job, name, chunk, cc100.language(path)))
        for name, path in zip(names, files, strict=True)
        for chunk, said in enumerate((facts(job.work, 'split', name) or {})['chunks'])
    ]


def names(job: Job) -> str:
    """What files are recognised by, for people."""
    return cc100.NAMES


def check(job: Job) -> list[Path]:
    """The files that the build reads. Raises UserError when something is missing."""
    files = cc100.files(job.raw)
    job.loaded_tokenizer  # noqa: B018
    return files


def _chunk(number: int) -> str:
    return f'chunk-{number:05}.zst'


def _split(job: Job, path: Path, folder: Path, drops: Drops) -> dict[str, Any]:
    """Cut a file into chunks of `chunk_bytes`, compressed lightly: xz can only be read from the start, chunks by many workers at once."""
    chunks: list[dict[str, int]] = []
    pieces: list[bytes] = []
    documents = size = 0

    def flush() -> None:
        nonlocal documents, size
        path_of_chunk = folder / _chunk(len(chunks))
        path_of_chunk.write_bytes(zstd.compress(b'\n\n'.join(pieces), 1))
        begin_sync(path_of_chunk)
        chunks.append({'documents': documents, 'bytes': size})
        pieces.clear()
        documents = size = 0

    limits, most = job.settings.limits, job.settings.chunk_bytes
    limit = limits.get(cc100.language(path), limits.get('', 0))
    near = job.settings.near_duplicates
    with KeyFile(folder / KEYS) as keys, BandFiles(folder, near) as bands:
        blocks = drops.told_if_empty(path, cc100.document_blocks(path, drops))
        for data in _limited(blocks, limit, drops):
            keys.extend(hashes64(data))
            for document in data if near else ():
                bands.append(document.decode())
            ends = list(accumulate(map(len, data)))
            begin = before = 0
            while begin < len(data):  # as far as the document that fills the chunk
                end = min(bisect_left(ends, before + most - size, begin) + 1, len(data))
                pieces += data[begin:end]
                documents += end - begin
                size += ends[end - 1] - before
                begin, before = end, ends[end - 1]
                if size >= most:
                    flush()
    if pieces or not chunks:  # an empty file still has its source and drop reasons to report
        flush()
    return {'chunks': chunks, 'source': source_of(path, job)}


def _limited(blocks: Iterable[list[bytes]], limit: int, drops: Drops) -> Iterator[list[bytes]]:
    """Documents as far as the one with which there are `limit` bytes (0: all of them)."""
    read = 0
    for documents in blocks:
        ends = list(accumulate(map(len, documents), initial=read)) if limit else []
        number = bisect_left(ends, limit) if limit else len(documents)
        if number:
            yield documents[:number]
        if number < len(documents):
            drops.add('over_limit')  # once: how much is left is not known, as it is not read
            return
        read = ends[-1] if limit else 0


def _build(job: Job, name: str, chunk: int, language: str, folder: Path, drops: Drops) -> dict[str, Any]:
    said = facts(job.work, 'split', name) or {}
    before = sum(other['documents'] for other in said['chunks'][:chunk])
    after = before + said['chunks'][chunk]['documents']
    again = marked(job.work / 'duplicates' / language / f'{name}.npy', before, after)
    near = again
    if job.settings.near_duplicates:
        near = marked(job.work / 'duplicates' / language / f'{name}.near.npy', before, after)
    writer = UnitWriter(folder, 'text', job.settings, language, job.settings.licence or cc100.LICENCE)
    content = zstd.decompress((job.work / 'split' / name / _chunk(chunk)).read_bytes())
    content = _distinct(content, again, near, drops)
    clean = clean_documents(content, job.settings, evaluation_of(job), drops)
    for ids, ends in packed(clean, job.loaded_tokenizer, job.settings.max_tokens, job.settings.cross_documents):
        writer.add_sequences(ids, ends, language)
    sources: list[dict[str, Any]] = []
    if chunk == 0:  # what was found while splitting is told once
        sources.append(said['source'])
        drops.take(said)
    return {'below': language, 'sources': sources, 'streams': writer.finish()}


def _distinct(content: bytes, again: NDArray[np.bool_], near: NDArray[np.bool_], drops: Drops) -> bytes:
    """A chunk without the documents that are marked as repeated or as similar."""
    marks = again | near
    if not marks.any():
        return content
    documents = content.split(b'\n\n')
    if len(marks) != len(documents):
        raise ValueError(f'{len(documents)} documents, {len(marks)} marks')
    for row in np.flatnonzero(marks).tolist():
        drops.add('duplicate_document' if again[row] else 'near_duplicate', 1, documents[row].decode())
    return b'\n\n'.join(compress(documents, (~marks).tolist()))
