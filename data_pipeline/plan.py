"""The plan of a build, which names its units of work, and which of these are still missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from data_pipeline.job import SHARDS, work_folder
from data_pipeline.work import facts
from shards.storage import Location, Remote

JOB, PLAN = 'job.json', 'plan.json'


def builds(out: Location, scratch: Path | None = None) -> list[Path]:
    """Work folders of the corpora below `out` that were begun to be built."""
    return sorted(path.parent for path in work_folder(out, scratch).glob(f'*/{JOB}'))


def unfinished(out: Location, scratch: Path | None = None) -> dict[str, str]:
    """{corpus: what is missing} of the builds below `out` that are not complete."""
    return {work.name: told for work in builds(out, scratch) if (told := missing(out / work.name, work))}


def missing(root: Location, work: Path) -> str | None:
    """What is missing of a corpus's build, in a sentence that names the remedy; None when it is complete."""
    units = missing_units(root, work) if (work / PLAN).exists() else ['(none is built)']
    if not units:
        return None
    more = f' and {len(units) - 1} more' if len(units) > 1 else ''
    return (
        f'{root} is not complete, unit {units[0]}{more} is missing; '
        f'run `data_pipeline build {work.name}` with the same arguments (every --task)'
    )


def missing_units(root: Location, work: Path) -> list[str]:
    """Units of the plan that are not built, or whose shards are no longer there in full."""
    present = dict(root.sizes()) if isinstance(root, Remote) else {}
    return [name for name in read_plan(work)['units'] if not _complete(root, work, name, present)]


def read_plan(work: Path) -> dict[str, Any]:
    """The names of the units that the streams are made of, and what concerns them all: settings, sources, tokenizer, drops, warnings."""
    plan: dict[str, Any] = json.loads((work / PLAN).read_text(encoding='utf8'))
    return plan


def _complete(root: Location, work: Path, name: str, present: dict[Remote, int]) -> bool:
    said = facts(work, 'build', name)
    if said is None:
        return False
    for stream, content in said['streams'].items():
        for shard in content['shards']:
            file = shard['zip_data'] or shard['raw_data']
            place, size = root / stream / name / file['basename'], file['bytes']
            if isinstance(place, Remote):
                there = present.get(place) == size
            else:
                there = _has_size(work / 'build' / name / SHARDS / stream / file['basename'], size) or _has_size(place, size)
            if not there:
                return False
    return True


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
