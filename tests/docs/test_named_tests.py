"""Every test that a document names is there."""

from __future__ import annotations

import ast
import re

from tests.docs.commands import ROOT

NAMED = re.compile(r'`(tests/[\w/.]+\.py)(?:::(\w+))?`')


def test_every_test_that_a_document_names_is_there() -> None:
    documents = [ROOT / 'README.md', *(ROOT / 'docs').rglob('*.md')]
    named = {found for path in documents for found in NAMED.findall(path.read_text(encoding='utf8'))}
    assert len(named) > 25
    for file, name in named:
        tree = ast.parse((ROOT / file).read_text(encoding='utf8'))
        assert not name or name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f'{file}::{name}'
