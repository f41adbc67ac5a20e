"""Which record stands at which position of which task's global batch: a pure function of (seed, step, task, manifests, skip list)."""
from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pretrain.config import Config
from pretrain.data.interleave import Interleave
from pretrain.data.shuffle import Shuffle
from pretrain.data.streams import Catalog, RecordStream
from pretrain.tasks import REGISTRY
from shards.errors import UserError
from shards.schema import KINDS
from shards.tokenizer import Tokenizer

Skip = Sequence[tuple[int, int]]


class Located(NamedTuple):
    """A record's place: its stream, its index there, and the stream's epoch in which it comes up."""

    stream: RecordStream
    record: int
    epoch: int


@dataclass
class Source:
    """A stream as one task sees it: its weight in the mixture, and the records that qualify (None: all)."""

    stream: RecordStream
    weight: float
    subset: NDArray[np.int64] | None = None

    def sizes(self) -> list[int]:
        """Qualifying records per shard."""
        if self.subset is None:
            return self.stream.sizes
        return np.diff(np.searchsorted(self.subset, self.stream.starts)).tolist()


class TaskOrder:
    """The endless sequence of records of one task; step t takes the positions t * size ... (t + 1) * size - 1."""

    def __init__(self, config: Config, catalog: Catalog, task: str) -> None:
        self.task, self.size = task, config.batch.size(task)
        self.sources = train_sources(config, catalog, task)
        self._mix = Interleave(config.seed, f'{task}/mix', [source.weight for source in self.sources], config.data.block)
        self._shuffles = [
            Shuffle(config.seed, f'{task}/{source.stream.name}', source.sizes(), config.data.shuffle_shards) for source in self.sources
        ]

    def batch(self, step: int) -> GlobalBatch:
        """The global batch of a step of data, located lazily."""
        sources, draws = self._mix.locate_range(step * self.size, (step + 1) * self.size)
        return GlobalBatch(self, sources.tolist(), draws.tolist())

    def global_batch(self, step: int) -> list[Located]:
        """The whole global batch of a step of data."""
        return list(self.batch(step))

    def locate(self, source: int, draw: int) -> Located:
        """The draw-th record of a source."""
        epoch, index = self._shuffles[source].locate(draw)
        subset = self.sources[source].subset
        return Located(self.sources[source].stream, index if subset is None else int(subset[index]), epoch)


class GlobalBatch(Sequence[Located]):
    """Records by position in a global batch. A rank locates only those it needs: its slice, and the negatives it draws."""

    def __init__(self, order: TaskOrder, sources: list[int], draws: list[int]) -> None:
        self._order, self._sources, self._draws = order, sources, draws

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, position):  # type: ignore[no-untyped-def]
        if isinstance(position, slice):
            return [self[i] for i in range(*position.indices(len(self)))]
        return self._order.locate(self._sources[position], self._draws[position])


def check_data(config: Config, tokenizer: Tokenizer) -> dict[str, str]:
    """Stream -> sha256 of its manifest, of all that the run trains on. Raises UserError naming what is missing or does not fit the run."""
    catalog = Catalog(config.data.shards, tokenizer, config.data.cache)
    for task in config.tasks:
        train_sources(config, catalog, task)
    return catalog.digests()


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
    common = math.gcd(*(config.batch.size(task) for task in config.tasks))
    worlds = [str(world) for world in range(1, common + 1) if common % world == 0][-8:]
    return ' or '.join(filter(None, (', '.join(worlds[:-1]), worlds[-1])))


def corpora_of(config: Config, task: str) -> list[str]:
    """The corpora that a task takes samples from."""
    groups = [group for group in REGISTRY[task].corpora if REGISTRY[task].share(config, group)]
    return [corpus for group in groups for corpus in (config.data.pictures if group == 'pictures' else [group])]


def build_command(config: Config, corpus: str) -> str:
    """The command that builds a corpus where the run looks for it."""
    tokenizer = '' if KINDS[corpus] == 'pictures' else f' --tokenizer {config.data.tokenizer}'
    return f'data_pipeline build {corpus} --raw DIR --out {config.data.shards}{tokenizer}'


def train_sources(config: Config, catalog: Catalog, task: str) -> list[Source]:
    """The streams of a task and their weights. Raises UserError naming what the task lacks."""
    sources: list[Source] = []
    for group in REGISTRY[task].corpora:
        share = REGISTRY[task].share(config, group)
        if share == 0:
            continue
        part = _pictures(config, catalog, task) if group == 'pictures' else _texts(config, catalog, task, group)
        total = sum(source.weight for source in part)
        sources += [Source(source.stream, share * source.weight / total, source.subset) for source in part]
    return sources


def _pictures(config: Config, catalog: Catalog, task: str) -> list[Source]:
    """Picture corpora, p proportional to n^corpus_alpha, n being the records that the task can use."""
    sources = []
    for corpus in config.data.pictures:
        found = catalog.streams(corpus, 'train')
        if not found:
            raise _missing(config, catalog, task, corpus)
        for stream in found:
            subset = stream.multilingual() if REGISTRY[task].bilingual else None
            size = len(stream if subset is None else subset)
            if size:
                sources.append(Source(stream, size**config.data.corpus_alpha, subset))
    if not sources:
        raise UserError(
            f'task {task} needs pictures with captions in two languages, and no picture under {config.data.shards} has them; '
            f'build cc3m or cc12m with their translations{_instead(config, catalog)}'
        )
    return sources


def _texts(config: Config, catalog: Catalog, task: str, corpus: str) -> list[Source]:
    """Languages of CC100 by tokens, pairs of OPUS by number, p proportional to n^language_alpha."""
    found = catalog.streams(corpus, 'train')
    if not found:
        raise _missing(config, catalog, task, corpus)
    sizes = [stream.manifest.tokens[stream.languages[0]] if corpus == 'cc100' else len(stream) for stream in found]
    return [Source(stream, size**config.data.language_alpha) for stream, size in zip(found, sizes, strict=True)]


def _missing(config: Config, catalog: Catalog, task: str, corpus: str) -> UserError:
    spared = ', take it out of data.pictures' if KINDS[corpus] == 'pictures' else ''
    remedy = f'build it with `{build_command(config, corpus)}`{spared}{_instead(config, catalog)}'
    return UserError(f'task {task} needs {corpus}, and {config.data.shards}/{corpus}/train has no samples; {remedy}')


def _instead(config: Config, catalog: Catalog) -> str:
    """Which of the asked tasks can be trained on what is there, as the last of several remedies."""

    def there(task: str) -> bool:
        needed = corpora_of(config, task)
        streams = [stream for corpus in needed for stream in catalog.streams(corpus, 'train')]
        if REGISTRY[task].bilingual and not any(len(stream.multilingual()) for stream in streams):
            return False
        return {stream.corpus for stream in streams} == {*needed}

    possible = [task for task in config.tasks if there(task)]
    return f', or set tasks=[{", ".join(possible)}], which can be trained on what is there' if possible else ''
