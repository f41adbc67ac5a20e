"""One HTML file that needs nothing else: a template, a script and data, under a policy that lets that script alone run."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any


def self_contained(template: Path, script: Path, data: Any) -> str:
    """The template with the policy at `@POLICY@`, the data as JSON at `@DATA@` and the script at `@SCRIPT@`, which come in this order.

    The script reads the data as text and must set it as text, never as HTML. Nothing is fetched, and nothing else runs, whatever gets in.
    """
    code = script.read_text(encoding='utf8')
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
    # Within <script> only `<` matters: it could end the element, or begin a comment.
    block = json.dumps(data, ensure_ascii=False, allow_nan=False).replace('<', '\\u003c')
    head, rest = template.read_text(encoding='utf8').split('@POLICY@')
    middle, rest = rest.split('@DATA@')
    before, after = rest.split('@SCRIPT@')
    return ''.join([head, policy, middle, block, before, code, after])
