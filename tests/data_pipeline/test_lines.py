"""Lines come through unchanged whatever they contain, or are counted."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_pipeline.drops import Drops
from data_pipeline.lines import text_lines, utf8_blocks
from shards.errors import UserError

LINES = st.lists(st.text(st.characters(exclude_characters='\n', exclude_categories=['Cs'])))


@pytest.mark.parametrize(('suffix', 'pack'), [('', bytes), ('.gz', gzip.compress), ('.xz', lzma.compress)])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(lines=LINES)
def test_any_text_comes_through(tmp_path: Path, suffix: str, pack: type[bytes], lines: list[str]) -> None:
    path = tmp_path / f'text{suffix}'
    path.write_bytes(pack(''.join(f'{line}\n' for line in lines).encode()))
    assert list(text_lines(path, Drops())) == lines
    assert b''.join(block + b'\n' for block in utf8_blocks(path, Drops())).decode().split('\n')[:-1] == lines


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(content=st.binary())
def test_any_bytes_come_through_or_are_counted(tmp_path: Path, content: bytes) -> None:
    (tmp_path / 'bytes').write_bytes(content)
    drops = Drops()
    lines = list(text_lines(tmp_path / 'bytes', drops))
    raw = content.split(b'\n')[: content.count(b'\n') + (not content.endswith(b'\n') and content != b'')]
    assert len(lines) + drops.counts['invalid_utf8'] == len(raw)
    assert {line.encode() for line in lines} <= set(raw)


@pytest.mark.parametrize('block', [1, 3, 8])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(content=st.binary() | st.lists(st.sampled_from([b'\n', b'a', b'\xff', b'long line', b'\n\n'])).map(b''.join))
def test_blocks_are_lines(tmp_path: Path, block: int, content: bytes) -> None:
    """Whatever the size of a block: the lines of `text_lines`, the same counts."""
    (tmp_path / 'bytes').write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('data_pipeline.lines._BLOCK', block)
        patch.setattr('data_pipeline.lines.LONGEST_LINE', 9)
        one, other = Drops(), Drops()
        blocks = b''.join(text + b'\n' for text in utf8_blocks(tmp_path / 'bytes', one)).decode().split('\n')[:-1]
        assert blocks == list(text_lines(tmp_path / 'bytes', other))
        assert one.counts == other.counts


def test_endless_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('data_pipeline.lines.LONGEST_LINE', 10)
    (tmp_path / 'text').write_bytes(b'short\n' + b'x' * 10_000 + b'\nafter\n123456789\n' + b'y' * 10)
    drops = Drops()
    assert list(text_lines(tmp_path / 'text', drops)) == ['short', 'after', '123456789']
    assert drops.counts == {'line_too_long': 2}


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='cannot be read'):
        list(text_lines(tmp_path / 'missing.gz', Drops()))
