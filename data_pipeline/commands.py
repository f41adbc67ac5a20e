"""What each command of `data_pipeline` calls, and what it prints. The imports are in the functions: `--help` waits for none of them."""

from __future__ import annotations

import argparse
import time
from dataclasses import fields
from typing import Any

from data_pipeline.settings import RULES, Settings, flag
from shards.errors import UserError, continues
from shards.schema import KINDS


@continues()
def run_build(options: argparse.Namespace) -> int:
    if options.workers > 1:
        from data_pipeline.workers import prepare_workers

        prepare_workers()
    from data_pipeline.build import build
    from data_pipeline.job import Job

    given = {item.name: getattr(options, item.name) for item in fields(Settings) if hasattr(options, item.name)}
    for item in fields(Settings):
        if item.name in given and KINDS[options.corpus] not in item.metadata['kinds']:
            raise UserError(f'{flag(item)} does not concern {options.corpus}; leave it out')
    settings = Settings(**given)
    for rule in sorted(settings.switched_off):
        if KINDS[options.corpus] not in RULES[rule]:
            raise UserError(f'--without {rule} does not concern {options.corpus}; leave it out')
    job = Job(
        options.corpus,
        options.raw,
        options.out,
        settings,
        options.images,
        options.translations,
        options.tokenizer,
        tuple(options.exclude),
        tuple(options.decontaminate),
        options.scratch,
    )
    start = time.monotonic()
    manifests = build(job, options.workers, options.task, options.tasks)
    if manifests is None:
        scratch = f' --scratch {options.scratch}' if options.scratch else ''
        print(
            f'{options.corpus}: task {options.task} of {options.tasks} is done; '
            f'when all are, run `data_pipeline finish --out {options.out}{scratch} --corpus {options.corpus}`'
        )
    else:
        _summary(options.corpus, manifests, time.monotonic() - start)
    return 0


@continues()
def run_finish(options: argparse.Namespace) -> int:
    from data_pipeline.finish import finish

    start = time.monotonic()
    for corpus, manifests in finish(options.out, options.scratch, options.corpus).items():
        _summary(corpus, manifests, time.monotonic() - start)
    return 0


def _summary(corpus: str, manifests: list[Any], seconds: float) -> None:
    samples = {split: sum(m.samples for m in manifests if m.split == split) for split in ('train', 'val')}
    size = sum(shard['bytes'] for m in manifests for shard in m.shards)
    dropped = sum(sum(m.dropped.values()) for m in manifests)
    languages = len({language for m in manifests for language in m.languages})
    print(
        f'{corpus}: {samples["train"]:,} train + {samples["val"]:,} val samples in {languages} languages, {size / 2**20:,.1f} MiB, '
        f'{dropped:,} dropped (see `data_pipeline stats`), {seconds:.0f} s'
    )


def run_verify(options: argparse.Namespace) -> int:
    from data_pipeline.verify import verify

    report = verify(options.dir, options.scratch)
    for line in report.bad:
        print(line)
    if report.undigested:
        number = len(report.undigested)
        print(
            f'{report.undigested[0]}{f" and {number - 1} more" if number > 1 else ""}: by an earlier version, without a digest of its own'
        )
    print(
        f'{options.dir}: {report.streams} streams, {report.shards} shards, {report.samples:,} samples, {len(report.bad) or "nothing"} bad'
    )
    return 1 if report.bad else 0


@continues()
def run_remove(options: argparse.Namespace) -> int:
    from data_pipeline.remove import remove

    done = remove(options.dir, options.urls, options.scratch)
    for removal in done.removals:
        completed = f' (completes the removal of {removal.date}, which was interrupted)' if removal.date else ''
        print(f'{removal.corpus}: {removal.pictures:,} pictures removed, {removal.shards:,} shards written anew{completed}')
    found = done.lines - len(done.not_found)
    if not done.not_found:
        print(f'{options.urls}: {found:,} of {done.lines:,} pictures found, now or by an earlier removal')
        return 0
    blind = sorted({removal.corpus for removal in done.removals if not removal.knows_aliases})
    remedy = f'; {" ".join(blind)} did not note further URLs of a picture, so look for its image id' if blind else ''
    print(f'{options.urls}: {found:,} of {done.lines:,} pictures found, now or by an earlier removal{remedy}; in no shard are:')
    for line in done.not_found:
        print(line)
    return 0


def run_stats(options: argparse.Namespace) -> int:
    from data_pipeline.stats import as_json, tables

    print(as_json(options.dir) if options.json else tables(options.dir))
    return 0


def run_show(options: argparse.Namespace) -> int:
    from data_pipeline.show import lines, page
    from data_pipeline.work import write_text
    from shards.tokenizer import Tokenizer

    if options.samples is not None and options.samples < 1:
        raise UserError(f'--samples {options.samples} is out of range: it must be at least 1')
    tokenizer = Tokenizer.load(options.tokenizer) if options.tokenizer else None
    if options.html is None:
        for line in lines(options.dir, options.samples or 3, tokenizer):
            print(line)
        return 0
    try:
        write_text(options.html, page(options.dir, options.samples or 120, tokenizer))
    except OSError as error:
        raise UserError(f'--html {options.html} cannot be written ({error.strerror})') from None
    print(f'{options.html}: {options.html.stat().st_size / 2**20:.1f} MiB, open it in a browser')
    return 0


def run_tokenizer_train(options: argparse.Namespace) -> int:
    from data_pipeline.tokenizer_settings import TrainingSettings
    from data_pipeline.tokenizer_training import train

    start = time.monotonic()
    settings = TrainingSettings(**{item.name: getattr(options, item.name) for item in fields(TrainingSettings)})
    tokenizer = train(options.raw, options.out, settings)
    print(
        f'{options.out}: {tokenizer.pieces:,} pieces, vocabulary {tokenizer.vocabulary:,}, fingerprint {tokenizer.fingerprint}, '
        f'{time.monotonic() - start:.0f} s'
    )
    return 0


def run_tokenizer_import(options: argparse.Namespace) -> int:
    from data_pipeline.tokenizer_training import import_model

    tokenizer = import_model(options.file, options.out)
    print(f'{options.out}: {tokenizer.pieces:,} pieces, vocabulary {tokenizer.vocabulary:,}, fingerprint {tokenizer.fingerprint}')
    return 0
