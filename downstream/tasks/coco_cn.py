"""`downstream coco-cn`."""

from __future__ import annotations

from typing import Any

from downstream.tasks.arguments import task
from downstream.tasks.captions import add_verbs

LAYOUT = 'laid out as github.com/li-xirong/coco-cn'


def register(tasks: Any) -> None:
    """Adds the benchmark to the command line."""
    add_verbs(task(tasks, 'coco-cn', 'captioning, and image-text retrieval'), 'COCO_CN', LAYOUT)
