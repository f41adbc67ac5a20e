"""docs/configuration.md is what the configuration says today, of every setting."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from pretrain.config import Config, FineTune
from pretrain.config.page import page

COMMITTED = Path(__file__).parents[3] / 'docs/configuration.md'


def settings(model: type[BaseModel], prefix: str = '') -> list[str]:
    """Dotted names of all settings, sections left out, written without the page's own code."""
    names = []
    for name, field in model.model_fields.items():
        part = type(field.default) if isinstance(field.default, BaseModel) else None
        names += settings(part, f'{prefix}{name}.') if part else [prefix + (field.alias or name)]
        assert part or field.description, f'{prefix}{name} has no description'
    return names


def test_the_committed_page_is_the_generated_one() -> None:
    assert COMMITTED.read_text(encoding='utf8') == page(), 'python -m pretrain.config.page > docs/configuration.md'


def test_it_has_every_setting_once() -> None:
    text = page()
    names = settings(Config) + settings(FineTune, 'finetune.')
    assert len(names) > 80 and 'batch.global' in names
    assert {name: text.count(f'\n| `{name}` |') for name in names} == dict.fromkeys(names, 1)


def test_a_row_says_type_limits_and_default() -> None:
    assert "| `optimizer.betas` | 2 of number, at least 0, below 1 | `[0.9, 0.999]` | decay of AdamW's two moments |" in page()
    assert '| `precision` | `fp32`, `bf16` | `bf16` |' in page()
    assert '| `finetune.benchmark` | `multi30k-retrieval`, `multi30k-translation`, `coco`,' in page()
