"""When a direction of the paper's counts as shown."""

from __future__ import annotations

import pytest

from benchmarks.parts.directions import ALL, COLUMNS, CONTRARY, LEFT_OUT, NOISE, NONE, SHOWS, Difference, Figures, counted, directions
from downstream.paper import ablation


def like_the_paper(step: float = 0.0) -> Figures:
    """The paper's own figures for three seeds, which differ by `step` from each other, the same for all variants."""
    return {
        variant: {column: [value + step * seed for seed in range(3)] for column, value in row.items()}
        for variant, row in ablation().items()
    }


def test_a_difference_is_paired_by_seed() -> None:
    # differences 1, 2 and 3: mean 2, the sample's deviation 1, the mean's error 1 / sqrt(3) = 0.577
    found = Difference([1.0, 2.0, 3.0])
    assert found.mean == 2 and found.error == pytest.approx(3**-0.5) and found.sign == 1
    assert Difference([-1.0, -2.0, -3.0]).sign == -1
    # mean 1, error 0.577: less than two of them
    assert Difference([0.0, 1.0, 2.0]).sign == 0
    assert Difference([5.0]).sign == 0, 'one seed says nothing'
    assert Difference([0.0, 0.0, 0.0]).sign == 0


def test_the_papers_own_figures_show_all_its_directions() -> None:
    found = directions(like_the_paper(step=50.0), {})  # however far the seeds are from each other, the differences are the same
    assert len(found) == len(LEFT_OUT) * len(COLUMNS) == 35
    silent = {(cell.variant, cell.column) for cell in found if cell.verdict == NONE}
    assert silent == {('itm', 'coco_B4'), ('mlm', 'multi30k_ende_B4'), ('mmmt', 'coco_B4')}, 'where the paper prints the same figure'
    assert {cell.verdict for cell in found} == {SHOWS, NONE}
    line = counted(found)
    assert (line['ratio'], line['ours'], line['peer']) == (1.0, 32, 32)


def test_the_opposite_noise_and_floors() -> None:
    figures = like_the_paper()
    figures['cmcl']['multi30k_mR'] = [value + 1 for value in figures[ALL]['multi30k_mR']]
    figures['mlm']['coco_B4'] = [figures[ALL]['coco_B4'][0] + change for change in (-3.0, 0.0, 1.0)]
    cells = {(cell.variant, cell.column): cell for cell in directions(figures, {'coco_CIDEr': 131.5, 'xgqa_en': 60.0})}
    assert cells['cmcl', 'multi30k_mR'].verdict == CONTRARY
    assert cells['mlm', 'coco_B4'].verdict == NOISE
    assert {cells[variant, 'xgqa_en'].verdict for variant in LEFT_OUT} == {NOISE}, 'all of them are below the floor'
    # 131.3 with all tasks is below the floor: only 131.6 without ITM is above it
    assert [variant for variant in LEFT_OUT if cells[variant, 'coco_CIDEr'].verdict == SHOWS] == ['itm']
    line = counted(list(cells.values()))
    assert line['peer'] == 32 and line['verdicts'] == {SHOWS: line['ours'], CONTRARY: 1, NOISE: 1 + 5 + 4}


def test_columns_and_variants_that_were_not_run_are_not_counted() -> None:
    figures = {variant: {'multi30k_mR': like_the_paper()[variant]['multi30k_mR']} for variant in (ALL, 'vplm')}
    assert [(cell.variant, cell.column, cell.paper) for cell in directions(figures, {})] == [('vplm', 'multi30k_mR', 0.18)]
