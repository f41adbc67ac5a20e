"""Which streams a task reads, and with what weight; what is to be done when they are not there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pretrain.config import Config
from pretrain.data.streams import Catalog, RecordStream
from pretrain.tasks import REGISTRY
from shards.errors import UserError
from shards.schema import KINDS
from shards.tokenizer import Tokenizer


@dataclass
class Source:
    """A stream as one task sees it: its weight in the mixture, and the records that qualify (None: all)."""

    stream: RecordStream
    weight: float
    subset: NDArray[np.int64] | None = None
    part: str = ''  # what the subset is, where a stream is several sources

    @property
    def name(self) -> str:
        """Tells the sources of a sequence apart."""
        return f'{self.stream.name}/{self.part}' if self.part else self.stream.name

    def __len__(self) -> int:
        return len(self.stream) if self.subset is None else len(self.subset)

    def sizes(self) -> list[int]:
        """Qualifying records per shard."""
        if self.subset is None:
            return self.stream.sizes
        return np.diff(np.searchsorted(self.subset, self.stream.starts)).tolist()


def check_data(config: Config, tokenizer: Tokenizer, catalog: Catalog | None = None) -> dict[str, str]:
    """Stream -> sha256 of its manifest, of all that the run trains on; `catalog` has those streams then.

    Raises UserError naming what is missing or does not fit the run.
    """
    catalog = catalog or Catalog(config.data.shards, tokenizer, config.data.cache)
    for task in config.tasks:
        train_sources(config, catalog, task)
    return catalog.digests()


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
        bilingual = REGISTRY[task].bilingual
        part = picture_sources(config, catalog, task, bilingual) if group == 'pictures' else _texts(config, catalog, task, group)
        total = sum(source.weight for source in part)
        sources += [Source(source.stream, share * source.weight / total, source.subset) for source in part]
    return sources


def picture_sources(config: Config, catalog: Catalog, task: str, bilingual: bool) -> list[Source]:
    """Picture corpora, p proportional to n^corpus_alpha, n being the records that can be used: all, or those with two languages. Raises
    UserError naming what the task lacks.
    """
    sources = []
    for corpus in config.data.pictures:
        found = catalog.streams(corpus, 'train')
        if not found:
            raise _missing(config, catalog, task, corpus)
        for stream in found:
            subset = stream.multilingual() if bilingual else None
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
