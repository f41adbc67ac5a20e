"""Settings by dotted key, as they are given on the command line, and which of them differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def flat(settings: dict[str, Any], prefix: str = '') -> dict[str, Any]:
    """Every setting by its dotted key. Lists stay whole, and a mapping in which there is nothing is a value itself, so nothing is lost."""
    out: dict[str, Any] = {}
    for name, value in settings.items():
        out |= flat(value, f'{prefix}{name}.') if isinstance(value, dict) and value else {f'{prefix}{name}': value}
    return out


def within(key: str, sections: Sequence[str]) -> bool:
    """Whether a setting is one of these, or in one of these sections."""
    return any(key == section or key.startswith(f'{section}.') for section in sections)


def differences(now: dict[str, Any], then: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """(value now, value then) by dotted key of all that differs, in the order of `now`; None where there is none.

    Mappings differ by what is in them: that one has nothing in it is no difference beside those.
    """
    new, old = ({key: value for key, value in flat(settings).items() if value != {}} for settings in (now, then))
    return {key: (new.get(key), old.get(key)) for key in [*new, *(key for key in old if key not in new)] if new.get(key) != old.get(key)}
