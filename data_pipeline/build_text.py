"""CC100: a file is cut between documents into chunks, each a unit.

Split (chunks and hashes of documents) -> duplicates of each language -> token ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import zstd

from data_pipeline.clean_documents import clean_documents
from data_pipeline.dedupe import KeyFile, hash64, marked
from data_pipeline.drops import Drops
from data_pipeline.job import Job, inputs_of, relative, source_of
from data_pipeline.names import unit_names
from data_pipeline.near_duplicates import KEYS, BandFiles, save_marks
from data_pipeline.packing import packed
from data_pipeline.readers import cc100
from data_pipeline.references import evaluation_of
from data_pipeline.work import Unit, facts
from data_pipeline.writer import UnitWriter


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
        (folder / _chunk(len(chunks))).write_bytes(zstd.compress(b'\n\n'.join(pieces), 1))
        chunks.append({'documents': documents, 'bytes': size})
        pieces.clear()
        documents = size = 0

    limits = job.settings.limits
    limit = limits.get(cc100.language(path), limits.get('', 0))
    read = 0
    with KeyFile(folder / KEYS) as keys, BandFiles(folder, job.settings.near_duplicates) as bands:
        for document in drops.told_if_empty(path, cc100.documents(path, drops)):
            if limit and read >= limit:
                drops.add('over_limit')  # once: how much is left is not known, as it is not read
                break
            data = document.encode()
            keys.append(hash64(data))
            bands.append(document)
            pieces.append(data)
            documents += 1
            size += len(data)
            read += len(data)
            if size >= job.settings.chunk_bytes:
                flush()
    if pieces or not chunks:  # an empty file still has its source and drop reasons to report
        flush()
    return {'chunks': chunks, 'source': source_of(path, job)}


def _build(job: Job, name: str, chunk: int, language: str, folder: Path, drops: Drops) -> dict[str, Any]:
    said = facts(job.work, 'split', name) or {}
    before = sum(other['documents'] for other in said['chunks'][:chunk])
    after = before + said['chunks'][chunk]['documents']
    again = marked(job.work / 'duplicates' / language / f'{name}.npy', before, after).tolist()
    near = again
    if job.settings.near_duplicates:
        near = marked(job.work / 'duplicates' / language / f'{name}.near.npy', before, after).tolist()
    writer = UnitWriter(folder, 'text', job.settings, language)
    content = zstd.decompress((job.work / 'split' / name / _chunk(chunk)).read_bytes()).decode()

    def documents() -> Iterator[str]:
        for document, repeated, similar in zip(content.split('\n\n') if content else [], again, near, strict=True):
            if repeated:
                drops.add('duplicate_document', 1, document)
            elif similar:
                drops.add('near_duplicate', 1, document)
            else:
                yield document

    clean = clean_documents(documents(), job.settings, evaluation_of(job), drops)
    for ids, ends in packed(clean, job.loaded_tokenizer, job.settings.max_tokens, job.settings.cross_documents):
        writer.add_sequences(ids, ends, language)
    sources: list[dict[str, Any]] = []
    if chunk == 0:  # what was found while splitting is told once
        sources.append(said['source'])
        drops.take(said)
    return {'below': language, 'sources': sources, 'streams': writer.finish()}
