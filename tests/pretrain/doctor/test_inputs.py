"""What a run reads, and what of it is not there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pretrain.config import load_config
from pretrain.doctor.inputs import data, earlier, evaluation, weights
from pretrain.engine.checkpoint import KEYS, STATE
from tests.pretrain.data.small_shards import make_config
from tests.support.exported import SAMPLE
from tests.support.launch import ROOT


def test_everything_that_is_missing_is_a_line_with_its_command(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / 'shards' / 'cc3m', tmp_path / 'cc3m')
    missing = {'shards': str(tmp_path), 'tokenizer': str(tmp_path / 'tokenizer')}
    found = {finding.what: finding for finding in data(make_config(home, data=missing))}
    assert list(found) == [missing['tokenizer'], *(str(tmp_path / corpus / 'train') for corpus in ('cc12m', 'wit', 'cc100', 'opus'))]
    assert {finding.state for finding in found.values()} == {'FAIL'}
    for corpus in ('cc12m', 'wit', 'cc100', 'opus'):
        assert found[str(tmp_path / corpus / 'train')].remedy.startswith(f'data_pipeline build {corpus} ')
    assert [finding.state for finding in data(make_config(home))] == ['ok', 'ok']


def test_the_demo_is_named_first_where_its_data_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(ROOT / 'configs/sample.yaml', [])
    monkeypatch.chdir(tmp_path)
    assert {finding.remedy.partition(',')[0] for finding in data(config)} == {'make demo'}


def test_what_the_folder_of_the_run_holds(home: Path, tmp_path: Path) -> None:
    def found(**changes: object) -> tuple[str, str, str]:
        (finding,) = earlier(make_config(home, out=str(tmp_path), **changes))
        return finding.state, finding.found, finding.remedy

    assert found() == ('ok', 'no checkpoints: a new run', '')
    folder = tmp_path / 'checkpoints' / 'step-0000004'
    folder.mkdir(parents=True)
    saved = make_config(home, out=str(tmp_path)).model_dump(by_alias=True, mode='json')
    (folder / STATE).write_text(json.dumps({**dict.fromkeys(KEYS), 'config': saved}))
    assert found()[:2] == ('ok', 'the run goes on after step-0000004, if that is whole')
    state, said, remedy = found(seed=5)
    assert (state, said) == ('FAIL', 'holds another run') and 'seed' in remedy and 'choose another `out`' in remedy


def test_initial_weights(home: Path, published: dict[str, tuple[object, Path]], monkeypatch: pytest.MonkeyPatch) -> None:
    def states(**init: str) -> list[tuple[str, str]]:
        return [(finding.state, finding.found) for finding in weights(make_config(home, init=init))]

    folder = str(published['mbart-cc25'][1])
    assert states() == [('ok', 'none: random')] * 2
    assert states(text=folder)[0] == ('ok', 'a folder')
    assert states(text=f'{folder}/none')[0] == ('FAIL', 'is no folder')
    assert states(text='no-one/no-such-model')[0] == ('note', 'is downloaded from the hub at the first start')


def test_the_retrieval_set(home: Path, tmp_path: Path) -> None:
    def found(data: str | None) -> tuple[str, str, str]:
        (finding,) = evaluation(make_config(home, eval={'retrieval': {'data': data, 'languages': ['de', 'en']}}))
        return finding.state, finding.found, finding.remedy

    assert found(None)[:2] == ('ok', 'none')
    state, said, _ = found(str(SAMPLE / 'multi30k_emoji'))
    assert state == 'ok' and said.endswith('captions in de en')
    state, _, remedy = found(str(tmp_path / 'none'))
    assert state == 'FAIL' and 'eval.retrieval.data' in remedy
