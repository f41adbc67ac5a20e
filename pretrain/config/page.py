"""The page of every setting, docs/configuration.md, made of the configuration's own types, defaults and descriptions:

python -m pretrain.config.page > docs/configuration.md
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pretrain.config.root import Config
from pretrain.config.section import section_of
from pretrain.config.tasks import FineTuneTask, PaperTask, Task

FURTHER = [task for task in get_args(Task) if task not in get_args(PaperTask) + get_args(FineTuneTask)]
HEAD = f"""# Configuration

<!-- Written by `python -m pretrain.config.page > docs/configuration.md`; change the descriptions in pretrain/config/, not here. -->

Every setting of a run. A YAML file holds those that differ from the defaults (`--config FILE`; the files in `configs/` are examples), and
`key.sub=value` on the command line replaces them, e.g. `steps=100 batch.global=64 tasks=[cmcl,mt]`. A file may name another one as its
`base`, relative to itself, and then holds only what differs. A single word for a list is a list of one (`tasks=cmcl`), `~` at the
beginning of a path is the home folder, and `no` among languages is Norwegian. An unknown setting is an error that names the nearest
one. `--print-config` behind `python pretrain/run.py` prints what a run would have, and `RUN/config.yaml` keeps what it had.

A *task* is one of the paper's ({', '.join(get_args(PaperTask))}), a further one ({', '.join(FURTHER)}), or, in a fine-tuning,
one of {', '.join(get_args(FineTuneTask))}.
"""
LIMITS = {'ge': 'at least', 'gt': 'above', 'le': 'at most', 'lt': 'below', 'min_length': 'length at least'}


def page() -> str:
    """The whole page, Markdown."""
    return HEAD + ''.join(_section(name, model) for name, model in sections(Config, ''))


def sections(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """(dotted name, model) of a configuration and of every part of it, outer ones first."""
    yield prefix, model
    for name, field in model.model_fields.items():
        part = section_of(field.annotation)
        if part is not None:
            yield from sections(part, f'{prefix}{field.alias or name}.')


def _section(prefix: str, model: type[BaseModel]) -> str:
    rows = [_row(prefix + (field.alias or name), field) for name, field in model.model_fields.items() if not default_part(field)]
    title = prefix.rstrip('.') or 'At the top'
    said = '' if model.__doc__ is None or model is Config else f'{" ".join(model.__doc__.split())}\n\n'
    return f'\n## {title}\n\n{said}| setting | type | default | meaning |\n|---|---|---|---|\n' + ''.join(rows) if rows else ''


def default_part(field: FieldInfo) -> bool:
    """Whether a field is a section that is always there: it has a table of its own and no value to show."""
    return isinstance(field.default, BaseModel)


def _row(name: str, field: FieldInfo) -> str:
    cells = (f'`{name}`', _kind(field.annotation) + _limits(field.metadata), default(field), field.description or '')
    return '| ' + ' | '.join(cell.replace('|', '\\|').replace('<', '&lt;') for cell in cells) + ' |\n'


def _kind(annotation: Any) -> str:
    """A type in words."""
    if annotation == Task:
        return 'task'
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0]) + _limits(arguments[1:])
    if origin is Literal:
        return ', '.join(f'`{choice}`' for choice in arguments)
    if origin in (Union, types.UnionType):
        return ' or '.join('none' if one is type(None) else _kind(one) for one in arguments)
    if origin is list:
        return f'list of {_kind(arguments[0])}'
    if origin is tuple:
        return f'{len(arguments)} of {_kind(arguments[0])}'
    if origin is dict:
        return f'map of {_kind(arguments[0])} to {_kind(arguments[1])}'
    if section_of(annotation) is not None:
        return 'the section below'
    named = {str: 'text', int: 'integer', float: 'number', bool: 'true or false', Any: 'any value'}
    return named[annotation]


def _limits(metadata: Any) -> str:
    """The bounds of a number, or of a list's length."""
    limits = [limit for one in metadata for limit in (one.metadata if isinstance(one, FieldInfo) else (one,))]
    found = [(said, getattr(limit, name, None)) for limit in limits for name, said in LIMITS.items()]
    words = [f'{said} {bound:g}' for said, bound in found if bound is not None]
    return f', {", ".join(words)}' if words else ''


def default(field: FieldInfo) -> str:
    if field.is_required():
        return 'must be given'
    value = field.get_default(call_default_factory=True)
    if value is None:
        return 'none'
    shown = list(value) if isinstance(value, tuple) else value
    return '`' + yaml.safe_dump(shown, default_flow_style=True, width=1000).removesuffix('...\n').strip() + '`'


if __name__ == '__main__':
    print(page(), end='')
