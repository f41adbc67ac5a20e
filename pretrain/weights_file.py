"""Files of weights that others may read, too."""

from __future__ import annotations

import stat
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


def save_weights(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """safetensors' `save_file`, whose files are their owner's alone (0600), with the permissions that any new file gets from the umask.

    Raises OSError and SafetensorError for what the file system refuses.
    """
    path.touch()  # to ask for the umask itself is to change it for a moment, in every thread
    mode = stat.S_IMODE(path.stat().st_mode)
    save_file(tensors, path, metadata)
    path.chmod(mode)
