"""Units of work: fixed by the input, each done whole or not at all.

A unit writes into a temporary folder, which is synced to disk and renamed when it is complete. What a killed build leaves behind is
therefore complete units, which the next build keeps, and temporary folders, which it removes. Units depend on nothing but the input and
complete units of earlier stages, so the number of workers and tasks, and the order of the work, change nothing in the output.
"""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_pipeline.drops import Drops
from shards.durable import PART, own_name, replace, sync, sync_all
from shards.errors import UserError

FACTS = 'unit.json'


@dataclass(frozen=True)
class Unit:
    """`run(folder, drops)` writes the unit's files into the folder and returns what unit.json is to say; drop reasons are added to that.

    `inputs` are the names and sizes of the source files: a unit that was done with others is done again.
    """

    stage: str
    name: str
    inputs: list[tuple[str, int]]
    run: Callable[[Path, Drops], dict[str, Any]]

    @property
    def size(self) -> int:
        """Bytes of input, for the progress bar."""
        return sum(size for _, size in self.inputs)


def facts(work: Path, stage: str, name: str) -> dict[str, Any] | None:
    """What a complete unit says about itself, None when it is not complete."""
    try:
        content: dict[str, Any] = json.loads((work / stage / name / FACTS).read_text(encoding='utf8'))
        return content
    except FileNotFoundError:
        return None


def is_done(work: Path, unit: Unit) -> bool:
    """Whether the unit is complete, and of the present input."""
    said = facts(work, unit.stage, unit.name)
    return said is not None and said['inputs'] == [list(one) for one in unit.inputs]


def execute(work: Path, unit: Unit) -> list[str]:
    """Do a unit unless it is done; returns its warnings."""
    if is_done(work, unit):
        return []
    target = work / unit.stage / unit.name
    # The name tells whose it is, so that a later build knows when nobody works in it any more.
    temporary = own_name(target)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    drops = Drops()
    try:
        said = unit.run(temporary, drops)
    except OSError as error:  # a full disk, a vanished file
        raise UserError(
            f'{unit.stage} {unit.name}: {error.strerror or error} ({error.filename or work}); mend that and run the same command again'
        ) from None
    said |= {'inputs': unit.inputs, 'dropped': dict(sorted(drops.counts.items())), 'warnings': drops.warnings}
    said |= {'examples': dict(sorted(drops.examples.items()))} if drops.examples else {}
    said |= drops.counted_rewrites()
    said |= {'overlap': sorted(drops.overlap)} if drops.overlap else {}
    (temporary / FACTS).write_text(json.dumps(said, ensure_ascii=False, sort_keys=True) + '\n', encoding='utf8')
    sync_all([temporary, *temporary.rglob('*')])
    try:
        temporary.rename(target)
    except OSError:
        if is_done(work, unit):  # another task was faster; its result is the same
            shutil.rmtree(temporary)
            return []
        shutil.rmtree(target)  # made from other input, or complete once and its shards lost since
        temporary.rename(target)
    sync(target.parent)
    return drops.warnings


def remove_leftovers(work: Path) -> None:
    """Remove what processes of this machine that no longer run left half made: folders of units, and the files beside them."""
    host = socket.gethostname()
    for path in (*work.glob(f'*/.*{PART}'), *work.glob(f'.*{PART}')):
        owner, _, pid = path.name.removesuffix(PART).rpartition('.')
        if owner.endswith(f'.{host}') and not _runs(pid):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _runs(pid: str) -> bool:
    """Whether the process is there. A zombie is not: it writes nothing more, and some time may pass before init takes it away."""
    try:
        state = Path(f'/proc/{pid}/stat').read_text(encoding='utf8', errors='replace').rpartition(')')[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ('Z', 'X')


def write_text(path: Path, text: str) -> None:
    """`write_file` in UTF-8."""
    write_file(path, text.encode())


def write_file(path: Path, content: bytes) -> None:
    """Write a file by rename, so that it is whole or not there."""
    replace(path, [content], by_several=True)
