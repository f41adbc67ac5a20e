"""Pictures for a model, one bad file named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pretrain.config import Config
from pretrain.data.images import Picture, read_picture, training_image
from pretrain.model.load import Loaded
from shards.errors import UserError


def picture_batch(loaded: Loaded, pictures: Sequence[Picture], places: Sequence[int]) -> Tensor:
    """uint8 (N, 3, H, W) on the model's device. `places` are those of the pictures in the caller's list.

    Raises UserError for what cannot be read or is no picture, which names the file, or where there is none the place.
    """
    size, found = loaded.config.model.visual.image_size, []
    for place, picture in zip(places, pictures, strict=True):
        try:
            found.append(read_picture(picture, size))
        except UserError as error:
            raise error if isinstance(picture, str | Path) else UserError(f'picture {place}: {error}') from None
    return torch.stack(found).to(loaded.device)


def training_picture(raw: bytes, path: Path, config: Config, generator: np.random.Generator) -> Tensor:
    """uint8 (3, H, W), augmented as the configuration says. Raises UserError for a file that is no picture."""
    try:
        return training_image(raw, config.model.visual.image_size, config.data, generator)
    except OSError as error:
        raise UserError(f'picture {path} cannot be decoded ({error}); replace it by the original') from None
