"""Writing text: beam search over an incremental cache, for captioning and translation."""

from __future__ import annotations

from pretrain.generation.beam import Decoding, Written, search
from pretrain.generation.write import write

__all__ = ['Decoding', 'Written', 'search', 'write']
