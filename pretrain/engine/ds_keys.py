"""Which keys DeepSpeed knows, asked of DeepSpeed itself: a misspelt one would pass in silence, or end in a stack trace."""

from __future__ import annotations

import difflib
from functools import cache
from typing import Any

from pretrain.engine.distributed import import_deepspeed
from shards.errors import UserError

NO_MODEL = {'data_types': {'grad_accum_dtype'}}  # sections that DeepSpeed reads without a model of their fields


def check_keys(raw: dict[str, Any], path: object) -> None:
    """Raises UserError for a key of the file `path` that DeepSpeed does not read, naming the nearest one that it does. Of sections, those
    whose fields DeepSpeed has a model of are looked into.
    """
    _check(raw, known_keys(), path, '')
    sections = known_sections()
    for name, part in raw.items():
        if isinstance(part, dict) and name in sections:
            _check(part, sections[name], path, f'{name}.')


@cache
def known_keys() -> frozenset[str]:
    """The keys at the top: those that DeepSpeed asks an empty configuration for."""
    import_deepspeed()
    from deepspeed.runtime.config import DeepSpeedConfig

    asked = _Asked({'train_batch_size': 1, 'train_micro_batch_size_per_gpu': 1, 'gradient_accumulation_steps': 1})
    DeepSpeedConfig(asked)
    return frozenset(asked.names)


@cache
def known_sections() -> dict[str, set[str]]:
    """Section -> the fields that it may have."""
    import_deepspeed()
    from deepspeed.monitor.config import DeepSpeedMonitorConfig
    from deepspeed.runtime.precision_config import DeepSpeedBF16Config, DeepSpeedFP16Config
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    models = {'zero_optimization': DeepSpeedZeroConfig, 'bf16': DeepSpeedBF16Config, 'fp16': DeepSpeedFP16Config}
    models |= {name: field.annotation for name, field in DeepSpeedMonitorConfig.model_fields.items()}
    named = {name: {field.alias or key for key, field in model.model_fields.items()} for name, model in models.items()}
    return {**NO_MODEL, **named}


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


def _check(part: dict[str, Any], known: frozenset[str] | set[str], path: object, prefix: str) -> None:
    for key in part:
        if key not in known:
            near = difflib.get_close_matches(key, sorted(known), 1, 0.4)
            meant = f'; did you mean {prefix}{near[0]}?' if near else '; remove it'
            raise UserError(f'{path}: DeepSpeed has no setting {prefix}{key}{meant}')
