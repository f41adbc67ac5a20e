"""The files that a run leaves, after an attempt that died."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from pretrain.boards.tensorboard import TensorBoard
from pretrain.records import EVALUATION, EVENTS, METRICS, Records, read_lines, set_aside
from shards.errors import UserError


def lines(*steps: int) -> str:
    return ''.join(json.dumps({'step': step, 'loss': step / 7}) + '\n' for step in steps)


def test_later_lines_are_set_aside(tmp_path: Path) -> None:
    path = tmp_path / METRICS
    path.write_text(lines(1, 2, 3, 4) + '{"step": 5, "lo')
    set_aside(path, 2)
    assert path.read_text() == lines(1, 2)
    assert (tmp_path / 'metrics.attempt-1.jsonl').read_text() == lines(3, 4) + '{"step": 5, "lo'
    path.write_text(lines(1, 2, 3))
    set_aside(path, 2)
    assert path.read_text() == lines(1, 2)
    assert (tmp_path / 'metrics.attempt-2.jsonl').read_text() == lines(3)
    assert (tmp_path / 'metrics.attempt-1.jsonl').read_text() == lines(3, 4) + '{"step": 5, "lo'


def test_nothing_to_set_aside(tmp_path: Path) -> None:
    set_aside(tmp_path / METRICS, 2)
    (tmp_path / METRICS).write_text(lines(1, 2))
    set_aside(tmp_path / METRICS, 2)
    assert [path.name for path in tmp_path.iterdir()] == [METRICS]


@pytest.mark.parametrize('tail', [lines(2)[:-1], '{"step": 2', '{"step": "two"}\n', '[2]\n', '{"x": 2}\n', '\n'])
def test_lines_that_are_none_are_set_aside(tmp_path: Path, tail: str) -> None:
    """Also a line that lacks nothing but its end, to which the next would be glued."""
    path = tmp_path / METRICS
    path.write_text(lines(1) + tail)
    set_aside(path, 2)
    assert path.read_text() == lines(1)
    assert (tmp_path / 'metrics.attempt-1.jsonl').read_text() == tail


def test_texts_are_cut_at_line_ends_only(tmp_path: Path) -> None:
    path = tmp_path / METRICS
    odd = json.dumps({'step': 1, 'text': 'a\u2028b\x85c ü'}, ensure_ascii=False).encode() + b'\n'
    path.write_bytes(odd + 'ü'.encode()[:1])
    set_aside(path, 1)
    assert path.read_bytes() == odd
    assert (tmp_path / 'metrics.attempt-1.jsonl').read_bytes() == 'ü'.encode()[:1]
    assert read_lines(path)[0]['text'] == 'a\u2028b\x85c ü'


def test_a_run_goes_on_in_its_files(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_text(lines(1, 2, 3))
    (tmp_path / EVALUATION).write_text(lines(0, 3))
    (tmp_path / EVENTS).write_text('{"event": "start", "step": 0}\n{"event": "checkp')
    records = Records(tmp_path, 2, [TensorBoard(tmp_path / 'tensorboard', 2)])
    assert [line['step'] for line in records.evaluations()] == [0]
    numbers = dict.fromkeys(('lr', 'grad_norm', 'samples_per_s', 'data_wait', 'logit_scale'), 0.5)
    records.metrics({'step': 3, 'loss': {'mt': 0.1, 'total': 0.1}, **numbers})
    heldout = {'mt': {'mean': 1.5, 'languages': {'de': 1.5}}, 'plm': {'mean': None, 'languages': {}}}
    recall = {'text_to_image': [0.1, 0.2, 0.3], 'image_to_text': [0.2, 0.3, 0.4]}
    records.evaluation({'step': 3, 'heldout': heldout, 'retrieval': {'de': recall}})
    records.event('resume', step=2)
    records.sync()
    assert [line['step'] for line in records.evaluations()] == [0, 3]
    records.close()
    assert [line['step'] for line in read_lines(tmp_path / METRICS)] == [1, 2, 3]
    assert [line['step'] for line in read_lines(tmp_path / EVALUATION)] == [0, 3]
    assert [line['event'] for line in read_lines(tmp_path / EVENTS)] == ['start', 'resume']
    assert {path.name for path in tmp_path.glob('*attempt*')} == {f'{name}.attempt-1.jsonl' for name in ('metrics', 'evaluation', 'events')}
    assert list((tmp_path / 'tensorboard').iterdir())


def test_what_is_not_finite_is_null(tmp_path: Path) -> None:
    records = Records(tmp_path, 0)
    records.metrics({'step': 1, 'loss': {'mt': math.nan, 'total': -math.inf}, 'grad_norm': math.inf, 'lr': 0.5})
    records.close()
    assert read_lines(tmp_path / METRICS) == [{'step': 1, 'loss': {'mt': None, 'total': None}, 'grad_norm': None, 'lr': 0.5}]


def test_reading(tmp_path: Path) -> None:
    path = tmp_path / METRICS
    with pytest.raises(UserError, match=f'{path} does not exist; is {tmp_path} the folder of a run'):
        read_lines(path)
    path.write_text(lines(1) + lines(2)[:-1])
    assert [line['step'] for line in read_lines(path)] == [1], 'the last line is still being written'
    path.write_text(lines(1) + '{\n' + lines(2))
    with pytest.raises(UserError, match='line 2 is not JSON'):
        read_lines(path)
