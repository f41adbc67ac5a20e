"""Which record stands at which position of which task's global batch: a pure function of (seed, step, task, manifests, skip list)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from pretrain.config import Config
from pretrain.data.interleave import Interleave, Ints
from pretrain.data.shuffle import Shuffle
from pretrain.data.sources import Source, train_sources
from pretrain.data.streams import Catalog, RecordStream
from shards.errors import UserError


class Located(NamedTuple):
    """A record's place: its stream, its index there, and the stream's epoch in which it comes up."""

    stream: RecordStream
    record: int
    epoch: int


class Walk:
    """The endless sequence of the records of some sources, each of them shuffled anew in every epoch."""

    def __init__(self, config: Config, purpose: str, sources: Sequence[Source]) -> None:
        self.sources = list(sources)
        self._mix = Interleave(config.seed, f'{purpose}/mix', [source.weight for source in sources], config.data.block)
        self._shuffles = [
            Shuffle(config.seed, f'{purpose}/{source.name}', source.sizes(), config.data.shuffle_shards) for source in sources
        ]

    def places(self, first: int, last: int) -> tuple[Ints, Ints]:
        """Source and draw at the positions first..last-1: (n,) each."""
        return self._mix.locate_range(first, last)

    def before(self, position: int) -> Ints:
        """(sources,) draws of every source before a position."""
        return self._mix.before(position)

    def locate(self, source: int, draw: int) -> Located:
        """The draw-th record of a source."""
        epoch, index = self._shuffles[source].locate(draw)
        subset = self.sources[source].subset
        return Located(self.sources[source].stream, index if subset is None else int(subset[index]), epoch)


class TaskOrder(Walk):
    """The endless sequence of records of one task; step t takes the positions t * size ... (t + 1) * size - 1."""

    def __init__(self, config: Config, catalog: Catalog, task: str) -> None:
        super().__init__(config, task, train_sources(config, catalog, task))
        self.task, self.size = task, config.batch.size(task)

    def batch(self, step: int) -> GlobalBatch:
        """The global batch of a step of data, located lazily."""
        sources, draws = self.places(step * self.size, (step + 1) * self.size)
        return GlobalBatch(self, sources.tolist(), draws.tolist())


class Order(Protocol):
    """Records by place: the number of a source, and the number of a draw of it."""

    def locate(self, source: int, draw: int) -> Located:
        """The draw-th record of a source."""


class GlobalBatch(Sequence[Located]):
    """Records by position in a global batch. A rank locates only those it needs: its slice, and the negatives it draws."""

    def __init__(self, order: Order, sources: list[int], draws: list[int]) -> None:
        self._order, self._sources, self._draws = order, sources, draws

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, position):  # type: ignore[no-untyped-def]
        if isinstance(position, slice):
            return [self[i] for i in range(*position.indices(len(self)))]
        return self._order.locate(self._sources[position], self._draws[position])


def data_step(step: int, skip: Iterable[Sequence[int]]) -> int:
    """The step of data that optimizer step `step` (from 0) takes, when the windows [first, last) of data are passed over."""
    for first, last in sorted(merged(skip)):
        if step >= first:
            step += last - first
    return step


def merged(skip: Iterable[Sequence[int]]) -> list[tuple[int, int]]:
    """The same windows, ascending and disjoint."""
    windows: list[tuple[int, int]] = []
    for first, last in sorted((int(first), int(last)) for first, last in skip):
        if windows and first <= windows[-1][1]:
            windows[-1] = windows[-1][0], max(last, windows[-1][1])
        elif first < last:
            windows.append((first, last))
    return windows


def rank_positions(config: Config, task: str, rank: int, world: int) -> range:
    """Positions of a task's global batch that a rank takes. Raises UserError when the ranks' shares would differ."""
    size = config.batch.size(task)
    if size % world:
        key = f'batch.tasks.{task}' if task in config.batch.tasks else 'batch.global'
        below, above = size // world * world, -(-size // world) * world
        near = ' or '.join(str(valid) for valid in (below, above) if valid)
        fitting = possible_worlds(config)
        raise UserError(
            f'{key}={size} cannot be shared equally by {world} processes; start {fitting}, or set it to a multiple of {world}, e.g. {near}'
        )
    return range(rank * size // world, (rank + 1) * size // world)


def possible_worlds(config: Config) -> str:
    """The numbers of processes that share the global batch of every task equally, in words; of many, the largest."""
    worlds = [str(world) for world in _worlds(config)][-8:]
    return ' or '.join(filter(None, (', '.join(worlds[:-1]), worlds[-1])))


def nearest_worlds(config: Config, world: int) -> list[int]:
    """Of those numbers the next below `world` and the next above it, where there is one."""
    worlds = _worlds(config)
    return [*[fewer for fewer in worlds if fewer < world][-1:], *[more for more in worlds if more > world][:1]]


def _worlds(config: Config) -> list[int]:
    """Ascending."""
    common = math.gcd(*(config.batch.size(task) for task in config.tasks))
    return [world for world in range(1, common + 1) if common % world == 0]
