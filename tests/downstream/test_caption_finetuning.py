"""`downstream coco finetune` and `coco-cn finetune` on pictures that a tiny model learns to describe, and their training examples."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from downstream.benchmark import Benchmark
from downstream.caption_finetuning import COCO, COCOCN
from downstream.cli import run
from downstream.metrics.captions import Tokens
from downstream.metrics.captions import cider as score
from downstream.metrics.tokens import words as simple_words
from pretrain.records import EVALUATION, EVENTS, METRICS, read_lines
from shards.errors import UserError, run_command
from tests.downstream.data import coco_files
from tests.downstream.in_ranks import killed_and_resumed, train_in_ranks
from tests.support import finetunings
from tests.support.distributed import run_distributed
from tests.support.finetunings import workload
from tests.support.java import replaced_java
from tests.support.toy_benchmarks import write_coco
from tests.support.toy_world import COLOURS, PLACES

SETTINGS = [
    'steps=400', 'optimizer.lr=5e-3', 'optimizer.warmup=20', 'eval.every=200', 'checkpoint.every=100', 'batch.global=48', 'batch.micro=48',
    *finetunings.SETTINGS, 'data.augment_min_scale=1', 'data.augment_flip=0',
]  # fmt: skip
KINDS = len(COLOURS) * len(PLACES)


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('captions') / 'coco'
    write_coco(root)
    return root


@pytest.fixture(scope='module')
def chinese(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COCO-CN with one picture to train on, one for development and nine in the test, beside COCO's pictures."""
    root = tmp_path_factory.mktemp('chinese')
    coco_files.write_coco(root)
    coco_files.write_coco_cn(root)
    return root


def words(export: Path, data: Path, out: Path, *settings: str, task: str = 'coco') -> list[str]:
    return finetunings.words([task, 'finetune'], export, data, out, *SETTINGS, *settings)


def evaluated(model: Path, data: Path, out: Path, *flags: str, task: str = 'coco') -> dict[str, Any]:
    folders = ['--model', str(model), '--data', str(data), '--out', str(out)]
    assert run([task, 'evaluate', *folders, '--only', 'captioning', *flags]) == 0
    return finetunings.result(out)


def cider(result: dict[str, Any]) -> float:
    return float(next(iter(result['captioning']['tokens'].values()))['CIDEr'])


@pytest.fixture(scope='module')
def whole(export: Path, data: Path) -> Path:
    """One rank, never stopped."""
    train_in_ranks(1, data.parent, *words(export, data, data.parent / 'whole'))
    return data.parent / 'whole'


@pytest.mark.parametrize(('kind', 'language', 'rows'), [(COCO, 'en', 2 * 8 * KINDS), (COCOCN, 'zh', 1)])
def test_recipe_of_the_paper(kind: type[Benchmark], language: str, rows: int, export: Path, request: pytest.FixtureRequest) -> None:
    work = workload(kind, export, request.getfixturevalue('data' if language == 'en' else 'chinese'))
    config, finetune = work.config, work.config.finetune
    assert (config.batch.global_, config.optimizer.lr, config.optimizer.lr_min, list(config.tasks)) == (256, 5e-5, 0, ['captioning'])
    assert finetune and (finetune.epochs, finetune.languages, len(work.benchmark)) == (20, [language], rows)
    assert work.benchmark.tested(None)[0] == ['--only', 'captioning']


def test_every_caption_is_written_from_its_picture_alone(export: Path, data: Path) -> None:
    work = workload(COCO, export, data, 'batch={global: 192, micro: 192}', 'steps=1', 'optimizer.warmup=0')
    (batch,) = next(iter(work.loader(0, 1, 0, (), lambda news: None)))[1]['captioning']
    assert sorted(batch.sample_ids.tolist()) == list(range(192))
    assert batch.decoder_input is not None and batch.labels is not None and batch.image_rows is not None
    english = work.tokenizer.language('en')
    assert batch.text.ids.tolist() == [0, 2, english] * 192 and batch.image_rows.tolist() == list(range(192))
    lengths = batch.decoder_input.lengths.tolist()
    content = json.loads((data / 'dataset_coco.json').read_text())['images']
    texts = [sentence['raw'] for row in content if row['split'] in ('train', 'restval') for sentence in row['sentences']]
    parts = zip(batch.sample_ids.tolist(), batch.decoder_input.ids.split(lengths), batch.labels.split(lengths), strict=True)
    for row, read, labels in parts:
        caption = work.tokenizer.encode(texts[row])
        assert (read.tolist(), labels.tolist()) == ([english, *caption, 2], [*caption, 2, english])


@pytest.mark.slow
@pytest.mark.launcher
def test_learns_to_describe(whole: Path, export: Path, data: Path, tmp_path: Path) -> None:
    """One caption for all pictures is the best that it could write without looking."""
    before, after = evaluated(export, data, tmp_path / 'before'), evaluated(whole, data, tmp_path / 'after')
    assert (before['setting'], after['setting']) == ('zero-shot', 'fine-tuned on en')
    lines = [json.loads(line) for line in (tmp_path / 'after/captions.jsonl').read_text().splitlines()]
    references = [line['references'] for line in lines]
    simple = Tokens('words', simple_words)  # as PTB cuts these, without starting Java for each
    blind = max(score([text] * len(lines), references, simple) for text in {text for own in references for text in own})
    assert round(cider(before), 2) == 0 and cider(after) > 2 * blind > 0


@pytest.mark.slow
@pytest.mark.launcher
def test_the_development_set_is_scored_as_an_evaluation_scores_it(whole: Path, data: Path, tmp_path: Path) -> None:
    history = read_lines(whole / EVALUATION)
    assert [line['step'] for line in history] == [0, 200, 400]
    best = max(history[1:], key=lambda line: line['dev']['en'])
    result = evaluated(whole, data, tmp_path, '--split', 'val', '--beams', '1')
    assert cider(result) == pytest.approx(best['dev']['en']) and best['dev']['en'] > 1
    assert result['model']['sha256'] == json.loads((whole / 'best/config.json').read_text())['weights_sha256']


@pytest.mark.slow
@pytest.mark.launcher
@pytest.mark.usefixtures('launched')
def test_killed_and_started_again_it_ends_with_the_same_bits(export: Path, data: Path, tmp_path: Path) -> None:
    few = ['steps=60', 'optimizer.warmup=0', 'eval.every=30', 'checkpoint.every=10']
    out, whole = killed_and_resumed(12, 60, tmp_path, lambda out: words(export, data, out, *few))
    result = finetunings.result(out)  # the command tests the model, too
    assert result['captioning'] == evaluated(whole, data, tmp_path / 'again')['captioning'] and 'retrieval' not in result
    with pytest.raises(UserError, match=r'holds a run with optimizer.lr = 0.005, this one asks for 0.02'):
        run(words(export, data, out, *few, 'optimizer.lr=2e-2'))


@pytest.mark.slow
@pytest.mark.launcher
def test_two_ranks_see_and_write_the_same_as_one(export: Path, data: Path, tmp_path: Path) -> None:
    few = ['steps=12', 'optimizer.warmup=0', 'eval.every=12']
    train_in_ranks(2, tmp_path, *words(export, data, tmp_path / 'two', 'batch.micro=24', *few))
    train_in_ranks(1, tmp_path, *words(export, data, tmp_path / 'one', *few))
    finetunings.assert_same_in_ranks(tmp_path / 'two', tmp_path / 'one', 'captioning', 12)


@pytest.mark.slow
@pytest.mark.launcher
def test_chinese(export: Path, chinese: Path, tmp_path: Path) -> None:
    settings = ['steps=2', 'optimizer.warmup=0', 'eval.every=2', 'batch.global=2', 'precision=bf16']
    train_in_ranks(1, tmp_path, *words(export, chinese, tmp_path / 'out', *settings, task='coco-cn'))
    result = evaluated(tmp_path / 'out', chinese, tmp_path / 'result', task='coco-cn')
    assert result['setting'] == 'fine-tuned on zh' and list(result['captioning']['tokens']) == ['jieba', 'characters']
    assert list(read_lines(tmp_path / 'out' / EVALUATION)[-1]['dev']) == ['zh']


def train_with_java(folder: Path, words: list[str], code: int) -> torch.Tensor:
    """In a rank: `downstream` with these words, and what `folder` has in the place of Java."""
    os.environ['PATH'] = f'{folder}{os.pathsep}{os.environ["PATH"]}'
    assert run_command(lambda: run(words)) == code
    return torch.tensor(0)


@pytest.mark.slow
@pytest.mark.launcher
def test_a_tokenizer_that_fails_loses_no_step(export: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Java fails once a step is trained, until it is mended; then the same command evaluates that step and goes on from it."""
    out, mended = tmp_path / 'out', tmp_path / 'mended'
    replaced_java(tmp_path, f'[ -s {out / METRICS} ] && [ ! -e {mended} ] && exit 137\nexec cat', monkeypatch)
    few = ['steps=2', 'optimizer.warmup=0', 'eval.every=1', 'checkpoint.every=1000']
    run_distributed(train_with_java, 2, tmp_path, tmp_path, words(export, data, out, *few), 2)
    assert [line['step'] for line in read_lines(out / EVALUATION)] == [0]
    assert 'the PTB tokenizer, a Java program, failed' in read_lines(out / EVENTS)[-1]['problem']
    mended.touch()
    run_distributed(train_with_java, 2, tmp_path, tmp_path, words(export, data, out, *few), 0)
    assert [line['step'] for line in read_lines(out / EVALUATION)] == [0, 1, 2]
    assert [line['step'] for line in read_lines(out / METRICS)] == [1, 2]


def test_mistakes(export: Path, data: Path, chinese: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(data, tmp_path / 'copy'))
    with pytest.raises(UserError, match=r'finetune\.text_only: there is no captioning without pictures'):
        workload(COCO, export, copy, 'finetune.text_only=true')
    with pytest.raises(UserError, match=r"finetune\.languages = \['de'\]: coco has captions in en alone; leave it out"):
        workload(COCO, export, copy, 'finetune.languages=[de]')
    with pytest.raises(UserError, match=r'dataset_coco\.json is missing; --data takes'):
        workload(COCO, export, copy / 'val2014')
    with pytest.raises(UserError, match=r'coco-cn_train\.txt is missing'):
        workload(COCOCN, export, copy)
    with pytest.raises(UserError, match=r'is neither a run .* nor an export'):
        run(words(copy, data, tmp_path / 'out'))
    (copy / f'val2014/COCO_val2014_{3:012d}.jpg').unlink()
    with pytest.raises(UserError, match=r'picture .*000000000003.jpg is missing; --images names the folder'):
        workload(COCO, export, copy)
