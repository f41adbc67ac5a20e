"""Beam search as transformers' `generate` does it with mBART: the same hypotheses, scores and ends (the tests compare them).

A hypothesis ends with `</s>`; the longest are made to end so. Its score is the sum of its tokens' log-probabilities divided by
length ** length_penalty, where the length counts every token after the first of the prompt. Each step looks at the 2 K best
continuations of a source's K beams: those that end and are among the best K are finished, the best K that do not end go on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from pretrain.generation.cache import Cache, next_log_probabilities
from pretrain.model.packed import Encoded
from pretrain.model.unix2 import EOS, UniX2
from shards.errors import UserError

NEVER = -1.0e9  # a score that any hypothesis beats


@dataclass(frozen=True)
class Decoding:
    """How to search. The defaults are the paper's (beam 4) for captions; translations take max_tokens=100.

    early_stopping: False ends a source when its best beam, scored at its present length, cannot beat its worst finished hypothesis;
    True as soon as `beams` hypotheses are finished; 'never' supposes the length at which a beam could score best. With one beam this is
    greedy search.
    """

    beams: int = 4
    max_tokens: int = 50  # written ones, `</s>` included, the prompt not
    length_penalty: float = 1.0
    early_stopping: bool | Literal['never'] = False

    def within(self, positions: int, prompt: int) -> Decoding:
        """The same with no more tokens than so many positions have room for behind the prompt."""
        return replace(self, max_tokens=min(self.max_tokens, positions - prompt))


@dataclass(frozen=True)
class Written:
    """The best hypothesis of every source."""

    ids: list[list[int]]  # without prompt and `</s>`
    scores: Tensor  # (B,) fp32, with the length penalty


class Diverged(UserError):
    """The model's probabilities are no numbers: whatever the search found would be a text of no meaning."""


@torch.no_grad()
def search(model: UniX2, memory: Encoded, prompts: Tensor, decoding: Decoding | None = None) -> Written:
    """Write a text for every row of `memory` (what `UniX2.fuse` or `encode_texts` gives), starting from `prompts` (B, P) int64.

    Prompt and text must fit `model.max_positions`. Raises ValueError when they do not, or a setting makes no sense, and
    Diverged for a model whose probabilities are not numbers.
    """
    decoding = decoding or Decoding()
    beams, prompt = decoding.beams, prompts.shape[1]
    longest = prompt + decoding.max_tokens
    if beams < 1 or decoding.max_tokens < 1:
        raise ValueError(f'beams={beams} and max_tokens={decoding.max_tokens} must be at least 1')
    if longest > model.config.max_positions:
        room = model.config.max_positions
        raise ValueError(f'{decoding.max_tokens} tokens after a prompt of {prompt} do not fit model.max_positions={room}')
    cache = Cache(model, memory, beams, longest)
    hypotheses = _Hypotheses(prompts, decoding, longest)
    for place in range(prompt - 1):
        cache.step(hypotheses.tokens[:, :, place].flatten())
    for length in range(prompt, longest):
        if length == longest - 1:
            parents = hypotheses.end(length)
        else:
            states = cache.step(hypotheses.tokens[:, :, length - 1].flatten())
            parents = hypotheses.extend(next_log_probabilities(model, states), length)
        if hypotheses.settled(length + 1):
            break
        cache.reorder(parents)
    return hypotheses.best(prompt)


class _Hypotheses:
    """Running and finished hypotheses of B sources, K each: (B, K, longest) tokens and (B, K) scores."""

    def __init__(self, prompts: Tensor, decoding: Decoding, longest: int):
        self.decoding, self.longest = decoding, longest
        sources, prompt = prompts.shape
        beams = self.beams = decoding.beams
        self.tokens = prompts.new_full((sources, beams, longest), EOS)
        self.tokens[:, :, :prompt] = prompts[:, None]
        self.scores = torch.zeros(sources, beams, device=prompts.device)
        self.scores[:, 1:] = NEVER  # the beams are equal at first: one of them counts
        self.finished = self.tokens.clone()
        self.finished_scores = torch.full_like(self.scores, NEVER)
        self.is_finished = torch.zeros_like(self.scores, dtype=torch.bool)
        self.open = torch.ones_like(self.is_finished[:, :1])  # (B, 1): a running hypothesis may still beat a finished one
        self.diverged = torch.zeros((), dtype=torch.bool, device=prompts.device)  # looked at once, at the end: a GPU would be waited for
        self.early = decoding.early_stopping is True or beams == 1

    def extend(self, log_probabilities: Tensor, length: int) -> Tensor:
        """Take the next token of every beam, (B * K, V); returns the rows (B * K,) that the running ones continue."""
        vocabulary = log_probabilities.shape[1]
        totals = (log_probabilities.view(*self.scores.shape, vocabulary) + self.scores[:, :, None]).flatten(1)
        scores, indices = totals.topk(2 * self.beams)
        self.diverged |= scores.isnan().any()  # to topk NaN is the greatest
        parents, tokens = indices // vocabulary, indices % vocabulary
        candidates = self._continued(parents, tokens, length)
        ends = tokens == EOS
        self._finish(candidates, scores, ends & (torch.arange(2 * self.beams, device=ends.device) < self.beams), length)
        self.scores, kept = scores.masked_fill(ends, NEVER).topk(self.beams)
        self.tokens = _select(candidates, kept)
        first = torch.arange(len(parents), device=parents.device)[:, None] * self.beams
        return (parents.gather(1, kept) + first).flatten()

    def end(self, length: int) -> Tensor:
        """Let every running hypothesis end here."""
        scores, order = self.scores.topk(self.beams)
        candidates = _select(self.tokens, order)
        candidates[:, :, length] = EOS
        self._finish(candidates, scores, torch.ones_like(self.is_finished), length)
        self.scores = torch.full_like(self.scores, NEVER)
        return torch.arange(self.scores.numel(), device=scores.device)

    def settled(self, length: int) -> bool:
        """Whether no source can improve any more, now that the running hypotheses have `length` tokens."""
        never = self.decoding.early_stopping == 'never' and self.decoding.length_penalty > 0
        best = self.scores[:, :1] / ((self.longest if never else length) - 1) ** self.decoding.length_penalty
        worst = torch.where(self.is_finished, self.finished_scores.amin(1, keepdim=True), NEVER)
        self.open &= (best > worst).any(1, keepdim=True)
        full = bool(self.is_finished.all()) and self.early
        return full or length == self.longest or not bool(self.open.any())

    def best(self, prompt: int) -> Written:
        if self.diverged:
            raise Diverged('what the decoder gives is not finite: the model has diverged; take an earlier checkpoint')
        rows = self.finished[:, 0, prompt:].tolist()
        return Written([row[: row.index(EOS)] for row in rows], self.finished_scores[:, 0])

    def _continued(self, parents: Tensor, tokens: Tensor, length: int) -> Tensor:
        candidates = _select(self.tokens, parents)
        candidates[:, :, length] = tokens
        return candidates

    def _finish(self, candidates: Tensor, scores: Tensor, ends: Tensor, length: int) -> None:
        """Keep the K best of the finished hypotheses and those `candidates` that end, (B, C), with the token at `length`."""
        full = self.is_finished.all(1, keepdim=True) if self.early else torch.zeros_like(self.open)
        counts = ends & self.open & ~full
        scores = torch.where(counts, scores / length**self.decoding.length_penalty, NEVER)
        self.finished_scores, kept = torch.cat([self.finished_scores, scores], 1).topk(self.beams)
        self.finished = _select(torch.cat([self.finished, candidates], 1), kept)
        self.is_finished = torch.cat([self.is_finished, counts], 1).gather(1, kept)


def _select(rows: Tensor, indices: Tensor) -> Tensor:
    """rows (B, C, L) at indices (B, K)."""
    return rows.gather(1, indices[:, :, None].expand(-1, -1, rows.shape[2]))
