"""Pictures that the tasks of a step have in common (mixture.share_images): the visual encoder runs once for every distinct picture of their
micro-batches, and once backward, with the gradient of all that saw it.

The forwards of one group (pretrain/engine/forwards.py) follow one another. The first one has the group's pictures encoded; each of them
starts from these states and leaves its gradient there; after the last one the sum goes on into the visual encoder. So the visual
activations of one group are kept, and all others only as long as their own forward needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import torch
from torch import Tensor

from pretrain.data.batch import TaskBatch
from pretrain.engine.forwards import Forward
from pretrain.model.packed import sent
from pretrain.model.unix2 import UniX2
from pretrain.tasks.forward import Shown


class SharedPictures:
    """The pictures of one group. `seed` is called before each time that they are encoded, so that it can be repeated."""

    def __init__(self, model: UniX2, group: Iterable[Forward], device: torch.device, seed: Callable[[], None] = lambda: None):
        self.model, self.device, self.seed = model, device, seed
        self.batches = {part: batch for forward in group for part, batch in forward.batches.items()}
        self.rows, self.first = numbered(self.batches)
        self._encoded: Tensor | None = None
        self._states: Tensor | None = None

    @property
    def spared(self) -> int:
        """How many pictures need not be encoded, as another is the same."""
        return sum(map(len, self.rows.values())) - sum(map(len, self.first.values()))

    def shown(self) -> Shown | None:
        """What a forward starts from: the same states every time. None without a picture."""
        if self._states is None and self.rows:
            self._encoded = self._encode()
            self._states = self._encoded.detach().requires_grad_()
            self._states.grad_dtype = torch.float32  # the gradients of the tasks add up in it
        return None if self._states is None else Shown(self._states, self.rows)

    def encoded(self) -> Shown | None:
        """The same states, encoded for this call alone."""
        return Shown(self._encode(), self.rows) if self.rows else None

    def backward(self) -> None:
        """Carry the gradient that the forwards have left into the visual encoder, and forget the states."""
        if self._encoded is not None and self._states is not None and self._states.grad is not None:
            self._encoded.backward(self._states.grad.to(self._encoded.dtype))
        self._encoded = self._states = None

    def _encode(self) -> Tensor:
        images = [(self.batches[part].images, rows) for part, rows in self.first.items() if len(rows)]
        every = [image if len(rows) == len(image) else image[rows] for image, rows in images if image is not None]
        self.seed()
        return self.model.encode_images(torch.cat([sent(image, self.device) for image in every]))


def shared_pictures(
    model: UniX2, groups: Iterable[list[Forward]], device: torch.device, seed: Callable[[int], None] = lambda micro: None
) -> dict[int, SharedPictures]:
    """Those of every group of image-text tasks, by the number of its micro-batches; `seed` takes it."""
    found = {group[0].micro: group for group in groups if group[0].pictured}
    return {micro: SharedPictures(model, group, device, partial(seed, micro)) for micro, group in found.items()}


def numbered(batches: Mapping[str, TaskBatch]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Of every part with pictures: (Bi,) int64, which of the distinct pictures of all parts each of its own is; and (F,) int64, which of
    its own come up for the first time. The pictures of a batch without keys are all distinct.
    """
    numbers: dict[object, int] = {}
    rows, first = {}, {}
    for part, batch in batches.items():
        if batch.images is None or not len(batch.images):
            continue
        given = batch.image_keys
        keys: list[object] = [(part, row) for row in range(len(batch.images))] if given is None else [*given.tolist()]
        new = []
        for row, key in enumerate(keys):
            if key not in numbers:
                numbers[key] = len(numbers)
                new.append(row)
        rows[part], first[part] = torch.tensor([numbers[key] for key in keys]), torch.tensor(new, dtype=torch.int64)
    return rows, first
