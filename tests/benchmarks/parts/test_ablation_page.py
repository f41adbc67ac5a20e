"""What the page of the ablation says."""

from __future__ import annotations

from benchmarks.parts.ablation_page import loss_of, page
from benchmarks.parts.directions import directions
from tests.benchmarks.parts.test_directions import like_the_paper


def rows(text: str, first: str) -> list[list[str]]:
    """The cells of the lines of tables that begin so."""
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in text.splitlines() if line.startswith(f'| {first} |')]


def test_the_page() -> None:
    figures, floors = like_the_paper(), {'coco_CIDEr': 200.0}
    figures['all']['multi30k_mR'] = [80.0, 81.0, 82.0]
    measures = {variant: {loss_of('mt'): [5.0, 5.0, 5.0], 'clcl, held-out accuracy, %': [60.0, 61.0, 62.0]} for variant in figures}
    measures['vplm'] = {loss_of('mt'): [5.1, 5.1, 5.1], 'clcl, held-out accuracy, %': [61.0, 62.5, 64.0]}
    measures['mlm'] = {loss_of('mt'): [4.9, 4.9, 4.9]}
    text = page('python benchmarks/ablation.py --steps 3', 'How.', directions(figures, floors), figures, measures, floors)
    assert '    python benchmarks/ablation.py --steps 3\n\nHow. ' in text and '18 cases of 100' in text
    assert rows(text, '**all tasks**')[0][1:4] == ['55.1 ± 0.0', '40.4 ± 0.0', '81.0 ± 1.0']
    assert [row[3] for row in rows(text, "the paper's")] == ['81.45', '81.39', '81.76', '68.94', '81.07', '81.63']
    assert rows(text, 'floor')[0] == ['floor', '-', '-', '-', '-', '200.0', '-', '-']
    cells = {row[1]: row[2:] for row in rows(text, 'w/o CMCL')}
    assert cells['Multi30k mR'] == ['-12.51', '-12.06', '0.58', 'shows']
    assert cells['COCO CIDEr'][-1] == 'within noise (at floor)'
    assert (
        '- Shows (' in text
        and '- The paper has no difference (3): w/o ITM: COCO B@4; w/o MLM: Multi30k MT B@4; w/o mMMT: COCO B@4.' in text
    )
    # of a loss less is better, of an accuracy more
    assert rows(text, loss_of('mt'))[0] == [
        'mt, held-out loss', '5.000 ± 0.000', '+0.000 ± 0.000', '-0.100 ± 0.000 better', '+0.000 ± 0.000', '+0.000 ± 0.000',
        '+0.100 ± 0.000 worse',
    ]  # fmt: skip
    assert rows(text, 'clcl, held-out accuracy, %')[0][3] == '-', 'of a variant that has not the measure'
    assert rows(text, 'clcl, held-out accuracy, %')[0][-1] == '+1.5 ± 0.3 better'
