"""What a step's examples are, counted over all ranks: normalisers of the losses, and what the log says of masks, prefixes and negatives."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from pretrain.data.batch import TaskBatch
from pretrain.data.packing import StepData
from pretrain.model.packed import sent
from pretrain.tasks import SUMMED
from shards.languages import LANGUAGES

Counts = dict[str, dict[str, int]]  # part of the step -> loss term -> number of its terms


def task_of(micro_batches: list[TaskBatch]) -> str:
    """The task of a part of a step."""
    return micro_batches[0].task


@dataclass(frozen=True)
class Counted:
    """Of the global batches of a step."""

    terms: Counts  # what every loss sum is divided by
    samples: dict[str, int]  # by task
    examples: dict[str, float]  # `reported` shares and means
    tokens: dict[str, int]  # by language, encoded and written, of those that were met
    flops: int  # of the matrix products (engine/flops.py)


def global_counts(data: StepData, device: torch.device, flops: int = 0) -> Counted:
    """Counts over all ranks and micro-batches, in one exchange before the first backward; `flops` are those of this rank."""
    local: dict[tuple[str, str], int] = {}
    for part, batches in data.items():
        if (task := task_of(batches)) in SUMMED:
            for batch in batches:
                for name, count in SUMMED[task].counts(batch).items():
                    local[part, name] = local.get((part, name), 0) + count
    seen = observed(data)
    every = [*local.values(), *seen.values(), *tokens(data), flops]
    both = sent(torch.tensor([0 if isinstance(number, Tensor) else number for number in every]), device)
    for place, number in enumerate(every):
        if isinstance(number, Tensor):
            both[place] = number
    dist.all_reduce(both)
    numbers = both.tolist()
    counts: Counts = {}
    for (part, name), number in zip(local, numbers, strict=False):
        counts.setdefault(part, {})[name] = number
    *rest, flops = numbers[len(local) :]
    sums = dict(zip(seen, rest, strict=False))
    by_language = zip(LANGUAGES, rest[len(seen) :], strict=True)
    samples = {task_of(batches): sums[f'samples.{task_of(batches)}'] for batches in data.values()}
    return Counted(counts, samples, reported(sums), {language: number for language, number in by_language if number}, flops)


def tokens(data: StepData) -> list[int]:
    """This rank's tokens of every language, in the order of LANGUAGES: the same list on every rank, whatever each of them met."""
    found: dict[str, int] = {}
    for batch in (batch for batches in data.values() for batch in batches):
        for language, number in batch.tokens.items():
            found[language] = found.get(language, 0) + number
    return [found.get(language, 0) for language in LANGUAGES]


def summed(counts: Counts) -> dict[str, int]:
    """Number of terms by their name, over the parts of the step."""
    out: dict[str, int] = {}
    for terms in counts.values():
        for name, count in terms.items():
            out[name] = out.get(name, 0) + count
    return out


def observed(data: StepData) -> dict[str, int | Tensor]:
    """Sums over the micro-batches of this rank: `samples.TASK`, and of them those with a prefix, masked tokens, ITM's negatives. Every rank
    has the same keys. Negatives are a tensor (), which is not waited for: they are known where the step has looked for true pairs.
    """
    out: dict[str, int | Tensor] = {}

    def add(key: str, number: int | Tensor) -> None:
        out[key] = out.get(key, 0) + number

    for batches in data.values():
        task = task_of(batches)
        for batch in batches:
            add(f'samples.{task}', len(batch))
            kind = SUMMED.get(task)
            if kind is None:
                continue
            if kind.prefixed:
                add(f'prefixed.{task}', 0 if batch.prefix is None else int((batch.prefix > 0).sum()))
            if kind.masked:
                add(f'masks.{task}', 0 if batch.masked is None else len(batch.masked))
            if kind.matched:
                add(f'negatives.{task}', 0 if batch.match is None else (batch.match == 0).sum())
    return out


def reported(sums: dict[str, int]) -> dict[str, float]:
    """`prefixed.TASK`: share of samples with T_p > 0; `masks.TASK`: mean masks a sample; `negatives.TASK`: number of unmatched pairs."""
    out: dict[str, float] = {}
    for key, number in sums.items():
        kind, _, task = key.partition('.')
        if kind == 'negatives':
            out[key] = number
        elif kind != 'samples':
            out[key] = number / sums[f'samples.{task}']
    return out
