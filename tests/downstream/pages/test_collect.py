"""Finding results, and folders that are named wrongly."""

from __future__ import annotations

from pathlib import Path

import pytest

from downstream.pages.collect import collect
from shards.errors import UserError
from tests.downstream.pages import results


def test_results_below_folders_have_their_names(tmp_path: Path) -> None:
    results.tatoeba(tmp_path / 'a/downstream/tatoeba/x')
    results.xvnli(tmp_path / 'a/downstream/xvnli', en=0.5)
    results.tatoeba(tmp_path / 'b')
    found = collect([str(tmp_path / 'a'), f'second={tmp_path / "b"}'])
    assert [(result.run, result.task, result.setting) for result in found] == [
        ('a', 'xvnli', 'fine-tuned on en'), ('a', 'tatoeba', 'zero-shot'), ('second', 'tatoeba', 'zero-shot'),
    ]  # fmt: skip
    assert found[0].folder == tmp_path / 'a/downstream/xvnli' and found[0].data == 'xvnli' and found[0].split == 'test'


def test_a_name_with_a_sign_of_equality(tmp_path: Path) -> None:
    results.tatoeba(tmp_path / 'lr=3')
    assert collect([str(tmp_path / 'lr=3')])[0].run == 'lr=3'


def test_mistakes(tmp_path: Path) -> None:
    results.tatoeba(tmp_path / 'x/run')
    results.tatoeba(tmp_path / 'y/run')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='nowhere is no folder'):
        collect([str(tmp_path / 'nowhere')])
    with pytest.raises(UserError, match=r'empty holds no result\.json; `downstream TASK evaluate'):
        collect([str(tmp_path / 'empty')])
    with pytest.raises(UserError, match='two folders are called run; name one of them: OTHER='):
        collect([str(tmp_path / 'x/run'), str(tmp_path / 'y/run')])
    (tmp_path / 'x/run/result.json').write_text('{')
    with pytest.raises(UserError, match=r'x/run/result\.json cannot be read'):
        collect([str(tmp_path / 'x')])
    (tmp_path / 'x/run/result.json').write_text('{"task": "tatoeba"}')
    with pytest.raises(UserError, match=r'x/run/result\.json is no result of `downstream`'):
        collect([str(tmp_path / 'x')])
