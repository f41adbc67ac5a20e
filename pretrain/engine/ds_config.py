"""The DeepSpeed JSON of a run: the settings of the file, with `auto` filled from the YAML, which owns batch, precision and clipping.

A literal that contradicts the YAML is an error.
"""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

from pretrain.config import Config
from pretrain.engine.ds_keys import check_keys, zero_settings
from shards.errors import UserError

AUTO = 'auto'
# What the YAML, or the number of processes, says.
OWNED = ('train_batch_size', 'train_micro_batch_size_per_gpu', 'gradient_accumulation_steps', 'gradient_clipping', 'bf16.enabled')


def resolve_ds_config(path: str | Path | None, config: Config, world: int | None, accelerator: str) -> dict[str, Any]:
    """DeepSpeed's configuration as a dict without `auto`. `accelerator` is DeepSpeed's name, 'cuda' or 'cpu'; `world`: number of
    processes, None where it is not known yet.

    Raises UserError when the file is missing, is not JSON, has a key or a value that DeepSpeed does not know, asks for what is not
    supported, or fixes what the YAML owns to another value.
    """
    shipped: dict[str, Any] = json.loads(DEFAULT.read_text(encoding='utf8'))
    raw = deepcopy(shipped) if path is None else _read(Path(path))
    for key in SECTIONS:
        if not isinstance(raw.get(key, {}), dict):
            raise UserError(f'{path}: {key} must be an object, e.g. {{"{SECTIONS[key]}": …}}')
    if path is not None and _unfamiliar(raw, shipped):  # DeepSpeed, which is asked then, takes seconds to import
        check_keys(raw, path)
    # One optimizer step is many backward passes of different tasks: pretrain/engine/step.py counts them itself, DeepSpeed sees one.
    for key, value in zip(OWNED, (world, 1, 1, config.optimizer.clip, config.precision == 'bf16'), strict=True):
        if value is not None:
            _own(raw, key, value, path)
    if raw.get('fp16', {}).get('enabled'):
        raise UserError(f'{path}: fp16 is on, but the run trains in {config.precision}; remove the fp16 section')
    if raw.get('bf16', {}).get('check_grad_overflow', True) is not True:
        raise UserError(f'{path}: bf16.check_grad_overflow is off, so a gradient that is not finite would spoil the weights; remove it')
    for key in ('optimizer', 'scheduler'):
        if key in raw:
            raise UserError(f'{path}: {key} is set there, but the YAML owns it (optimizer.*); remove it from the JSON')
    if raw.get('zero_optimization', {}).get('stage') not in (1, 2):
        raise UserError(f'{path}: zero_optimization.stage must be 1 or 2')
    if (
        config.precision == 'bf16'
        and raw['zero_optimization']['stage'] == 1
        and raw.get('data_types', {}).get('grad_accum_dtype') == 'fp32'
    ):
        why = 'is an optimizer of its own in DeepSpeed, whose state checkpoints do not support; take stage 2, or precision=fp32'
        raise UserError(f'{path}: zero_optimization.stage 1 in bf16 with gradients added up in fp32 {why}')
    if raw['zero_optimization'].get('round_robin_gradients'):
        why = 'reorders parameters by rank, which checkpoints do not support; set it to false'
        raise UserError(f'{path}: zero_optimization.round_robin_gradients {why}')
    for key in OFFLOADS:
        if _offloads(key, raw['zero_optimization'].get(key)):
            why = 'moves optimizer state or weights to the host, which training and checkpoints do not support; remove it'
            raise UserError(f'{path}: zero_optimization.{key} {why}')
    if raw['zero_optimization'] != shipped['zero_optimization']:
        zero_settings(raw['zero_optimization'], path)
    if config.precision == 'fp32':  # nothing to accumulate in a higher precision
        raw.pop('data_types', None)
        raw.pop('communication_data_type', None)
    if accelerator == 'cpu':
        # gloo has no second stream to overlap with, and a laptop no memory for buckets that suit 80 GB. DeepSpeed sums whole buckets over
        # all ranks either way; to "scatter" them it copies each twice besides.
        raw['zero_optimization'].update(overlap_comm=False, reduce_scatter=False)
        raw['zero_optimization'].update(reduce_bucket_size=20_000_000, allgather_bucket_size=20_000_000)
    return raw


SECTIONS = {'bf16': 'enabled', 'fp16': 'enabled', 'zero_optimization': 'stage'}
OFFLOADS = ('offload_optimizer', 'offload_param', 'cpu_offload', 'cpu_offload_param', 'zenflow')
DEFAULT = Path(__file__).parents[2] / 'ds_configs' / 'zero2.json'


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text(encoding='utf8'))
    except FileNotFoundError:
        raise UserError(f'DeepSpeed configuration {path} does not exist; see ds_configs/') from None
    except OSError as error:
        raise UserError(f'DeepSpeed configuration {path} cannot be read ({error.strerror}); see ds_configs/') from None
    except ValueError as error:
        raise UserError(f'DeepSpeed configuration {path} is not valid JSON: {error}') from None
    if not isinstance(raw, dict):
        raise UserError(f'DeepSpeed configuration {path} must be a JSON object')
    return raw


def _offloads(key: str, given: Any) -> bool:
    """Whether one of OFFLOADS, a section or a switch, moves something."""
    if isinstance(given, dict) and key.startswith('offload_'):
        return given.get('device', 'none') not in (None, 'none')
    return bool(given)


def _unfamiliar(raw: dict[str, Any], shipped: dict[str, Any]) -> bool:
    """Whether there is a key that the shipped file has not."""
    if not raw.keys() <= shipped.keys():
        return True
    return any(
        isinstance(part, dict) and not part.keys() <= shipped[key].keys() for key, part in raw.items() if isinstance(shipped[key], dict)
    )


def _own(raw: dict[str, Any], key: str, value: Any, path: str | Path | None) -> None:
    """Fill one `auto`; a literal that differs is a conflict."""
    *parents, leaf = key.split('.')
    section = raw
    for parent in parents:
        section = section.setdefault(parent, {})
    given = section.get(leaf, AUTO)
    if given not in (AUTO, value):
        raise UserError(f'{path}: {key} is {given!r}, but the YAML owns it and asks for {value!r}; write "auto" in the JSON')
    section[leaf] = value
