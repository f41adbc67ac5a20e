"""How figures are printed."""

from __future__ import annotations

from downstream.paper import percent


def test_percent() -> None:
    assert (percent(0.4954), percent(1.0), percent(None)) == ('49.5', '100.0', '-')
