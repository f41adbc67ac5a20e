"""What every part of the configuration has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Settings that belong together; an unknown one is an error, and so is a number that is not finite."""

    model_config = ConfigDict(extra='forbid', validate_default=True, allow_inf_nan=False)
