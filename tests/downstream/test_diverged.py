"""A model that gives no numbers: an evaluation refuses it in one line, a run under way counts what it gives as wrong and says so."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from downstream.cli import run
from pretrain.records import EVALUATION, EVENTS, read_lines
from shards.errors import UserError
from tests.downstream.in_ranks import train_in_ranks
from tests.support import finetunings
from tests.support.toy_benchmarks import write_coco, write_multi30k, write_translations, write_xvnli


@pytest.fixture(scope='module')
def diverged(export: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose word embeddings are NaN, which text encoder and decoder share."""
    folder = Path(shutil.copytree(export, tmp_path_factory.mktemp('diverged') / 'export'))
    weights = load_file(folder / 'model.safetensors')
    weights['embed_tokens'] = weights['embed_tokens'] * float('nan')
    save_file(weights, folder / 'model.safetensors')
    return folder


@pytest.mark.parametrize(
    ('task', 'write', 'why'),
    [
        ('multi30k-retrieval', write_multi30k, r'embeddings of .* \(\w\w\) are not finite'),
        ('multi30k-translation', write_translations, 'what the decoder gives is not finite'),
        ('coco', write_coco, 'what the decoder gives is not finite'),
    ],
)
def test_an_evaluation_refuses_it(task: str, write: Callable[[Path], None], why: str, diverged: Path, tmp_path: Path) -> None:
    write(tmp_path / 'data')
    with pytest.raises(UserError, match=f'^{why}: the model has diverged; take an earlier checkpoint$'):
        run([task, 'evaluate', '--model', str(diverged), '--data', str(tmp_path / 'data'), '--out', str(tmp_path / 'out')])
    assert not (tmp_path / 'out').exists()


@pytest.mark.slow
@pytest.mark.launcher
@pytest.mark.parametrize(
    ('task', 'write', 'language', 'told'),
    [
        (
            'multi30k-retrieval',
            write_multi30k,
            'en',
            r'embeddings of .* \(en\) are not finite: the model has diverged; they count as misses',
        ),
        ('multi30k-translation', write_translations, 'de', 'has diverged; take an earlier checkpoint; its texts count as empty'),
        ('xvnli', write_xvnli, 'en', 'scores of 54 rows of en/dev.jsonl are not finite: the model has diverged; they count as wrong'),
    ],
)
def test_a_fine_tuning_counts_it_as_wrong(
    task: str, write: Callable[[Path], None], language: str, told: str, diverged: Path, tmp_path: Path
) -> None:
    """Before the first step, and after one whose update is skipped: its checkpoint could not be verified."""
    write(tmp_path / 'data')
    settings = ['steps=1', 'optimizer.warmup=0', 'batch.global=8', 'batch.micro=4', *finetunings.SETTINGS]
    words = finetunings.words([task, 'finetune'], diverged, tmp_path / 'data', tmp_path / 'out', *settings)
    train_in_ranks(2, tmp_path, *words, code=2)
    assert [line['dev'] for line in read_lines(tmp_path / 'out' / EVALUATION)] == [{language: 0}] * 2
    faults = [line['problem'] for line in read_lines(tmp_path / 'out' / EVENTS) if line['event'] == 'fault']
    assert [problem.startswith('rank ') for problem in faults if told.split('.*')[-1].replace('\\', '') in problem]
