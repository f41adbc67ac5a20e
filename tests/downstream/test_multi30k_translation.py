"""Translation from the command line to result.json, on one rank and on two."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import sacrebleu

from downstream.cli import run
from downstream.metrics.bleu import literature_bleu, moses
from downstream.multi30k_translation import show
from pretrain.evaluation.multi30k import read_split
from pretrain.model.load import load_model
from shards.errors import UserError
from tests.support.exported import made_to_write
from tests.support.launch import ROOT, prewarmed, succeed

DATA = ROOT / 'sample' / 'evaluation' / 'multi30k_emoji'
COUNT = 37
SPLIT = 'test_2016_flickr'


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample with tokenised references, one of which is not what the Moses scripts give."""
    root = Path(shutil.copytree(DATA, tmp_path_factory.mktemp('data') / 'multi30k'))
    texts = read_split(root).captions['de'].texts
    (root / 'data/task1/tok').mkdir()
    lines = [moses(text, 'de') for text in texts]
    lines[3] += ' x'
    (root / f'data/task1/tok/{SPLIT}.lc.norm.tok.de').write_text('\n'.join(lines) + '\n', encoding='utf8')
    return root


def arguments(writer: Path, data: Path, out: Path, *more: str) -> list[str]:
    return ['multi30k-translation', 'evaluate', '--model', str(writer), '--data', str(data), '--out', str(out), *more]


@pytest.fixture(scope='module')
def evaluated(writer: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp('out')
    assert run(arguments(writer, data, out, '--languages', 'deu,zh')) == 0
    return out, json.loads((out / 'result.json').read_text(encoding='utf8'))


def lines(path: Path) -> list[str]:
    return path.read_text(encoding='utf8').split('\n')[:-1]


def test_files_give_the_figures(evaluated: tuple[Path, dict[str, Any]], data: Path) -> None:
    """sacrebleu itself on the written texts and the repository's files."""
    out, result = evaluated
    references = gzip.decompress((data / f'data/task1/raw/{SPLIT}.de.gz').read_bytes()).decode().strip('\n').split('\n')
    tokenised = lines(data / f'data/task1/tok/{SPLIT}.lc.norm.tok.de')
    for way in ('with_picture', 'text_only'):
        hypotheses = lines(out / f'de.{way}.txt')
        assert len(hypotheses) == COUNT
        scores = result['languages']['de'][way]
        assert scores['sacrebleu']['score'] == pytest.approx(sacrebleu.corpus_bleu(hypotheses, [references]).score)
        assert scores['tokenised']['score'] == pytest.approx(literature_bleu(hypotheses, tokenised, 'de')['score'])
        assert scores['empty'] == hypotheses.count('')
    assert lines(out / 'de.with_picture.txt') != lines(out / 'de.text_only.txt')


def test_result_holds_all_that_it_depends_on(evaluated: tuple[Path, dict[str, Any]], writer: Path) -> None:
    _, result = evaluated
    assert list(result['languages']) == ['de', 'zh']
    assert result['languages']['de']['paper'] == 49.3
    assert result['languages']['zh']['paper'] is None
    assert result['languages']['zh']['text_only']['tokenised'] is None
    assert 'tok:zh' in result['languages']['zh']['text_only']['sacrebleu']['signature']
    assert result['model']['sha256'] == load_model(writer).sha256
    assert result['data']['tokenised']['de']['differ'] == 1
    assert 'beams:4' in result['metric']
    assert result['versions']['sacrebleu'] == sacrebleu.__version__


def test_table(evaluated: tuple[Path, dict[str, Any]]) -> None:
    printed = show(evaluated[1])
    row = next(line.split() for line in printed.split('\n') if line.startswith('de '))
    assert row[:2] == ['de', '37'] and row[-1] == '49.3' and len(row) == 7
    assert '1 of 37 references in data/task1/tok/test_2016_flickr.lc.norm.tok.de are not what the Moses scripts make' in printed
    assert 'case:mixed|eff:no|tok:13a|smooth:exp' in printed


@pytest.mark.slow
@pytest.mark.launcher
def test_two_ranks_write_every_text_once(writer: Path, data: Path, evaluated: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """37 texts, in batches of 32."""
    out, result = evaluated
    command = [*prewarmed(2), str(ROOT / 'downstream/run.py'), *arguments(writer, data, tmp_path / 'out', '--languages', 'de')]
    succeed(command, tmp_path)
    for way in ('with_picture', 'text_only'):
        assert lines(tmp_path / f'out/de.{way}.txt') == lines(out / f'de.{way}.txt')
    found = json.loads((tmp_path / 'out/result.json').read_text(encoding='utf8'))
    assert found['languages']['de'] == result['languages']['de']
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['de.text_only.txt', 'de.with_picture.txt', 'result.json']


def test_without_pictures(writer: Path, data: Path, evaluated: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    bare = tmp_path / 'bare'
    shutil.copytree(data, bare, ignore=shutil.ignore_patterns('images', 'tok'))
    with pytest.raises(UserError, match=r'images/\d+\.jpg and 36 more of 37 are missing'):
        run(arguments(writer, bare, tmp_path / 'out'))
    assert run(arguments(writer, bare, tmp_path / 'out', '--text-only')) == 0
    assert lines(tmp_path / 'out/de.text_only.txt') == lines(evaluated[0] / 'de.text_only.txt')
    result = json.loads((tmp_path / 'out/result.json').read_text(encoding='utf8'))
    assert 'with_picture' not in result['languages']['de']
    assert result['data']['tokenised']['de'] == {**result['data']['tokenised']['de'], 'file': None, 'differ': 0}
    assert result['languages']['de']['text_only']['tokenised']['score'] >= 0


def test_without_pictures_beside_the_result_with_them(
    evaluated: tuple[Path, dict[str, Any]], writer: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By default; in one folder the earlier translations make way."""
    model = Path(shutil.copytree(writer, tmp_path / 'model'))
    assert run(['multi30k-translation', 'evaluate', '--model', str(model), '--data', str(data), '--text-only', '--beams', '1']) == 0
    assert [path.name for path in (model / 'downstream/multi30k-translation').iterdir()] == [f'multi30k-{SPLIT}-text-only']
    out = Path(shutil.copytree(evaluated[0], tmp_path / 'out'))
    capsys.readouterr()
    assert run(arguments(writer, data, out, '--text-only', '--beams', '1')) == 0
    assert sorted(path.name for path in out.iterdir()) == ['de.text_only.txt', 'result.json']
    assert f'{out}: removed de.with_picture.txt zh.text_only.txt zh.with_picture.txt, of an earlier' in capsys.readouterr().err


def test_the_length_that_is_recorded_is_the_one_used(tmp_path: Path, data: Path) -> None:
    """A model of 64 positions, one of which the prompt takes, cannot write the hundred tokens that are asked for."""
    out, short = tmp_path / 'out', made_to_write(tmp_path / 'short', {'text_tokens': 64}, max_positions=64)
    assert run(arguments(short, data, out, '--text-only', '--beams', '1')) == 0
    assert 'beams:1|max:63|' in json.loads((out / 'result.json').read_text(encoding='utf8'))['metric']


def test_mistakes(writer: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / 'out'
    with pytest.raises(UserError, match='no captions in ro for test_2016_flickr'):
        run(arguments(writer, data, out, '--languages', 'ro'))
    with pytest.raises(UserError, match='--languages names en, which --source translates from'):
        run(arguments(writer, data, out, '--languages', 'eng'))
    broken = Path(shutil.copytree(data, tmp_path / 'broken'))
    (broken / f'data/task1/tok/{SPLIT}.lc.norm.tok.de').write_text('eins\nzwei\n')
    with pytest.raises(UserError, match=r'lc\.norm\.tok\.de has 2 lines, data/task1/raw/test_2016_flickr\.de\.gz 37'):
        run(arguments(writer, broken, out))
    (broken / f'data/task1/raw/{SPLIT}.de.gz').write_bytes(gzip.compress(b'eins\n'))
    with pytest.raises(UserError, match=r'test_2016_flickr\.de\.gz has 1 captions, the image list of test_2016_flickr 37'):
        run(arguments(writer, broken, out))
    assert not out.exists()
