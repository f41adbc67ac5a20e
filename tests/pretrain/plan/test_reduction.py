"""What is held while gradients are reduced, by hand: as DeepSpeed's stage_1_and_2.py does it. benchmarks/plan_memory.py measures it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pretrain.config import Config
from pretrain.engine.ds_config import resolve_ds_config
from pretrain.plan.reduction import Settings, held

SHIPPED = {'stage': 2, 'bucket': 10, 'overlapping': True, 'contiguous': True, 'scattered': True, 'width': 2, 'element': 4, 'sent': 4}
# Of 100 elements, in bytes of all gradients (400), and two buckets of 10 (80): ...
TABLE = [[40, 10, 10, 10, 10, 10, 10]]  # ... its first parameter is larger than a bucket


def settings(**changes: Any) -> Settings:
    return Settings(**{**SHIPPED, **changes})


def test_a_parameter_larger_than_a_bucket_is_reduced_beside_all_gradients() -> None:
    """On two ranks it is the first one's, a piece that is not copied, and the first rank has its part of 50 by then."""
    assert held(TABLE, 2, settings()) == (400 + 200, 80)


def test_its_pieces_are_copied_when_several_ranks_have_them() -> None:
    """Of four ranks the first has 25, the second 15: 40 are more than a bucket with the first piece, so each goes alone."""
    assert held(TABLE, 4, settings()) == (400 + 100, 80)
    assert held(TABLE, 4, settings(bucket=30)) == (400 + 100, 240 + 4 * 40)  # both in one go


def test_the_bucket_is_held_beside_what_is_not_in_it() -> None:
    """Ten parameters of 10, of which 10 are in the bucket when the first rank makes room for its part."""
    assert held([[10] * 10], 2, settings()) == (400 - 40 + 200, 80)
    assert held([[10] * 10], 2, settings(overlapping=False)) == (400 - 40 + 200, 40)


def test_a_rank_keeps_whole_parameters_in_fp32() -> None:
    """Of the first case the first rank has 40 and 10; of the other the second rank has a part of 50, and 40."""
    assert held(TABLE, 2, settings(width=4)) == (400 + 200, 80)
    assert held([[10, 50, 40]], 2, settings(width=4)) == (360 + 4 * 90, 80)


def test_what_is_sent_in_another_type_is_copied_and_converted_back() -> None:
    assert held(TABLE, 2, settings(sent=2)) == (400 + 200, 80 + 2 * 40 + 4 * 40)


def test_without_buckets_gradients_stay_until_they_are_reduced() -> None:
    assert held([[10] * 10], 2, settings(contiguous=False, overlapping=False)) == (400 + 200, 0)


@pytest.mark.parametrize('precision', ['bf16', 'fp32'])
def test_what_a_json_leaves_out_is_deepspeeds_default(tmp_path: Path, precision: str) -> None:
    """Nothing but the stage is said: buckets of 500 million elements, one, scattered; in bf16 gradients are reduced in bf16."""
    path = tmp_path / 'ds.json'
    path.write_text('{"zero_optimization": {"stage": 2}}')
    config = Config.model_validate({'precision': precision})
    width = 2 if precision == 'bf16' else 4
    found = Settings.of(resolve_ds_config(path, config, 32, 'cuda'), width)
    assert found == Settings(2, 500_000_000, False, True, True, width, width, width)
    path.write_text(json.dumps({'zero_optimization': {'stage': 2, 'reduce_bucket_size': 2e8, 'contiguous_gradients': False}}))
    found = Settings.of(resolve_ds_config(path, config, 32, 'cuda'), width)
    assert (found.bucket, found.contiguous) == (200_000_000, False)


def test_the_shipped_json() -> None:
    found = Settings.of(resolve_ds_config(None, Config(), 32, 'cuda'), 2)
    assert found == Settings(2, 200_000_000, True, True, True, 2, 4, 4) and found.flat
