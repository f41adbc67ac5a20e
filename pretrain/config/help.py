"""Every setting with its default, as `pretrain/run.py --help` lists them; docs/configuration.md says more (pretrain/config/page.py)."""
from __future__ import annotations

import textwrap

from pretrain.config.page import default, default_part, sections
from pretrain.config.root import Config

WIDTH = 100


def settings_help() -> str:
    """A line `key=default` for each setting of a pre-training, as it could be given, and below it what it means."""
    lines = []
    for prefix, model in sections(Config, ''):
        for name, field in model.model_fields.items():
            key = prefix + (field.alias or name)
            if default_part(field) or key.startswith('finetune'):
                continue
            lines.append(f'  {key}={"null" if field.default is None else default(field).strip("`")}')
            lines += textwrap.wrap(field.description or '', WIDTH, initial_indent=' ' * 6, subsequent_indent=' ' * 6)
    return '\n'.join(lines)
