"""A trained model as a folder that stands for itself: transformers loads it, `downstream` reads it, its card says what it is."""

from __future__ import annotations

from pretrain.export.folder import export, write_export

__all__ = ['export', 'write_export']
