"""Every setting with its default, as `pretrain/run.py --help` lists them; docs/configuration.md says more (pretrain/config/page.py)."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from pydantic.fields import FieldInfo

from pretrain.config.page import default, default_part, sections
from pretrain.config.root import Config

WIDTH = 100


def settings_help() -> str:
    """A line `key=default` for each setting of a pre-training, as it could be given, and below it what it means."""
    return '\n'.join(
        described(key, 'null' if field.default is None else default(field).strip('`'), field)
        for key, field in fields() if not key.startswith('finetune')
    )  # fmt: skip


def fields() -> Iterator[tuple[str, FieldInfo]]:
    """(key, field) of every setting."""
    for prefix, model in sections(Config, ''):
        for name, field in model.model_fields.items():
            if not default_part(field):
                yield prefix + (field.alias or name), field


def described(key: str, value: object, field: FieldInfo) -> str:
    """A setting's lines: its value, and what it means."""
    meaning = textwrap.wrap(field.description or '', WIDTH, initial_indent=' ' * 6, subsequent_indent=' ' * 6)
    return '\n'.join([f'  {key}={value}', *meaning])
