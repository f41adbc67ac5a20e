from __future__ import annotations

import pytest
import torch

from pretrain.engine.counts import observed, reported, summed
from tests.support.synthetic import rank_data


def test_what_the_log_says() -> None:
    data = rank_data(['mlm', 'plm', 'itm', 'cmcl'], 0, 1, 3)
    for batch in data['plm']:
        batch.prefix = torch.tensor([0, 4, 1][: len(batch)])
    negatives = sum(int((batch.match == 0).sum()) for batch in data['itm'] if batch.match is not None)
    sums = {key: int(number) for key, number in observed(data).items()}
    assert sums == {
        'samples.mlm': 8, 'masks.mlm': 7, 'samples.plm': 8, 'prefixed.plm': 5,
        'samples.itm': 8, 'negatives.itm': negatives, 'samples.cmcl': 8,
    }  # fmt: skip
    assert reported(sums) == {'masks.mlm': pytest.approx(7 / 8), 'prefixed.plm': pytest.approx(5 / 8), 'negatives.itm': negatives}


def test_negatives_are_counted_without_waiting_for_where_they_are() -> None:
    data = rank_data(['itm'], 0, 1, 3)
    for batch in data['itm']:
        assert batch.match is not None
        batch.match = batch.match.to('meta')  # has no contents to wait for
    negatives = observed(data)['negatives.itm']
    assert isinstance(negatives, torch.Tensor) and negatives.device.type == 'meta'


def test_terms_of_a_task_drawn_twice_are_summed() -> None:
    assert summed({'mmmt': {'mmmt': 30, 'mmmt_masked': 4}, 'mmmt.2': {'mmmt': 20, 'mmmt_masked': 6}}) == {'mmmt': 50, 'mmmt_masked': 10}
