"""`data_pipeline build`: checks the input, does the stages of the corpus, finishes."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from data_pipeline import build_bitext, build_pictures, build_text, references
from data_pipeline.drops import Drops
from data_pipeline.finish import finish_corpus
from data_pipeline.job import SHARDS, Job, inputs_of
from data_pipeline.plan import JOB, PLAN, missing_units, read_plan
from data_pipeline.unread import warnings_of
from data_pipeline.work import FACTS, Unit, facts, remove_leftovers, write_text
from data_pipeline.workers import largest_first, run_units
from shards.errors import UserError
from shards.schema import Kind, Manifest
from shards.storage import Remote

_BEFORE = {'resizer': 'pillow', 'licence': ''}  # what builds had before there was a setting
FIRST_STAGES = ('references', 'scan', 'split')  # their units concern one file each


class Builder(Protocol):
    """What the three kinds of corpora have in common."""

    def names(self, job: Job) -> str:
        """What files are recognised by, for people."""

    def check(self, job: Job) -> list[Path]:
        """Files (and folders) that the build reads. Raises UserError when something is missing."""

    def stages(self, job: Job) -> Iterator[list[Unit]]:
        """Stages of work, the last named `build`; each is asked for when those before it are complete."""


BUILDERS: dict[Kind, Builder] = {'pictures': build_pictures, 'text': build_text, 'bitext': build_bitext}


def build(job: Job, workers: int, task: int, tasks: int) -> list[Manifest] | None:
    """Build a corpus, or one task's share of it. Returns the manifests, None when other tasks still have work (then `finish` is to be run).

    Raises UserError for unusable input, or when the output was begun with other settings or input.
    """
    _check_paths(job, workers, task, tasks)
    builder = BUILDERS[job.kind]
    inputs = _inputs(job, builder)
    _same_job(job, inputs)
    remove_leftovers(job.work)
    if not (job.work / PLAN).exists() or missing_units(job.root, job.work):
        unread = warnings_of(job, inputs, builder.names(job))
        for warning in unread:
            print(f'warning: {warning}', file=sys.stderr)
        _run(job, builder, workers, task, tasks, unread)
    if tasks > 1:
        return None
    return finish_corpus(job.root, job.work)


def _inputs(job: Job, builder: Builder) -> list[Path]:
    """What the builder reads. The folder of all corpora is easily given for that of one."""
    try:
        return builder.check(job)
    except UserError as error:
        if not (own := job.raw / job.corpus).is_dir():
            raise
        raise UserError(f'{error} (or do you mean --raw {own}?)') from None


def _run(job: Job, builder: Builder, workers: int, task: int, tasks: int, unread: list[str]) -> None:
    done: list[Unit] = []
    for stage in chain([references.units(job)], builder.stages(job)):
        if stage and stage[0].stage == 'build':
            _write_plan(job, stage, done, unread)
            missing = set(missing_units(job.root, job.work))
            mine = [unit for unit in stage[task::tasks] if unit.name in missing]
            for unit in mine:  # one whose shards were lost after it was built is no longer complete
                (job.work / 'build' / unit.name / FACTS).unlink(missing_ok=True)
            if isinstance(root := job.root, Remote):
                mine = [replace(unit, run=partial(_to_store, unit, root)) for unit in mine]
            run_units(job.work, largest_first(mine), f'{job.corpus} build', workers)
            return
        # Every unit of an early stage is needed by all tasks: first one's own share, then what is still missing. Two tasks may then do the
        # same unit, with the same result; waiting for each other instead would hang tasks that are run one after the other.
        dealt = largest_first(stage)  # so that no task has more of the large ones than another
        units = [unit for shift in range(tasks) for unit in dealt[(task + shift) % tasks :: tasks]]
        run_units(job.work, units, f'{job.corpus} {stage[0].stage}' if stage else '', workers, shared=tasks > 1)
        done += stage


def _to_store(unit: Unit, root: Remote, folder: Path, drops: Drops) -> dict[str, Any]:
    """Run a unit, and put its shards where the stream has them. Nobody looks at them before the manifest is there."""
    said = unit.run(folder, drops)
    for stream in said['streams']:
        for path in sorted((folder / SHARDS / stream).iterdir()):
            (root / stream / unit.name / path.name).write_bytes(path.read_bytes())
    shutil.rmtree(folder / SHARDS, ignore_errors=True)
    return said


def _write_plan(job: Job, units: list[Unit], earlier: list[Unit], unread: list[str]) -> None:
    sources: list[dict[str, Any]] = []
    drops = Drops()
    warnings = list(unread)
    overlap: set[int] = set()
    settings = job.settings.of(job.kind) | references.described(job)
    for unit in earlier:
        said = facts(job.work, unit.stage, unit.name) or {}
        overlap.update(said.get('overlap', []))
        warnings += said['warnings']
        if job.kind == 'pictures':  # one stream a split: what earlier stages found belongs to it; texts tell it by language
            sources += said.get('sources', [])
            drops.take(said)
    if job.kind != 'pictures':
        settings['pieces'] = job.loaded_tokenizer.pieces  # the range of ids, for `verify`
    plan: dict[str, Any] = {
        'units': [unit.name for unit in units],
        'sources': sources,
        'dropped': dict(sorted(drops.counts.items())),
        'examples': dict(sorted(drops.examples.items())),
        'warnings': warnings,
        'settings': settings,
        'tokenizer': None if job.kind == 'pictures' else job.loaded_tokenizer.fingerprint,
        'overlap': sorted(overlap),
        **drops.counted_rewrites(),
    }
    earlier_plan = read_plan(job.work) if (job.work / PLAN).exists() else None
    if earlier_plan is None or 'digests' in earlier_plan:  # one of an earlier version is finished as it was: checkpoints have its hash
        plan['digests'] = True
    if earlier_plan != plan:
        write_text(job.work / PLAN, json.dumps(plan, ensure_ascii=False, indent=1, sort_keys=True) + '\n')


def _check_paths(job: Job, workers: int, task: int, tasks: int) -> None:
    if not job.raw.is_dir():
        raise UserError(f'{job.raw} is no folder; give --raw the folder of {job.corpus}')
    for path, name in ((job.images, '--images'), (job.translations, '--translations')):
        if path is not None and not path.exists():
            raise UserError(f'{name} {path} does not exist')
        if path is not None and job.kind != 'pictures':
            raise UserError(f'{name} has no meaning for {job.corpus}, which holds no pictures; leave it out')
    for place in (*job.exclude, *job.decontaminate):
        if not (place.exists() if isinstance(place, Path) else place.is_dir()):
            files = '' if isinstance(place, Path) else ' as a folder of shards (a list of URLs must be a file of this machine)'
            raise UserError(f'{place}, given to --exclude or --decontaminate, does not exist{files}')
    if job.exclude and job.kind != 'pictures':
        raise UserError(f'--exclude has no meaning for {job.corpus}, which holds no pictures; leave it out')
    if wrong := next((path for path in job.decontaminate if not path.is_dir()), None):
        raise UserError(f'--decontaminate {wrong} is no folder; give the folder of an evaluation set, or of several')
    if tasks > 1 and isinstance(job.out, Remote) and job.scratch is None:
        raise UserError(f'--tasks {tasks} with --out {job.out}: give --scratch, a folder that all tasks share')
    if workers < 1 or tasks < 1 or not 0 <= task < tasks:
        raise UserError(f'--workers {workers} --task {task} --tasks {tasks}: workers and tasks are at least 1, task is 0 to tasks - 1')


def _same_job(job: Job, inputs: list[Path]) -> None:
    """Refuse to continue what was begun with other settings, another tokenizer or other input: the result would be of two minds.

    Files may still change while they are being scanned, so that a truncated download can be replaced; after that the scans are already
    combined.
    """
    fingerprint = None if job.kind == 'pictures' else job.loaded_tokenizer.fingerprint
    settings: dict[str, Any] = job.settings.of(job.kind)
    settings |= {name: ' '.join(map(str, getattr(job, name))) for name in ('exclude', 'decontaminate')}
    listing = sorted([name, size] for name, size in [*inputs_of(inputs, job), *references.listing(job)])
    path = job.work / JOB
    if isinstance(job.root, Remote) and job.root.is_dir() and not path.exists():
        remedy = 'choose another --out, the --scratch of that build, or delete them'
        raise UserError(f'{job.root} has shards, and {job.work} knows nothing of them; {remedy}')
    if path.exists():
        theirs = json.loads(path.read_text(encoding='utf8'))
        place = job.root
        remedy = f'choose another --out, or delete {place} and {job.work} to build it again'
        for name, value in settings.items():
            if (other := theirs['settings'].get(name, _BEFORE.get(name))) != value:
                told = [str(one) if one != '' else '(none)' for one in (other, value)]
                raise UserError(f'{place} was begun with --{name.replace("_", "-")} {told[0]}, not {told[1]}; use that, or {remedy}')
        if (other := theirs['tokenizer']) != fingerprint:
            raise UserError(f'{place} was begun with the tokenizer {other}, {job.tokenizer} is {fingerprint}; use that one, or {remedy}')
        if theirs['inputs'] == listing:
            return
        if any(unit.parent.parent.name not in FIRST_STAGES for unit in job.work.glob(f'*/*/{FACTS}')):
            changed = [
                name for name, _ in sorted(one for one in theirs['inputs'] + listing if (one in theirs['inputs']) != (one in listing))
            ]
            raise UserError(f'{place} was begun with other input: {changed[0]} has changed; {remedy}')
    try:
        job.work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'{job.work} cannot be written ({error.strerror}); choose another --out or --scratch') from None
    content = {'settings': settings, 'tokenizer': fingerprint, 'inputs': listing}
    write_text(path, json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True) + '\n')
