"""One record and one generator -> one example of a task, which pretrain/tasks/ makes of what is drawn here."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from torch import Tensor

from pretrain.config import Config
from pretrain.data.batch import Example
from pretrain.data.images import evaluation_image, training_image
from pretrain.data.lexicon import Lexicon, words
from pretrain.data.order import Located
from pretrain.data.sequences import Ids, Sequences, prefix_length
from pretrain.data.step_pictures import StepPictures
from pretrain.data.streams import RecordStream
from pretrain.tasks import REGISTRY
from shards.errors import UserError
from shards.tokenizer import Tokenizer


class Examples:
    """Makes examples of a configuration's tasks. Every choice comes from the generator passed in: the same call gives the same example.

    `evaluation`: pictures are not augmented.
    """

    def __init__(self, config: Config, tokenizer: Tokenizer, evaluation: bool = False) -> None:
        self.config, self.evaluation = config, evaluation
        self.sequences = Sequences(tokenizer)
        self._weights: dict[str, dict[str, float]] = {}
        self._lexicons: dict[str, Lexicon] = {}

    def make(
        self, task: str, pool: Sequence[Located], position: int, generator: np.random.Generator, language: str | None = None,
        pictures: StepPictures | None = None,
    ) -> Example:  # fmt: skip
        """The example of `pool[position]`. ITM draws its negatives from the whole pool.

        language: the one that the example must have (of the text; of the target for mt and mmmt); None draws it.
        pictures: those that the tasks of a step share; None augments the picture for this example alone.
        Raises UserError naming the stream and the record of a picture that cannot be decoded.
        """
        return REGISTRY[task].example(Draw(self, pool, position, generator, language, pictures))

    def language_weights(self, stream: RecordStream) -> dict[str, float]:
        """n^alpha of every language of a picture stream, n being its captions."""
        if stream.name not in self._weights:
            alpha = self.config.data.language_alpha
            self._weights[stream.name] = {language: count**alpha for language, count in stream.manifest.languages.items()}
        return self._weights[stream.name]

    def lexicon(self, stream: RecordStream) -> Lexicon:
        """Word translations of a picture stream, counted on first use."""
        if stream.name not in self._lexicons:
            self._lexicons[stream.name] = Lexicon(stream, self.sequences.tokenizer, self.config.task.lexicon_records)
        return self._lexicons[stream.name]


class Draw:
    """A record of a pool, and what tasks draw from it: captions, texts, pairs, pictures, and the fields of an example."""

    def __init__(
        self, examples: Examples, pool: Sequence[Located], position: int, generator: np.random.Generator, language: str | None,
        pictures: StepPictures | None = None,
    ) -> None:  # fmt: skip
        self.examples, self.pool, self.position, self.generator, self.language = examples, pool, position, generator, language
        self.pictures = pictures
        self.config, self.sequences = examples.config, examples.sequences
        self.located = pool[position]
        self.record = self.located.stream.record(self.located.record)

    def elsewhere(self) -> Draw:
        """The record of another position of the pool, drawn uniformly; it shares this one's generator."""
        position = int(self.generator.integers(len(self.pool) - 1))
        return Draw(self.examples, self.pool, position + (position >= self.position), self.generator, self.language, self.pictures)

    def caption(self, other_than: str | None = None) -> tuple[str, str]:
        """(language, caption): the language by temperature among the record's, unless it is given, then one of its captions uniformly."""
        captions: dict[str, list[str]] = self.record['captions']
        language = self.language
        if language is None or other_than is not None:
            language = self._language([candidate for candidate in captions if candidate != other_than])
        texts = captions[language]
        return language, texts[int(self.generator.integers(len(texts)))] if len(texts) > 1 else texts[0]

    def text(self) -> tuple[str, Ids]:
        """(language, ids) of a CC100 record."""
        return self.located.stream.languages[0], self._trimmed('ids')

    def sides(self) -> tuple[tuple[str, Any], tuple[str, Any]]:
        """The two sides (language, ids) of an OPUS record; which comes first is drawn, unless the language of the first is given."""
        source, target = self.located.stream.languages
        sides = (source, self._trimmed('source_ids')), (target, self._trimmed('target_ids'))
        swap = self.generator.random() < 0.5 if self.language is None else self.language == target
        return sides[::-1] if swap else sides

    def encoded(self, caption: str, language: str) -> Ids:
        """What the encoder reads of a caption of the record."""
        return self.sequences.encoder_input(self.caption_ids(caption, language), language)

    def caption_ids(self, caption: str, language: str) -> Ids:
        """Ids of a caption of the record, without special tokens, code-switched where the configuration says so."""
        limit, share = self.config.data.caption_tokens, self.config.task.code_switch
        ids = self.sequences.caption(caption, limit)
        others = [other for other in self.record['captions'] if other != language]
        if not share or not others:
            return ids
        source = words(ids, self.sequences.tokenizer)
        for place in np.flatnonzero(self.generator.random(len(source)) < share).tolist():
            other, translation = self.caption(other_than=language)
            target = words(self.sequences.caption(translation, limit), self.sequences.tokenizer)
            link = self.lexicon().align(language, words(ids, self.sequences.tokenizer), other, target)[place]
            if link is not None:
                source[place] = target[link]
        return self.sequences.trimmed([token for word in source for token in word], limit)

    def lexicon(self) -> Lexicon:
        """Word translations of the record's stream."""
        return self.examples.lexicon(self.located.stream)

    def prefixed(self, ids: Ids, language: str) -> dict[str, Any]:
        """Encoder and decoder fields of a prefix language model."""
        options = self.config.task
        prefix = prefix_length(len(ids), options.prefix_probability, options.prefix_share, self.generator)
        return {'text': self.sequences.encoder_input(ids[:prefix], language), 'prefix': prefix, **self.written(ids[prefix:], language)}

    def written(self, ids: Ids, language: str) -> dict[str, Any]:
        """Decoder fields of a text that is to be written."""
        return {'decoder_input': self.sequences.decoder_input(ids, language), 'labels': self.sequences.labels(ids, language)}

    @property
    def sample_id(self) -> int:
        """int64 that no other record of any stream has."""
        return self.located.stream.sample_id(self.located.record)

    def picture(self) -> dict[str, Any]:
        """Fields of the record's picture, (3, H, W) uint8, and of what tells it apart where tasks share it."""
        if self.pictures is None:
            return {'image': self._image()}
        return {'image': self._image(), 'image_key': self.sample_id}

    def _image(self) -> Tensor:
        size = self.config.model.visual.image_size
        try:
            if self.examples.evaluation:
                return evaluation_image(self.record['image'], size)
            if self.pictures is not None:
                return self.pictures.image(self.sample_id, self.record['image'])
            return training_image(self.record['image'], size, self.config.data, self.generator)
        except OSError as error:
            stream = self.located.stream
            raise UserError(
                f'{stream.folder}: the picture of record {self.located.record} ({self.record["url"]}) cannot be decoded ({error}); '
                f'take it out with `data_pipeline remove --urls FILE {self.config.data.shards}`, FILE holding that URL; '
                f'`data_pipeline verify {stream.folder}` finds all such pictures'
            ) from None

    def example(self, language: str, text: Ids, **parts: Any) -> Example:
        return Example(self.sample_id, language, text, **parts)

    def _trimmed(self, column: str) -> Ids:
        return self.sequences.trimmed(self.record[column], self.config.data.text_tokens)

    def _language(self, candidates: list[str]) -> str:
        if len(candidates) == 1:
            return candidates[0]
        weights = self.examples.language_weights(self.located.stream)
        edges = list(accumulate(weights[candidate] for candidate in candidates))
        return candidates[min(bisect_right(edges, self.generator.random() * edges[-1]), len(candidates) - 1)]
