"""What every part of the configuration has in common."""

from __future__ import annotations

import os
from typing import Annotated, Any, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

Folder = Annotated[str, AfterValidator(os.path.expanduser)]  # `~` is the home folder, as in a shell


class Section(BaseModel):
    """Settings that belong together; an unknown one is an error, and so is a number that is not finite."""

    model_config = ConfigDict(extra='forbid', validate_default=True, allow_inf_nan=False)

    @model_validator(mode='before')
    @classmethod
    def _one_of_a_list(cls, raw: Any) -> Any:
        """A single word for a list is a list of one: `tasks=cmcl`."""
        if not isinstance(raw, dict):
            return raw
        names = {field.alias or name for name, field in cls.model_fields.items() if _is_list(field.annotation)}
        return {key: [value] if key in names and isinstance(value, str) else value for key, value in raw.items()}


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, or may hold beside None; None for a value."""
    for one in (annotation, *get_args(annotation)):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
    return None


def keys(model: type[BaseModel], prefix: str = '') -> list[str]:
    """Every setting and section by its dotted key, outer ones before what is in them."""
    names = []
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        names.append(key)
        if section := section_of(field.annotation):
            names += keys(section, key + '.')
    return names


def _is_list(annotation: Any) -> bool:
    """Whether a field holds a list, or may hold one beside None."""
    return any(get_origin(one) is list for one in (annotation, *get_args(annotation)))
