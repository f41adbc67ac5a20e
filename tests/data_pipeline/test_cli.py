"""The command line: help, mistakes in one line, exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from data_pipeline.cli import main
from data_pipeline.settings import Settings, flag
from shards.tokenizer import MODEL, Tokenizer
from tests.support.launch import BIN
from tests.support.unread import unread

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / 'sample/raw'


def run(*arguments: str) -> int:
    return main([str(argument) for argument in arguments])


def error(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line on stderr of a command that fails with exit code 2."""
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ''
    lines = [line for line in captured.err.splitlines() if line.startswith('error: ')]
    assert len(lines) == 1
    assert 'Traceback' not in captured.err
    return lines[0]


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ([], ['build', 'finish', 'verify', 'stats', 'remove', 'tokenizer']),
        (
            ['build'],
            [
                'CORPUS',
                '--raw',
                '--images',
                '--translations',
                '--tokenizer',
                '--workers',
                '--tasks',
                *(flag(item) for item in fields(Settings)),
            ],
        ),
        (['finish'], ['--out', '--scratch', '--corpus']),
        (['verify'], ['DIR']),
        (['stats'], ['--json']),
        (['remove'], ['--urls', 'DIR']),
        (['tokenizer', 'train'], ['--raw', '--out', '--pieces', '--alpha']),
        (['tokenizer', 'import'], ['FILE', '--out']),
    ],
)
def test_help(capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([*arguments, '--help'])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert all(word in text for word in words)


def test_help_of_build_shows_every_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(['build', '--help'])
    entries = re.split(r'^  --', capsys.readouterr().out.partition('\noptions:')[2], flags=re.MULTILINE)
    told = {entry.split()[0]: ' '.join(entry.split()) for entry in entries[1:]}
    values = asdict(Settings())
    for item in fields(Settings):
        shown, default = re.search(r'\(default: (\S+)\)', told[flag(item).removeprefix('--')]), values[item.name]
        if item.type == 'bool':
            assert shown is None, item.name
        else:
            assert shown is not None and type(default)(shown[1]) == (default if default != '' else 'none'), item.name
    assert '(default: 0)' in told['near-duplicates'] and '(default: 0)' in told['task']


def imported(code: str, *modules: str) -> set[str]:
    """Which of the modules are loaded after running the code in a new process."""
    code += f'; import sys; print(*[name for name in {modules!r} if name in sys.modules])'
    return set(subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split())


def test_help_imports_nothing_heavy() -> None:
    assert imported('from data_pipeline.cli import parser; parser()', 'torch', 'streaming', 'numpy', 'pyarrow') == set()


def test_workers_import_no_torch() -> None:
    modules = 'build, data_pipeline.stats, data_pipeline.verify, data_pipeline.tokenizer_training'
    assert imported(f'import data_pipeline.{modules}', 'torch', 'deepspeed', 'sentencepiece') == {'sentencepiece'}


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['biuld'], "COMMAND 'biuld' is none of build finish verify stats remove show tokenizer; the nearest is build"),
        (['build', 'cc3', '--raw', '.', '--out', 'o'], "CORPUS 'cc3' is none of cc3m cc12m wit cc100 opus; the nearest is cc3m"),
        (['build', 'cc3m', '--rwa', '.', '--out', 'o'], 'unknown flag --rwa; the nearest is --raw'),
        (['build', 'cc3m', '--raw', '.', '--out', 'o', '--work', '2'], 'unknown flag --work; the nearest is --workers'),
        (['build', 'cc3m', '--out', 'o'], 'the following arguments are required: --raw'),
        (['build', 'cc3m', '--raw', '.', '--out', 'o', '--workers', 'two'], "argument --workers: invalid int value: 'two'"),
        (['build', 'cc3m', '--raw', '.', '--out', 'o', '--holdout', '0.9'], '--holdout 0.9 is out of range: it must be between 0 and 0.5'),
        (['build', 'cc3m', '--raw', '.', '--out', 'o', '--holdout', 'nan'], '--holdout nan is out of range'),
        (['build', 'cc3m', '--raw', '.', '--out', 'o', '--compression', 'lz4'], '--compression lz4 is not none, zstd or zstd:LEVEL'),
        (['build', 'cc100', '--raw', '.', '--out', 'o', '--image-side', '64'], '--image-side does not concern cc100'),
        (['build', 'opus', '--raw', '.', '--out', 'o', '--without', 'lenght'], 'no such rule, the nearest is length'),
        (['build', 'cc100', '--raw', '.', '--out', 'o', '--without', 'length_ratio'], '--without length_ratio does not concern cc100'),
        (['build', 'cc100', '--raw', '.', '--out', 'o', '--limit', 'en:5'], '--limit en:5 is not SIZE or CODE=SIZE, such as en=20G'),
        (['build', 'cc100', '--raw', '.', '--out', 'o', '--limit', 'qq=5'], "unknown language code 'qq'"),
        (['build', 'opus', '--raw', '.', '--out', 'o', '--licence', 'a\nb'], "--licence 'a\\nb' is not one line of text"),
        (['build', 'cc3m', '--raw', 'missing', '--out', 'o'], 'missing is no folder; give --raw the folder of cc3m'),
        (['build', 'cc3m', '--raw', '.', '--out', 'o', '--images', 'missing'], '--images missing does not exist'),
        (['build', 'opus', '--raw', '.', '--out', 'o', '--images', '.'], '--images has no meaning for opus'),
        (['build', 'cc3m', '--raw', '.', '--out', 'o', '--task', '2', '--tasks', '2'], 'task is 0 to tasks - 1'),
        (['finish', '--out', 'missing'], 'missing holds no build to finish'),
        (['finish', '--out', 'missing', '--corpus', 'wit'], 'missing holds no build of wit to finish; run `data_pipeline build wit'),
        (['finish', '--out', 'o', '--corpus', 'cc3'], "CORPUS 'cc3' is none of cc3m cc12m wit cc100 opus; the nearest is cc3m"),
        (['verify', 'missing'], 'missing is no folder'),
        (['stats', 'missing'], 'missing is no folder'),
        (['tokenizer', 'train', '--raw', 'missing', '--out', 'o'], 'missing is no folder'),
        (['tokenizer', 'import', 'missing', '--out', 'o'], 'missing cannot be read'),
        (['tokenizer', 'trian'], "COMMAND 'trian' is none of train import; the nearest is train"),
    ],
)
def test_mistakes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in error(capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_texts_need_a_tokenizer(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for corpus in ('cc100', 'opus'):
        line = error(capsys, 'build', corpus, '--raw', SAMPLE / corpus, '--out', tmp_path / 'out')
        assert f'{corpus} holds texts: give --tokenizer DIR' in line
        assert 'is no tokenizer folder' in error(
            capsys, 'build', corpus, '--raw', SAMPLE / corpus, '--out', tmp_path / 'out', '--tokenizer', tmp_path
        )
    assert not (tmp_path / 'out').exists()


def test_wrong_corpus(capsys: pytest.CaptureFixture[str], tokenizer: Path, tmp_path: Path) -> None:
    more = ('--out', tmp_path, '--tokenizer', tokenizer)
    assert 'cc12m.tsv row 1 is not caption<TAB>url' in error(capsys, 'build', 'cc3m', '--raw', SAMPLE / 'cc12m', *more)
    assert 'Train_GCC-training.tsv row 1 is not url<TAB>caption' in error(capsys, 'build', 'cc12m', '--raw', SAMPLE / 'cc3m', *more)
    assert 'holds no WIT file' in error(capsys, 'build', 'wit', '--raw', SAMPLE / 'cc100', *more)
    assert 'holds no <code>.txt.xz' in error(capsys, 'build', 'cc100', '--raw', SAMPLE / 'opus', *more)
    assert 'holds no bitext' in error(capsys, 'build', 'opus', '--raw', SAMPLE / 'cc100', *more)
    for corpus in ('cc3m', 'cc12m', 'wit', 'cc100'):  # opus is found at any depth
        assert error(capsys, 'build', corpus, '--raw', SAMPLE, *more).endswith(f' (or do you mean --raw {SAMPLE / corpus}?)')


def test_build_verify_stats(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run('build', 'cc12m', '--raw', str(SAMPLE / 'cc12m'), '--out', str(tmp_path), '--holdout', '0.04') == 0
    captured = capsys.readouterr()
    assert captured.out.startswith('cc12m: 597 train + 23 val samples in 6 languages, ')
    assert len(captured.out.splitlines()) == 1
    assert 'cc12m build: 100%' in captured.err
    assert run('verify', str(tmp_path)) == 0
    assert capsys.readouterr().out == f'{tmp_path}: 2 streams, 4 shards, 620 samples, nothing bad\n'
    assert run('stats', str(tmp_path), '--json') == 0
    assert json.loads(capsys.readouterr().out)['cc12m']['splits']['train']['samples'] == 597
    assert run('finish', '--out', str(tmp_path)) == 0
    capsys.readouterr()
    shard = next(tmp_path.glob('cc12m/train/*/*.mds'))
    assert unread([str(BIN / 'data_pipeline'), 'stats', str(tmp_path)]) == (0, '')
    shard.write_bytes(shard.read_bytes()[:-1])
    assert unread([str(BIN / 'data_pipeline'), 'verify', str(tmp_path)])[0] == 1, 'though nobody reads what is bad'
    assert run('verify', str(tmp_path)) == 1
    out = capsys.readouterr().out.splitlines()
    assert any(str(shard) in line for line in out)
    assert ' bad' in out[-1]


def test_tokenizer_commands(capsys: pytest.CaptureFixture[str], tokenizer: Path, tmp_path: Path) -> None:
    assert run('tokenizer', 'import', str(tokenizer / MODEL), '--out', str(tmp_path / 'imported')) == 0
    assert Tokenizer.load(tmp_path / 'imported').fingerprint == Tokenizer.load(tokenizer).fingerprint
    assert 'fingerprint' in capsys.readouterr().out
    assert 'holds a tokenizer already' in error(capsys, 'tokenizer', 'import', tokenizer / MODEL, '--out', tmp_path / 'imported')
    (tmp_path / 'not.model').write_bytes(b'<html>')
    assert 'not.model is not a sentencepiece model' in error(capsys, 'tokenizer', 'import', tmp_path / 'not.model', '--out', tmp_path / 'x')
    raw = tmp_path / 'raw'
    (raw / 'cc100').mkdir(parents=True)
    (raw / 'cc100/th.txt.xz').symlink_to(SAMPLE / 'cc100/th.txt.xz')
    assert 'cannot train 250000 pieces on these texts' in error(capsys, 'tokenizer', 'train', '--raw', raw, '--out', tmp_path / 'trained')
    assert run('tokenizer', 'train', '--raw', str(raw), '--out', str(tmp_path / 'trained'), '--pieces', '200') == 0
    assert Tokenizer.load(tmp_path / 'trained').pieces == 200
