"""The floor's figures on the sample: those that were published with the data."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.ridge_floor import compare, fit, floor
from shards.errors import UserError

ROOT = Path(__file__).parents[2]
RAW, SEEN = ROOT / 'sample' / 'raw', ROOT / 'sample' / 'evaluation' / 'multi30k_seen'


def test_figures_on_the_sample() -> None:
    found = floor(RAW, SEEN)
    assert (found['pictures'], found['pool']) == (1298, 183)
    rounded = {language: [round(recall, 3) for recall in recalls] for language, recalls in found['text_to_image'].items()}
    assert rounded['en'] == [0.197, 0.388, 0.514]
    assert rounded['de'] == [0.224, 0.383, 0.492]
    assert rounded['fr'] == [0.197, 0.377, 0.481]
    assert rounded['cs'] == [0.24, 0.383, 0.492]
    assert rounded['ta'] == [0.016, 0.055, 0.077]  # a script that it never saw
    assert found['mean'] == pytest.approx([0.096, 0.172, 0.229], abs=1e-3)
    assert compare(found, None)['ratio'] == pytest.approx(9.05, rel=1e-3)


def test_command_prints_one_line_and_compares(tmp_path: Path) -> None:
    recalls = {language: {'text_to_image': {'R@10': 0.6}} for language in ('en', 'de', 'fr', 'cs', 'ta')}
    (tmp_path / 'result.json').write_text(json.dumps({'languages': recalls}))
    files = [RAW, SEEN, '--result', tmp_path / 'result.json', '--out', tmp_path / 'floor.json']
    command = [sys.executable, 'benchmarks/ridge_floor.py', *map(str, files)]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert printed.count('\n') == 1
    line = json.loads(printed)
    assert (line['ours'], line['peer'], line['ratio']) == (0.6, 0.495, 1.213)
    assert json.loads((tmp_path / 'floor.json').read_text())['pictures'] == 1298


def test_folder_without_pictures() -> None:
    with pytest.raises(UserError, match='name the folder that holds cc3m and cc12m'):
        fit(RAW / 'opus')
