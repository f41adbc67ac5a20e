"""Which keys DeepSpeed knows, asked of DeepSpeed itself: a misspelt one would pass in silence, or end in a stack trace."""

from __future__ import annotations

import difflib
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from pretrain.engine.distributed import import_deepspeed
from shards.errors import UserError

READ = ('activation_checkpointing', 'checkpoint', 'data_types', 'flops_profiler')  # sections that it reads key by key, without a model


def check_keys(raw: dict[str, Any], path: object) -> None:
    """Raises UserError for a key of the file `path` that DeepSpeed does not read, naming the nearest one that it does. Looked into are the
    sections, and those in them, whose fields DeepSpeed has a model of, and those of READ.
    """
    _check(raw, known_keys(), path, '')
    for name, known in known_sections().items():
        part: Any = raw
        for key in name.split('.'):
            part = part.get(key) if isinstance(part, dict) else None
        if isinstance(part, dict):
            _check(part, known, path, f'{name}.')


def zero_settings(section: dict[str, Any], path: object) -> Any:
    """The section zero_optimization of the file `path` as DeepSpeed takes it: with its own defaults where the file says nothing.

    Raises UserError for a value that DeepSpeed refuses.
    """
    import_deepspeed()
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    try:
        return DeepSpeedZeroConfig(**section)
    except ValidationError as error:
        mistake = error.errors()[0]
        name = '.'.join(map(str, ('zero_optimization', *mistake['loc'])))
        raise UserError(f'{path}: {name} is {mistake["input"]!r}, which DeepSpeed does not take: {mistake["msg"]}') from None


def known_keys() -> set[str]:
    """The keys at the top."""
    return _asked().names


@cache
def _asked() -> _Asked:
    """What DeepSpeed asks a configuration for that is empty but for the sections of READ."""
    import_deepspeed()
    from deepspeed.runtime.config import DeepSpeedConfig

    sizes = {'train_batch_size': 1, 'train_micro_batch_size_per_gpu': 1, 'gradient_accumulation_steps': 1}
    asked = _Asked({**sizes, **{name: _Asked({}) for name in READ}})
    DeepSpeedConfig(asked)
    return asked


@cache
def known_sections() -> dict[str, set[str]]:
    """Section, of one in another with a dot between them -> the fields that it may have."""
    import_deepspeed()
    from deepspeed.comm.config import CommsLoggerConfig
    from deepspeed.monitor.config import DeepSpeedMonitorConfig
    from deepspeed.runtime.precision_config import DeepSpeedBF16Config, DeepSpeedFP16Config
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    models = {'zero_optimization': DeepSpeedZeroConfig, 'bf16': DeepSpeedBF16Config, 'fp16': DeepSpeedFP16Config}
    found = {name: dict.__getitem__(_asked(), name).names for name in READ}
    for name, model in {**models, 'comms_logger': CommsLoggerConfig, **_parts(DeepSpeedMonitorConfig)}.items():
        found |= _fields(name, model)
    return found


def _fields(name: str, model: type[BaseModel]) -> dict[str, set[str]]:
    """Those of a section and of the sections in it; of a model that takes any field none."""
    if model.model_config.get('extra') != 'forbid':
        return {}
    found = {name: {field.alias or key for key, field in model.model_fields.items()}}
    for part, inner in _parts(model).items():
        found |= _fields(f'{name}.{part}', inner)
    return found


def _parts(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The fields of a model that are models."""
    return {
        field.alias or key: part
        for key, field in model.model_fields.items()
        for part in (field.annotation, *get_args(field.annotation))
        if isinstance(part, type) and issubclass(part, BaseModel)
    }


class _Asked(dict[str, Any]):
    """Settings that note the names they are asked for."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return super().get(name, default)

    def __contains__(self, name: object) -> bool:
        self.names.add(str(name))
        return super().__contains__(name)

    def __getitem__(self, name: str) -> Any:
        self.names.add(name)
        return super().__getitem__(name)

    def keys(self) -> Any:  # DeepSpeed asks `name in settings.keys()` as well
        return self

    def __copy__(self) -> _Asked:  # it reads a copy
        return self


def _check(part: dict[str, Any], known: set[str], path: object, prefix: str) -> None:
    for key in part:
        if key not in known:
            near = difflib.get_close_matches(key, sorted(known), 1, 0.4)
            meant = f'; did you mean {prefix}{near[0]}?' if near else '; remove it'
            raise UserError(f'{path}: DeepSpeed has no setting {prefix}{key}{meant}')
