"""What cannot be is said in one line before any process group, engine or loader starts, whatever launched the processes."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import torch

from pretrain.config import load_config
from pretrain.doctor.finding import OK
from pretrain.doctor.inputs import earlier
from pretrain.engine.checkpoint import STATE, digest, read_state
from pretrain.model.load import find_model
from pretrain.preflight import check_run
from pretrain.pretraining import Pretraining
from pretrain.records import EVENTS, read_lines
from pretrain.trainer import Trainer
from shards.errors import UserError
from tests.support.launch import ROOT, TINY, command, prewarmed, run

EMOJI = ROOT / 'sample/evaluation/multi30k_emoji'
LAUNCHERS = {
    'none': {},
    'deepspeed or torchrun': {'RANK': '2', 'LOCAL_RANK': '2', 'WORLD_SIZE': '3', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': '1'},
    'srun': {'SLURM_JOB_ID': '7', 'SLURM_PROCID': '2', 'SLURM_LOCALID': '0', 'SLURM_NTASKS': '3'},
}


@pytest.fixture(params=LAUNCHERS)
def launched(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The environment of a process of each launcher; the number of its processes."""
    for key in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'SLURM_NTASKS', 'SLURM_PROCID'):
        monkeypatch.delenv(key, raising=False)
    for key, value in LAUNCHERS[request.param].items():
        monkeypatch.setenv(key, value)
    return 3 if LAUNCHERS[request.param] else 1


def options(home: Path, out: Path, *settings: str) -> list[str]:
    return [*TINY, f'data.shards={home / "shards"}', f'data.tokenizer={home / "tokenizer"}', f'out={out}', *settings]


def refusal(home: Path, out: Path, *settings: str, ds_config: Path | None = None) -> str:
    """The line that a trainer which cannot start is ended with."""
    with pytest.raises(UserError) as caught:
        workload = Pretraining(load_config(ROOT / 'configs/sample.yaml', options(home, out, *settings)))
        Trainer(workload, None if ds_config is None else str(ds_config))
    assert not torch.distributed.is_initialized() and '\n' not in str(caught.value)
    return str(caught.value)


def test_every_mistake_is_met_before_anything_starts(home: Path, tmp_path: Path, launched: int) -> None:
    out = tmp_path / 'run'
    thirds = 'batch={global: 9, micro: 3}'
    if launched == 3:
        undivided = refusal(home, out)
        assert 'batch.global=8 cannot be shared equally by 3 processes' in undivided and 'a multiple of 3, e.g. 6 or 9' in undivided
        assert 'batch.tasks.itm=7 cannot be shared' in refusal(home, out, 'batch={global: 9, tasks: {itm: 7}}')
    missing = refusal(home, out, thirds, 'data.shards=nowhere', 'tasks=[plm]')
    assert 'task plm needs cc100, and nowhere/cc100/train has no samples; build it with' in missing
    absent = refusal(home, out, thirds, 'model.visual={name: vit_base_patch61_224}')
    assert 'timm cannot build' in absent and 'model.visual.name must be' in absent and 'vit_base_patch16_224' in absent
    assert 'model.visual.name must be' in refusal(home, out, thirds, 'model.visual={name: resnet50}')
    assert 'options.dept is not known, near are depth' in refusal(home, out, thirds, 'model.visual.options={dept: 2}')
    cut = refusal(home, out, thirds, 'model.visual.image_size=40')
    assert 'model.visual.image_size=40 is no multiple of the patch size 16' in cut and 'the nearest are 32 and 48' in cut
    unknown = refusal(home, out, thirds, f'eval.retrieval={{data: {EMOJI}, languages: [en, qqq]}}')
    assert 'eval.retrieval' in unknown and 'languages=[en, qqq]: ' in unknown and "no captions in 'qqq'" in unknown and 'it has ' in unknown
    settings = json.loads((ROOT / 'ds_configs/zero2.json').read_text()) | {'gradient_clipping': 7}
    (tmp_path / 'zero.json').write_text(json.dumps(settings))
    assert 'gradient_clipping is 7, but the YAML owns it' in refusal(home, out, thirds, ds_config=tmp_path / 'zero.json')
    assert not out.exists()


def test_a_run_that_can_be_is_let_through(home: Path, tmp_path: Path, launched: int) -> None:
    trainable = load_config(ROOT / 'configs/sample.yaml', options(home, tmp_path / 'run', 'batch={global: 9, micro: 3}'))
    assert len(check_run(Pretraining(trainable), None)) > 5
    assert not torch.distributed.is_initialized()


@pytest.mark.slow
@pytest.mark.launcher
def test_a_checkpoint_of_other_sizes(home: Path, tmp_path: Path) -> None:
    """A run of one step, then the same folder with another model."""
    out = tmp_path / 'run'
    short = ['steps=1', 'tasks=[mt]', 'data.workers=0', 'eval.tasks=[mt]']
    assert run(command(prewarmed(1), home, out, *short), tmp_path).returncode == 0
    wider = refusal(home, out, *short, 'model.dim=64')
    assert 'was trained with model.dim = 32, this run asks for 64' in wider and 'set it back, or choose another `out`' in wider


@pytest.mark.slow
@pytest.mark.launcher
def test_a_run_from_before_a_setting_goes_on(home: Path, tmp_path: Path) -> None:
    """One of an earlier version: its checkpoint does not have what there was not."""
    out, short = tmp_path / 'run', ['tasks=[mt]', 'data.workers=0', 'eval.tasks=[mt]']
    assert run(command(prewarmed(1), home, out, *short, 'steps=1'), tmp_path).returncode == 0
    checkpoint = out / 'checkpoints/step-0000001'
    state = read_state(checkpoint)
    del state['config']['task']['code_switch'], state['config']['mixture']
    (checkpoint / STATE).write_text(json.dumps({**state, 'sha256': digest(state)}))
    words = 'was trained with task.code_switch = 0.0, this run asks for 0.1'
    assert words in refusal(home, out, *short, 'steps=2', 'task.code_switch=0.1')
    assert find_model(out).config.task.code_switch == 0
    assert [row.state for row in earlier(load_config(ROOT / 'configs/sample.yaml', options(home, out, *short, 'steps=2')))] == [OK]
    done = run(command(prewarmed(1), home, out, *short, 'steps=2'), tmp_path)
    assert done.returncode == 0 and 'resuming after step 1 of 2' in done.stderr
    event = next(line for line in read_lines(out / EVENTS) if line['event'] == 'resume')
    assert event['changed'] == {'steps': 2}


@pytest.mark.slow
@pytest.mark.launcher
def test_a_port_that_another_run_has(home: Path, tmp_path: Path) -> None:
    with socket.create_server(('127.0.0.1', 0)) as other:
        port = str(other.getsockname()[1])
        launcher = [*prewarmed(1)[:-1], port]
        done = run(command(launcher, home, tmp_path / 'run'), tmp_path)
    assert done.returncode == 2 and 'Traceback' not in done.stderr
    assert f'error: port {port}, where the processes meet, is taken' in done.stderr and f'--master_port {int(port) + 1}' in done.stderr
