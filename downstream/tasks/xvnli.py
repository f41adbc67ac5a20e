"""`downstream xvnli`."""

from __future__ import annotations

from typing import Any

from downstream.tasks import classification

LAYOUT = "IGLUE's: en/train.jsonl, en/dev.jsonl, <language>/test.jsonl, with the pictures in images/"


def register(tasks: Any) -> None:
    """Adds the benchmark to the command line."""
    classification.register(tasks, 'xvnli', 'does a sentence follow from a picture? accuracy of a fine-tuned model', LAYOUT)
