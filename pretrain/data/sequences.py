"""Token sequences: special tokens, truncation, prefix split and masking."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pretrain.data.rng import hash63
from shards.tokenizer import Tokenizer

Ids = NDArray[np.int64]


@dataclass
class Masked:
    """A sequence with masks: `ids` as the encoder sees it, ascending `positions` in it, and what stood there."""

    ids: Ids
    positions: Ids
    labels: Ids


class Sequences:
    """Builds encoder and decoder sequences for one tokenizer, as its family has them (X is the text):

                   encoder             decoder reads      decoder writes
        mbart-cc25 `<s> X </s> lang`   `lang X </s>`      `X </s> lang`
        mbart-50   `lang X </s>`       `</s> lang X`      `lang X </s>`
        xlm-r      `<s> X </s>`        `lang X </s>`      `X </s> lang`   (the decoder is new, so it follows cc25)

    X starts at position 1, and position 0 is the text's [CLS], in all of them.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.family = tokenizer, tokenizer.family
        self.special = 3 if self.family == 'mbart-cc25' else 2  # in the longest of its sequences
        self._codes: dict[str, int] = {}

    def caption(self, text: str, limit: int) -> Ids:
        """Ids of a caption, without special tokens, such that its sequence has at most `limit`."""
        return self.trimmed(self.tokenizer.encode(text), limit)

    def trimmed(self, ids: list[int] | NDArray[np.int32], limit: int) -> Ids:
        """So many ids that its sequences have at most `limit`; and at least one: a text without a single piece is `<unk>`."""
        return np.asarray(ids[: limit - self.special] if len(ids) else [self.tokenizer.unk], np.int64)

    def encoder_input(self, ids: Ids, language: str) -> Ids:
        """`<s> X </s> lang`, in cc25's family."""
        if self.family == 'mbart-50':
            return np.concatenate([[self.code(language)], ids, [self.tokenizer.eos]])
        code = [self.code(language)] if self.family == 'mbart-cc25' else []
        return np.concatenate([[self.tokenizer.bos], ids, [self.tokenizer.eos, *code]])

    def labels(self, ids: Ids, language: str) -> Ids:
        """`X </s> lang`, in cc25's family."""
        if self.family == 'mbart-50':
            return np.concatenate([[self.code(language)], ids, [self.tokenizer.eos]])
        return np.concatenate([ids, [self.tokenizer.eos, self.code(language)]])

    def decoder_input(self, ids: Ids, language: str) -> Ids:
        """`lang X </s>`, in cc25's family: the labels shifted right, the last wrapped to the front."""
        labels = self.labels(ids, language)
        return np.concatenate([labels[-1:], labels[:-1]])

    def prompt(self, language: str) -> list[int]:
        """What generation starts from, so that the text after it is in a language: `lang`; `</s> lang` for mBART-50."""
        return [self.tokenizer.eos, self.code(language)] if self.family == 'mbart-50' else [self.code(language)]

    def code(self, language: str) -> int:
        """Id of a canonical language's code."""
        if language not in self._codes:
            self._codes[language] = self.tokenizer.language(language)
        return self._codes[language]

    def corrupted(self, ids: Ids, language: str, ratio: float, generator: np.random.Generator) -> Masked:
        """MLM's masking of an encoder sequence: of the chosen tokens 80 % become `<mask>`, 10 % a random piece, 10 % stay."""
        chosen = _choose(len(ids), ratio, generator)
        kind = generator.random(len(chosen))
        # Regular pieces are 4..pieces: below are <s> <pad> </s> <unk>, above the codes and <mask>.
        replaced = np.where(kind < 0.8, self.tokenizer.mask, generator.integers(4, self.tokenizer.pieces + 1, len(chosen)))
        return self._replaced(ids, language, chosen, np.where(kind < 0.9, replaced, ids[chosen]))

    def blanked(self, ids: Ids, language: str, ratio: float, generator: np.random.Generator) -> Masked:
        """mMMT's masking of an encoder sequence: every chosen token becomes `<mask>`."""
        chosen = _choose(len(ids), ratio, generator)
        return self._replaced(ids, language, chosen, np.full(len(chosen), self.tokenizer.mask))

    def pair_blanked(self, first: tuple[Ids, str, Ids], second: tuple[Ids, str, Ids]) -> Masked:
        """VTLM's two texts one after the other, each (ids, language, chosen positions); every chosen token becomes `<mask>`."""
        one, two = (
            self._replaced(ids, language, chosen, np.full(len(chosen), self.tokenizer.mask)) for ids, language, chosen in (first, second)
        )
        skipped = int(two.ids[0] == self.tokenizer.bos)  # one `<s>` for both
        positions = np.concatenate([one.positions, two.positions + len(one.ids) - skipped])
        return Masked(np.concatenate([one.ids, two.ids[skipped:]]), positions, np.concatenate([one.labels, two.labels]))

    def _replaced(self, ids: Ids, language: str, chosen: Ids, replaced: Ids) -> Masked:
        sequence = self.encoder_input(ids, language)
        sequence[chosen + 1] = replaced
        return Masked(sequence, chosen + 1, ids[chosen])


def encoder_input(ids: list[int], tokenizer: Tokenizer, language: str, limit: int) -> list[int]:
    """The encoder's sequence, of at most `limit` ids. Raises UserError for a language without a code."""
    sequences = Sequences(tokenizer)
    return sequences.encoder_input(sequences.trimmed(ids, limit), language).tolist()


def prefix_length(tokens: int, probability: float, share: float, generator: np.random.Generator) -> int:
    """T_p: floor(share * T) with `probability`, else 0; at most T - 1, so that the decoder has a token to generate."""
    return min(int(share * tokens), tokens - 1) if generator.random() < probability else 0


def normalised(text: str) -> str:
    """The form in which two captions count as the same: NFKC, case folded, white space collapsed."""
    return ' '.join(unicodedata.normalize('NFKC', text).casefold().split())


def text_id(text: str) -> int:
    """int64 that is equal for equal normalised texts."""
    return hash63(normalised(text))


def _choose(tokens: int, ratio: float, generator: np.random.Generator) -> Ids:
    """Each position independently with probability `ratio`, but at least one."""
    chosen = np.flatnonzero(generator.random(tokens) < ratio)
    return chosen if len(chosen) else generator.integers(0, tokens, 1)
