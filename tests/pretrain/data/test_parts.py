from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from pretrain.config import TASKS, Config
from pretrain.data.loader import StepBatches
from pretrain.data.parts import BLOCK, Part, Parts
from shards.tokenizer import Tokenizer
from tests.pretrain.data.small_shards import make_config


def test_all_takes_a_batch_of_every_task() -> None:
    assert Parts(Config()).at(41_327) == [Part(task, task, 41_327) for task in TASKS]


def test_drawn_is_uniform_independent_and_passes_no_batch_over() -> None:
    config = Config.model_validate({'seed': 5, 'batch': {'merge': 'drawn', 'draws': 6}})
    parts, steps = Parts(config), 3 * BLOCK // 6
    drawn = [part for step in range(steps) for part in parts.at(step)]
    total = Counter(part.task for part in drawn)
    for task in TASKS:
        assert [part.batch for part in drawn if part.task == task] == list(range(total[task])), 'every batch once, in turn'
        assert abs(total[task] - len(drawn) / 8) < 4 * (len(drawn) * 7 / 64) ** 0.5  # four standard deviations of a binomial
    twice = sum(one.task == other.task for one, other in pairwise(drawn))
    assert abs(twice - len(drawn) / 8) < 4 * (len(drawn) * 7 / 64) ** 0.5, 'a draw does not depend on the one before'
    for step in (0, 700, steps - 1):
        assert Parts(config).at(step) == parts.at(step), 'whatever was asked before'
        assert len({part.name for part in parts.at(step)}) == 6
    assert parts.at(0) != Parts(config.model_copy(update={'seed': 6})).at(0)


def test_as_many_draws_as_tasks_unless_said() -> None:
    config = Config.model_validate({'tasks': ['mlm', 'mt'], 'batch': {'merge': 'drawn'}})
    names = {tuple(part.name for part in Parts(config).at(step)) for step in range(40)}
    assert names == {('mlm', 'mlm.2'), ('mt', 'mt.2'), ('mlm', 'mt'), ('mt', 'mlm')}


@pytest.mark.parametrize('step', [0, 3])
def test_ranks_draw_the_same_tasks(home: Path, tokenizer: Tokenizer, step: int) -> None:
    config = make_config(home, batch={'merge': 'drawn', 'draws': 4}, tasks=['mlm', 'clcl', 'plm'])
    whole = StepBatches(config, tokenizer, 0, 1).step_data(step)
    shares = [StepBatches(config, tokenizer, rank, 2).step_data(step) for rank in range(2)]
    assert list(whole) == list(shares[0]) == list(shares[1]) and len(whole) == 4
    for part, batches in whole.items():
        ids = [torch.cat([batch.sample_ids for batch in share[part]]) for share in shares]
        assert torch.equal(torch.cat(ids), torch.cat([batch.sample_ids for batch in batches]))
        assert {batch.task for batch in batches} == {part.partition('.')[0]}
