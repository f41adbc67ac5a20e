"""What a checkpoint is, how it is judged, published, retired and read; `saver.py` writes them.

    RUN/checkpoints/step-0000123/weights-00000-of-00002.safetensors   one rank's slice of fp32 weights and AdamW moments
                                 state.json   step, layout, configuration, environment, SHA-256 of every file and of itself
    RUN/checkpoints/latest                                            name of the newest
    RUN/checkpoints/.staging-…, .old-…                                one that is not whole yet, one that is being removed

Slices are cut from one flat order of the parameters that does not depend on the number of ranks, so a checkpoint loads at any world size.
Files are safetensors and JSON: opening a stranger's checkpoint executes nothing. Data order, learning rate and dropout are functions of the
step, so the step is all that there is to restore of them; the windows of data that a rollback passed over stand in `recovery`.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from pretrain.engine.zero import Engine, Slice
from shards.durable import replace
from shards.errors import UserError
from shards.hashes import file_sha256

STATE = 'state.json'
FORMAT = 1  # of a checkpoint; docs/data.md says what a change of it asks of whoever has some
LATEST = 'latest'
MOMENTS = ('exp_avg', 'exp_avg_sq')
TENSORS = ('master', *MOMENTS)
KEYS = {'step', 'files', 'groups', 'config', 'manifests'}  # what a state must have to be one


def publish(folder: Path, name: str) -> None:
    """Point `latest` at a complete checkpoint, atomically."""
    replace(folder / LATEST, [f'{name}\n'.encode()])


def retire(folder: Path, newest: int, keep: int, forever: int) -> None:
    """Remove what the checkpoint of step `newest`, which is known to be good, makes superfluous: all but the `keep` newest and every
    multiple of `forever` steps (0: none).

    Later ones are what the run could not resume from, as they were damaged: they must not count as the newest, and go too.
    """
    good = [path for path in checkpoints(folder) if step_of(path) <= newest]
    stay = {*good[-keep:], *(path for path in good if forever and step_of(path) % forever == 0)}
    for path in checkpoints(folder):
        if path not in stay:
            remove(path)


def remove(path: Path) -> None:
    """Delete a checkpoint."""
    shutil.rmtree(put_away(path), ignore_errors=True)


def put_away(path: Path) -> Path:
    """Give a checkpoint the name of one that is being deleted: half deleted, it is no damaged one. Returns where it is."""
    old = path.with_name(f'.old-{path.name}')
    shutil.rmtree(old, ignore_errors=True)
    path.rename(old)
    return old


def tidy(folder: Path) -> None:
    """Remove what an attempt that died left half written or half deleted. No other process may be writing there."""
    for pattern in ('.staging-*', '.old-*'):
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoint folders, oldest first."""
    return sorted((path for path in folder.glob('step-*') if re.fullmatch(r'step-\d{7,}', path.name) and path.is_dir()), key=step_of)


def newest_valid(folder: Path, up_to: int | None = None) -> tuple[Path | None, list[str]]:
    """The newest checkpoint (of step `up_to` at most) whose every file has its hash, and what was wrong with those that are newer.

    Raises UserError when there are checkpoints and none is valid: a run never starts over silently.
    """
    problems: list[str] = []
    found = [path for path in checkpoints(folder) if up_to is None or step_of(path) <= up_to]
    for path in reversed(found):
        problem = check(path)
        if problem is None:
            return path, problems
        problems.append(problem)
    if found:
        remedy = 'restore one from a copy, or choose another `out` to start anew'
        raise UserError(f'no checkpoint in {folder} is valid ({"; ".join(problems)}); {remedy}')
    return None, problems


def check(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        state = read_state(path)
        for entry in state['files']:
            if file_sha256(file_of(path, entry)) != entry['sha256']:
                return f'{path / entry["file"]} does not have the hash that {STATE} names'
    except UserError as error:
        return str(error).rpartition(';')[0]
    except (OSError, KeyError, TypeError) as error:
        return f'{path}: {error}'
    return None


def read_state(path: Path) -> dict[str, Any]:
    """`state.json` of a checkpoint. Raises UserError when it is missing, damaged, or of another format."""
    try:
        state = json.loads((path / STATE).read_text(encoding='utf8'))
    except (OSError, ValueError) as error:
        raise UserError(f'{path / STATE} cannot be read ({error}); use an older checkpoint') from None
    if not isinstance(state, dict) or not state.keys() >= KEYS:
        raise UserError(f'{path / STATE} is not a checkpoint state; use an older checkpoint')
    version = state.get('format', 1)
    if version != FORMAT:
        raise UserError(f'{path / STATE} has format {version}, this program reads {FORMAT}; go on with the version that wrote it')
    named = state.pop('sha256', None)
    if named is not None and named != digest(state):
        raise UserError(f'{path / STATE} does not have the hash that it names; use an older checkpoint')
    return state


def file_of(path: Path, entry: dict[str, Any]) -> Path:
    """The file of an entry of the state. Raises UserError when it lies elsewhere: a stranger's checkpoint opens no files of ours."""
    name = entry['file']
    if Path(name).name != name:
        raise UserError(f'{path / STATE} names {name!r}, which is not a file of its own folder; use an older checkpoint')
    return path / name


def load_checkpoint(engine: Engine, path: Path) -> dict[str, Any]:
    """Restore the engine; returns the checkpoint's state. Raises UserError when the checkpoint is of a model of other sizes."""
    state = read_state(path)
    for group, names, shapes in zip(state['groups'], engine.names, engine.shapes, strict=True):
        saved = [(name, tuple(shape)) for name, shape in zip(group['names'], group['shapes'], strict=True)]
        for there, here in zip_longest(saved, zip(names, shapes, strict=True)):  # slices are cut from this order
            if there != here:
                raise UserError(
                    f'{path} was written by another model: it has {_described(there)} where this one has {_described(here)}; '
                    'use the configuration saved beside it, or another `out`'
                )
    wanted_slices = [(piece.start, piece.master.numel()) for piece in engine.slices()]
    slices = []
    for group_number, (start, length) in enumerate(wanted_slices):
        parts = {name: read_range(path, state, f'group{group_number}.{name}', start, length) for name in TENSORS}
        slices.append(Slice(start, parts.pop('master'), parts))
    engine.load_slices(slices, state.get('updates', state['step']))
    return state


def read_range(path: Path, state: dict[str, Any], name: str, start: int, length: int) -> torch.Tensor:
    """`length` values from `start` of a flat tensor, put together from the files of the ranks that wrote it."""
    out = torch.empty(length)
    group = int(name.partition('.')[0].removeprefix('group'))
    filled = 0
    for entry in state['files']:
        weights = file_of(path, entry)
        try:
            with safe_open(weights, framework='pt') as file:
                piece = file.get_slice(name)
                first = int(entry['starts'][group])
                low, high = max(start, first), min(start + length, first + piece.get_shape()[0])
                if low < high:
                    out[low - start : high - start] = piece[low - first : high - first]
                    filled += high - low
        except (SafetensorError, OSError) as error:
            raise UserError(f'{weights} cannot be read ({error}); remove {path} to use an older checkpoint') from None
    if filled != length:
        raise UserError(f'{path} does not hold all of {name}; remove it to use an older checkpoint')
    return out


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Every parameter of a checkpoint by name, fp32."""
    state = read_state(path)
    weights = {}
    for number, group in enumerate(state['groups']):
        sizes = [torch.Size(shape).numel() for shape in group['shapes']]
        flat = read_range(path, state, f'group{number}.master', 0, sum(sizes))
        for name, shape, piece in zip(group['names'], group['shapes'], flat.split(sizes), strict=True):
            weights[name] = piece.view(shape)
    return weights


def step_of(path: Path) -> int:
    """Updates done, by the folder's name."""
    return int(path.name.removeprefix('step-'))


def _described(parameter: tuple[str, tuple[int, ...]] | None) -> str:
    return 'no further parameter' if parameter is None else f'{parameter[0]} of {"x".join(map(str, parameter[1]))}'


def digest(state: dict[str, Any]) -> str:
    """SHA-256 of a state, which stands in the state itself."""
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
