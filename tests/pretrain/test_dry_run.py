"""`--dry-run`: all of a start but its first step, and nothing that a real run could mistake."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from pretrain.engine.checkpoint import checkpoints
from pretrain.evaluation.multi30k import read_split
from pretrain.records import EVALUATION, METRICS, read_lines
from tests.support.launch import ROOT, command, forked, prewarmed, reproducible, run, succeed

EMOJI = ROOT / 'sample/evaluation/multi30k_emoji'
SETTINGS = ['steps=2', 'data.workers=0', f'eval.retrieval={{data: {EMOJI}, languages: [en, de]}}']

pytestmark = [pytest.mark.slow, pytest.mark.launcher]


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below a folder, with its time."""
    files = [path for path in folder.rglob('*') if path.is_file()]
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.fixture(scope='module')
def plain(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a real run of two steps, with no dry run before it."""
    out = tmp_path_factory.mktemp('plain') / 'run'
    forked(2, home, out, *SETTINGS)
    return out


def test_a_good_run_makes_no_step_and_the_real_one_after_it_is_the_same(home: Path, plain: Path, tmp_path: Path) -> None:
    out = tmp_path / 'there' / 'run'
    printed = succeed(command(prewarmed(2), home, out, *SETTINGS, 'data.workers=1', '--dry-run'), tmp_path)
    assert not out.parent.exists() and not list(tmp_path.iterdir())
    assert 'Traceback' not in printed and printed.count('dry run: this run can start; no step was made') == 1
    told = dict(re.findall(r'^  (\w+) +(.*)$', printed, re.MULTILINE))
    assert told['processes'] == '2 on 1 machine, cpu' and re.fullmatch(
        r'\d+ streams, \d+ shards, [\d,]+ samples; tokenizer of [\d,]+ ids', told['data']
    )
    losses = {task: float(loss) for task, loss in re.findall(r'(\w+) ([\d.]+)', told['losses'])}
    first = read_lines(plain / METRICS)[0]['loss']
    assert losses == {task: pytest.approx(loss, abs=6e-4) for task, loss in first.items() if task != 'total'}
    assert 'optimizer=' in told['kernels'] and 'forward and backward of step 1' in told['time'] and ' GB a process' in told['memory']
    languages = len(read_lines(plain / EVALUATION)[0]['heldout']['mlm']['languages'])
    assert f'mlm {languages} ' in told['evaluation']
    assert told['evaluation'].endswith(f'pictures of the retrieval set: {len(read_split(EMOJI).names)}')
    tried = re.fullmatch(r'held-out losses of a batch: (.*); retrieval of 32 pictures in 2 languages  \(.* s\)', told['evaluated'])
    assert tried and [name for name, _ in re.findall(r'(\w+) ([\d.]+)', tried[1])] == list(first)[:-1], told['evaluated']
    assert 'can be written' in told['checkpoints'] and '; a new run' in told['model']

    forked(2, home, out, *SETTINGS)
    ours, theirs = ([reproducible(line) for line in read_lines(folder / METRICS)] for folder in (out, plain))
    assert ours == theirs
    assert read_lines(out / EVALUATION) == read_lines(plain / EVALUATION)


def test_beside_a_checkpoint_it_goes_on_from_there_and_touches_nothing(home: Path, plain: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(plain, tmp_path / 'run'))
    (out / 'checkpoints' / 'latest').unlink()  # a real start would write it again
    before = contents(out)
    printed = succeed(command(prewarmed(2), home, out, *SETTINGS[1:], 'steps=4', '--dry-run'), tmp_path)
    assert 'goes on after step 2 of 4' in printed and 'forward and backward of step 3' in printed
    assert contents(out) == before and len(checkpoints(out / 'checkpoints')) == 1
    printed = succeed(command(prewarmed(1), home, out, *SETTINGS, '--dry-run'), tmp_path)
    assert 'none is left: the run has all its 2' in printed and contents(out) == before


def test_steps_that_draw_their_tasks_are_tried_until_each_had_its_turn(home: Path, tmp_path: Path) -> None:
    drawn = ['batch.merge=drawn', 'batch.draws=1', 'tasks=[mlm, plm, mt]', 'eval.tasks=[mlm]', 'steps=200']
    printed = succeed(command(prewarmed(1), home, tmp_path / 'run', *drawn, 'data.workers=0', '--dry-run'), tmp_path)
    assert re.search(r'losses +.*mlm \d.*\n', printed) and all(f'{task} ' in printed for task in ('mlm', 'plm', 'mt'))
    assert re.search(r'forward and backward of steps 1 to [3-9]\d*', printed) and not (tmp_path / 'run').exists()


def broken_shards(home: Path, folder: Path) -> Path:
    """A copy of `home` in which the pictures of one shard cannot be read: the manifests are as they were."""
    copy = Path(shutil.copytree(home, folder / 'home'))
    for shard in (copy / 'shards' / 'cc3m' / 'train').rglob('*.mds*'):
        shard.write_bytes(shard.read_bytes()[:-100] + bytes(100))
    return copy


@pytest.mark.parametrize('kind', ['setting', 'shards', 'held out', 'index', 'tokenizer', 'folder', 'retrieval', 'image list'])
def test_what_would_stop_the_run_stops_the_dry_one(home: Path, tmp_path: Path, kind: str) -> None:
    settings, words, where, out = [*SETTINGS, 'tasks=[cmcl, mt]', '--dry-run'], '', home, tmp_path / 'run'
    match kind:
        case 'setting':
            settings, words = [*settings, 'batch.globl=8'], 'unknown setting batch.globl'
        case 'shards':
            # Read by processes of the loader.
            settings, where, words = [*settings, 'data.workers=1'], broken_shards(home, tmp_path), 'cannot be read'
        case 'held out':
            where = Path(shutil.copytree(home, tmp_path / 'home'))
            for shard in (where / 'shards' / 'opus' / 'val').rglob('*.mds*'):
                shard.write_bytes(b'')
            words = 'opus/val'
        case 'index':
            where = Path(shutil.copytree(home, tmp_path / 'home'))
            (where / 'shards' / 'cc12m' / 'val' / 'index.json').unlink()
            words = 'cc12m/val/index.json cannot be read'
        case 'tokenizer':
            where = Path(shutil.copytree(home, tmp_path / 'home'))
            (where / 'tokenizer' / 'tokenizer.json').unlink()
            words = 'data_pipeline tokenizer train'
        case 'folder':
            (tmp_path / 'file').write_text('a file where a folder should be')
            out, words = tmp_path / 'file' / 'run', 'choose another `out`'
        case 'retrieval':
            data = Path(shutil.copytree(EMOJI, tmp_path / 'retrieval'))
            picture = sorted((data / 'images').iterdir())[-1]
            picture.write_bytes(picture.read_bytes()[:100])
            settings, words = [*settings, f'eval.retrieval.data={data}'], f'picture {picture} cannot be decoded'
        case 'image list':
            data = Path(shutil.copytree(EMOJI, tmp_path / 'retrieval'))
            listed = data / 'data/task1/image_splits/test_2016_flickr.txt'
            listed.unlink()
            settings, words = [*settings, f'eval.retrieval.data={data}'], f'{listed} is missing'
    before = contents(tmp_path)
    # Two processes, where one of them may meet the mistake alone.
    launcher = prewarmed(2 if kind in ('shards', 'retrieval') else 1)
    done = run(command(launcher, where, out, *settings), tmp_path)
    printed = done.stdout + done.stderr
    assert done.returncode == 2, printed
    (error,) = [line for line in printed.splitlines() if line.startswith('error:')]
    assert words in error and 'Traceback' not in printed, printed
    assert contents(tmp_path) == before and not (tmp_path / 'run').exists()
