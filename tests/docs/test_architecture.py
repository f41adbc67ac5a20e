"""docs/architecture.md names every module and folder of the rooms that it has tables of, and nothing that is not there."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ('shards', 'data_pipeline', 'pretrain', 'downstream', 'benchmarks')


@pytest.mark.parametrize('room', ROOMS)
def test_every_module_has_its_line(room: str) -> None:
    text = (ROOT / 'docs/architecture.md').read_text(encoding='utf8')
    table = text.partition(f'\n`{room}/`: ')[2].partition('\n\n')[2].partition('\n\n')[0]
    named = {name for row in table.splitlines() for name in re.findall(r'`([\w*]+(?:\.py|/))`', row.split(' | ')[0])}
    entries = [path for path in (ROOT / room).iterdir() if not path.name.startswith('__')]
    there = {path.name if path.is_file() else f'{path.name}/' for path in entries if path.suffix == '.py' or any(path.rglob('*.py'))}
    missing = {name for name in there if not any(fnmatch(name, pattern) for pattern in named)}
    assert len(there) > 5 and missing == set()
    assert {pattern for pattern in named if not any(fnmatch(name, pattern) for name in there)} == set()


def test_the_diagram_names_what_is_there() -> None:
    drawn = re.findall(r'[\w/]+(?:/|\.py)(?=[\s,<])', (ROOT / 'docs/data-way.svg').read_text(encoding='utf8').partition('<text')[2])
    assert len(drawn) > 8
    for path in drawn:
        assert (ROOT / path).exists() or (ROOT / 'pretrain' / path).exists(), path
