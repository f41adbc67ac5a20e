"""Settings as another version of this program saved them, beside a checkpoint, an export or a result."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from pretrain.config.flat import flat
from pretrain.config.root import Config
from pretrain.config.section import section_of


def read_saved(saved: dict[str, Any], model: type[BaseModel] = Config, prefix: str = '') -> tuple[dict[str, Any], dict[str, Any]]:
    """(settings as `model_dump` gives them, settings that are gone): the first of this version, with its default where the other had none;
    the second by dotted key, with their values, what this version does not have, but for those that were none.

    The first is not validated: it may have a value that is none any more. Raises AttributeError when `saved` is no mapping.
    """
    settings = model.model_construct().model_dump(by_alias=True, mode='json')  # what has no default is left out
    sections = {field.alias or name: section_of(field.annotation) for name, field in model.model_fields.items()}
    gone: dict[str, Any] = {}
    for key, value in saved.items():
        if key not in sections:
            gone |= flat({key: value}, prefix)
        elif (section := sections[key]) and isinstance(value, dict):
            settings[key], below = read_saved(value, section, f'{prefix}{key}.')
            gone |= below
        else:
            settings[key] = value
    return settings, {key: value for key, value in gone.items() if value is not None and value != {}}
