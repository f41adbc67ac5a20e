"""How the smoke run judges a benchmark; the run itself is a part of .ci/run."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from benchmarks import smoke
from benchmarks.evaluations import IMAGES
from benchmarks.stand_ins import write_evaluation
from downstream.classification import Classification
from downstream.data.labelled import Pictures
from downstream.xgqa import XGQA
from downstream.xvnli import XVNLI
from pretrain.evaluation.multi30k import read_split
from shards.errors import UserError
from tests.support.launch import ROOT

GOOD = json.dumps({'benchmark': 'x', 'ratio': 0.5, 'ours': 1, 'peer': 2, 'what': 'nothing'})
OUTSIDE = json.dumps({**json.loads(GOOD), 'within': False})


@pytest.mark.parametrize(('printed', 'code', 'problem'), [
    (GOOD, 0, None), (f'a table\n{OUTSIDE}', 1, None), (OUTSIDE, 0, None),
    (GOOD, 1, 'code 1, though it compared'), (OUTSIDE, 2, 'code 2, though it compared'), (OUTSIDE, -9, 'code -9'),
    (f'{GOOD}\nand more', 0, 'but with: and more'), ('', 0, 'but with: nothing'), ('{"ratio": 1}', 0, 'not with a line of JSON'),
    (GOOD.replace('0.5', 'null'), 0, 'ratio None is no number'),
])  # fmt: skip
def test_how_a_benchmark_must_end(printed: str, code: int, problem: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = f'import sys; print({printed!r}); print("why", file=sys.stderr); sys.exit({code})'
    if code < 0:
        program = f'import os; print({printed!r}, flush=True); os.kill(os.getpid(), {-code})'
    assert smoke.run('x', [sys.executable, '-c', program], tmp_path) is (problem is None)
    told = capsys.readouterr().out
    assert (tmp_path / 'x.txt').read_text() == f'{printed}\n'
    if problem is None:
        assert f'code {code}, ratio 0.500' in told
    else:
        assert 'FAILED' in told and problem in told and (code < 0 or told.endswith('    why\n'))


def test_a_make_within_make_ends_with_what_it_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `make bench-smoke` starts `make bench-pretrain`: a make that knows of another names its folder before and after."""
    monkeypatch.setenv('MAKELEVEL', '1')
    monkeypatch.setenv('MAKEFLAGS', 'w')
    (tmp_path / 'Makefile').write_text(f"all:\n\t@echo '{GOOD}'\n")
    assert smoke.run('x', ['make', '-C', str(tmp_path), '--no-print-directory'], tmp_path)
    assert smoke.run('y', ['make', '-f', str(tmp_path / 'Makefile')], tmp_path)


def test_it_runs_every_benchmark_that_no_test_runs() -> None:
    """A new file of benchmarks/ is run by the smoke run or by a test of its own; what others import is none."""
    run = {word for group in smoke.commands(Path('demo'), Path('out')) for command in group.values() for word in command}
    targets = {'bench-pretrain': 'benchmarks/results.py', 'bench-ablation': 'benchmarks/ablation.py'}
    run |= {program for target, program in targets.items() if target in run}
    tests = ''.join(path.read_text(encoding='utf8') for path in (ROOT / 'tests/benchmarks').glob('*.py') if path.name != 'test_smoke.py')
    for path in (ROOT / 'benchmarks').glob('*.py'):
        text = path.read_text(encoding='utf8')
        command = '__main__' in text and re.search(r'^    parser = (Parser|arguments)\(', text, re.M)
        if command and path.name != 'smoke.py':
            assert {f'benchmarks/{path.name}', f'benchmarks.{path.stem}'} & run or f'benchmarks/{path.name}' in tests, path


def test_the_stand_ins_for_multi30k(tmp_path: Path) -> None:
    write_evaluation(tmp_path / 'evaluation')
    shared = {'coco', 'coco-cn', 'multi30k', 'multi30k_emoji', 'multi30k_seen', 'tatoeba', 'xgqa', 'xvnli'}
    assert {path.name for path in (tmp_path / 'evaluation').iterdir()} == shared
    split, whole = (read_split(folder) for folder in (tmp_path / 'evaluation/multi30k', ROOT / 'sample/evaluation/multi30k_seen'))
    assert len(split.paths) == 16 and {*split.captions} == {'en', 'de', 'fr', 'cs'}
    assert split.captions['cs'].texts == whole.captions['cs'].texts[:16]


@pytest.mark.parametrize('kind', [XVNLI, XGQA])
def test_the_stand_ins_have_the_pictures_where_results_looks_for_them(kind: type[Classification], tmp_path: Path) -> None:
    evaluation = tmp_path / 'evaluation'
    write_evaluation(evaluation)
    classes, train, dev = kind.read_training(evaluation / kind.name)
    tests = [rows for by_language in kind.read_tests(evaluation / kind.name, classes, None).values() for rows in by_language.values()]
    for rows in (train, dev, *tests):
        assert len(rows) > 0
        Pictures(evaluation / IMAGES[kind.name]).check(rows)  # else an error that names those that are missing


def test_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f'shards is not here; make it with `make demo DEMO_OUT={tmp_path}`'):
        smoke.main(['--demo', str(tmp_path)])
    for name in ('shards', 'tokenizer'):
        (tmp_path / name).mkdir()
    with pytest.raises(UserError, match='is there already'):
        smoke.main(['--demo', str(tmp_path), '--out', str(tmp_path)])
    with pytest.raises(UserError, match='--only chaso is none of learning'):
        smoke.main(['--demo', str(tmp_path), '--out', str(tmp_path / 'out'), '--only', 'chaso'])
