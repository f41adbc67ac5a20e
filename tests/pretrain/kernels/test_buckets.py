"""Which rows are padded together."""

from __future__ import annotations

import torch

from pretrain.kernels.buckets import buckets_of
from pretrain.model.packed import Layout


def test_every_row_is_in_one_bucket_and_little_is_padding() -> None:
    lengths = torch.randint(3, 97, (200,), generator=torch.Generator().manual_seed(0))
    layout = Layout.of(lengths, 'cpu')
    buckets = buckets_of(layout, layout)
    assert 2 < len(buckets) < 15
    places = torch.cat([bucket.queries.target[bucket.queries.target < layout.total] for bucket in buckets])
    assert sorted(places.tolist()) == list(range(layout.tokens))
    padded = sum(bucket.rows * bucket.queries.width**2 for bucket in buckets)
    assert padded < 1.3 * int((lengths**2).sum()) < 200 * 96**2  # padding all rows to the longest takes twice as much


def test_rows_of_one_length_are_taken_as_they_are() -> None:
    layout, memory = Layout.of(torch.tensor([7, 7, 7]), 'cpu'), Layout.of(torch.tensor([4, 90, 90]), 'cpu')
    (bucket,) = buckets_of(layout, layout)
    assert bucket.queries.whole and bucket.queries.idle is None and bucket.queries is bucket.keys
    assert all(not bucket.keys.whole for bucket in buckets_of(layout, memory))
