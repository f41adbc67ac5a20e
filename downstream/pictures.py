"""Pictures for a model, one bad file named."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pretrain.data.images import Picture, read_picture
from pretrain.model.load import Loaded


def picture_batch(loaded: Loaded, pictures: Sequence[Picture]) -> Tensor:
    """uint8 (N, 3, H, W) on the model's device. Raises UserError for a file that cannot be read or is no picture."""
    size = loaded.config.model.visual.image_size
    return torch.stack([read_picture(picture, size) for picture in pictures]).to(loaded.device)
