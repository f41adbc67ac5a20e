"""The memory of shards: what is written is what is seen, however large, and nothing of the one before shows."""

from __future__ import annotations

import random

from data_pipeline import buffer


def test_what_is_written_is_seen() -> None:
    chance = random.Random(0)
    mine = buffer.take()
    for size in (1 << 10, 40 << 20, 3):  # more than it has at first; less than the one before
        parts = [chance.randbytes(size // 7 + number) for number in range(7)]
        mine.clear()
        total = sum(map(len, parts))
        if total > mine.capacity:
            mine.reserve(total)
        for part in parts:
            mine.write(part)
        with mine.view() as seen:
            assert bytes(seen) == b''.join(parts)


def test_it_grows_with_what_is_in_it() -> None:
    mine = buffer.take()
    mine.write(b'before')
    mine.reserve(3 * mine.capacity)
    mine.write(b'after')
    with mine.view() as seen:
        assert bytes(seen) == b'beforeafter'


def test_one_that_is_given_back_is_used_again_unless_it_is_large() -> None:
    first, second = buffer.take(), buffer.take()
    assert first is not second
    first.write(b'of the shard before')
    buffer.give_back(first)
    again = buffer.take()
    with again.view() as seen:
        assert again is first and len(seen) == 0
    again.reserve(1 << 28)
    buffer.give_back(again)
    assert buffer.take() is not again
