"""The paper's figures, as far as they can be checked against each other, and how figures are printed."""

from __future__ import annotations

import pytest

from downstream.paper import ablation, percent


def test_percent() -> None:
    assert (percent(0.4954), percent(1.0), percent(None)) == ('49.5', '100.0', '-')


def test_the_means_of_the_ablation_are_those_of_its_columns() -> None:
    """Table 3 prints the mean of its six columns: a slip in one of them would show."""
    rows = ablation()
    assert list(rows) == ['all', 'itm', 'mlm', 'cmcl', 'mmmt', 'vplm']
    for name, row in rows.items():
        mean = row.pop('mean')
        assert len(row) == 6 and sum(row.values()) / 6 == pytest.approx(mean, abs=0.0051), name
    assert rows['cmcl']['multi30k_mR'] - rows['all']['multi30k_mR'] == pytest.approx(-12.51)
