"""`downstream coco`."""

from __future__ import annotations

from typing import Any

from downstream.tasks.arguments import task
from downstream.tasks.captions import add_verbs

LAYOUT = 'dataset_coco.json (Karpathy) beside train2014/ and val2014/'


def register(tasks: Any) -> None:
    """Adds the benchmark to the command line."""
    add_verbs(task(tasks, 'coco', 'captioning, and image-text retrieval'), 'COCO', LAYOUT)
