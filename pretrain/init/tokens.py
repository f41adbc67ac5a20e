"""Rows of a published token embedding -> rows of ours: pieces keep their ids, codes go by language, <mask> to its place."""

from __future__ import annotations

from torch import Tensor

from shards.languages import CC25, MBART50, canonical
from shards.tokenizer import Tokenizer

_CODES = {len(codes): codes for codes in ((), CC25, CC25 + MBART50)}  # XLM-R, mBART-cc25, mBART-50


def published_codes(tokens: int, tokenizer: Tokenizer) -> tuple[str, ...] | None:
    """Language codes between the pieces and the final <mask> of an embedding of `tokens` rows; None when it is none of the known."""
    return _CODES.get(tokens - tokenizer.pieces - 2)


def token_rows(published: Tensor, ours: Tensor, tokenizer: Tokenizer) -> Tensor:
    """(vocabulary, …) of our ids, from `published` (V, …), whose ids are special tokens and pieces, codes, <mask>.

    A language without a published code gets the mean of those that are there; without any (XLM-R) it keeps its row of `ours`.
    """
    codes = published_codes(len(published), tokenizer)
    assert codes is not None
    rows = ours.clone()
    below = tokenizer.pieces + 1
    rows[:below] = published[:below]
    rows[tokenizer.mask] = published[-1]
    known = {canonical(code): below + place for place, code in enumerate(codes)}
    for language, own in tokenizer.languages.items():
        if language in known:
            rows[own] = published[known[language]]
        elif codes:
            rows[own] = published[below:-1].mean(0)
    return rows
