"""The forward of micro-batches, of one task or of several: every part of the model runs once, over the rows of all of them.

texts    -> text_encoder   --+---------------> contrastive features
pictures -> visual_encoder --+                     +--> heads: ITM, MLM, classes
                             +--> cross_encoder ---+--> decoder --> token loss
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.data.batch import TaskBatch, Texts
from pretrain.model.packed import Encoded, repeat, take
from pretrain.model.unix2 import UniX2
from pretrain.tasks import CONTRASTIVE, SUMMED
from pretrain.tasks.base import SumTask
from pretrain.tasks.token_loss import Segment, token_loss

Batches = Mapping[str, TaskBatch]  # by part of a step (pretrain/data/parts.py)
Factors = Mapping[str, Mapping[str, float]]  # part -> loss term -> what its sum is multiplied by
Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Shown:
    """States of the pictures that some parts share, which were encoded before."""

    states: Tensor  # (U, 1 + P, visual D)
    rows: Mapping[str, Tensor]  # part -> (Bi,) int64 on the CPU: place in `states` of each of its pictures


@dataclass(frozen=True)
class Outcome:
    """What a forward gives."""

    total: Tensor  # () fp32: every sum times its factor, with gradient
    sums: dict[str, dict[str, Tensor]]  # part of a SumTask -> term -> () fp32, without gradient
    features: dict[str, Pair]  # part of a ContrastiveTask -> unit vectors of its two sides, (B, projection) each, fp32
    scores: dict[str, Tensor]  # part with a sum over [MM_CLS] -> what the head says: (B,) logits of ITM, (B, classes) otherwise


def forward(model: UniX2, batches: Batches, factors: Factors | None = None, shown: Shown | None = None) -> Outcome:
    """Run `batches` (one at least) together. Without `factors` they are all 1. With `shown` no picture is encoded here."""
    # The decoder's rows first, then the others of the cross encoder, then those only contrasted: each stage takes a head of the rows.
    order = sorted(batches, key=lambda part: _stage(batches[part].task))
    fused = [part for part in order if batches[part].task in SUMMED]
    contrasted = order[len(fused) :]
    rows = _Rows(order, batches)
    text = model.encode_texts(rows.texts, whole=rows.before[len(fused)])
    visual = _encoded_pictures(model, batches, fused, contrasted) if shown is None else _repeated(shown, fused, contrasted)
    features = _features(model, batches, contrasted, rows, text, visual)
    if not fused:
        return Outcome(text.states.new_zeros((), dtype=torch.float32), {}, features, {})
    source = text.head(rows.before[len(fused)])
    stream = model.join(source, visual.get(''), _image_rows(batches, fused, rows))
    terms = _Terms(batches, fused, factors)
    totals = [
        _written(model, terms, rows, stream),
        _masked(model, terms, rows, source, stream),
        _matched(model, terms, rows, stream),
        _classified(model, terms, rows, stream),
    ]
    return Outcome(torch.stack([total for total in totals if total is not None]).sum(), terms.sums, features, terms.scores)


def features(model: UniX2, batch: TaskBatch, shown: Shown | None = None) -> Pair:
    """The two sides of one micro-batch of a contrastive task, which is also the name of the part in `shown`."""
    return forward(model, {batch.task: batch}, shown=shown).features[batch.task]


def _stage(task: str) -> int:
    return 2 if task in CONTRASTIVE else 1 if SUMMED[task].written is None else 0


class _Rows:
    """The texts of all parts, one part after the other, then the other sides of CLCL."""

    def __init__(self, order: Sequence[str], batches: Batches):
        others = [part for part in order if batches[part].other is not None]
        texts = [batches[part].text for part in order] + [cast(Texts, batches[part].other) for part in others]
        self.texts = texts[0]
        if len(texts) > 1:
            self.texts = Texts(torch.cat([text.ids for text in texts]), torch.cat([text.lengths for text in texts]))
        self.before = [0, *accumulate(len(text.lengths) for text in texts)]  # rows before every text
        tokens = [0, *accumulate(len(text.ids) for text in texts)]
        self.at = {part: slice(*self.before[number : number + 2]) for number, part in enumerate(order)}
        self.others = {part: slice(*self.before[number : number + 2]) for number, part in enumerate(others, len(order))}
        self.first_token = dict(zip(order, tokens, strict=False))


class _Terms:
    """Collects the sums of one kind after the other."""

    def __init__(self, batches: Batches, fused: Sequence[str], factors: Factors | None):
        self.batches, self.fused, self.factors = batches, fused, factors
        self.sums: dict[str, dict[str, Tensor]] = {part: {} for part in fused}
        self.scores: dict[str, Tensor] = {}

    def parts(self, kind: str) -> list[str]:
        """Those whose task has a sum of this kind (an attribute of SumTask)."""
        return [part for part in self.fused if self._name(part, kind) is not None]

    def segments(self, kind: str, lengths: Iterable[int]) -> list[Segment]:
        """Of the parts of that kind, which have so many terms."""
        names = [(part, cast(str, self._name(part, kind))) for part in self.parts(kind)]
        factors = [1.0 if self.factors is None else self.factors[part][name] for part, name in names]
        return [Segment(length, factor) for length, factor in zip(lengths, factors, strict=True)]

    def add(self, kind: str, sums: Tensor) -> None:
        """`sums` (P,) of the parts of that kind."""
        for part, value in zip(self.parts(kind), sums, strict=True):
            self.sums[part][cast(str, self._name(part, kind))] = value

    def _name(self, part: str, kind: str) -> str | None:
        task: SumTask = SUMMED[self.batches[part].task]
        name: str | None = getattr(task, kind)
        return name


def _encoded_pictures(model: UniX2, batches: Batches, fused: Sequence[str], contrasted: Sequence[str]) -> dict[str, Tensor]:
    """States of pictures: under '' those of all fused parts, then by contrasted part."""
    groups = {'': [images for part in fused if (images := batches[part].images) is not None]}
    groups |= {part: [images] for part in contrasted if (images := batches[part].images) is not None}
    groups = {name: images for name, images in groups.items() if sum(map(len, images))}
    if not groups:
        return {}
    every = [image for images in groups.values() for image in images]
    states = model.encode_images(every[0] if len(every) == 1 else torch.cat(every))
    return dict(zip(groups, states.split([sum(map(len, images)) for images in groups.values()]), strict=True))


def _repeated(shown: Shown, fused: Sequence[str], contrasted: Sequence[str]) -> dict[str, Tensor]:
    """As `_encoded_pictures`, of what is encoded already; for contrasted parts [CLS] alone."""
    states = {part: repeat(shown.states[:, :1], shown.rows[part]) for part in contrasted if part in shown.rows}
    if rows := [shown.rows[part] for part in fused if part in shown.rows]:
        states[''] = repeat(shown.states, torch.cat(rows))
    return states


def _image_rows(batches: Batches, fused: Sequence[str], rows: _Rows) -> Tensor | None:
    """(Bi,) row, among all, of every picture of a fused part."""
    found = [at + rows.at[part].start for part in fused if (at := batches[part].image_rows) is not None]
    return torch.cat(found) if found else None


def _features(
    model: UniX2, batches: Batches, contrasted: Sequence[str], rows: _Rows, text: Encoded, visual: Mapping[str, Tensor]
) -> dict[str, Pair]:
    if not contrasted:
        return {}
    whole = min(rows.at[part].start for part in contrasted)  # rows of fused parts lie before
    pooled = model.pooled(text, whole)

    def side(part: str, name: str) -> Tensor:
        if name == 'image':
            return model.project_images(visual[part])
        at = (rows.at if name == 'text' else rows.others)[part]
        return model.project_texts(pooled[at.start - whole : at.stop - whole])

    sides = {part: CONTRASTIVE[batches[part].task].sides for part in contrasted}
    return {part: (side(part, one), side(part, other)) for part, (one, other) in sides.items()}


def _written(model: UniX2, terms: _Terms, rows: _Rows, stream: Encoded) -> Tensor | None:
    """Cross-entropy of what the decoder writes."""
    parts = terms.parts('written')
    if not parts:
        return None
    inputs = [cast(Texts, terms.batches[part].decoder_input) for part in parts]
    labels = [cast(Tensor, terms.batches[part].labels) for part in parts]
    joined = Texts(torch.cat([text.ids for text in inputs]), torch.cat([text.lengths for text in inputs]))
    states = model.decode(joined, stream.head(rows.before[len(parts)]))
    total, sums = token_loss(states, torch.cat(labels), model.embed_tokens, segments=terms.segments('written', map(len, labels)))
    terms.add('written', sums)
    return total


def _masked(model: UniX2, terms: _Terms, rows: _Rows, source: Encoded, stream: Encoded) -> Tensor | None:
    """Cross-entropy of the masked tokens."""
    parts = terms.parts('masked')
    if not parts:
        return None
    labels = [cast(Tensor, terms.batches[part].masked_labels) for part in parts]
    places = torch.cat([cast(Tensor, terms.batches[part].masked) + rows.first_token[part] for part in parts])
    states = model.mlm_states(stream, source.layout, places)
    segments = terms.segments('masked', map(len, labels))
    total, sums = token_loss(states, torch.cat(labels), model.embed_tokens, model.mlm_bias, segments)
    terms.add('masked', sums)
    return total


def _matched(model: UniX2, terms: _Terms, rows: _Rows, stream: Encoded) -> Tensor | None:
    """Binary cross-entropy on [MM_CLS]."""
    parts = terms.parts('matched')
    match = [cast(Tensor, terms.batches[part].match) for part in parts]
    return _judged(terms, rows, stream, 'matched', match, model.itm_logits, lambda part: F.binary_cross_entropy_with_logits)


def _classified(model: UniX2, terms: _Terms, rows: _Rows, stream: Encoded) -> Tensor | None:
    """Cross-entropy of the classes on [MM_CLS]; binary, summed over the classes, where they do not exclude each other."""
    classes = [cast(Tensor, terms.batches[part].classes) for part in terms.parts('classified')]
    return _judged(terms, rows, stream, 'classified', classes, model.class_logits, lambda part: class_loss(terms.batches[part].task))


def class_loss(task: str) -> Callable[..., Tensor]:
    """The loss of a task's scores (B, classes) against how true each class is, as torch.nn.functional has it."""
    return F.cross_entropy if SUMMED[task].exclusive else F.binary_cross_entropy_with_logits


def _judged(
    terms: _Terms, rows: _Rows, stream: Encoded, kind: str, targets: list[Tensor], head: Callable[[Tensor], Tensor],
    loss: Callable[[str], Callable[..., Tensor]],
) -> Tensor | None:  # fmt: skip
    """The sums of one kind over what a head makes of [MM_CLS]; `loss` gives the function that compares it with the targets of a part."""
    parts = terms.parts(kind)
    if not parts:
        return None
    logits = head(take(stream.states, torch.cat([stream.layout.starts[rows.at[part]] for part in parts])))
    scores = logits.split([len(target) for target in targets])
    sums = [loss(part)(*pair, reduction='sum') for part, *pair in zip(parts, scores, targets, strict=True)]
    terms.add(kind, torch.stack(sums).detach())
    terms.scores |= {part: score.detach() for part, score in zip(parts, scores, strict=True)}
    factors = [segment.factor for segment in terms.segments(kind, map(len, targets))]
    return torch.stack([value * factor for value, factor in zip(sums, factors, strict=True)]).sum()
