"""Initial weights from published checkpoints (paper section 3.1): `init.text` and `init.visual`."""

from __future__ import annotations

from pretrain.init.start import Start

__all__ = ['Start']
