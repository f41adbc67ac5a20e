"""The real command, `downstream xvnli finetune`: two processes on a set that a tiny model learns; killed, it goes on to the same bits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from downstream.accuracy import evaluate
from downstream.cli import run
from downstream.files import RESULT
from downstream.xvnli import XVNLI
from pretrain.data.batch import Texts
from pretrain.data.images import evaluation_image
from pretrain.data.sequences import encoder_input
from pretrain.model.load import load_model
from pretrain.records import EVALUATION, EVENTS, METRICS, read_lines
from shards.errors import UserError
from tests.downstream.in_ranks import train_in_ranks
from tests.support import finetunings
from tests.support.distributed import LAUNCHED, run_distributed, virtual_environment
from tests.support.finetunings import result
from tests.support.launch import succeed
from tests.support.toy_benchmarks import write_xvnli

pytestmark = [pytest.mark.slow, pytest.mark.launcher]

SETTINGS = [
    'steps=150', 'optimizer.lr=1e-2', 'optimizer.warmup=20', 'eval.every=50', 'checkpoint.every=25', 'batch.global=32', 'batch.micro=32',
    *finetunings.SETTINGS,
]  # fmt: skip


@pytest.fixture(scope='module')
def home(tmp_path_factory: pytest.TempPathFactory, export: Path) -> Path:
    """A folder with `data`, and the base model in `base`."""
    home = tmp_path_factory.mktemp('finetune')
    write_xvnli(home / 'data')
    shutil.copytree(export, home / 'base')
    return home


def words(home: Path, out: str, *settings: str) -> list[str]:
    return finetunings.words(['xvnli', 'finetune'], home / 'base', home / 'data', home / out, *SETTINGS, *settings)


def train_and_test(home: Path, out: str) -> None:
    """What the command does with one rank, without its launcher."""
    train_in_ranks(1, home, *words(home, out))
    assert run(['xvnli', 'evaluate', '--model', str(home / out), '--data', str(home / 'data'), '--out', str(home / out)]) == 0


@pytest.fixture(scope='module')
def two(home: Path) -> Path:
    """Two ranks, started by the command and DeepSpeed's launcher, all in processes that have imported everything. (Those of one rank are
    started as ever in tests/cluster/test_finetune.py.)
    """
    succeed(
        [
            str(virtual_environment(home / 'venv', 'downstream', *LAUNCHED) / 'bin/downstream'),
            *words(home, 'two', 'batch.micro=16'),
            '--ranks',
            '2',
        ],
        home,
    )
    return home / 'two'


@pytest.fixture(scope='module')
def whole(home: Path) -> Path:
    """One rank, never stopped; then tested."""
    train_and_test(home, 'whole')
    return home / 'whole'


@pytest.fixture(scope='module')
def killed(home: Path) -> Path:
    """One rank, killed at step 100 and started again."""
    out = home / 'killed'
    assert finetunings.kill_at(100, words(home, 'killed'), out) < 150
    train_and_test(home, 'killed')
    return out


@pytest.mark.parametrize('ranks', ['two', 'whole'])
def test_learns_what_neither_picture_nor_text_says_alone(ranks: str, request: pytest.FixtureRequest) -> None:
    """Three of four right where each alone gives one of three."""
    english = result(request.getfixturevalue(ranks))['languages']['en']
    assert (english['rows'], english['rows_all'], english['majority']) == (54, 55, pytest.approx(1 / 3))
    assert english['accuracy'] > 0.75
    assert english['accuracy_all'] == pytest.approx(english['accuracy'] * 54 / 55)


def test_best_model_by_the_development_set_is_tested(two: Path) -> None:
    history = read_lines(two / EVALUATION)
    assert [line['step'] for line in history] == [0, 50, 100, 150]
    best = max(history[1:], key=lambda line: line['dev']['en'])['step']
    kept = json.loads((two / 'best/config.json').read_text())
    assert result(two)['model']['sha256'] == kept['weights_sha256']
    assert result(two)['trained']['dev'] == history
    if (two / f'checkpoints/step-{best:07d}').is_dir():  # older ones are removed
        shutil.copytree(two / f'checkpoints/step-{best:07d}', two.parent / f'alone/checkpoints/step-{best:07d}')
        ours, theirs = load_model(two).model.state_dict(), load_model(two.parent / 'alone').model.state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_answers_are_those_of_single_rows(whole: Path, home: Path) -> None:
    """A few lines of plain PyTorch, one row at a time, from the kept model; and the accuracy by hand."""
    loaded = load_model(whole)
    rows = [json.loads(line) for line in (home / 'data/en/test.jsonl').read_text().splitlines()]
    answers = [json.loads(line) for line in (whole / 'answers.en.jsonl').read_text().splitlines()]
    right = 0
    for row, answer in zip(rows, answers, strict=True):
        ids = torch.tensor(encoder_input(loaded.tokenizer.encode(row['sentence2']), loaded.tokenizer, 'en', 80))
        image = evaluation_image((home / f'data/images/{row["Flikr30kID"]}.jpg').read_bytes(), 32)[None]
        with torch.no_grad():
            state = loaded.model.fuse(Texts(ids, torch.tensor([len(ids)])), image, torch.tensor([0])).first()
            hidden = loaded.model.class_norm(F.gelu(loaded.model.class_dense(state)))
            choice = int(loaded.model.class_scores(hidden).argmax())
        label = ['entailment', 'neutral', 'contradiction'][choice]
        assert answer == {'id': row['pairID'], 'answer': label, 'right': None if row['gold_label'] == '-' else row['gold_label']}
        right += label == row['gold_label']
    assert result(whole)['languages']['en']['accuracy'] == pytest.approx(right / 54)


def test_evaluation_of_the_kept_model_gives_the_same(whole: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ['xvnli', 'evaluate', '--model', str(whole), '--data', str(home / 'data'), '--out', str(home / 'again')]
    assert run([*arguments, '--languages', 'deu,en', '--images', str(home / 'data/images')]) == 0
    again = result(home / 'again')
    assert list(again['languages']) == ['de', 'en']
    assert again['languages']['en'] == result(whole)['languages']['en']
    printed = capsys.readouterr().out
    assert 'of all rows' in printed and '87.7' in printed and 'mean but en' in printed


def test_killed_and_started_again_it_ends_with_the_same_bits(whole: Path, killed: Path) -> None:
    finetunings.assert_same_bits(killed, whole, 150)
    (resumed,) = [line['step'] for line in read_lines(killed / EVENTS) if line['event'] == 'resume']
    assert resumed >= 75
    assert result(killed)['languages'] == result(whole)['languages']


def test_two_ranks_see_the_same_samples_and_losses_as_one(whole: Path, two: Path) -> None:
    """The losses as long as rounding has not grown."""
    ours, theirs = (read_lines(out / METRICS) for out in (whole, two))
    assert [line['samples'] for line in ours] == [line['samples'] for line in theirs]
    assert len({line['samples'] for line in ours}) == 150
    for one, other in zip(ours[:20], theirs[:20], strict=True):
        assert one['loss']['entailment'] == pytest.approx(other['loss']['entailment'], rel=1e-4)
    assert read_lines(two / EVENTS)[0]['world'] == 2


def evaluate_in_rank(model: Path, data: Path, out: Path) -> torch.Tensor:
    """In a rank: evaluate, as under a launcher."""
    evaluate(XVNLI, model, data, out)
    return torch.tensor(0)


def test_two_ranks_test_a_model_as_one_does(whole: Path, home: Path, tmp_path: Path) -> None:
    run_distributed(evaluate_in_rank, 2, tmp_path, whole, home / 'data', tmp_path)
    assert result(tmp_path)['languages'] == result(whole)['languages']
    for language in ('en', 'de'):
        assert (tmp_path / f'answers.{language}.jsonl').read_bytes() == (whole / f'answers.{language}.jsonl').read_bytes()


def test_a_second_call_prints_the_result_again(two: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = (two / EVENTS).read_bytes()
    assert run(words(home, 'two', 'batch.micro=16', 'data.workers=1')) == 0
    printed = capsys.readouterr().out
    assert f'{100 * result(two)["languages"]["en"]["accuracy"]:.1f}' in printed
    assert (two / EVENTS).read_bytes() == events


def test_a_call_that_does_not_fit_is_refused(two: Path, home: Path) -> None:
    with pytest.raises(UserError, match=r'holds a run with optimizer.lr = 0.01, this one asks for 0.02; choose another --out'):
        run(words(home, 'two', 'batch.micro=16', 'optimizer.lr=2e-2'))
    with pytest.raises(UserError, match=r'was trained with model.dropout = 0.0, this run asks for 0.1'):
        run(words(home, 'two', 'batch.micro=16', 'model.dropout=0.1'))
    path = home / 'two' / RESULT
    ours = path.read_text()
    older = json.loads(ours)
    del older['trained']['settings']['task']['code_switch'], older['trained']['settings']['finetune']['text_only']
    path.write_text(json.dumps(older))
    assert run(words(home, 'two', 'batch.micro=16')) == 0, 'a result from before a setting was made with its default'
    older['trained']['settings']['optimizer']['old'] = 3
    path.write_text(json.dumps(older))
    with pytest.raises(UserError, match=r'holds a run with optimizer\.old = 3, a setting that this version does not have; choose another'):
        run(words(home, 'two', 'batch.micro=16'))
    path.write_text(ours)
    base = home / 'base/model.safetensors'
    before = base.read_bytes()
    base.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    with pytest.raises(UserError, match=r'comes from another model than .*base holds now \(sha256 .*; restore it, or choose another --out'):
        run(words(home, 'two', 'batch.micro=16'))
    base.write_bytes(before)
    rows = home / 'data/en/train.jsonl'
    lines = rows.read_bytes()
    rows.write_bytes(lines.replace(b'"red"', b'"blue"', 1))
    with pytest.raises(UserError, match=r'comes from another train set than .*data holds now'):
        run(words(home, 'two', 'batch.micro=16'))
    rows.write_bytes(lines)


def test_models_that_were_not_fine_tuned(export: Path, home: Path) -> None:
    arguments = ['xvnli', 'evaluate', '--model', str(export), '--data', str(home / 'data'), '--out', str(home / 'none')]
    with pytest.raises(UserError, match='was not fine-tuned: it has no classes of xvnli; run `downstream xvnli finetune'):
        run(arguments)
    assert not (home / 'none').exists()
