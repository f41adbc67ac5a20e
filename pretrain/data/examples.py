"""One record and one generator -> one example of a task (paper section 3.2; where it is silent, docs/method.md)."""
from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from torch import Tensor

from pretrain.config import Config
from pretrain.data.batch import KEEP, PICTURE, TEXT, Example
from pretrain.data.images import evaluation_image, training_image
from pretrain.data.lexicon import Lexicon, places, words
from pretrain.data.order import Located
from pretrain.data.rng import hash63
from pretrain.data.sequences import Ids, Sequences, normalised, prefix_length, text_id
from pretrain.data.streams import RecordStream
from shards.errors import UserError
from shards.tokenizer import Tokenizer

REDRAWS = 8  # attempts at an ITM negative that is none in truth


class Examples:
    """Makes examples of a configuration's tasks. Every choice comes from the generator passed in: the same call gives the same example.

    `evaluation`: pictures are not augmented.
    """

    def __init__(self, config: Config, tokenizer: Tokenizer, evaluation: bool = False) -> None:
        self.config, self.evaluation = config, evaluation
        self.sequences = Sequences(tokenizer)
        self._weights: dict[str, dict[str, float]] = {}
        self._lexicons: dict[str, Lexicon] = {}
        self._tasks: dict[str, Callable[[_Draw], Example]] = {
            'cmcl': self._cmcl, 'clcl': self._clcl, 'itm': self._itm, 'mlm': self._mlm,
            'plm': self._plm, 'vplm': self._vplm, 'mt': self._mt, 'mmmt': self._mmmt, 'vtlm': self._vtlm,
        }  # fmt: skip

    def make(
        self, task: str, pool: Sequence[Located], position: int, generator: np.random.Generator, language: str | None = None
    ) -> Example:
        """The example of `pool[position]`. ITM draws its negatives from the whole pool.

        language: the one that the example must have (of the text; of the target for mt and mmmt); None draws it.
        Raises UserError naming the stream and the record of a picture that cannot be decoded.
        """
        return self._tasks[task](_Draw(self, pool, position, generator, language))

    def language_weights(self, stream: RecordStream) -> dict[str, float]:
        """n^alpha of every language of a picture stream, n being its captions."""
        if stream.name not in self._weights:
            alpha = self.config.data.language_alpha
            self._weights[stream.name] = {language: count**alpha for language, count in stream.manifest.languages.items()}
        return self._weights[stream.name]

    def _cmcl(self, draw: _Draw) -> Example:
        language, caption = draw.caption()
        ids = {'image_id': hash63(draw.record['image_id']), 'text_id': text_id(caption)}
        return draw.example(language, self._encoded(draw, caption, language), image=draw.image(), **ids)

    def _clcl(self, draw: _Draw) -> Example:
        (language, ids), (other_language, other) = draw.sides()
        decode = self.sequences.tokenizer.decode
        return draw.example(
            language, self.sequences.encoder_input(ids, language), other=self.sequences.encoder_input(other, other_language),
            text_id=text_id(decode(ids)), other_id=text_id(decode(other)),
        )  # fmt: skip

    def _itm(self, draw: _Draw) -> Example:
        language, caption = draw.caption()
        pictured, said, match = draw, draw, True
        hard = self.config.task.itm_negatives == 'hard' and not self.evaluation
        replace = KEEP
        if draw.generator.random() < self.config.task.itm_negative_share:
            replace_text = draw.generator.random() < 0.5
            if hard:  # the step replaces it: only the model knows what is similar
                replace = TEXT if replace_text else PICTURE
            for _ in range(REDRAWS if len(draw.pool) > 1 and not hard else 0):
                other = draw.elsewhere()
                if replace_text:
                    other_language, other_caption = other.caption()
                    if not _belongs(other_caption, draw.record, other.record):
                        language, caption, said, match = other_language, other_caption, other, False
                        break
                elif not _belongs(caption, other.record, draw.record):
                    pictured, match = other, False
                    break
        parts: dict[str, Any] = {'image': pictured.image(), 'match': match, 'replace': replace if hard else None}
        return draw.example(
            language, self._encoded(said, caption, language), **parts,
            image_id=hash63(pictured.record['image_id']), text_id=text_id(caption), own_image_id=hash63(draw.record['image_id']),
            own_text_ids=np.array([text_id(text) for texts in draw.record['captions'].values() for text in texts]),
        )  # fmt: skip

    def _mlm(self, draw: _Draw) -> Example:
        ratio = self.config.task.mask_ratio
        if draw.located.stream.kind == 'pictures':
            language, caption = draw.caption()
            ids = self._caption(draw, caption, language)
            masked = self.sequences.corrupted(ids, language, ratio, draw.generator)
            return draw.example(language, masked.ids, image=draw.image(), masked=masked.positions, masked_labels=masked.labels)
        language, ids = draw.text()
        masked = self.sequences.corrupted(ids, language, ratio, draw.generator)
        return draw.example(language, masked.ids, masked=masked.positions, masked_labels=masked.labels)

    def _plm(self, draw: _Draw) -> Example:
        language, ids = draw.text()
        return draw.example(language, **self._split(ids, language, draw.generator))

    def _vplm(self, draw: _Draw) -> Example:
        language, caption = draw.caption()
        ids = self.sequences.caption(caption, self.config.data.caption_tokens)
        return draw.example(language, **self._split(ids, language, draw.generator), image=draw.image())

    def _mt(self, draw: _Draw) -> Example:
        (target_language, target), (language, source) = draw.sides()
        return draw.example(target_language, self.sequences.encoder_input(source, language), **self._generated(target, target_language))

    def _mmmt(self, draw: _Draw) -> Example:
        options, limit = self.config.task, self.config.data.caption_tokens
        target_language, target = draw.caption()
        language, source = draw.caption(other_than=target_language)
        masked = self.sequences.blanked(self.sequences.caption(source, limit), language, options.mmmt_mask_ratio, draw.generator)
        image = None if draw.generator.random() < options.mmmt_image_drop else draw.image()
        generated = self._generated(self.sequences.caption(target, limit), target_language)
        return draw.example(target_language, masked.ids, image=image, masked=masked.positions, masked_labels=masked.labels, **generated)

    def _vtlm(self, draw: _Draw) -> Example:
        limit, ratio = self.config.data.caption_tokens, self.config.task.vtlm_mask_ratio
        language, caption = draw.caption()
        other, translation = draw.caption(other_than=language)
        ids = [self.sequences.caption(text, limit) for text in (caption, translation)]
        source, target = (words(side, self.sequences.tokenizer) for side in ids)
        chosen = np.flatnonzero(draw.generator.random(len(source)) < ratio).tolist() or [int(draw.generator.integers(len(source)))]
        links = self.lexicon(draw.located.stream).align(language, source, other, target)
        linked = sorted(link for place in chosen if (link := links[place]) is not None)
        masked = self.sequences.pair_blanked(
            (ids[0], language, places(source, chosen)), (ids[1], other, places(target, linked))
        )
        return draw.example(language, masked.ids, image=draw.image(), masked=masked.positions, masked_labels=masked.labels)

    def lexicon(self, stream: RecordStream) -> Lexicon:
        """Word translations of a picture stream, counted on first use."""
        if stream.name not in self._lexicons:
            self._lexicons[stream.name] = Lexicon(stream, self.sequences.tokenizer, self.config.task.lexicon_records)
        return self._lexicons[stream.name]

    def _encoded(self, draw: _Draw, caption: str, language: str) -> Ids:
        return self.sequences.encoder_input(self._caption(draw, caption, language), language)

    def _caption(self, draw: _Draw, caption: str, language: str) -> Ids:
        """Ids of a caption of the record, code-switched where the configuration says so."""
        limit, share = self.config.data.caption_tokens, self.config.task.code_switch
        ids = self.sequences.caption(caption, limit)
        others = [other for other in draw.record['captions'] if other != language]
        if not share or not others:
            return ids
        source = words(ids, self.sequences.tokenizer)
        for place in np.flatnonzero(draw.generator.random(len(source)) < share).tolist():
            other, translation = draw.caption(other_than=language)
            target = words(self.sequences.caption(translation, limit), self.sequences.tokenizer)
            link = self.lexicon(draw.located.stream).align(language, words(ids, self.sequences.tokenizer), other, target)[place]
            if link is not None:
                source[place] = target[link]
        return self.sequences.trimmed([token for word in source for token in word], limit)

    def _split(self, ids: Ids, language: str, generator: np.random.Generator) -> dict[str, Any]:
        """Encoder and decoder fields of a prefix language model."""
        prefix = prefix_length(len(ids), self.config.task.prefix_probability, self.config.task.prefix_share, generator)
        return {'text': self.sequences.encoder_input(ids[:prefix], language), 'prefix': prefix, **self._generated(ids[prefix:], language)}

    def _generated(self, ids: Ids, language: str) -> dict[str, Any]:
        return {'decoder_input': self.sequences.decoder_input(ids, language), 'labels': self.sequences.labels(ids, language)}


class _Draw:
    """A record of a pool, and what is drawn from it."""

    def __init__(
        self, examples: Examples, pool: Sequence[Located], position: int, generator: np.random.Generator, language: str | None
    ) -> None:
        self.examples, self.pool, self.position, self.generator, self.language = examples, pool, position, generator, language
        self.located = pool[position]
        self.record = self.located.stream.record(self.located.record)

    def elsewhere(self) -> _Draw:
        """The record of another position of the pool, drawn uniformly; it shares this one's generator."""
        position = int(self.generator.integers(len(self.pool) - 1))
        return _Draw(self.examples, self.pool, position + (position >= self.position), self.generator, self.language)

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

    def image(self) -> Tensor:
        """The record's picture, (3, H, W) uint8."""
        size = self.examples.config.model.visual.image_size
        try:
            if self.examples.evaluation:
                return evaluation_image(self.record['image'], size)
            return training_image(self.record['image'], size, self.examples.config.data, self.generator)
        except OSError as error:
            stream = self.located.stream
            raise UserError(
                f'{stream.folder}: the picture of record {self.located.record} ({self.record["url"]}) cannot be decoded ({error}); '
                f'check the stream with `data_pipeline verify {stream.folder}` and build it again'
            ) from None

    def example(self, language: str, text: Ids, **parts: Any) -> Example:
        return Example(self.located.stream.sample_id(self.located.record), language, text, **parts)

    def _trimmed(self, column: str) -> Ids:
        return self.examples.sequences.trimmed(self.record[column], self.examples.config.data.text_tokens)

    def _language(self, candidates: list[str]) -> str:
        if len(candidates) == 1:
            return candidates[0]
        weights = self.examples.language_weights(self.located.stream)
        edges = list(accumulate(weights[candidate] for candidate in candidates))
        return candidates[min(bisect_right(edges, self.generator.random() * edges[-1]), len(candidates) - 1)]


def _belongs(caption: str, record: dict[str, Any], origin: dict[str, Any]) -> bool:
    """Whether a caption of `origin` is in truth one of `record`: the same picture, or the same normalised text."""
    if record['image_id'] == origin['image_id']:
        return True
    wanted = normalised(caption)
    return any(normalised(text) == wanted for texts in record['captions'].values() for text in texts)
