"""The order of the image-text tasks when they share pictures (mixture.share_images): at the positions of one sequence of picture records a
task finds the record that is there, where it can use it, and the next one of an order of its own, where it cannot.

Every stream is cut into cells, by whether a record has captions in two languages, and into as many strata as `task.mlm_text_share` has
parts; each cell is shuffled by itself. CMCL, ITM and vPLM take every position. mMMT and VTLM take those of cells with two languages, and
fill the others with such records from a second walk over them. MLM takes one part of the strata in one epoch and the next part in the next,
so that it too meets every record once before it meets any again, and fills the others with texts of CC100. How many positions before a
given one a task has taken is arithmetic, so all of it is a function of (seed, position), as any order is.
"""

from __future__ import annotations

import numpy as np

from pretrain.config import Config
from pretrain.data.interleave import Ints
from pretrain.data.order import GlobalBatch, Located, TaskOrder, Walk
from pretrain.data.sources import Source, picture_sources, train_sources
from pretrain.data.streams import Catalog
from pretrain.tasks import REGISTRY

PURPOSE = 'pictures'
BILINGUAL, OTHER = 'bilingual', 'other'


def task_orders(config: Config, catalog: Catalog) -> dict[str, TaskOrder | SharedOrder]:
    """The order of every task's records. Raises UserError naming what a task lacks."""
    orders: dict[str, TaskOrder | SharedOrder] = {}
    pictures: Walk | None = None
    for task in config.tasks:
        kind = REGISTRY[task]
        if config.mixture.share_images and PURPOSE in kind.corpora and kind.share(config, PURPOSE):
            pictures = pictures or picture_walk(config, catalog, task)  # one for all: it knows the number of every picture
            orders[task] = SharedOrder(config, catalog, task, pictures)
        else:
            orders[task] = TaskOrder(config, catalog, task)
    return orders


def picture_walk(config: Config, catalog: Catalog, task: str) -> Walk:
    """The sequence of pictures, the same for every task of a configuration. Raises UserError naming what the task lacks."""
    return Walk(config, PURPOSE, cells(config, catalog, task))


class SharedOrder:
    """The endless sequence of records of one image-text task; step t takes the positions t * size ... (t + 1) * size - 1. Tasks of one size
    so have the same positions in a step.
    """

    def __init__(self, config: Config, catalog: Catalog, task: str, pictures: Walk) -> None:
        self.task, self.size = task, config.batch.size(task)
        kind = REGISTRY[task]
        strata = config.task.mlm_pictures.denominator
        taken = strata if len(kind.corpora) == 1 else round(strata * kind.share(config, PURPOSE))
        self.pictures = pictures
        self.rule = [_Rule(source, kind.bilingual, strata, taken) for source in pictures.sources]
        own = [source for source in train_sources(config, catalog, task) if kind.bilingual or source.stream.kind != 'pictures']
        self.own = Walk(config, f'{task}/own', own) if own else None

    def batch(self, step: int) -> GlobalBatch:
        """The global batch of a step of data, located lazily."""
        first = step * self.size
        sources, draws = self.pictures.places(first, first + self.size)
        places = zip(sources.tolist(), draws.tolist(), strict=True)
        left = np.flatnonzero([not self.rule[source].takes(draw) for source, draw in places])
        if self.own is not None and len(left):
            met = first - self.taken(first)
            own_sources, own_draws = self.own.places(met, met + len(left))
            sources[left], draws[left] = len(self.rule) + own_sources, own_draws
        return GlobalBatch(self, sources.tolist(), draws.tolist())

    @property
    def sources(self) -> list[Source]:
        """By number: the cells, then those of the task's own order."""
        return self.pictures.sources + (self.own.sources if self.own else [])

    def taken(self, position: int) -> int:
        """How many of the positions before this one are of the shared sequence."""
        return sum(rule.taken(draws) for rule, draws in zip(self.rule, self.pictures.before(position).tolist(), strict=True))

    def locate(self, source: int, draw: int) -> Located:
        """The draw-th record of a source: those of the task's own order follow the cells."""
        if source < len(self.rule) or self.own is None:
            return self.pictures.locate(source, draw)
        return self.own.locate(source - len(self.rule), draw)


class _Rule:
    """Which draws of a cell a task takes."""

    def __init__(self, source: Source, bilingual: bool, strata: int, taken: int) -> None:
        kind, stratum = source.part.split('/')
        self.source, self.usable = source, kind == BILINGUAL or not bilingual
        self.stratum, self.strata, self.share = int(stratum), strata, taken

    def takes(self, draw: int) -> bool:
        """Whether it takes this one: k of the strata in an epoch, the next k in the next."""
        return self.usable and (self.stratum + draw // len(self.source) * self.share) % self.strata < self.share

    def taken(self, draws: int) -> int:
        """How many of the first `draws` it takes."""
        if not self.usable:
            return 0
        epochs, rest = divmod(draws, len(self.source))
        # Of the numbers stratum + e k it takes an epoch whenever they have passed a multiple of `strata`.
        turn = self.stratum - self.share
        whole = (turn + epochs * self.share) // self.strata - turn // self.strata
        return whole * len(self.source) + (rest if self.takes(draws) else 0)


def cells(config: Config, catalog: Catalog, task: str) -> list[Source]:
    """The sources of the sequence of pictures. Raises UserError naming what the task lacks."""
    strata, found = config.task.mlm_pictures.denominator, []
    for source in picture_sources(config, catalog, task, bilingual=False):
        two = source.stream.multilingual()
        single = np.ones(len(source), bool)
        single[two] = False
        groups: dict[str, Ints] = {BILINGUAL: two, OTHER: np.flatnonzero(single)}
        for name, records in groups.items():
            for stratum in range(strata):
                subset = records[stratum::strata]
                if len(subset):
                    weight = source.weight * len(subset) / len(source)
                    found.append(Source(source.stream, weight, subset, f'{name}/{stratum}'))
    return found
