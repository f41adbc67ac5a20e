"""Pictures for a model, one bad file named."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pretrain.data.images import named_image
from pretrain.model.load import Loaded
from shards.errors import UserError


def picture_batch(loaded: Loaded, paths: Sequence[Path]) -> Tensor:
    """uint8 (N, 3, H, W) on the model's device. Raises UserError for a file that cannot be read or is no picture."""
    size = loaded.config.model.visual.image_size
    pictures = []
    for path in paths:
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise UserError(f'picture {path} cannot be read ({error.strerror}); see its file permissions') from None
        pictures.append(named_image(raw, size, path))
    return torch.stack(pictures).to(loaded.device)
