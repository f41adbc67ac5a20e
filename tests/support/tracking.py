"""MLflow's client, for the tests that ask it."""

from __future__ import annotations

from typing import Any


def mlflow_client(uri: str) -> Any:
    """An MlflowClient. MLflow is imported here, by the one worker of pytest that asks, not by all while they collect tests."""
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)
