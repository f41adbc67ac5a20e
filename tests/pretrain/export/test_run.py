"""From a real run to a stranger's first lines: the card of its export says what the run was, and its example runs."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pretrain.export.card import CARD
from pretrain.model.folder import CONFIG
from pretrain.model.load import find_model
from pretrain.records import EVALUATION, read_lines
from tests.support.distributed import alone
from tests.support.exported import SAMPLE
from tests.support.launch import BIN, command, prewarmed, run, succeed

pytestmark = [pytest.mark.slow, pytest.mark.launcher]


def test_a_run_its_card_and_the_cards_example(home: Path, tmp_path: Path) -> None:
    out, settings = tmp_path / 'run', ['steps=2', 'data.workers=0', 'eval.every=2']
    retrieval = f'eval.retrieval={{data: {SAMPLE / "multi30k_emoji"}, languages: [de, en]}}'
    succeed(command(prewarmed(1), home, out, *settings, retrieval), tmp_path)
    exported = run([*alone(), str(BIN / 'pretrain'), 'export', str(out), '--out', 'unix2'], tmp_path)
    assert exported.returncode == 0 and exported.stderr == '', exported.stderr
    card = (tmp_path / 'unix2' / CARD).read_text(encoding='utf8')

    assert '2 optimizer steps' in card and 'Not counted' not in card
    corpora = {row.split(' | ')[0].strip('| ') for row in re.findall(r'^\| .*$', card, re.MULTILINE)}
    assert (
        {'cc3m', 'cc12m', 'wit', 'cc100', 'opus'} <= corpora
        and '| test |' in card
        and 'unknown: not recorded' in card
        and '\n- de\n' in card
    )
    noted = json.loads((tmp_path / 'unix2' / CONFIG).read_text())['languages']
    assert {'de', 'en', 'zh'} <= set(noted) and noted == sorted(noted) and find_model(tmp_path / 'unix2').languages == tuple(noted)
    last = read_lines(out / EVALUATION)[-1]
    assert last['step'] == 2 and f'| mlm | {last["heldout"]["mlm"]["mean"]:.3f} |' in card
    recalls = [100 * value for way in ('text_to_image', 'image_to_text') for value in last['retrieval']['de'][way]]
    assert f'| de | {" | ".join(f"{value:.1f}" for value in recalls)} |' in card
    assert '## Licences' in card and 'Apache License 2.0' in card

    (example,) = re.findall(r'```python\n(.*?)```', card, re.DOTALL)
    (tmp_path / 'picture.jpg').write_bytes(next((SAMPLE / 'multi30k_emoji' / 'images').iterdir()).read_bytes())
    (tmp_path / 'example.py').write_text(example)
    environment = {**os.environ, 'HF_HOME': str(tmp_path / 'cache'), 'HF_HUB_OFFLINE': '1', 'OMP_NUM_THREADS': '1'}
    done = subprocess.run([sys.executable, 'example.py'], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr == '', done.stderr
    caption, translation, scores = map(ast.literal_eval, done.stdout.splitlines())
    assert [len(caption), len(translation), len(scores), len(scores[0])] == [1, 1, 1, 2]
