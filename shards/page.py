"""One HTML file that needs nothing else: a body, a style, a script and data, under a policy that lets that script alone run."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

COMMON = Path(__file__).with_suffix('')


def self_contained(page: Path, title: str, data: Any) -> str:
    """The page whose body is PAGE.html; what the pages have in common (page.html, page.css, page.js) comes before PAGE.css and PAGE.js.

    The script has the data and must set it as text, never as HTML. Nothing is fetched, and nothing else runs, whatever gets in.
    """
    style, script = (_read(COMMON, suffix) + _read(page, suffix) for suffix in ('.css', '.js'))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = {
        'POLICY': f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'",
        'TITLE': title,
        'STYLE': style,
        'BODY': _read(page, '.html'),
        # Within <script> only `<` matters: it could end the element, or begin a comment.
        'DATA': json.dumps(data, ensure_ascii=False, allow_nan=False).replace('<', '\\u003c'),
        'SCRIPT': script,
    }
    return re.sub('@([A-Z]+)@', lambda found: parts[found[1]], _read(COMMON, '.html'))


def _read(place: Path, suffix: str) -> str:
    return place.with_suffix(suffix).read_text(encoding='utf8')
