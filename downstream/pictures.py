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


def picture_batch(loaded: Loaded, pictures: Sequence[Picture]) -> Tensor:
    """uint8 (N, 3, H, W) on the model's device. Raises UserError for a file that cannot be read or is no picture."""
    size = loaded.config.model.visual.image_size
    return torch.stack([read_picture(picture, size) for picture in pictures]).to(loaded.device)


def training_picture(raw: bytes, path: Path, config: Config, generator: np.random.Generator) -> Tensor:
    """uint8 (3, H, W), augmented as the configuration says. Raises UserError for a file that is no picture."""
    try:
        return training_image(raw, config.model.visual.image_size, config.data, generator)
    except OSError as error:
        raise UserError(f'picture {path} cannot be decoded ({error}); replace it by the original') from None
