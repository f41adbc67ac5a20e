"""What a model was trained on, as far as its shards still tell."""

from __future__ import annotations

import hashlib

from pretrain.model.load import Found
from shards.errors import UserError
from shards.schema import MANIFEST, Manifest, read_manifest
from shards.storage import location


def manifests_of(found: Found) -> tuple[list[Manifest], list[str]]:
    """Of the streams that a pre-training read, and the names of those whose manifests are not here any more, or not as they were."""
    manifests: list[Manifest] = []
    lacking: list[str] = []
    for name, digest in sorted({} if found.config.finetune else found.data.items()):
        stream = location(found.config.data.shards) / name
        try:
            if hashlib.sha256((stream / MANIFEST).read_bytes()).hexdigest() == digest:
                manifests.append(read_manifest(stream))
                continue
        except (UserError, OSError):
            pass
        lacking.append(name)
    return manifests, lacking


def trained_languages(found: Found) -> list[str]:
    """Canonical codes: of a fine-tuning its own, of an export what it noted, else those of the manifests; empty when nobody knows."""
    if found.config.finetune is not None:
        return sorted(found.config.finetune.languages)
    return sorted(found.languages or {code for manifest in manifests_of(found)[0] for code in manifest.languages})
