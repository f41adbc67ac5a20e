"""Settings of what a run does about faults (docs/operations.md)."""

from __future__ import annotations

from pydantic import Field

from pretrain.config.section import Section


class Recovery(Section):
    spike: float = Field(
        2.0,
        ge=0,
        description="an update is not made when the tasks' losses are, in the mean, so many nats above their last 64's median; 0: no limit",
    )
    patience: int = Field(3, ge=1, description='updates in a row that are not made before the run goes back to a checkpoint')
    margin: int = Field(10, ge=0, description='steps before the first of them whose data is passed over too, if the checkpoint is older')
    rollbacks: int = Field(3, ge=1, description='times that a run goes back without a new checkpoint in between, before it ends')


class Watchdog(Section):
    hang: float = Field(
        900.0, gt=0, description='seconds that a rank may be in one part of a step, of an evaluation or of a save, before the run is ended'
    )
    slow: float = Field(2.0, gt=1, description='a rank that takes so many times as long as the others is named in the log')
