"""`downstream xgqa finetune` and `evaluate` on a set that a tiny model learns in part."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from downstream.accuracy import paper_figures
from downstream.cli import run
from downstream.xgqa import XGQA
from pretrain.records import EVENTS, METRICS, read_lines
from shards.errors import UserError
from tests.downstream.in_ranks import train_in_ranks
from tests.support import finetunings
from tests.support.finetunings import result
from tests.support.toy_benchmarks import write_xgqa

SETTINGS = [
    'steps=250', 'optimizer.lr=1e-2', 'optimizer.warmup=20', 'eval.every=50', 'checkpoint.every=250', 'batch.global=32', 'batch.micro=32',
    *finetunings.SETTINGS,
]  # fmt: skip


@pytest.fixture(scope='module')
def home(tmp_path_factory: pytest.TempPathFactory, export: Path) -> Path:
    """A folder with `data`, and the run in `out`."""
    home = tmp_path_factory.mktemp('xgqa')
    write_xgqa(home / 'data')
    (home / 'data/zero_shot').mkdir()
    shutil.copy(home / 'data/few_shot/de/test.json', home / 'data/zero_shot/testdev_balanced_questions_de.json')
    shutil.copy(home / 'data/few_shot/en/test.json', home / 'data/zero_shot/testdev_balanced_questions_en.json')
    folders = ['--model', str(export), '--data', str(home / 'data'), '--out', str(home / 'out')]
    train_in_ranks(1, home, 'xgqa', 'finetune', *folders, *SETTINGS)
    assert run(['xgqa', 'evaluate', '--model', str(home / 'out'), *folders[2:]]) == 0
    return home


@pytest.mark.slow
@pytest.mark.launcher
def test_learns_more_than_the_questions_alone_tell(home: Path) -> None:
    """Of four questions a picture one asks for its colour, which is a guess without it, and two of the others are answered with no."""
    english = result(home / 'out')['languages']['en']
    assert (english['rows'], english['majority']) == (73, pytest.approx(36 / 73))
    assert english['accuracy'] > 0.62 > 7 / 12
    losses = [line['loss']['answering'] for line in read_lines(home / 'out' / METRICS)]
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


@pytest.mark.slow
@pytest.mark.launcher
def test_both_test_sets_and_every_answer(home: Path) -> None:
    whole = result(home / 'out')
    assert (whole['set'], list(whole['also'])) == ('few_shot', ['testdev'])
    assert whole['also']['testdev']['languages'] == whole['languages']  # here they are the same questions
    asked = json.loads((home / 'data/few_shot/en/test.json').read_text())
    answers = [json.loads(line) for line in (home / 'out/answers.en.jsonl').read_text().splitlines()]
    assert [line['id'] for line in answers] == list(asked)
    right = sum(line['answer'] == asked[line['id']]['answer'] for line in answers)
    assert whole['languages']['en']['accuracy'] == pytest.approx(right / 73)
    assert (answers[-1]['id'], answers[-1]['right']) == ('rare', '')  # an answer that cannot be given
    assert (home / 'out/answers.testdev.de.jsonl').read_bytes() == (home / 'out/answers.de.jsonl').read_bytes()


@pytest.mark.slow
@pytest.mark.launcher
def test_evaluation_needs_no_list_of_answers(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The model knows its own."""
    data = Path(shutil.copytree(home / 'data', tmp_path / 'data'))
    for name in ('train.json', 'valid.json', 'trainval_ans2label.json'):
        (data / name).unlink()
    arguments = ['xgqa', 'evaluate', '--model', str(home / 'out'), '--data', str(data), '--out', str(tmp_path / 'out')]
    assert run([*arguments, '--languages', 'de']) == 0
    assert result(tmp_path / 'out')['languages']['de'] == result(home / 'out')['languages']['de']
    printed = capsys.readouterr().out
    assert 'testdev' in printed and '49.7' in printed


@pytest.mark.slow
@pytest.mark.launcher
@pytest.mark.usefixtures('launched')
def test_test_sets_of_different_languages(export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On GPUs the tests, too, are done by ranks, here of the CPU: each set in the languages that it has. They are done again when a test
    picture is another, and not otherwise.
    """
    data, out = tmp_path / 'data', tmp_path / 'out'
    write_xgqa(data)
    (data / 'zero_shot').mkdir()
    for language, code in (('en', 'en'), ('de', 'fr')):
        shutil.copy(data / f'few_shot/{language}/test.json', data / f'zero_shot/testdev_balanced_questions_{code}.json')
    settings = ['steps=2', 'optimizer.warmup=0', 'batch.global=32', 'batch.micro=16', *finetunings.SETTINGS]
    words = finetunings.words(['xgqa', 'finetune'], export, data, out, *settings, '--ranks', '2')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert run(words) == 0
    first, events = result(out), (out / EVENTS).read_bytes()
    assert (list(first['languages']), list(first['also']['testdev']['languages'])) == (['en', 'de'], ['en', 'fr'])
    assert run(words) == 0
    assert (out / EVENTS).read_bytes() == events
    shutil.copy(data / 'images/test0.jpg', data / 'images/test1.jpg')
    assert run(words) == 0
    again = result(out)
    assert again['data']['pictures_sha256'] != first['data']['pictures_sha256'] and again['data']['sha256'] == first['data']['sha256']
    assert run([*words, '--languages', 'deu']) == 0
    assert list(result(out)['languages']) == ['de'] and not result(out)['also']
    with pytest.raises(UserError, match=r'has no few_shot/fr/test\.json; it has de en'):
        run([*words, '--languages', 'fr'])
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert run(['xgqa', 'evaluate', '--model', str(out), '--data', str(data), '--out', str(tmp_path / 'one'), '--languages', 'de']) == 0
    assert result(tmp_path / 'one')['languages'] == result(out)['languages']


def test_figures_of_the_paper() -> None:
    figures = paper_figures(XGQA)
    assert (figures['paper']['en'], figures['paper']['mean'], figures['paper']['ko'], figures['UC2']['mean']) == (56.68, 40.63, 37.0, 29.35)
