"""docs/data.md explains every drop reason, and shows no flag that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

from data_pipeline.cli import parser
from data_pipeline.reasons import REASONS

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / 'docs/data.md').read_text(encoding='utf8')


def test_every_drop_reason_is_explained() -> None:
    code = '\n'.join(path.read_text(encoding='utf8') for path in (ROOT / 'data_pipeline').rglob('*.py'))
    reasons = set(re.findall(r"(?:drops\.add|BadPicture)\(\s*'(\w+)'", code))
    cleaning = (ROOT / 'data_pipeline/cleaning.py').read_text(encoding='utf8')
    reasons |= set(re.findall(r"return '(\w+)'", cleaning)) | {
        'duplicate_url',
        'duplicate_picture',
        'picture_truncated',
        'picture_not_decodable',
    }
    assert len(reasons) > 25
    assert {reason for reason in reasons if f'`{reason}`' not in DOCS} == set()
    assert reasons <= set(REASONS)  # what `show` tells


def test_commands_parse() -> None:
    lines = [line.removeprefix('$ ') for line in DOCS.splitlines() if re.match(r'(\$ )?data_pipeline \w', line)]
    assert len(lines) > 10
    for line in lines:
        parser().parse_args(line.split()[1:])
