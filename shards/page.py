"""One HTML file that needs nothing else: a template, a script and data, under a policy that lets that script alone run."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

COMMON = Path(__file__).with_name('page.js')


def self_contained(template: Path, script: Path, data: Any) -> str:
    """The template with the policy at `@POLICY@`, the data as JSON at `@DATA@`, and at `@SCRIPT@`, in this order, page.js and the script.

    The script has the data and must set it as text, never as HTML. Nothing is fetched, and nothing else runs, whatever gets in.
    """
    code = COMMON.read_text(encoding='utf8') + script.read_text(encoding='utf8')
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
    # Within <script> only `<` matters: it could end the element, or begin a comment.
    block = json.dumps(data, ensure_ascii=False, allow_nan=False).replace('<', '\\u003c')
    head, rest = template.read_text(encoding='utf8').split('@POLICY@')
    middle, rest = rest.split('@DATA@')
    before, after = rest.split('@SCRIPT@')
    return ''.join([head, policy, middle, block, before, code, after])
