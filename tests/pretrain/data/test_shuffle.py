from __future__ import annotations

from pretrain.data.shuffle import Shuffle

SIZES = [20, 0, 7, 33, 1, 20, 19]
TOTAL = sum(SIZES)


def epoch_of(shuffle: Shuffle, epoch: int) -> list[int]:
    located = [shuffle.locate(draw) for draw in range(epoch * TOTAL, (epoch + 1) * TOTAL)]
    assert {each for each, _ in located} == {epoch}
    return [index for _, index in located]


def test_every_epoch_visits_every_sample_once_in_another_order() -> None:
    for window in (1, 2, 3, 100):
        shuffle = Shuffle(0, 'cc3m', SIZES, window)
        epochs = [epoch_of(shuffle, epoch) for epoch in range(4)]
        assert all(sorted(epoch) == list(range(TOTAL)) for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) == 4


def test_a_window_is_finished_before_the_next_shard_is_opened() -> None:
    shuffle = Shuffle(0, 'cc3m', SIZES, 2)
    shard_of = [shard for shard, size in enumerate(SIZES) for _ in range(size)]
    order = [shard_of[index] for index in epoch_of(shuffle, 5)]
    last = {shard: rank for rank, shard in enumerate(order)}
    first = {shard: order.index(shard) for shard in last}
    for rank in range(TOTAL):
        assert sum(first[shard] <= rank <= last[shard] for shard in first) <= 2


def test_samples_of_a_window_are_mixed() -> None:
    shuffle = Shuffle(0, 'cc3m', [500, 500], 2)
    early = sum(shuffle.locate(draw)[1] < 500 for draw in range(500))
    assert 200 < early < 300


def test_any_draw_is_found_without_the_earlier_ones() -> None:
    walked = Shuffle(7, 'wit', SIZES, 2)
    order = [walked.locate(draw) for draw in range(5 * TOTAL)]
    assert [Shuffle(7, 'wit', SIZES, 2).locate(draw) for draw in (0, 99, 100, 463, 499)] == [order[draw] for draw in (0, 99, 100, 463, 499)]
    assert Shuffle(7, 'wit', SIZES, 2).locate(10**12)[0] == 10**12 // TOTAL
