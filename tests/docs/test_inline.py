"""Commands within a sentence or a table, often with names in capitals for what a reader puts there: they exist, and so do their flags."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from importlib import import_module

import pytest

from tests.docs.commands import DOCUMENTS, ROOT

PROGRAMS = ('data_pipeline', 'pretrain', 'downstream')
COMMAND = r'(data_pipeline|pretrain|downstream|make|python) \w|python -m'
LAUNCHED = r'(?:OMP_NUM_THREADS=1 )?(?:deepspeed|torchrun|sbatch|srun) (?:python )?(\S+\.(?:py|sh)|downstream )'
EXAMPLES = {'TASK': 'coco', 'BENCHMARK': 'coco', 'CORPUS': 'cc3m'}  # names in capitals that stand for a subcommand


def spans() -> set[str]:
    """What stands in the documents between backticks and begins like a command."""
    found = set()
    for document in DOCUMENTS:
        text = re.sub(r'(?ms)^ *```.*?^ *```', '', document.read_text(encoding='utf8'))
        found |= {span for span in re.findall(r'`([^`\n]+)`', text) if re.match(f'{COMMAND}|{LAUNCHED}', span)}
    return found


SPANS = sorted(spans())


@pytest.mark.parametrize('span', [span for span in SPANS if span.split()[0] in PROGRAMS])
def test_subcommands_and_flags_are_there(span: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    program, *words = [EXAMPLES.get(word, word) for word in re.sub(r'[\[\]…]', ' ', span).split()]
    subcommand = []
    for word in words:
        if not re.fullmatch(r'[a-z][a-z0-9-]*', word):
            break
        subcommand.append(word)
    monkeypatch.setattr(sys, 'argv', [program, *subcommand, '--help'])
    with pytest.raises(SystemExit) as ended:
        import_module(f'{program}.cli').main()
    assert ended.value.code == 0, f'{program} has no {" ".join(subcommand)}'
    told = capsys.readouterr().out
    usage = told.partition('[')[0].split()[1:]  # program and subcommand; what may follow in a document is a folder
    assert usage == [program, *subcommand][: len(usage)] and len(usage) > 1, told
    assert all(flag in told for flag in words if flag.startswith('--')), told


@pytest.mark.parametrize('span', [span for span in SPANS if span.startswith('make ')])
def test_targets_are_there(span: str) -> None:
    done = subprocess.run(['make', '-n', *span.split()[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('span', [span for span in SPANS if span.startswith('python ')])
def test_scripts_and_modules_are_there(span: str) -> None:
    words = span.split()
    if words[1] == '-m':
        import_module(words[2])
    else:
        assert (ROOT / words[1]).is_file()


@pytest.mark.parametrize('span', [span for span in SPANS if re.match(LAUNCHED, span)])
def test_what_is_launched_is_there(span: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The script, and of ours its flags."""
    launched = re.match(LAUNCHED, span)
    assert launched
    script = launched[1].strip()
    assert script in PROGRAMS or (ROOT / script).is_file()
    if script == 'pretrain/run.py':
        monkeypatch.setattr(sys, 'argv', [script, '--help'])
        monkeypatch.setattr(sys, 'path', [str(ROOT), *sys.path])
        with pytest.raises(SystemExit):
            runpy.run_path(str(ROOT / script), run_name='__main__')
        told = capsys.readouterr().out
        assert all(flag in told for flag in re.findall(r'--[a-z-]+', span[launched.end() :]))


def test_there_are_such_commands() -> None:
    assert len(SPANS) > 40 and sum(bool(re.match(LAUNCHED, span)) for span in SPANS) > 5
