"""A configuration from a YAML file and `key.sub=value` arguments, and back; an unknown key is answered with the nearest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pretrain.config.mistakes import Layer, explain
from pretrain.config.root import Config
from shards.errors import UserError

BOOL = 'tag:yaml.org,2002:bool'


class Loader(yaml.SafeLoader):
    """YAML 1.1, but only `true` and `false` are truth values: `no` is Norwegian, and where a truth value is wanted still one."""


Loader.yaml_implicit_resolvers = {
    first: [resolver for resolver in resolvers if resolver[0] != BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(BOOL, re.compile('^(true|True|TRUE|false|False|FALSE)$'), list('tTfF'))


def load_config(path: str | Path | None, overrides: list[str] | None = None) -> Config:
    """The configuration of a YAML file (none: the defaults) with `key.sub=value` arguments on top.

    A file may name another one, relative to itself, as its `base`, and then holds only what differs. Raises UserError that names the key,
    the file and the valid choices.
    """
    layers = [] if path is None else _read(Path(path).expanduser(), ())
    raw: dict[str, Any] = {}
    for _, settings in layers:
        raw = _merged(raw, deepcopy(settings))  # arguments change it
    override(raw, overrides or [])
    return validated(raw, [*layers, ('on the command line', _alone(overrides or []))] if layers else ())


def override(raw: dict[str, Any], settings: list[str]) -> None:
    """Put `key.sub=value` arguments on top of settings that are not validated yet. Raises UserError for what is no such argument."""
    for setting in settings:
        key, equals, value = setting.partition('=')
        if not equals:
            raise UserError(f'{setting!r} is not key=value, e.g. batch.global=64')
        _assign(raw, key.split('.'), _parse(setting, value))


def validated(raw: dict[str, Any], layers: Sequence[Layer] = ()) -> Config:
    """The configuration of settings. Raises UserError naming key and valid choices and, with the layers that `raw` was put together from,
    where the mistake is.
    """
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        raise UserError(explain(error, layers)) from None


def dump_config(config: Config) -> str:
    """The resolved configuration as YAML, as it is saved beside a run."""
    return yaml.safe_dump(config.model_dump(by_alias=True, mode='json'), sort_keys=False, allow_unicode=True)


def _read(path: Path, above: tuple[Path, ...]) -> list[Layer]:
    """The settings of a file, after those of its `base`; `above` are the files that led here."""
    try:
        raw = yaml.load(path.read_text(encoding='utf8'), Loader) or {}
    except FileNotFoundError:
        named = f', which {above[-1]} names as its base,' if above else ''
        raise UserError(f'configuration {path}{named} does not exist; see configs/') from None
    except OSError as error:
        raise UserError(f'configuration {path} cannot be read ({error.strerror}); see configs/') from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f'configuration {path} is not valid YAML: {" ".join(str(error).split())}') from None
    if not isinstance(raw, dict):
        raise UserError(f'configuration {path} must be a mapping of settings')
    base, own = raw.pop('base', None), [(f'in {path}', raw)]
    if base is None:
        return own
    if not isinstance(base, str):
        raise UserError(f'configuration {path}: base = {base!r} must be the path of another configuration, relative to this one')
    if path.resolve() in {file.resolve() for file in above}:
        raise UserError(f'configuration {path} is, over `base`, its own base; take one of these out')
    return _read(path.parent / Path(base).expanduser(), (*above, path)) + own


def _alone(overrides: list[str]) -> dict[str, Any]:
    """What arguments say, without what they lie on."""
    raw: dict[str, Any] = {}
    override(raw, overrides)
    return raw


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Settings of both, section by section; where both have a value, or a list, that of `above`."""
    out = dict(below)
    for key, value in above.items():
        old = out.get(key)
        out[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return out


def _parse(setting: str, text: str) -> Any:
    try:
        value = yaml.load(text, Loader)
    except yaml.YAMLError:
        raise UserError(f'{setting!r}: the value is not valid YAML') from None
    if isinstance(value, dict):
        for name in (str(name) for name, part in value.items() if part is None and ':' in str(name)):  # {cmcl:4} is {'cmcl:4': null}
            same = f'{setting.partition("=")[0]}.{"=".join(name.split(":", 1))}'
            raise UserError(f'{setting!r}: in YAML a space follows a colon; {same} says the same without one')
    if isinstance(value, str):  # YAML 1.1 reads 1e-4 as a string
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _assign(raw: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        if raw.get(key) is None:
            raw[key] = {}
        raw = raw[key]
        if not isinstance(raw, dict):
            raise UserError(f'{".".join(keys)}: {key} is a single value, it has no parts')
    raw[keys[-1]] = value
