"""The DeepSpeed JSON: what the YAML owns is filled in, what contradicts it is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from pretrain.config import Config
from pretrain.engine.ds_config import DEFAULT, resolve_ds_config
from shards.errors import UserError

SHIPPED: dict[str, Any] = json.loads(DEFAULT.read_text())


def written(folder: Path, **changes: Any) -> Path:
    """The shipped file with other values; keys may be dotted by two underscores."""
    raw = copy.deepcopy(SHIPPED)
    for key, value in changes.items():
        *parents, leaf = key.split('__')
        section = raw
        for parent in parents:
            section = section.setdefault(parent, {})
        section[leaf] = value
    path = folder / 'ds.json'
    path.write_text(json.dumps(raw))
    return path


def autos(part: Any) -> int:
    if isinstance(part, dict):
        return sum(autos(value) for value in part.values())
    return part == 'auto'


def test_shipped_file_is_the_32_gpu_configuration() -> None:
    """ZeRO-2, bf16, gradients accumulated and reduced in fp32, `auto` for what the YAML owns (issue 2)."""
    assert SHIPPED['zero_optimization']['stage'] == 2
    assert SHIPPED['data_types'] == {'grad_accum_dtype': 'fp32'} and SHIPPED['communication_data_type'] == 'fp32'
    assert SHIPPED['bf16'] == {'enabled': 'auto'} and 'fp16' not in SHIPPED
    for key in ('train_batch_size', 'train_micro_batch_size_per_gpu', 'gradient_accumulation_steps', 'gradient_clipping'):
        assert SHIPPED[key] == 'auto'
    assert 'optimizer' not in SHIPPED and 'scheduler' not in SHIPPED
    assert {'reduce_bucket_size', 'allgather_bucket_size'} <= SHIPPED['zero_optimization'].keys()


def test_auto_is_filled() -> None:
    resolved = resolve_ds_config(DEFAULT, Config(), 32, 'cuda')
    assert autos(resolved) == 0
    assert resolved['bf16'] == {'enabled': True} and resolved['gradient_clipping'] == 1.0
    assert resolved['train_batch_size'] == 32  # one sample a rank, once: the step itself counts samples and micro-batches
    assert resolved['zero_optimization'] == SHIPPED['zero_optimization']
    assert resolved['data_types'] == SHIPPED['data_types'] and resolved['communication_data_type'] == 'fp32'
    assert resolve_ds_config(None, Config(), 32, 'cuda') == resolved


def test_fp32_has_nothing_to_accumulate_higher() -> None:
    resolved = resolve_ds_config(None, Config(precision='fp32'), 2, 'cuda')
    assert resolved['bf16'] == {'enabled': False}
    assert 'data_types' not in resolved and 'communication_data_type' not in resolved


def test_cpu_differs_in_how_gradients_are_reduced_only() -> None:
    gpu, cpu = (resolve_ds_config(None, Config(), 2, name) for name in ('cuda', 'cpu'))
    differing = {key for key in gpu['zero_optimization'] if gpu['zero_optimization'][key] != cpu['zero_optimization'][key]}
    assert differing == {'overlap_comm', 'reduce_scatter', 'reduce_bucket_size', 'allgather_bucket_size'}
    assert {**gpu, 'zero_optimization': None} == {**cpu, 'zero_optimization': None}


def test_equal_values_are_no_conflict(tmp_path: Path) -> None:
    path = written(tmp_path, gradient_clipping=1.0, bf16__enabled=True)
    assert resolve_ds_config(path, Config(), 2, 'cuda')['bf16'] == {'enabled': True}


def test_stage_1_is_for_fp32(tmp_path: Path) -> None:
    """In bf16 DeepSpeed takes another optimizer for it, BF16_Optimizer: see test_conflicts_are_errors."""
    path = written(tmp_path, zero_optimization__stage=1)
    assert resolve_ds_config(path, Config(precision='fp32'), 2, 'cuda')['zero_optimization']['stage'] == 1


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'gradient_clipping': 0.5}, r'gradient_clipping is 0\.5, but the YAML owns it and asks for 1\.0; write "auto"'),
        ({'train_batch_size': 4096}, r'train_batch_size is 4096'),
        ({'gradient_accumulation_steps': 8}, r'gradient_accumulation_steps is 8'),
        ({'bf16__enabled': False}, r'bf16\.enabled is False, but the YAML owns it and asks for True'),
        ({'fp16__enabled': True}, 'fp16 is on'),
        ({'bf16__check_grad_overflow': False}, r'bf16\.check_grad_overflow is off, so a gradient .* would spoil the weights; remove it'),
        ({'optimizer': {'type': 'Adam'}}, 'optimizer is set there, but the YAML owns it'),
        ({'scheduler': {'type': 'WarmupLR'}}, 'scheduler is set there'),
        ({'zero_optimization__stage': 3}, r'zero_optimization\.stage must be 1 or 2'),
        ({'zero_optimization__stage': 1}, r'zero_optimization\.stage 1 in bf16 .* take stage 2, or precision=fp32'),
        ({'zero_optimization__round_robin_gradients': True}, 'round_robin_gradients'),
        ({'gradient_cliping': 'auto'}, r'DeepSpeed has no setting gradient_cliping; did you mean gradient_clipping\?'),
        (
            {'zero_optimization__overlap_com': True},
            r'overlap_com; did you mean zero_optimization\.overlap_comm',
        ),
        ({'data_types__grad_acum_dtype': 'fp32'}, r'did you mean data_types\.grad_accum_dtype\?'),
        ({'tensorboard__enabld': True}, r'did you mean tensorboard\.enabled\?'),
        ({'zero_optimization__offload_optimizer': {'devise': 'none'}}, r'did you mean zero_optimization\.offload_optimizer\.device\?'),
        ({'activation_checkpointing__profil': True}, r'did you mean activation_checkpointing\.profile\?'),
        ({'flops_profiler__enable': True}, r'did you mean flops_profiler\.enabled\?'),
        ({'checkpoint__tag_validatoin': 'Warn'}, r'did you mean checkpoint\.tag_validation\?'),
        ({'comms_logger__verbos': True}, r'did you mean comms_logger\.verbose\?'),
        ({'qqqq': 1}, r'DeepSpeed has no setting qqqq; remove it'),
        ({'bf16': True}, r'bf16 must be an object'),
        ({'zero_optimization': 2}, r'zero_optimization must be an object'),
        ({'zero_optimization__offload_optimizer': {'device': 'cpu'}}, r'zero_optimization\.offload_optimizer moves .* host, .* remove it'),
        ({'zero_optimization__offload_param': {'device': 'nvme'}}, r'zero_optimization\.offload_param moves'),
        ({'zero_optimization__cpu_offload': True}, r'zero_optimization\.cpu_offload moves'),
        ({'zero_optimization__zenflow': {'topk_ratio': 0.1}}, r'zero_optimization\.zenflow moves'),
        ({'zero_optimization__reduce_bucket_size': 0}, r'zero_optimization\.reduce_bucket_size is 0, which .* greater than 0'),
        ({'zero_optimization__overlap_comm': 'yess'}, r"zero_optimization\.overlap_comm is 'yess', which DeepSpeed does not take"),
    ],
)
def test_conflicts_are_errors(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(UserError, match=message) as caught:
        resolve_ds_config(path, Config(), 2, 'cpu')
    assert str(path) in str(caught.value) and '\n' not in str(caught.value)


def test_what_deepspeed_knows_and_the_shipped_file_has_not_may_be_set(tmp_path: Path) -> None:
    others = {'dump_state': True, 'prescale_gradients': False, 'memory_breakdown': True, 'timers': {}, 'activation_checkpointing': {}}
    others |= {'data_types': {'grad_accum_dtype': 'fp32', 'param_dtype': 'bf16'}, 'flops_profiler': {'enabled': False, 'output_file': None}}
    path = written(tmp_path, **others, zero_optimization__offload_optimizer={'device': 'none'}, fp16__enabled=False, wandb__enabled=False)
    resolved = resolve_ds_config(path, Config(), 2, 'cuda')
    assert {key: resolved[key] for key in others} == others


def test_no_such_file_or_no_json(tmp_path: Path) -> None:
    path = tmp_path / 'ds.json'
    with pytest.raises(UserError, match=f'{path} does not exist; see ds_configs/'):
        resolve_ds_config(path, Config(), 2, 'cpu')
    with pytest.raises(UserError, match=f'{tmp_path} cannot be read'):
        resolve_ds_config(tmp_path, Config(), 2, 'cpu')
    for text in ('{"a": 1,}', '\xff'):
        path.write_text(text, encoding='latin1')
        with pytest.raises(UserError, match='is not valid JSON'):
            resolve_ds_config(path, Config(), 2, 'cpu')
    path.write_text('[]')
    with pytest.raises(UserError, match='must be a JSON object'):
        resolve_ds_config(path, Config(), 2, 'cpu')
