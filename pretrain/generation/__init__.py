"""Writing text: beam search over an incremental cache, for captioning and translation."""

from __future__ import annotations

from pretrain.generation.beam import Decoding, Diverged, Written, search
from pretrain.generation.write import write

__all__ = ['Decoding', 'Diverged', 'Written', 'search', 'write']
