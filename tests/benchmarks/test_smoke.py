"""How the smoke run judges a benchmark; the run itself is a part of .ci/run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import smoke
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
    """Every file of benchmarks/ is a program, run by the smoke run or by a test of its own; what they import or start is in parts/."""
    run = {word for group in smoke.commands(Path('demo'), Path('out')) for command in group.values() for word in command}
    targets = {'bench-pretrain': 'benchmarks/results.py', 'bench-ablation': 'benchmarks/ablation.py'}
    run |= {program for target, program in targets.items() if target in run}
    tests = ''.join(path.read_text(encoding='utf8') for path in (ROOT / 'tests/benchmarks').glob('*.py') if path.name != 'test_smoke.py')
    for path in (ROOT / 'benchmarks').glob('*.py'):
        assert "if __name__ == '__main__':" in path.read_text(encoding='utf8'), f'{path} is no program'
        if path.name != 'smoke.py':
            assert {f'benchmarks/{path.name}', f'benchmarks.{path.stem}'} & run or f'benchmarks/{path.name}' in tests, path


def test_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f'shards is not here; make it with `make demo DEMO_OUT={tmp_path}`'):
        smoke.main(['--demo', str(tmp_path)])
    for name in ('shards', 'tokenizer'):
        (tmp_path / name).mkdir()
    with pytest.raises(UserError, match='is there already'):
        smoke.main(['--demo', str(tmp_path), '--out', str(tmp_path)])
    with pytest.raises(UserError, match='--only chaso is none of learning'):
        smoke.main(['--demo', str(tmp_path), '--out', str(tmp_path / 'out'), '--only', 'chaso'])
