"""Every command that a document shows is known to the table below, which says what runs it, and its program understands its arguments."""

from __future__ import annotations

import argparse
import ast
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import NamedTuple, NoReturn

import pytest

from pretrain.config import load_config
from shards.languages import APPENDED
from tests.docs.commands import DOCUMENTS, ROOT, blocks, joined
from tests.support.distributed import alone


class Shown(NamedTuple):
    """A command of a document."""

    document: str
    line: str


class Row(NamedTuple):
    """Commands that begin like this, and where they, or others of other folders and sizes, are run: `file: what stands in it`. In Python
    that is words of one string, or elements of one list or call, names of variables too.
    """

    begins: str
    run_by: str


OURS = (
    Row('make demo', '.ci/run: make demo'),
    Row('make test', '.ci/run: make test'),
    Row('make test-fast', '.ci/run: make test-fast'),
    Row('make lint', '.ci/run: make lint'),
    Row('make docs', '.ci/run: make docs'),
    Row('make setup CPU_ONLY=1', 'tests/docs/test_install.py: ## Without CUDA'),
    Row('make setup', '.ci/run: make setup'),
    Row('data_pipeline tokenizer train', 'downstream/quickstart/__main__.py: data_pipeline tokenizer train'),
    Row('data_pipeline tokenizer import', 'tests/data_pipeline/test_cli.py: tokenizer import'),
    Row('data_pipeline build', 'downstream/quickstart/__main__.py: data_pipeline build'),
    Row('data_pipeline finish', 'tests/data_pipeline/test_cli.py: finish --out'),
    Row('data_pipeline verify', 'tests/docs/test_extend.py: data_pipeline verify'),
    Row('data_pipeline stats', 'tests/docs/test_extend.py: data_pipeline stats'),
    Row('data_pipeline remove', 'tests/data_pipeline/test_remove.py: data_pipeline remove'),
    Row('deepspeed pretrain/run.py', '.ci/run: deepspeed pretrain/run.py'),
    Row('DS_ACCELERATOR=cpu deepspeed --quiet pretrain/run.py', 'benchmarks/leave_one_out.py: --quiet --master_port'),
    Row('deepspeed --num_accelerators 2 pretrain/run.py', 'tests/support/launch.py: --num_accelerators'),
    Row('OMP_NUM_THREADS=1 torchrun --nproc_per_node 2 pretrain/run.py', 'tests/support/launch.py: --nproc_per_node'),
    Row('python pretrain/run.py', 'tests/pretrain/test_run.py: pretrain/run.py'),
    Row('pretrain plan', 'tests/docs/test_extend.py: pretrain plan'),
    Row('pretrain doctor', 'tests/pretrain/doctor/test_command.py: doctor --json'),
    Row('pretrain report', 'tests/pretrain/report/test_report.py: report'),
    Row('pretrain export', 'downstream/quickstart/__main__.py: pretrain export'),
    Row('downstream demo', 'tests/downstream/web/test_page.py: demo --model'),
    Row('downstream multi30k-retrieval evaluate', 'downstream/quickstart/__main__.py: downstream multi30k-retrieval evaluate'),
    Row('downstream multi30k-retrieval finetune', 'tests/downstream/test_retrieval_finetuning.py: multi30k-retrieval finetune'),
    Row('downstream multi30k-translation evaluate', 'tests/downstream/test_multi30k_translation.py: multi30k-translation evaluate'),
    Row('downstream multi30k-translation finetune', 'tests/downstream/test_translation_finetuning.py: multi30k-translation finetune'),
    Row('deepspeed --num_accelerators 2 downstream/run.py', 'tests/downstream/test_multi30k_translation.py: downstream/run.py'),
    Row('downstream tatoeba', 'tests/downstream/test_tatoeba.py: tatoeba evaluate'),
    Row('downstream coco evaluate', 'tests/downstream/test_coco.py: coco evaluate'),
    Row('downstream coco-cn evaluate', 'tests/downstream/test_coco.py: coco-cn evaluate'),
    Row('downstream coco finetune', 'tests/downstream/test_caption_finetuning.py: task finetune'),
    Row('downstream coco-cn finetune', 'tests/downstream/test_caption_finetuning.py: task finetune'),
    Row('downstream xvnli', 'tests/downstream/test_finetune_command.py: xvnli finetune'),
    Row('downstream xgqa', 'tests/downstream/test_xgqa.py: xgqa finetune'),
    Row('downstream report', 'tests/downstream/pages/test_examples.py: report'),
    Row('python benchmarks/ridge_floor.py', 'downstream/quickstart/__main__.py: benchmarks/ridge_floor.py'),
    Row('python benchmarks/step.py', 'tests/benchmarks/test_step.py: benchmarks/step.py'),
    Row('python benchmarks/scaling.py', 'tests/benchmarks/test_scaling.py: benchmarks/scaling.py'),
    Row('python benchmarks/loader.py', 'tests/benchmarks/test_loader.py: benchmarks/loader.py'),
    Row('python benchmarks/learning.py', 'benchmarks/smoke.py: python benchmarks/learning.py'),
    Row('python benchmarks/results.py', 'Makefile: benchmarks/results.py'),
    Row('python benchmarks/ablation.py', 'Makefile: benchmarks/ablation.py'),
    Row('make bench-smoke', '.ci/run: make bench-smoke'),
    Row('make bench-pretrain', 'benchmarks/smoke.py: make bench-pretrain'),
    Row('make bench-ablation', 'benchmarks/smoke.py: make bench-ablation'),
    Row('python benchmarks/full_size_step.py', 'tests/benchmarks/test_full_size_step.py: benchmarks/full_size_step.py'),
    Row('python benchmarks/leave_one_out.py', 'benchmarks/smoke.py: python benchmarks/leave_one_out.py'),
    Row('python benchmarks/bf16_band.py', 'benchmarks/smoke.py: python benchmarks/bf16_band.py'),
    Row('python benchmarks/checkpoint.py', 'tests/benchmarks/test_checkpoint.py: benchmarks/checkpoint.py'),
    Row('python benchmarks/plan_memory.py', 'benchmarks/smoke.py: python benchmarks/plan_memory.py'),
    Row('python benchmarks/chaos.py', 'benchmarks/smoke.py: python benchmarks/chaos.py'),
    Row('python benchmarks/memory.py', 'benchmarks/smoke.py: python benchmarks/memory.py'),
    Row('OMP_NUM_THREADS=1 python benchmarks/ranking.py', 'tests/benchmarks/test_ranking.py: benchmarks/ranking.py'),
    Row('python -m pretrain.config.page', '.pre-commit-config.yaml: .venv/bin/python -m pretrain.config.page'),
    Row('python -m benchmarks.data', 'benchmarks/smoke.py: python -m benchmarks.data'),
    Row('sbatch', 'tests/support/slurm.py: sbatch --parsable'),
)
# A page that is run whole.
OBTAIN = (
    'wget', 'git clone', 'for n in', 'for code in', 'for pair in', 'for part in', "(printf 'caption\\turl\\n'; cat cc3m/",
    "(printf 'url\\tcaption\\n'; cat cc12m/", 'mkdir', 'tar', 'ln -s', 'cp ', 'python -m zipfile', 'find',
)  # fmt: skip
# Programs that are not ours: what runs the line.
OTHERS = (
    Row('source .venv/bin/activate', 'tests/docs/test_install.py: source'),
    Row('python3 -m venv .venv', 'Makefile: -m venv'),
    Row('.venv/bin/pip install --no-deps --require-hashes -r requirements.lock', 'Makefile: --no-deps --require-hashes -r'),
    Row('.venv/bin/pip install --no-deps --no-build-isolation -e .', 'Makefile: --no-deps --no-build-isolation -e .'),
    Row('.venv/bin/pip install torch==', 'tests/docs/test_install.py: ## Without CUDA'),
    # Where there is nvcc. What it makes has not run, without a GPU.
    Row('DS_BUILD_OPS=0', '.ci/compile: DS_BUILD_OPS=0'),
    # With a stand-in for apex, whose source is at GitHub and takes nvcc and minutes; the page says how far that was compiled by hand.
    Row('APEX_CPP_EXT=1', 'tests/docs/test_install.py: APEX'),
    Row('apt-get install make git g++ python3 python3-venv python3-dev', '.ci/run: lacking+=(python3 python3-venv python3-dev)'),
    Row('apt-get install slurmctld slurmd slurm-client munge', '.ci/run: lacking+=(slurmctld slurmd slurm-client munge)'),
    Row('apt-get install chromium chromium-driver', '.ci/run: lacking+=(chromium chromium-driver)'),
    Row('apt-get install default-jre-headless', '.ci/run: default-jre-headless'),
    Row('apt-get install wget', '.ci/run: lacking+=(wget)'),
    Row('uv pip compile', '.ci/lock: uv pip compile'),
    Row('pip install pre-commit', '.ci/run: fetched pre-commit'),
    Row('pre-commit install', '.ci/run: pre-commit install'),
    Row('mlflow server', 'tests/pretrain/boards/test_mlflow_server.py: --workers 1 --backend-store-uri'),
    Row('img2dataset', '.ci/run: IMG2DATASET='),
    *(Row(begins, 'tests/docs/test_obtain.py: docs/obtain.md') for begins in OBTAIN),
)
# What a block without a command begins with: tables, listings, output.
TEXTS = (
    'Zero-shot retrieval among', 'cc3m: 700 train', 'cc3m/Train_GCC', '{"url"', '<l1>-<l2>', 'data/shards/cc3m/train/index.json',
    'language  ours', 'RUN/config.yaml', 'n0           skipped', 'step 3/3  loss', 'ours by part',
)  # fmt: skip
CODE = ('python', 'diff', 'bibtex', 'json', 'yaml')
ALL = (*OURS, *OTHERS)


def row_of(line: str) -> Row | None:
    """The row of a command: of several the longest."""
    return max((row for row in ALL if line.startswith(row.begins)), key=lambda row: len(row.begins), default=None)


def shown() -> Iterator[Shown]:
    """Every command of the documents. A line of a block that holds commands is one; behind a line with `$` stands what it printed."""
    for document in DOCUMENTS:
        name = document.relative_to(ROOT).as_posix()
        for block in blocks(document.read_text(encoding='utf8')):
            if block.language in CODE or block.lines[0].startswith(TEXTS):
                continue
            prompted = any(line.startswith('$ ') for line in block.lines)
            if block.lines[0].startswith('python -c "'):
                yield Shown(name, '\n'.join(block.lines))
                continue
            for line in joined(block.lines):
                if not prompted or line.startswith('$ '):
                    yield Shown(name, re.sub(r'\s+#.*', '', line.removeprefix('$ ')).strip())


SHOWN = [command for command in shown() if not command.line.startswith('python -c "')]


def test_every_command_is_in_the_table() -> None:
    assert len(SHOWN) > 80
    assert [command for command in SHOWN if row_of(command.line) is None] == []


def test_what_is_run_with_its_page_stands_in_no_other() -> None:
    with_page = [command for command in SHOWN if (row := row_of(command.line)) is not None and row.begins in OBTAIN]
    assert len(with_page) > 30 and {command.document for command in with_page} == {'docs/obtain.md'}


@pytest.mark.parametrize('row', ALL, ids=lambda row: row.begins)
def test_the_table_is_true(row: Row) -> None:
    """What a row says is there; a row that no document needs any more is gone."""
    file, _, needle = row.run_by.partition(': ')
    text = (ROOT / file).read_text(encoding='utf8')
    assert any(has(words, needle.split()) for words in lists(text)) if file.endswith('.py') else needle in text
    assert any(row_of(command.line) is row for command in SHOWN), 'no document shows it'


def lists(text: str) -> Iterator[list[str | None]]:
    """What stands together in a program: the words of a string, the elements of a list, a tuple or a call."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield [*node.value.split()]
        elements = node.elts if isinstance(node, ast.List | ast.Tuple) else node.args if isinstance(node, ast.Call) else []
        yield [
            element.value if isinstance(element, ast.Constant) and isinstance(element.value, str)
            else element.id if isinstance(element, ast.Name) else None
            for element in elements
        ]  # fmt: skip


def has(words: list[str | None], wanted: list[str]) -> bool:
    """Whether they stand there one after the other."""
    return any(words[at : at + len(wanted)] == wanted for at in range(len(words)))


class Parsed(BaseException):
    """The arguments of a program, before it does anything."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Programs end, with Parsed, when their own parser has accepted their arguments."""

    def ended(how: str) -> None:
        real = getattr(argparse.ArgumentParser, how)

        def parsed(self: argparse.ArgumentParser, *given: object, **named: object) -> NoReturn:
            raise Parsed(real(self, *given, **named))

        monkeypatch.setattr(argparse.ArgumentParser, how, parsed)

    for how in ('parse_args', 'parse_intermixed_args'):
        ended(how)
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, 'path', [str(ROOT), *sys.path])
    yield


def options_of(words: list[str], monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """What the program of a command understands of its arguments. Raises UserError, or SystemExit, for what it does not."""
    while re.fullmatch(r'[A-Z_]+=\S*', words[0]):  # of the environment
        words = words[1:]
    if words[0] == 'deepspeed' or words[0] == 'torchrun':
        first = next(i for i, word in enumerate(words) if word.endswith('run.py'))
        words = ['python', *words[first:]]
    if words[0] == 'sbatch':
        return options_of(of_job(words), monkeypatch)
    if words[0] == 'python':
        module = words[1] == '-m'
        monkeypatch.setattr(sys, 'argv', [words[2], *words[3:]] if module else words[1:])
        start, name = (runpy.run_module, words[2]) if module else (runpy.run_path, words[1])
        run: Callable[[], object] = partial(start, name, run_name='__main__')
    else:
        monkeypatch.setattr(sys, 'argv', words)
        run = import_module(f'{words[0]}.cli').main
    with pytest.raises(Parsed) as parsed:
        run()
    return parsed.value.options


def of_job(words: list[str]) -> list[str]:
    """The command that a job runs, of `sbatch … slurm/SCRIPT …`."""
    at = next(i for i, word in enumerate(words) if word.startswith('slurm/'))
    assert (ROOT / words[at]).is_file() and all(re.fullmatch(r'--[a-z-]+=\S+', word) for word in words[1:at])
    programs = {
        'slurm/pretrain.sh': ['python', 'pretrain/run.py'], 'slurm/build_shards.sh': ['data_pipeline', 'build'],
        'slurm/finetune.sh': ['downstream'], 'slurm/healthcheck.sh': ['python', '-m', 'pretrain.health'],
    }  # fmt: skip
    return [*programs[words[at]], *words[at + 1 :]]


PARSED = [command for command in SHOWN if (row := row_of(command.line)) in OURS and command.document != 'docs/extend.md']


@pytest.mark.usefixtures('parse')
@pytest.mark.parametrize('command', PARSED, ids=lambda command: f'{command.document}: {command.line}')
def test_its_program_understands_it(command: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the program's own parser, settings by the configuration. (docs/extend.md is run as a whole by test_extend.py.)"""
    words = shlex.split(command.line)
    if words[0] == 'make':
        done = subprocess.run(['make', '-n', *words[1:]], cwd=ROOT, env={**os.environ}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return
    options = options_of(words, monkeypatch)
    config = getattr(options, 'config', None)
    settings = getattr(options, 'settings', [])
    load_config(config if words[0] != 'downstream' else None, settings)


def test_the_counting_of_parameters_prints_what_the_page_says() -> None:
    """A language that was added since the page was written adds what the page says."""
    counted = [command for command in shown() if command.line.startswith('python -c "')]
    assert len(counted) == 1
    program = shlex.split(counted[0].line)[2]
    done = subprocess.run([*alone(), '-u', '-c', program.strip()], cwd=ROOT, capture_output=True, text=True, check=True)
    page = (ROOT / 'docs/method.md').read_text(encoding='utf8')
    found = re.search(r'the (\d+) appended codes, each of which\s+adds ([\d,]+) .*?\*\*all\*\* \| \*\*([\d,]+)\*\*', page, re.DOTALL)
    assert found
    codes, each, parameters = (int(number.replace(',', '')) for number in found.groups())
    assert int(done.stdout) == parameters + (len(APPENDED) - codes) * each
