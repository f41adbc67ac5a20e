"""`downstream xgqa`."""

from __future__ import annotations

from typing import Any

from downstream.tasks import classification

LAYOUT = "LXMERT's train.json, valid.json, trainval_ans2label.json, xGQA's few_shot/<language>/test.json, with the pictures in images/"


def register(tasks: Any) -> None:
    """Adds the benchmark to the command line."""
    classification.register(tasks, 'xgqa', 'questions on pictures; accuracy of a fine-tuned model', LAYOUT)
