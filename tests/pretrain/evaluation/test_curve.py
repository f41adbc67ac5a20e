"""The retrieval curve of a model that gives no numbers: misses, of which the run hears."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
import torch.distributed as dist

from pretrain.engine.distributed import init_distributed
from pretrain.engine.zero import Engine
from pretrain.evaluation.curve import rank_split
from pretrain.evaluation.multi30k import read_split
from pretrain.model.load import load_model
from tests.support.distributed import run_distributed
from tests.support.exported import SAMPLE, made

pytestmark = pytest.mark.launcher


def ranked(export: Path, broken: str) -> tuple[dict[str, dict[str, list[float]]], list[str]]:
    """The curve with this projection of the model broken, and what the ranks told."""
    init_distributed()
    loaded = load_model(export)
    told: list[str] = []
    for name, parameter in loaded.model.named_parameters():
        if name.startswith(broken):
            parameter.data *= float('nan')
    engine = cast(
        Engine, SimpleNamespace(module=loaded.model, device=torch.device('cpu'), rank=dist.get_rank(), world=dist.get_world_size())
    )
    curve = rank_split(engine, loaded.config, loaded.tokenizer, read_split(SAMPLE / 'multi30k_emoji', languages=['en', 'de']), told.append)
    every: list[list[str]] = [[]] * dist.get_world_size()
    dist.all_gather_object(every, told)
    return curve, [line for told in every for line in told]


@pytest.mark.parametrize(
    ('broken', 'told'),
    [
        ('text_projection', ['37 of 37 embeddings of … (de)', '37 of 37 embeddings of … (en)']),
        ('visual_projection', ['37 of 37 embeddings of … (pictures)']),
        ('nothing', []),
    ],
)
def test_what_is_no_number_is_a_miss_and_is_told_once(tmp_path: Path, broken: str, told: list[str]) -> None:
    export = made(tmp_path / 'export')
    curve, heard = run_distributed(ranked, 2, tmp_path, export, broken)
    assert list(curve) == ['de', 'en']
    found = [recall for ways in curve.values() for recalls in ways.values() for recall in recalls]
    assert len(found) == 12 and (not any(found) if told else sum(found) > 0)
    end = ' are not finite: the model has diverged; they count as misses'
    assert sorted(heard) == [f'{line.replace("…", str(SAMPLE / "multi30k_emoji"))}{end}' for line in told]
