"""Held-out examples per task and language, from the `val` streams: the same for every run, world size and seed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import chain, islice

from pretrain.config import Config
from pretrain.data.batch import Example, TaskBatch, collate
from pretrain.data.examples import Examples
from pretrain.data.order import Located
from pretrain.data.rng import generator, hash63
from pretrain.data.streams import Catalog, RecordStream
from pretrain.tasks import CONTRASTIVE, REGISTRY, SUMMED
from shards.tokenizer import Tokenizer

log = logging.getLogger(__name__)

SEED = 0  # not the run's: runs of different seeds are compared on the same examples


class HeldOut:
    """Held-out examples of one configuration; which records serve which language is looked up once.

    A sample's language is that of its text; of the target for mt and mmmt. A clcl pair counts for both of its languages, each time with
    that one as `text`. Of the ranks one `speaks`: it warns, once, of a task without any.
    """

    def __init__(self, config: Config, tokenizer: Tokenizer, speaks: bool = True) -> None:
        self.config, self.speaks = config, speaks
        self.catalog = Catalog(config.data.shards, tokenizer, config.data.cache)
        self.examples = Examples(config, tokenizer, evaluation=True)
        self._pools: dict[str, dict[str, list[Located]]] = {}
        self._captions: dict[bool, dict[str, list[Located]]] = {}

    def pools(self, task: str) -> dict[str, list[Located]]:
        """Language -> records, at most eval.samples, languages in alphabetical order."""
        if task not in self._pools:
            kind = REGISTRY[task]
            parts = [self._pictures(kind.bilingual) if group == 'pictures' else self._texts(group) for group in kind.corpora]
            smallest = 2 if task in CONTRASTIVE or SUMMED[task].matched else 1  # a pair alone has no negative: its loss says nothing
            pools = {}
            for language in sorted(set(chain(*parts))):
                groups = [part.get(language, []) for part in parts]
                pools[language] = self._mixed(kind.share(self.config, kind.corpora[1]), *groups) if len(groups) == 2 else groups[0]
            self._pools[task] = {language: pool for language, pool in pools.items() if len(pool) >= smallest}
            if not self._pools[task] and self.speaks:
                shards = self.config.data.shards
                log.warning('task %s has no held-out samples under %s/<corpus>/val: its held-out loss is not evaluated', task, shards)
        return self._pools[task]

    def make(self, task: str, language: str) -> list[Example]:
        """The examples of a task and language. ITM's negatives come from the same examples."""
        pool = self.pools(task)[language]
        where = hash63(language)
        return [self.examples.make(task, pool, i, generator(SEED, f'{task}/heldout', where, i), language) for i in range(len(pool))]

    def batches(self, task: str, rank: int = 0, world: int = 1) -> Iterator[tuple[str, list[TaskBatch]]]:
        """(language, micro-batches) of every world-th language from the rank-th on: a language's pool stays whole."""
        micro = self.config.batch.micro
        for language in list(self.pools(task))[rank::world]:
            made = self.make(task, language)
            yield language, [collate(task, made[first : first + micro]) for first in range(0, len(made), micro)]

    def _mixed(self, share: float, pictures: list[Located], texts: list[Located]) -> list[Located]:
        """Of two corpora this share of the second, and more of one where the other has not enough."""
        wanted = self.config.eval.samples
        if share in (0, 1):
            return texts if share else pictures
        from_text = max(round(wanted * share), wanted - len(pictures))
        return (texts[:from_text] + pictures)[:wanted]

    def _pictures(self, multilingual: bool) -> dict[str, list[Located]]:
        """Records by language of their captions; `multilingual`: only those with a second language."""
        if not self._captions:
            streams = [stream for corpus in self.config.data.pictures for stream in self.catalog.streams(corpus, 'val')]
            self._captions = _by_caption(streams, self.config.eval.samples)
        return self._captions[multilingual]

    def _texts(self, corpus: str) -> dict[str, list[Located]]:
        """Records by language, taken in turn from the streams that have it."""
        streams = self.catalog.streams(corpus, 'val')
        return {
            language: list(islice(_in_turn([stream for stream in streams if language in stream.languages]), self.config.eval.samples))
            for language in sorted({language for stream in streams for language in stream.languages})
        }


def _by_caption(streams: list[RecordStream], wanted: int) -> dict[bool, dict[str, list[Located]]]:
    """{False: language -> the first `wanted` records with a caption in it; True: of those with a second language}.

    Reads until every language is full.
    """
    languages = sorted({language for stream in streams for language in stream.languages})
    found: dict[bool, dict[str, list[Located]]] = {kind: {language: [] for language in languages} for kind in (False, True)}
    missing = {(kind, language) for kind in (False, True) for language in languages}
    for located in _in_turn(streams):
        captions = located.stream.record(located.record)['captions']
        for kind in (False, True) if len(captions) > 1 else (False,):
            for language in captions:
                if (kind, language) in missing:
                    found[kind][language].append(located)
                    if len(found[kind][language]) == wanted:
                        missing.remove((kind, language))
        if not missing:
            break
    return found


def _in_turn(streams: list[RecordStream]) -> Iterator[Located]:
    """First records of all streams, then second ones, and so on."""
    for index in range(max(map(len, streams), default=0)):
        yield from (Located(stream, index, 0) for stream in streams if index < len(stream))
