"""Where a run's figures are watched beside metrics.jsonl: TensorBoard, Weights & Biases, MLflow. Only rank 0 has them.

They are for the eye: one that fails, or is slow, never stops or holds up a run. What is exact stands in the run's own files.
"""

from __future__ import annotations

from pretrain.boards.board import Board
from pretrain.boards.scalars import of_evaluation, of_event, of_metrics

__all__ = ['Board', 'of_evaluation', 'of_event', 'of_metrics']
