"""A page is one file: what all pages have comes first, and nothing in the data ends the block that it lies in."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

from shards.page import COMMON, self_contained


def test_one_file_of_all(tmp_path: Path) -> None:
    place = tmp_path / 'own'
    for suffix, text in (('.html', '<main></main>\n'), ('.css', 'main { color: red; }\n'), ('.js', 'show(data);\n')):
        place.with_suffix(suffix).write_text(text)
    data = {'said': '</script><!-- @SCRIPT@ @DATA@ \\1 é'}
    page = self_contained(place, 'Own', data)
    assert '<title>Own</title>' in page and '<body>\n<main></main>\n<script' in page
    (style,) = re.findall('<style>\n(.*?)</style>', page, re.S)
    block, script = re.findall('<script[^>]*>(.*?)</script>', page, re.S)
    common = {suffix: COMMON.with_suffix(suffix).read_text(encoding='utf8') for suffix in ('.css', '.js')}
    assert (style, script) == (common['.css'] + 'main { color: red; }\n', common['.js'] + 'show(data);\n')
    assert json.loads(block) == data and '<' not in block
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
