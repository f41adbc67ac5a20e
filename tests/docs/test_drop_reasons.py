"""docs/data.md explains every reason for which a record is dropped."""

from __future__ import annotations

import re

from data_pipeline.reasons import REASONS
from tests.docs.commands import ROOT

DOCS = (ROOT / 'docs/data.md').read_text(encoding='utf8')


def test_every_drop_reason_is_explained() -> None:
    code = '\n'.join(path.read_text(encoding='utf8') for path in (ROOT / 'data_pipeline').rglob('*.py'))
    reasons = set(re.findall(r"(?:drops\.add|BadPicture)\(\s*'(\w+)'", code))
    rules = '\n'.join((ROOT / f'data_pipeline/{name}.py').read_text(encoding='utf8') for name in ('cleaning', 'build_bitext'))
    reasons |= set(re.findall(r"return '(\w+)'", rules)) | {
        'duplicate_url',
        'duplicate_picture',
        'picture_truncated',
        'picture_not_decodable',
    }
    assert len(reasons) > 25 and 'language' in reasons
    assert {reason for reason in reasons if f'`{reason}`' not in DOCS} == set()
    assert reasons <= set(REASONS)  # what `show` tells
