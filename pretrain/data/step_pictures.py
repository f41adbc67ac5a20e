"""Pictures that the tasks of a step share (mixture.share_images)."""

from __future__ import annotations

from torch import Tensor

from pretrain.config import Config
from pretrain.data.images import training_image
from pretrain.data.rng import generator


class StepPictures:
    """The augmented pictures of the global batches of one number: one of each record, whichever task asks for it."""

    def __init__(self, config: Config, batch: int) -> None:
        self.config, self.batch = config, batch
        self._made: dict[int, Tensor] = {}

    def image(self, sample_id: int, raw: bytes) -> Tensor:
        """(3, H, W) uint8, of a record with this id and these bytes. Raises OSError for bytes that are no picture."""
        if sample_id not in self._made:
            drawn = generator(self.config.seed, 'pictures/example', self.batch, sample_id)
            self._made[sample_id] = training_image(raw, self.config.model.visual.image_size, self.config.data, drawn)
        return self._made[sample_id]
