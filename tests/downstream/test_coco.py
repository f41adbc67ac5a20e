"""COCO and COCO-CN from the command line to result.json, on one rank and on two."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from downstream.captioning import references_of
from downstream.cli import run
from downstream.coco import show
from downstream.data.coco import read_coco
from downstream.data.coco_cn import read_coco_cn
from downstream.metrics.captions import english_tokens, score_captions
from pretrain.evaluation.retrieval import text_to_image
from pretrain.model.load import load_model
from shards.errors import UserError
from tests.downstream.data.coco_files import write_coco, write_coco_cn
from tests.support.java import java, replaced_java
from tests.support.launch import ROOT, prewarmed, succeed


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('coco')
    write_coco(root / 'coco')
    write_coco_cn(root / 'coco-cn')
    return root


def arguments(task: str, model: Path, data: Path, out: Path, *more: str) -> list[str]:
    images = ['--images', str(data / 'coco')] if task == 'coco-cn' else []
    return [task, 'evaluate', '--model', str(model), '--data', str(data / task), *images, '--out', str(out), *more]


def result_of(out: Path) -> Any:
    return json.loads((out / 'result.json').read_text(encoding='utf8'))


def captions(out: Path) -> list[Any]:
    return [json.loads(line) for line in (out / 'captions.jsonl').read_text(encoding='utf8').split('\n')[:-1]]


@pytest.fixture(scope='module')
def coco(writer: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('out')
    assert run(arguments('coco', writer, data, out)) == 0
    return out


@pytest.fixture(scope='module')
def coco_cn(writer: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('out')
    assert run(arguments('coco-cn', writer, data, out)) == 0
    return out


def test_written_captions_give_the_scores(coco: Path, data: Path) -> None:
    lines, result = captions(coco), result_of(coco)
    split = read_coco(data / 'coco')
    assert [line['picture'] for line in lines] == split.names
    assert [line['references'] for line in lines] == references_of(split, 'en')
    assert len({line['caption'] for line in lines}) > 1
    found = result['captioning']['tokens'][english_tokens().name]
    assert found == score_captions([line['caption'] for line in lines], [line['references'] for line in lines], english_tokens())
    assert result['captioning']['references'] == 46
    assert result['captioning']['paper']['B4'] == 40.7


def test_saved_embeddings_give_the_recalls(coco: Path) -> None:
    """Five captions a picture, though one has six."""
    images, texts = (np.load(coco / name, allow_pickle=False) for name in ('images.npy', 'texts.en.npy'))
    assert images.shape == (9, 8) and texts.shape == (45, 8)
    found = result_of(coco)['retrieval']
    assert found['all']['text_to_image'] == text_to_image(texts, images, np.repeat(np.arange(9), 5))
    assert found['1k'] is None


def test_result_holds_all_that_it_depends_on(coco: Path, writer: Path, data: Path) -> None:
    result = result_of(coco)
    assert result['model']['sha256'] == load_model(writer).sha256
    assert result['data']['sha256'] == read_coco(data / 'coco').sha256()
    assert 'beams:4|max:50' in result['metric'] and 'recall@1,5,10' in result['metric']
    assert {'pycocoevalcap', 'jieba'} <= result['versions'].keys()


def test_table(coco: Path) -> None:
    printed = show(result_of(coco))
    row = next(line.split() for line in printed.split('\n') if line.startswith('paper'))
    assert row == ['paper', '40.7', '39.8', '133.1', '27.0']
    assert 'among 9' in printed and 'SPICE needs' in printed


@java
def test_chinese_by_word_and_by_character(coco_cn: Path, data: Path) -> None:
    result, lines = result_of(coco_cn), captions(coco_cn)
    assert list(result['captioning']['tokens']) == ['jieba', 'characters']
    assert [len(line['references']) for line in lines] == [3, 3, 3, 3, 1, 1, 1, 1, 1]
    assert result['captioning']['tokens']['jieba']['unavailable'] == {'SPICE': 'is for English'}
    assert result['captioning']['paper']['CIDEr'] == 133.5
    assert result['retrieval']['all']['captions'] == 9  # those that were written, not translated
    assert result['data']['sha256'] == read_coco_cn(data / 'coco-cn', images=data / 'coco').sha256()


@pytest.mark.slow
@pytest.mark.launcher
def test_two_ranks_give_the_same(writer: Path, data: Path, coco: Path, tmp_path: Path) -> None:
    succeed([*prewarmed(2), str(ROOT / 'downstream/run.py'), *arguments('coco', writer, data, tmp_path / 'out')], tmp_path)
    assert captions(tmp_path / 'out') == captions(coco)
    assert {name: result_of(tmp_path / 'out')[name] for name in ('captioning', 'retrieval')} == {
        name: result_of(coco)[name] for name in ('captioning', 'retrieval')
    }


def test_one_part_alone(writer: Path, data: Path, tmp_path: Path) -> None:
    run(arguments('coco-cn', writer, data, tmp_path / 'a', '--only', 'retrieval', '--split', 'val'))
    assert 'captioning' not in result_of(tmp_path / 'a')
    assert sorted(path.name for path in (tmp_path / 'a').iterdir()) == ['images.npy', 'inputs.json', 'result.json', 'texts.zh.npy']
    run(arguments('coco-cn', writer, data, tmp_path / 'b', '--only', 'captioning', '--split', 'val', '--beams', '1'))
    assert sorted(path.name for path in (tmp_path / 'b').iterdir()) == ['captions.jsonl', 'result.json']
    assert 'retrieval' not in show(result_of(tmp_path / 'b'))


def test_an_earlier_evaluation_makes_way(writer: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its embeddings would stand beside the new result. By default one part has a folder of its own."""
    few = ['--split', 'val', '--beams', '1']
    out = tmp_path / 'out'
    run(arguments('coco-cn', writer, data, out, *few))
    run(arguments('coco-cn', writer, data, out, *few, '--only', 'captioning'))
    assert sorted(path.name for path in out.iterdir()) == ['captions.jsonl', 'result.json']
    assert f'{out}: removed images.npy inputs.json texts.zh.npy, of an earlier evaluation' in capsys.readouterr().err
    run(arguments('coco-cn', writer, data, out, *few, '--only', 'retrieval'))
    assert f'{out}: removed captions.jsonl, of an earlier evaluation' in capsys.readouterr().err
    model = Path(shutil.copytree(writer, tmp_path / 'model'))
    words = ['coco-cn', 'evaluate', '--model', str(model), '--data', str(data / 'coco-cn'), '--images', str(data / 'coco'), *few]
    run([*words, '--only', 'captioning'])
    assert [path.name for path in (model / 'downstream/coco-cn').iterdir()] == ['coco-cn-val-captioning']


def test_a_scorer_that_fails_loses_nothing_that_was_made(
    writer: Path, data: Path, coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced_java(tmp_path, 'exit 137', monkeypatch)
    out = tmp_path / 'out'
    with pytest.raises(UserError, match='the PTB tokenizer, a Java program, failed'):
        run(arguments('coco', writer, data, out))
    assert captions(out) == captions(coco)
    assert sorted(path.name for path in out.iterdir()) == ['captions.jsonl', 'images.npy', 'inputs.json', 'texts.en.npy']


def test_mistakes(writer: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / 'out'
    with pytest.raises(UserError, match=r'dataset_coco\.json is missing; --data takes'):
        run(['coco', 'evaluate', '--model', str(writer), '--data', str(data / 'coco-cn'), '--out', str(out)])
    with pytest.raises(UserError, match=r'coco-cn_test\.txt is missing'):
        run(['coco-cn', 'evaluate', '--model', str(writer), '--data', str(data / 'coco'), '--out', str(out)])
    with pytest.raises(UserError, match=r'SPLIT .testing. is none of test val train; the nearest is test'):
        run(arguments('coco', writer, data, out, '--split', 'testing'))
    assert not out.exists()
