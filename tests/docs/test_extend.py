"""docs/extend.md: its files, changes and commands, applied in order to a copy of the repository, with the real commands and launcher."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pretrain.records import EVALUATION, METRICS, read_lines
from shards.languages import APPENDED
from tests.docs.commands import ROOT, Block, blocks
from tests.support.distributed import SESSION, free_port
from tests.support.launch import BIN, environment

SECONDS = 1200
# Tests that list languages or tasks, or compare a document with the code.
LISTING = (
    'tests/docs/test_habits.py::test_configuration_page',
    'tests/pretrain/model/test_full_size.py',
    'tests/pretrain/plan/test_plan.py::test_numbers_that_are_none',
    'tests/pretrain/tasks/test_losses.py::test_every_task_that_the_settings_name_is_registered',
)
KHASI = ('ka ktien', 'u briew', 'ka iing', 'ki khun', 'ka um', 'u sngi', 'ka ri', 'ki dieng')  # words, in any order: a text to count

pytestmark = [pytest.mark.slow, pytest.mark.launcher]


def page() -> dict[str, list[Block]]:
    """The blocks of the page by the title of their section."""
    parts = re.split(r'(?m)^## ', (ROOT / 'docs/extend.md').read_text(encoding='utf8'))[1:]
    return {part.partition('\n')[0]: list(blocks(part)) for part in parts}


def apply(tree: Path, diff: list[str]) -> None:
    """Make the changes of a diff whose hunks have no line numbers: each stands in its file exactly once."""
    for file in re.split(r'(?m)^--- .*\n', '\n'.join(diff) + '\n')[1:]:
        name = re.match(r'\+\+\+ b/(.*)\n', file)
        assert name is not None
        path = tree / name[1]
        for hunk in file.split('@@\n')[1:]:
            lines = hunk.splitlines()
            before, after = (''.join(f'{line[1:]}\n' for line in lines if line[:1] in kept) for kept in (' -', ' +'))
            text = path.read_text(encoding='utf8')
            assert text.count(before) == 1, f'{path.relative_to(tree)} does not have this once:\n{before}'
            path.write_text(text.replace(before, after), encoding='utf8')


def run(tree: Path, line: str) -> str:
    """Run a command of the page in the copy, whose modules come first; what it printed, if not into a file."""
    line, _, file = line.partition(' > ')
    words = shlex.split(line)
    if words[0] in ('data_pipeline', 'pretrain'):
        words = [str(BIN / 'python'), '-c', f'import sys; from {words[0]}.cli import main; sys.exit(main())', *words[1:]]
    elif words[0] == 'deepspeed':
        words = [str(BIN / 'deepspeed'), '--master_port', free_port(), *words[1:]]
    done = started(tree, words)
    assert done.returncode == 0, f'{line}\n{done.stdout}{done.stderr}'
    if file:
        (tree / file).write_text(done.stdout, encoding='utf8')
    return done.stdout


def started(tree: Path, words: list[str]) -> subprocess.CompletedProcess[str]:
    """A program run in the copy, by the tools of this environment; not as a part of these tests."""
    variables = {key: value for key, value in environment().items() if key != SESSION and not key.startswith('PYTEST')}
    variables |= {'PYTHONPATH': str(tree), 'DS_ACCELERATOR': 'cpu', 'PATH': f'{BIN}:{os.environ["PATH"]}'}
    return subprocess.run(words, cwd=tree, env=variables, capture_output=True, text=True, check=False, timeout=SECONDS)


@pytest.fixture(scope='module')
def extended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The copy with all three extensions, and what each command printed."""
    tree = tmp_path_factory.mktemp('extended')
    listed = ['git', 'ls-files', '-co', '--exclude-standard', '--deduplicate', ':!sample']
    files = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in files.stdout.splitlines():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes((ROOT / name).read_bytes())
    for name in ('sample', '.venv'):
        (tree / name).symlink_to(ROOT / name)
    corpora(tree / 'corpora')
    printed: dict[str, str] = {}
    for section in page().values():
        for block in section:
            if block.language == 'diff':
                apply(tree, block.lines)
            elif block.language == 'python':
                (tree / block.title.removeprefix('title=').strip('"')).write_text('\n'.join(block.lines) + '\n', encoding='utf8')
            else:
                printed |= {line: run(tree, line) for line in block.lines}
    return tree, printed


def corpora(folder: Path) -> None:
    """Raw data as the page assumes it: two languages of CC100 and a text in the new one, pictures of CC3M with captions in JSON lines."""
    raw = ROOT / 'sample/raw'
    (folder / 'cc100').mkdir(parents=True)
    (folder / 'postcards').mkdir()
    for code in ('en', 'de'):
        (folder / f'cc100/{code}.txt.xz').symlink_to(raw / f'cc100/{code}.txt.xz')
    texts = [' '.join(KHASI[(i * step) % len(KHASI)] for step in range(2, 9)) + f' {i}.' for i in range(200)]
    (folder / 'cc100/kha.txt').write_text('\n\n'.join(texts) + '\n')
    (folder / 'postcards/images').symlink_to(raw / 'cc3m/images')
    rows = [json.loads(line) for line in (raw / 'cc3m/translations.jsonl').read_text(encoding='utf8').splitlines()]
    captions = [{'url': row['url'], 'language': code, 'text': text} for row in rows for code, text in row['caption'].items()]
    captions += [{'url': rows[0]['url'], 'language': 'xx-nowhere', 'text': 'lost'}]
    (folder / 'postcards/captions.jsonl').write_text(''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in captions))


def test_the_language_has_the_last_code_and_others_keep_theirs(extended: tuple[Path, dict[str, str]]) -> None:
    tree, _ = extended
    tokenizer = json.loads((tree / 'data/tokenizer/tokenizer.json').read_text(encoding='utf8'))
    assert tokenizer['appended'] == [*APPENDED, 'kha_XX'] and tokenizer['vocabulary'] == tokenizer['mask'] + 1 + len(APPENDED) + 1
    train = json.loads((tree / 'data/shards/cc100/train/kha/manifest.json').read_text(encoding='utf8'))
    assert train['languages'].keys() == {'kha'} and train['samples'] > 100


def test_the_corpus_builds_and_verifies(extended: tuple[Path, dict[str, str]]) -> None:
    tree, printed = extended
    assert 'nothing bad' in printed['data_pipeline verify data/shards']
    assert 'unknown_language 1' in printed['data_pipeline stats data/shards/postcards']
    manifest = json.loads((tree / 'data/shards/postcards/train/manifest.json').read_text(encoding='utf8'))
    assert manifest['kind'] == 'pictures' and manifest['samples'] > 500 and {'de', 'fr', 'ja'} <= manifest['languages'].keys()


def test_the_task_trains(extended: tuple[Path, dict[str, str]]) -> None:
    run = extended[0] / 'runs/denoise'
    lines: list[dict[str, Any]] = read_lines(run / METRICS)
    assert [line['step'] for line in lines] == list(range(1, 21))
    assert all(line['loss'].keys() == {'denoise', 'cmcl', 'total'} and line['targets'].keys() == {'denoise'} for line in lines)
    losses = [line['loss']['denoise'] for line in lines]
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])
    first, last = read_lines(run / EVALUATION)
    assert last['heldout']['denoise']['mean'] < first['heldout']['denoise']['mean']
    assert last['heldout']['denoise']['languages'].keys() == {'de', 'en', 'kha'}


def test_the_plan_knows_the_task(extended: tuple[Path, dict[str, str]]) -> None:
    printed = next(text for line, text in extended[1].items() if line.startswith('pretrain plan'))
    assert re.search(r'\bdenoise\b', printed)


@pytest.mark.parametrize('words', [['check'], ['format', '--check']], ids=' '.join)
def test_the_copy_is_as_make_lint_wants_it(extended: tuple[Path, dict[str, str]], words: list[str]) -> None:
    done = started(extended[0], [str(BIN / 'ruff'), *words, '.'])
    assert done.returncode == 0, done.stdout


def test_the_tests_of_what_there_is_pass_in_the_copy(extended: tuple[Path, dict[str, str]]) -> None:
    assert 'denoise' in (extended[0] / 'docs/configuration.md').read_text(encoding='utf8').partition('\n## ')[0]
    done = started(extended[0], [str(BIN / 'python'), '-m', 'pytest', '-q', *LISTING])
    assert done.returncode == 0, f'{done.stdout}{done.stderr}'
    assert re.search(r'\b\d\d passed', done.stdout) and 'skipped' not in done.stdout, done.stdout
