"""The plan against a real step: measured peaks of the allocator, torch's FLOP counter, and sums by hand."""

from __future__ import annotations

import gc
import json
import sys
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import plan_memory
from pretrain.cli import run
from pretrain.config import TASKS, Config, load_config
from pretrain.data.batch import TaskBatch
from pretrain.engine.ds_config import resolve_ds_config
from pretrain.engine.flops import Flops
from pretrain.engine.forwards import TOGETHER
from pretrain.model.unix2 import UniX2
from pretrain.plan.batches import Lengths, Shape, planned_batch, planned_batches
from pretrain.plan.cluster import Cluster, communication, reading, timing
from pretrain.plan.counters import FlopCounter
from pretrain.plan.estimate import estimate
from pretrain.plan.plan import negatives, records
from pretrain.plan.trace import Tracer
from pretrain.tasks.forward import forward
from shards.errors import UserError
from shards.languages import APPENDED
from tests.support.distributed import python

SETTINGS = [
    'batch={global: 8, micro: 4, tasks: {}}', 'model.dim=32', 'model.heads=2', 'model.ffn=64', 'model.text_layers=1',
    'model.cross_layers=1', 'model.decoder_layers=1',
    'model.visual={image_size: 32, options: {embed_dim: 24, depth: 1, num_heads: 2, patch_size: 16}}',
]  # fmt: skip
SHAPE = Shape(Lengths(8, 32), Lengths(16, 32))
SPECIAL = 4 + 25 + 1 + len(APPENDED)  # <s> to <unk>, the codes of mBART-cc25, <mask>, our own codes


def test_memory_and_flops_are_those_of_a_real_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the configurations of benchmarks/plan_memory.py, within the 15 % and 2 % of issue 6."""
    measured(plan_memory, 'demo, bf16', tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['apart, bf16', 'reduction, bf16'])
def test_memory_apart_and_while_gradients_are_reduced(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(plan_memory, name, tmp_path, monkeypatch)


def measured(benchmark: Any, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, 'executable', python(folder))  # of the processes that measure
    row = benchmark.run([one[0] for one in benchmark.CONFIGURATIONS].index(name))
    assert row['memory_ratio'] == pytest.approx(1, abs=benchmark.WITHIN)
    assert row['flops_ratio'] == pytest.approx(1, abs=benchmark.FLOPS_WITHIN)


def test_a_benchmark_that_is_further_off_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    row = {'name': 'one', 'planned': 116, 'measured': 100, 'planned_flops': 1, 'counted_flops': 1, 'flops_ratio': 1.0}
    monkeypatch.setattr(sys, 'argv', ['plan_memory.py', '--configuration', '0'])
    for ratio, flops, code in ((1.14, 1.01, 0), (1.16, 1.0, 1), (0.84, 1.0, 1), (1.0, 1.03, 1)):
        monkeypatch.setattr(
            plan_memory, 'run', lambda number, ratio=ratio, flops=flops: row | {'memory_ratio': ratio, 'flops_ratio': flops}
        )
        assert plan_memory.main() == code
        assert json.loads(capsys.readouterr().out.splitlines()[-1])['within'] == (code == 0)


@pytest.mark.parametrize('task', ['mlm', 'mmmt'])
def test_flops_without_memory_are_those_with_it(task: str) -> None:
    config = load_config('configs/sample.yaml', SETTINGS)
    planned = Tracer(config, 500, gpu=False).task([planned_batch(config, task, 4, SHAPE)], 1)
    model, batch = UniX2(config.model, 500), planned_batch(config, task, 4, SHAPE, 'cpu')
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        forward(model, {task: batch}).total.backward()
    assert planned.flops == counter.get_total_flops()


@pytest.mark.parametrize('together', ['false', 'true'])
def test_a_picture_that_tasks_share_is_encoded_once(together: str) -> None:
    """Of 4 + 4 + 2 + 4 + 3 pictures in each of two micro-batches 4 are left."""
    settings = [*SETTINGS, f'batch.together={together}', 'tasks=[cmcl, itm, mlm, vplm, mmmt]']
    flops = []
    for share in ('false', 'true'):
        config = load_config('configs/sample.yaml', [*settings, f'mixture.share_images={share}'])
        data = {str(task): planned_batches(config, task, 1, SHAPE) for task in config.tasks}
        flops.append(Tracer(config, 500, gpu=False).step(data, 1).flops)
    one = Flops(UniX2(config.model, 500))
    assert flops[0] - flops[1] == 2 * (17 - 4) * (3 * one.picture + 2 * one.pixels)


def test_a_gpus_attention_costs_nearly_what_the_plain_one_does_and_keeps_less() -> None:
    config = load_config('configs/sample.yaml', SETTINGS)
    shape = Shape(Lengths(32, 32), Lengths(32, 32))
    plain, flash = (Tracer(config, 500, gpu).task([planned_batch(config, 'vplm', 4, shape)], 1) for gpu in (False, True))
    assert flash.flops == pytest.approx(plain.flops, rel=0.03) and flash.activations < plain.activations


def test_what_was_recomputed_is_gone_without_a_garbage_collection() -> None:
    """Else the memory of a plan would be another one each time."""
    config = load_config('configs/sample.yaml', [*SETTINGS, 'model.recompute=true', 'model.cross_layers=6'])
    before, peaks = gc.get_threshold(), []
    try:
        for threshold in (0, 20):  # never, and often
            gc.set_threshold(threshold)
            peaks.append(Tracer(config, 500, gpu=True).task([planned_batch(config, 'vplm', 32, SHAPE)], 1).peak)
    finally:
        gc.set_threshold(*before)
    assert peaks[0] == peaks[1]


@pytest.mark.parametrize('task', TASKS)
def test_planned_batches_are_batches(task: str) -> None:
    """Every task accepts them, and their counts are those that the configuration makes on average."""
    config = load_config('configs/sample.yaml', SETTINGS)
    batch: TaskBatch = planned_batch(config, task, 10, SHAPE, 'cpu')
    assert len(batch) == 10 and int(batch.text.lengths.sum()) == len(batch.text.ids)
    if batch.masked is not None:
        assert int(batch.masked.max()) < len(batch.text.ids) and len(batch.masked) >= 10
    if batch.decoder_input is not None and batch.labels is not None:
        assert len(batch.labels) == int(batch.decoder_input.lengths.sum())
    pictures = 0 if batch.images is None else len(batch.images)
    assert pictures == {'cmcl': 10, 'itm': 10, 'vplm': 10, 'mlm': 5, 'mmmt': 8}.get(task, 0)


def test_parts_by_hand() -> None:
    """bf16 on 4 ranks: 2 bytes of weights, 4 of gradients, 12 of optimizer divided by the ranks."""
    config = load_config('configs/sample.yaml', [*SETTINGS, 'precision=bf16'])
    found = estimate(config, 500, 4, SHAPE, resolve_ds_config(None, config, 4, 'cuda'), gpu=True)
    model = UniX2(config.model, 500)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    moment = found.moments['mt']
    assert (moment.weights, moment.gradients, moment.optimizer) == (2 * parameters, 4 * parameters, 12 * -(-parameters // 4))
    # All fits into the first of two buckets; it is copied.
    assert found.moments['reduction'].communication == 2 * 4 * 200_000_000 + 4 * parameters
    assert found.memory.total == max(moment.total for moment in found.moments.values())


def test_the_most_pictures_are_what_memory_is_for() -> None:
    """Of 128 samples of MLM 64 have one on average, and 34 more are six deviations of a binomial; mMMT's are 102 and at most all."""
    config = Config()
    for shape, pictures in ((Shape.longest(config), [98, 128, 128]), (SHAPE, [64, 102, 128])):
        batches = [planned_batch(config, task, 128, shape) for task in ('mlm', 'mmmt', 'vplm')]
        assert [0 if batch.images is None else len(batch.images) for batch in batches] == pictures


def test_hard_negatives_cost_a_forward_of_both_towers() -> None:
    flops = []
    for kind in ('random', 'hard'):
        config = load_config('configs/sample.yaml', [*SETTINGS, 'tasks=[itm]', f'task.itm_negatives={kind}'])
        flops.append(Tracer(config, 500, gpu=False).task(planned_batches(config, 'itm', 1, SHAPE), 1).flops)
    model = UniX2(config.model, 500).eval()
    with torch.no_grad(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH), FlopCounter() as counter:
        for batch in planned_batches(config, 'itm', 1, SHAPE, 'cpu'):
            assert batch.images is not None
            model.image_features(batch.images)
            model.text_features(batch.text)
    assert flops[1] - flops[0] == counter.flops > 0
    assert negatives(config) == 8 * 3 * 32 * 32 and negatives(load_config('configs/sample.yaml', SETTINGS)) == 0


def test_drawn_tasks_cost_what_is_drawn() -> None:
    """One of eight an update: an eighth of the FLOPs and of what is read."""
    every, drawn = (load_config('configs/sample.yaml', [*SETTINGS, *more]) for more in ([], ['batch.merge=drawn', 'batch.draws=1']))
    json_of = resolve_ds_config(None, every, 1, 'cuda')
    flops = [estimate(config, 500, 1, SHAPE, json_of, gpu=True).flops for config in (every, drawn)]
    assert flops[1] == pytest.approx(flops[0] / 8, rel=1e-3)
    whole, part = records(every), records(drawn)
    assert [8 * value for value in astuple(part)] == list(astuple(whole))


def test_drawn_tasks_that_run_together_may_all_be_the_one_that_keeps_most() -> None:
    settings = [*SETTINGS, 'batch.together=true', 'batch.merge=drawn']
    one, three = (load_config('configs/sample.yaml', [*settings, f'batch.draws={number}']) for number in (1, 3))
    json_of = resolve_ds_config(None, one, 1, 'cuda')
    found = [estimate(config, 500, 1, SHAPE, json_of, gpu=True) for config in (one, three)]
    heaviest = max(trace.peak for trace in found[0].traces.values())
    assert found[0].moments[TOGETHER].activations + found[0].moments[TOGETHER].logits == heaviest
    assert found[1].moments[TOGETHER].activations > 2 * found[0].moments[TOGETHER].activations


def test_what_the_papers_step_reads() -> None:
    """A record with its picture for each sample of four tasks, half of MLM's and half of ITM's again; what mMMT drops is read too."""
    read = records(Config())
    assert (read.samples, read.pictured, read.texts) == (8 * 4096, 5 * 4096, 3.5 * 4096)
    assert read.decoded == pytest.approx(4.3 * 4096) and read.redrawn == 2048
    assert records(Config.model_validate({'task': {'itm_negatives': 'hard'}})).redrawn == 0
    rates = reading(read, 2.0, 30_000, 500, 500, nodes=4)
    assert rates['records_per_s'] == pytest.approx(8.5 * 2048) and rates['pictures_per_s'] == pytest.approx(4.3 * 2048)
    assert rates['storage_mb_per_s'] == pytest.approx((5 * 30_000 + 3.5 * 500) * 2048 / 1e6)
    assert rates['shards_mb_per_s'] == pytest.approx(4 * (4.5 * 30_000 + 3.5 * 500) * 2048 / 1e6)


def test_rates_by_hand() -> None:
    cluster = Cluster(gpus=16, gpus_per_node=8, peak_tflops=100, utilisation=0.5, nvlink_gbs=300, internode_gbs=50)
    sent = communication(10**9, 2, cluster)
    assert sent['reduce_bytes'] == pytest.approx(2 * 4e9 * 15 / 16) and sent['seconds'] == pytest.approx((7.5 + 1.875) / 50)
    assert communication(10**9, 2, Cluster(gpus=8, nvlink_gbs=300))['rate_gbs'] == 300
    halved = communication(10**9, 2, cluster, sent=2, pictures=16 * 10**9)
    assert halved['reduce_bytes'] == pytest.approx(2 * 2e9 * 15 / 16) and halved['seconds'] == pytest.approx((3.75 + 1.875 + 15) / 50)
    times = timing(10**14, 1.0, 86_400, cluster)
    assert times['step_seconds'] == pytest.approx(3.0) and times['days'] == pytest.approx(3.0) and times['gpu_hours'] == pytest.approx(1152)


@pytest.mark.parametrize(
    ('given', 'said'),
    [
        ('--vocabulary=-5', f'must be more than {SPECIAL}, .* not -5'),
        ('--vocabulary=0', f'must be more than {SPECIAL}'),
        (f'--vocabulary={SPECIAL}', f'must be more than {SPECIAL}'),
        ('--utilisation=40', 'is a share of the peak, from 0 to 1, not 40: for 40 % write 0.4'),
        ('--utilisation=-0.1', 'must be a number above 0, not -0.1'),
        ('--peak=nan', 'must be a number above 0, not nan'),
        ('--memory=nan', 'must be a number above 0, not nan'),
        ('--nvlink=inf', 'must be a number above 0, not inf'),
        ('--gpus=0', 'must be a number above 0, not 0'),
    ],
)
def test_numbers_that_are_none(given: str, said: str) -> None:
    with pytest.raises(UserError, match=f'^{given.partition("=")[0]} {said}') as told:
        run(['plan', '--config', 'configs/sample.yaml', given])
    assert told.value.code == 2 and '\n' not in str(told.value)


def test_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('pretrain.plan.largest.CAPACITIES', (2, 2.5))  # for a model so small, and buckets of 1.6 GB
    arguments = ['plan', '--config', 'configs/sample.yaml', '--gpus', '2', '--vocabulary', '500', *SETTINGS, 'tasks=[mlm, mt]']
    assert run([*arguments[:1], '--json', *arguments[1:]]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert set(plan['tasks']) == {'mlm', 'mt'} and plan['fits']
    by_recomputation = {(row['memory_gb'], row['recompute']): row['micro'] for row in plan['largest_batch']}
    assert by_recomputation[2.5, False] > by_recomputation[2, False] > 0 and by_recomputation[2, True] > by_recomputation[2, False]
    monkeypatch.setattr('pretrain.plan.plan.largest_batches', lambda *unused: [])  # takes most of the time
    assert run([*arguments[:1], '--memory', '0.001', *arguments[1:]]) == 1
    printed = capsys.readouterr().out
    assert 'DOES NOT FIT' in printed and 'Nothing of this was measured on a GPU' in printed
    mistake = 'samples of {} cannot be shared equally by {} GPUs; {} can, or set batch.global'
    with pytest.raises(UserError, match=f'^8 {mistake.format("mlm", 3, "--gpus 2 or --gpus 4")}$'):
        run([*arguments[:3], '--gpus', '3', *arguments[5:]])
    with pytest.raises(UserError, match=f'^8 {mistake.format("mlm", 32, "--gpus 8")}$'):
        run([*arguments[:3], '--gpus', '32', *arguments[5:]])
    with pytest.raises(UserError, match=f'^16 {mistake.format("mlm", 32, "--gpus 16")}$'):
        run(['plan', '--config', 'configs/sample.yaml', '--gpus', '32'])


def test_deepspeeds_json_may_leave_out_what_has_a_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Buckets of 500 million elements of two bytes, one of them; half the bytes on the network."""
    monkeypatch.setattr('pretrain.plan.plan.largest_batches', lambda *unused: [])  # takes most of the time
    path = tmp_path / 'ds.json'
    path.write_text('{"zero_optimization": {"stage": 2}}')
    plans = []
    for given in ([], ['--deepspeed', str(path)]):
        run(['plan', '--json', '--config', 'configs/sample.yaml', '--gpus', '2', '--vocabulary', '500', *given, *SETTINGS, 'tasks=[mt]'])
        plans.append(json.loads(capsys.readouterr().out))
    assert plans[1]['memory_reduction']['communication'] >= 2 * 500_000_000
    assert plans[0]['communication']['reduce_bytes'] == 2 * plans[1]['communication']['reduce_bytes']


def test_precision_and_kernels_change_the_plan(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """fp32 has another peak, and attention that pads; the plain loss keeps buffers."""
    monkeypatch.setattr('pretrain.plan.plan.largest_batches', lambda *unused: [])  # takes most of the time

    def plan(*settings: str) -> dict[str, Any]:
        run(['plan', '--json', '--config', 'configs/sample.yaml', '--gpus', '2', '--vocabulary', '500', *SETTINGS, 'tasks=[mt]', *settings])
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    bf16, fp32, plain = plan(), plan('precision=fp32'), plan('kernels.token_loss=torch')
    assert (bf16['cluster']['peak_tflops'], fp32['cluster']['peak_tflops']) == (312, 19.5)
    assert fp32['time']['arithmetic_seconds'] > 16 * bf16['time']['arithmetic_seconds']
    assert (
        bf16['flops_per_gpu']
        == plain['flops_per_gpu']
        < fp32['flops_per_gpu']
        == plan('precision=fp32', 'kernels.attention=torch')['flops_per_gpu']
    )
    assert plain['tasks']['mt']['logits'] != bf16['tasks']['mt']['logits']
    for mistake, said in (
        (['kernels.attention=cpu'], '^kernels.attention = cpu is for a CPU'),
        (['kernels.attention=flash', 'model.dim=640'], '^kernels.attention = flash needs heads of at most 256, not 320'),
        (['kernels.attention=flash', 'precision=fp32'], '^kernels.attention = flash computes in bf16, the run in fp32'),
    ):
        with pytest.raises(UserError, match=said):
            plan(*mistake)
