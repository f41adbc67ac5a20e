"""The real command: two processes, ZeRO-2, bf16, all eight tasks; stopped in every way, it goes on as if it had not been."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pretrain.config import TASKS, load_config
from pretrain.engine.checkpoint import checkpoints, newest_valid, read_state
from pretrain.pretraining import Pretraining
from pretrain.records import EVALUATION, EVENTS, METRICS, read_lines
from pretrain.trainer import Trainer
from shards.errors import UserError
from tests.pretrain.data.small_shards import train_tokenizer
from tests.support.distributed import alone, python
from tests.support.launch import (
    ROOT,
    TINY,
    Started,
    command,
    deepspeed,
    forked,
    prewarmed,
    reproducible,
    run,
    steps,
    succeed,
    torchrun,
)

EMOJI = ROOT / 'sample/evaluation/multi30k_emoji'
STEPS = 30
# A checkpoint at the end only, so that what a stop in between leaves is the stop's own.
EVALUATED = ['eval.every=15', f'eval.retrieval={{data: {EMOJI}, languages: [en, de]}}', 'log.tensorboard=true']

pytestmark = [pytest.mark.slow, pytest.mark.launcher]


def events(out: Path, *names: str) -> list[dict[str, Any]]:
    return [line for line in read_lines(out / EVENTS) if line['event'] in names]


@pytest.fixture(scope='module')
def unbroken(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of 30 steps. (One of DeepSpeed's launcher that nobody stops is in test_terminal.py.)"""
    out = tmp_path_factory.mktemp('unbroken') / 'run'
    printed = succeed(command(prewarmed(2), home, out, f'steps={STEPS}', *EVALUATED, 'data.workers=1'), out.parent)
    (out.parent / 'printed').write_text(printed)
    return out


@dataclass(frozen=True)
class Broken:
    """A run to step 10, continued to 30, interrupted on the way, killed on the way, and at last finished."""

    out: Path
    interrupted: int  # exit code
    stopped: int  # step of the checkpoint that the interruption left
    killed: int  # last step that the killed attempt wrote


@pytest.fixture(scope='module')
def broken(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Broken:
    out = tmp_path_factory.mktemp('broken') / 'run'
    forked(2, home, out, 'steps=10', *EVALUATED, 'data.workers=0')

    def again(launcher: list[str], workers: int) -> list[str]:
        return command(launcher, home, out, f'steps={STEPS}', *EVALUATED, f'data.workers={workers}')

    first = Started(again(deepspeed(2), 1), out.parent)
    first.wait_for(lambda: steps(out) >= 12)
    interrupted = first.interrupt()
    second = Started(again(prewarmed(2), 0), out.parent)  # at once: it waits until the first one's checkpoint is written
    second.wait_for(lambda: len(events(out, 'resume')) == 2)
    stopped = steps(out)
    second.wait_for(lambda: steps(out) >= stopped + 3)
    second.kill()
    killed = steps(out)
    succeed(again(prewarmed(2), 0), out.parent)
    return Broken(out, interrupted, stopped, killed)


def test_losses_fall(unbroken: Path) -> None:
    metrics = read_lines(unbroken / METRICS)
    totals = [line['loss']['total'] for line in metrics]
    assert sum(totals[-5:]) < 0.9 * sum(totals[:5])
    for task in TASKS:
        if task not in ('itm', 'cmcl'):
            losses = [line['loss'][task] for line in metrics]
            # CLCL starts far above ln 8, chance in a batch of 8, and is near it after 30 steps: from 3.15 to 2.04 on average.
            assert sum(losses[-5:]) < (0.8 if task == 'clcl' else 1) * sum(losses[:5]), task


def test_metrics_hold_every_step(unbroken: Path) -> None:
    metrics = read_lines(unbroken / METRICS)
    assert [line['step'] for line in metrics] == list(range(1, STEPS + 1))
    assert len({line['samples'] for line in metrics}) == STEPS
    for line in metrics:
        assert {'step', 'loss', 'lr', 'grad_norm', 'samples', 'samples_per_s', 'skipped'} <= line.keys()
        assert list(line['loss']) == [*TASKS, 'total'] and line['skipped'] is False and line['samples_per_s'] > 0
        assert line['task_samples_per_s'] == pytest.approx(dict.fromkeys(TASKS, line['samples_per_s'] / len(TASKS)))  # 8 samples of each
        assert line['loss']['total'] == pytest.approx(sum(line['loss'][task] for task in TASKS) / len(TASKS))
        assert set(line['examples']) == {'prefixed.plm', 'prefixed.vplm', 'masks.mlm', 'masks.mmmt', 'negatives.itm'}
        assert 0 <= line['examples']['prefixed.plm'] <= 1 and line['examples']['masks.mlm'] == line['targets']['mlm'] / 8 >= 1
        assert line['targets']['itm'] == 8 and set(line['targets']) == {'itm', 'mlm', 'plm', 'vplm', 'mt', 'mmmt', 'mmmt_masked'}


def test_evaluations(unbroken: Path) -> None:
    evaluations = read_lines(unbroken / EVALUATION)
    assert [line['step'] for line in evaluations] == [0, 15, STEPS]
    for line in evaluations:
        assert set(line['heldout']) == set(TASKS)
        for report in line['heldout'].values():
            assert report['mean'] == pytest.approx(sum(report['languages'].values()) / len(report['languages']))
        assert [task for task in TASKS if 'accuracy' in line['heldout'][task]] == ['cmcl', 'clcl', 'itm']
        assert all(0 < line['heldout'][task]['accuracy'] < 1 for task in ('cmcl', 'clcl', 'itm'))
        assert list(line['retrieval']) == ['de', 'en'] and len(line['retrieval']['en']['text_to_image']) == 3
    assert {'cs', 'de', 'tr'} <= evaluations[0]['heldout']['mlm']['languages'].keys()
    assert evaluations[-1]['heldout']['plm']['mean'] < evaluations[0]['heldout']['plm']['mean']


def test_events_configuration_and_tensorboard(unbroken: Path) -> None:
    lines, metrics = read_lines(unbroken / EVENTS), read_lines(unbroken / METRICS)
    assert [(line['event'], line['step']) for line in lines] == [('start', 0), ('checkpoint', STEPS), ('end', STEPS)]
    assert lines[0]['world'] == 2 and lines[-1]['code'] == 0
    config = load_config(unbroken / 'config.yaml')
    assert config.steps == STEPS and config.model.dim == 32 and config.precision == 'bf16' and tuple(config.tasks) == TASKS
    assert [path.name for path in checkpoints(unbroken / 'checkpoints')] == [f'step-{STEPS:07d}']
    assert read_state(newest_valid(unbroken / 'checkpoints')[0] or Path()).keys() >= {'manifests', 'environment'}
    board = EventAccumulator(str(unbroken / 'tensorboard'))
    board.Reload()
    for name in ('prefixed.plm', 'prefixed.vplm', 'masks.mlm', 'masks.mmmt', 'negatives.itm'):
        assert [event.value for event in board.Scalars(f'examples/{name}')] == pytest.approx([line['examples'][name] for line in metrics])
    for task in TASKS:
        rates = [line['task_samples_per_s'][task] for line in metrics]
        assert [event.value for event in board.Scalars(f'samples_per_s/{task}')] == pytest.approx(rates)


def test_a_person_can_follow(unbroken: Path) -> None:
    printed = (unbroken.parent / 'printed').read_text()
    for words in (f'step 1/{STEPS}  loss ', f'step {STEPS}/{STEPS}  loss ', 'samples/s', ' left', f'held-out loss at step {STEPS}: cmcl '):
        assert words in printed
    assert 'zero-shot text->image R@10: de ' in printed


def test_a_stopped_run_equals_an_unbroken_one(unbroken: Path, broken: Broken) -> None:
    """More steps asked for, Ctrl-C, a kill: losses, norms, rates and samples of every step are the same numbers."""
    ours, theirs = ([reproducible(line) for line in read_lines(out / METRICS)] for out in (broken.out, unbroken))
    assert ours == theirs
    evaluations = {line['step']: line for line in read_lines(broken.out / EVALUATION)}
    assert list(evaluations) == [0, 10, 15, STEPS]
    for line in read_lines(unbroken / EVALUATION):
        assert evaluations[line['step']] == line


def test_resumes_from_the_last_checkpoint(broken: Broken) -> None:
    assert [line['step'] for line in events(broken.out, 'resume')] == [10, broken.stopped, broken.stopped]
    assert [line['step'] for line in events(broken.out, 'checkpoint')] == [10, broken.stopped, STEPS]
    assert 12 <= broken.stopped < STEPS


def test_ctrl_c_ends_with_a_checkpoint_and_says_so(broken: Broken) -> None:
    assert broken.interrupted != 0
    assert [line['step'] for line in events(broken.out, 'end')] == [10, broken.stopped, STEPS]
    assert [line['code'] > 128 for line in events(broken.out, 'end')] == [False, True, False]


def test_lines_of_the_killed_attempt_are_kept_aside(broken: Broken) -> None:
    (aside,) = broken.out.glob('metrics.attempt-*.jsonl')
    lost = [json.loads(line) for line in aside.read_text().splitlines() if line.endswith('}')]
    assert [line['step'] for line in lost][: broken.killed - broken.stopped] == list(range(broken.stopped + 1, broken.killed + 1))
    again = {line['step']: line for line in read_lines(broken.out / METRICS)}
    assert all(reproducible(line) == reproducible(again[line['step']]) for line in lost)


def test_changed_shards_are_refused_by_both_processes_in_one_line(home: Path, broken: Broken, tmp_path: Path) -> None:
    changed = tmp_path / 'home'
    shutil.copytree(home, changed)
    manifest = changed / 'shards/opus/train/de-en/manifest.json'
    manifest.write_text(manifest.read_text() + '\n')
    arguments = command(prewarmed(2), changed, broken.out, 'steps=40')
    assert 'opus/train/de-en has changed' in refused(arguments, tmp_path, launcher=True)


def refused(arguments: list[str], folder: Path, launcher: bool = False) -> str:
    """The one `error:` line of a command that ends with exit code 2 and no trace."""
    done = run(arguments, folder)
    printed = done.stdout + done.stderr
    assert done.returncode == 2, printed
    assert 'Traceback' not in printed
    errors = [line for line in printed.splitlines() if line.startswith('error:')]
    assert len(errors) == 1 and (launcher or printed == errors[0] + '\n'), printed
    return errors[0]


def test_one_process_without_a_launcher(home: Path, tmp_path: Path) -> None:
    """And a task that is not trained can still be evaluated, as an ablation does."""
    out = tmp_path / 'run'
    succeed(command(alone(), home, out, 'steps=2', 'tasks=[mlm, itm]', 'eval.tasks=[mlm, mt]', 'data.workers=0'), tmp_path)
    assert steps(out) == 2 and list(read_lines(out / METRICS)[0]['loss']) == ['mlm', 'itm', 'total']
    assert [list(line['heldout']) for line in read_lines(out / EVALUATION)] == [['mlm', 'mt']] * 2
    assert events(out, 'start')[0]['world'] == 1


def test_a_broken_picture_of_the_retrieval_set_is_named(home: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(EMOJI, tmp_path / 'retrieval'))
    broken = sorted((data / 'images').iterdir())[3]
    broken.write_bytes(broken.read_bytes()[:100])
    settings = ['steps=1', 'tasks=[mt]', 'data.workers=0', f'eval.retrieval={{data: {data}, languages: [en]}}']
    said = refused(command(prewarmed(1), home, tmp_path / 'run', *settings), tmp_path, launcher=True)
    assert said.startswith(f'error: picture {broken} cannot be decoded (') and said.endswith('; replace it by the original')


def test_torchrun(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher itself, whose ranks have imported everything. (The next test has it start its own.)"""
    monkeypatch.setenv('PYTHON_EXEC', python(tmp_path))  # which torchrun starts in place of its own Python
    out = tmp_path / 'run'
    succeed(command(torchrun(2), home, out, 'steps=1', 'tasks=[cmcl]', 'precision=fp32', 'data.workers=0', 'seed=4'), tmp_path)
    assert steps(out) == 1 and events(out, 'start')[0]['world'] == 2 and events(out, 'end')[0]['code'] == 0
    assert yaml.safe_load((out / 'config.yaml').read_text())['precision'] == 'fp32'


@pytest.mark.parametrize('launcher', [deepspeed, torchrun])
def test_a_mistake_under_a_launcher_is_one_line_of_ours(launcher: Callable[[int], list[str]], tmp_path: Path) -> None:
    """Of two ranks one says it. The launchers add words of their own, torchrun a stack trace of itself; none of ours is in it."""
    done = run([*launcher(2), str(ROOT / 'pretrain/run.py'), 'sede=1'], tmp_path)
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith('error: ')]
    assert done.returncode and len(said) == 1 and 'unknown setting sede' in said[0], done.stderr
    assert 'pretrain/run.py", line' not in done.stderr


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['batch.globl=3'], 'unknown setting batch.globl'),
        (['--config', 'none.yaml'], 'configuration none.yaml does not exist'),
        (['--confg', 'x.yaml'], 'unknown flag --confg; the nearest is --config'),
        (['steps=3', '--config', str(ROOT / 'configs/sample.yaml'), 'sede=1'], 'unknown setting sede'),
    ],
)
def test_mistakes_of_the_command_line(arguments: list[str], words: str, tmp_path: Path) -> None:
    assert words in refused([sys.executable, str(ROOT / 'pretrain/run.py'), *arguments], tmp_path)


def test_a_fresh_clone_is_told_all_the_commands_at_once(tmp_path: Path) -> None:
    """Two of the things that paper.yaml needs are there in the second start: only the others are asked for."""
    start = [*alone(), str(ROOT / 'pretrain/run.py')]
    commands = [
        'hf download facebook/mbart-large-cc25 sentencepiece.bpe.model --local-dir . && '
        'data_pipeline tokenizer import sentencepiece.bpe.model --out data/tokenizer',
        *(f'data_pipeline build {corpus} --raw DIR --out data/shards' for corpus in ('cc3m', 'cc12m', 'wit')),
        *(f'data_pipeline build {corpus} --raw DIR --out data/shards --tokenizer data/tokenizer' for corpus in ('cc100', 'opus')),
    ]
    for there in ([], [1, 4]):
        for number in there:
            (tmp_path / 'data/shards' / commands[number].split()[2] / 'train').mkdir(parents=True)
        done = run(start, tmp_path)
        first, *below = done.stderr.splitlines()
        assert done.returncode == 2 and not done.stdout
        assert first.startswith('error: data/tokenizer, data/shards/c') and 'are missing; build them in this order' in first
        assert below == [f'  {command}' for number, command in enumerate(commands) if number not in there]


def test_a_fresh_clone_is_told_of_the_demo_first_where_its_data_is_asked_for(tmp_path: Path) -> None:
    """By the configuration of the demo; not where the shards are elsewhere."""
    start = [*alone(), str(ROOT / 'pretrain/run.py'), '--config', str(ROOT / 'configs/sample.yaml')]
    first, *below = run(start, tmp_path).stderr.splitlines()
    assert first.startswith('error: runs/demo/tokenizer, runs/demo/shards/cc3m/train, ') and len(below) == 6
    assert 'are missing; `make demo` makes them of sample/ and trains configs/sample.yaml; or build them in this order' in first
    assert 'make demo' not in run([*start, 'data.shards=elsewhere'], tmp_path).stderr


def test_print_config_resolves_and_ends(tmp_path: Path) -> None:
    done = run([sys.executable, str(ROOT / 'pretrain/run.py'), '--print-config', 'out=here', 'steps=7'], tmp_path)
    settings = yaml.safe_load(done.stdout)
    assert done.returncode == 0 and settings['out'] == 'here' and settings['steps'] == 7 and settings['batch']['global'] == 4096
    assert not list(tmp_path.iterdir())


def opened(home: Path, out: Path, *settings: str) -> str:
    """The line that a trainer which cannot start is ended with, before any process group or folder is made."""
    options = [*TINY, f'data.shards={home / "shards"}', f'data.tokenizer={home / "tokenizer"}', f'out={out}', *settings]
    with pytest.raises(UserError) as caught:
        Trainer(Pretraining(load_config(ROOT / 'configs/sample.yaml', options)), None)
    assert '\n' not in str(caught.value) and not out.exists()
    return str(caught.value)


def test_mistakes_in_what_a_run_needs(home: Path, tmp_path: Path) -> None:
    out = tmp_path / 'run'
    missing = opened(home, out, 'data.shards=nowhere', 'tasks=[cmcl]', 'data.pictures=[cc3m]')
    assert 'task cmcl needs cc3m, and nowhere/cc3m/train has no samples; build it with `data_pipeline build cc3m' in missing
    assert '--tokenizer' in opened(home, out, 'data.shards=nowhere', 'tasks=[mt]')
    assert 'is no tokenizer folder; make it with `data_pipeline tokenizer train`' in opened(home, out, 'data.tokenizer=nowhere')
    assert 'nowhere is no folder' in opened(home, out, 'eval.retrieval.data=nowhere')
    other = train_tokenizer(['some other words', 'and a few more of them'] * 50, tmp_path / 'other')
    message = opened(home, out, f'data.tokenizer={tmp_path / "other"}')
    assert 'was built with tokenizer' in message and other.fingerprint in message and 'set data.tokenizer' in message
