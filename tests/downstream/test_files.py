from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from downstream.files import write_array, write_json


def test_files_are_whole_and_without_pickle(tmp_path: Path) -> None:
    write_json(tmp_path / 'a/b/result.json', {'text': 'Wäsche 望遠鏡'})
    write_array(tmp_path / 'a/b/array.npy', np.arange(6, dtype=np.float32).reshape(2, 3))
    assert json.loads((tmp_path / 'a/b/result.json').read_text(encoding='utf8')) == {'text': 'Wäsche 望遠鏡'}
    assert np.load(tmp_path / 'a/b/array.npy', allow_pickle=False).shape == (2, 3)
    assert sorted(path.name for path in (tmp_path / 'a/b').iterdir()) == ['array.npy', 'result.json']
