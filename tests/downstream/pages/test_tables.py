"""The four tables: the paper's figures where it prints them, ours below, empty cells where nothing was run, marks where ours differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from downstream.data.tatoeba import LANGUAGES
from downstream.pages import figures
from downstream.pages.collect import collect
from downstream.pages.tables import Grid, list_of_results, paper_grids
from tests.downstream.pages import results


def grids(*folders: Path) -> list[Grid]:
    return paper_grids(collect(list(map(str, folders))))


def cells(grid: Grid, name: str) -> list[str]:
    found = [row for row in grid.rows if row.name == name]
    assert len(found) == 1, [row.name for row in grid.rows]
    return found[0].cells


def test_the_papers_own_rows(tmp_path: Path) -> None:
    results.tatoeba(tmp_path / 'm')
    table1, table2, table7, first, second = grids(tmp_path / 'm')
    assert cells(table1, 'UC2') == ['76.38', '62.05', '55.19', '29.35', '', '', '', '']
    assert cells(table1, 'ERNIE-UniX2 (paper)') == ['87.73', '77.42', '56.68', '40.63', '', '', '', '93.82']
    assert cells(table2, 'ERNIE-ViLG') == ['', '', '', '', '50.0', '31.6', '60.3', '138.2', '']
    assert cells(table2, 'ERNIE-UniX2 (paper)') == ['40.7', '39.8', '133.1', '27.0', '48.3', '30.1', '58.7', '133.5', '49.3']
    assert table7.header == ['ar', 'es', 'fr', 'ru', 'bn', 'de', 'id', 'ko', 'pt', 'ru', 'zh']
    assert cells(table7, 'M3P') == ['55.24', '58.85', '56.36', '62.54', '19.2', '35.6', '29.6', '28.5', '35.7', '32.9', '31.1']
    assert cells(first, 'VECO')[:2] == ['80.9', '85.1']
    assert cells(second, 'ERNIE-UniX2 (paper)')[-2:] == ['96.7', '93.8']
    for grid in (table1, table2, table7, first, second):
        assert sum(span for _, span in grid.groups) == len(grid.header)
        assert {len(row.cells) for row in grid.rows} == {len(grid.header)}


def test_ours_stand_below(tmp_path: Path) -> None:
    folder = tmp_path / 'm'
    results.tatoeba(folder / 'tatoeba')
    results.xvnli(folder / 'xvnli', en=0.5, ar=0.1, es=0.2, fr=0.3, ru=0.4)
    results.retrieval(folder / 'r', en=0.4, de=0.3, fr=0.2, cs=0.1, zh=0.9)
    results.retrieval(folder / 's', 'fine-tuned on cs de en fr', en=0.8, de=0.8, fr=0.8, cs=0.8)
    results.retrieval(folder / 'u', 'fine-tuned on en', en=0.7, de=0.7, fr=0.7, cs=0.7)
    results.retrieval(folder / 'v', 'fine-tuned on de', en=0.6, de=0.6, fr=0.6, cs=0.6)  # has no column
    results.coco(folder / 'coco')
    results.coco(folder / 'cn', 'coco-cn', tokens='jieba', pictures=1000)
    results.translation(folder / 'mt')
    table1, table2, table7, first, second = grids(folder)
    assert cells(table1, 'm') == ['50.0', '25.0', '', '', '25.0', '70.0', '80.0', '17.5']
    assert cells(table2, 'm') == ['12.3', 'n/a', '123.4', 'n/a', '12.3', 'n/a', '45.6', '123.4', '33.3']
    assert cells(table7, 'm') == ['10.0', '20.0', '30.0', '40.0', *[''] * 7]
    assert cells(first, 'm') == [f'{number}.0' for number in range(18)]
    assert cells(second, 'm') == [*(f'{number}.0' for number in range(18, 36)), '17.5']
    assert not [note for grid in (table1, table2) for note in grid.notes if note[0] in figures.MARKS]


def test_marks_say_what_differs(tmp_path: Path) -> None:
    folder = tmp_path / 'm'
    results.tatoeba(folder / 'tatoeba', sentences=300)
    results.coco(folder / 'coco', setting='zero-shot, after xvnli', tokens='words (no Java: not comparable with PTB)', pictures=79)
    results.xvnli(folder / 'xvnli', rows=60, setting='fine-tuned on en, without pictures', en=0.5)
    results.translation(folder / 'mt', sentences=56)
    table1, table2, _, first, _ = grids(folder)
    assert cells(table1, 'm') == ['50.0§¶', '', '', '', '', '', '', '17.5§']  # no mean without all languages
    assert cells(table2, 'm')[0] == '12.3†◊§‡' and cells(table2, 'm')[-1] == '33.3§'
    assert cells(first, 'm')[3] == '3.0§'
    assert [note[0] for note in table2.notes if note[0] in figures.MARKS] == ['†', '§', '‡', '◊']


def marked(figure: str) -> set[str]:
    return {mark for mark in figures.MARKS if mark in figure}


@pytest.mark.parametrize(('texts', 'whole'), [
    ({}, True), ({'en': 1}, False), ({'de': 1}, False), ({'fr': 5}, False), ({'cs': 0}, False), ({'zh': 5}, True),
])  # fmt: skip
def test_all_captions_of_the_pictures_are_ranked(tmp_path: Path, texts: dict[str, int], whole: bool) -> None:
    """Without task 2 English and German have one caption a picture, and the same number of pictures."""
    results.retrieval(tmp_path / 'm', texts=texts, en=0.4, de=0.3, fr=0.2, cs=0.1, zh=0.9)
    table1 = grids(tmp_path / 'm')[0]
    assert cells(table1, 'm')[4] == '25.0' + '§' * (not whole)
    assert whole is not any(note.startswith('§') for note in table1.notes)


@pytest.mark.parametrize(('task', 'references', 'whole'), [
    ('coco', 25_010, True), ('coco', 5000, False), ('coco-cn', 6053, True), ('coco-cn', 1053, False), ('coco-cn', 5000, False),
])  # fmt: skip
def test_captions_are_compared_with_all_references(tmp_path: Path, task: str, references: int, whole: bool) -> None:
    """COCO-CN's test set without the file of translations has a sixth of them."""
    results.coco(tmp_path / 'm', task, pictures=figures.EXAMPLES[task], references=references)
    assert marked(cells(grids(tmp_path / 'm')[1], 'm')[4 * (task == 'coco-cn')]) == (set() if whole else {'§'})


def test_other_beams_and_other_benchmarks_before(tmp_path: Path) -> None:
    """A single result has neither in the name of its row."""
    folder = tmp_path / 'm'
    results.retrieval(folder / 'r', 'zero-shot, after multi30k-translation', en=0.4, de=0.3, fr=0.2, cs=0.1)
    results.coco(folder / 'coco', beams=1)
    results.coco(folder / 'cn', 'coco-cn', beams=4, pictures=1000)
    results.translation(folder / 'mt', beams=16, setting='zero-shot, after coco')
    table1, table2, *_ = grids(folder)
    assert cells(table1, 'm')[4] == '25.0◊' and [note[0] for note in table1.notes[1:]] == ['◊']
    row = cells(table2, 'm')
    assert (row[0], row[4], row[8]) == ('12.3‖', '12.3', '33.3†◊‖')
    assert [note[0] for note in table2.notes[1:] if note[0] in figures.MARKS] == ['†', '◊', '‖']


def test_what_could_not_be_computed_is_no_empty_cell(tmp_path: Path) -> None:
    """It says why; a benchmark that was not run is empty, and so is one that was ranked alone."""
    results.coco(tmp_path / 'a')
    results.put(tmp_path / 'b', 'coco', data={'split': 'test', 'pictures': 5000}, retrieval={})
    table2 = grids(tmp_path / 'a', tmp_path / 'b')[1]
    assert cells(table2, 'a') == ['12.3', 'n/a', '123.4', 'n/a', *[''] * 5]
    assert table2.notes[1:] == ['n/a: METEOR needs Java, which is not here', 'n/a: SPICE needs CoreNLP']
    assert [row.name for row in table2.rows if row.ours] == ['a']


def test_spellings_of_languages_find_their_column(tmp_path: Path) -> None:
    """Results of before have them as they were asked for."""
    results.retrieval(tmp_path / 'm/1', 'fine-tuned on eng', en=0.1, de=0.1, fr=0.1, cs=0.1)
    results.retrieval(tmp_path / 'm/2', 'fine-tuned on ces deu eng fra', en=0.2, de=0.2, fr=0.2, cs=0.2)
    assert cells(grids(tmp_path / 'm')[0], 'm')[4:7] == ['', '10.0', '20.0']


def test_results_of_which_no_table_has_a_figure_are_named(tmp_path: Path) -> None:
    results.tatoeba(tmp_path / 'm/tatoeba', ('th',))  # in Table 8
    results.retrieval(tmp_path / 'm/1', 'fine-tuned on de', en=0.1, de=0.1, fr=0.1, cs=0.1)
    results.retrieval(tmp_path / 'm/2', en=0.1)
    results.retrieval(tmp_path / 'm/3', split='val', en=0.3, de=0.3, fr=0.3, cs=0.3)
    begin = "In none of the paper's tables: m: multi30k-retrieval"
    assert list_of_results(collect([str(tmp_path / 'm')])).notes == [
        f"{begin}, fine-tuned on de, multi30k-retrieval (test_2016_flickr): it was trained on other languages than the paper's models",
        f'{begin}, zero-shot, multi30k-retrieval (test_2016_flickr): it has none of their figures',
        f'{begin}, zero-shot, multi30k-retrieval (val): the paper reports test_2016_flickr',
    ]


def test_a_language_missing_leaves_cells_empty(tmp_path: Path) -> None:
    results.tatoeba(tmp_path / 'm', tuple(language for language in LANGUAGES if language != 'th'))
    table1, _, _, _, second = grids(tmp_path / 'm')
    assert [row.name for row in table1.rows if row.ours] == []
    assert cells(second, 'm')[second.header.index('th')] == '' and cells(second, 'm')[-1] == ''
    assert cells(second, 'm')[second.header.index('tr')] == '32.0'


def test_several_results_for_one_cell_are_rows_of_their_own(tmp_path: Path) -> None:
    results.retrieval(tmp_path / 'm/1', en=0.1, de=0.1, fr=0.1, cs=0.1)
    folder = results.retrieval(tmp_path / 'm/2', en=0.2, de=0.2, fr=0.2, cs=0.2)
    (folder / 'result.json').write_text((folder / 'result.json').read_text().replace('/data/multi30k-retrieval', '/data/emoji'))
    results.retrieval(tmp_path / 'm/3', split='val', en=0.3, de=0.3, fr=0.3, cs=0.3)  # not what the paper reports
    table1 = grids(tmp_path / 'm')[0]
    assert [(row.name, row.cells[4]) for row in table1.rows if row.ours] == [
        ('m (zero-shot, multi30k-retrieval)', '10.0'), ('m (zero-shot, emoji)', '20.0'),
    ]  # fmt: skip
    assert len(list_of_results(collect([str(tmp_path / 'm')])).rows) == 3


def test_rows_of_several_results_hold_nothing_else(tmp_path: Path) -> None:
    """They are named by setting and data, which a fine-tuned figure beside a zero-shot one would belie."""
    results.xvnli(tmp_path / 'm/xvnli', en=0.5)
    results.retrieval(tmp_path / 'm/tuned', 'fine-tuned on en de fr cs', en=0.8, de=0.8, fr=0.8, cs=0.8)
    results.retrieval(tmp_path / 'm/1', en=0.1, de=0.1, fr=0.1, cs=0.1)
    results.retrieval(tmp_path / 'm/2', 'zero-shot, after xvnli', en=0.2, de=0.2, fr=0.2, cs=0.2)
    results.coco(tmp_path / 'm/coco')
    results.coco(tmp_path / 'm/coco-0', setting='zero-shot')
    table1, table2, *_ = grids(tmp_path / 'm')
    assert [(row.name, row.cells[0], row.cells[4], row.cells[6]) for row in table1.rows if row.ours] == [
        ('m', '50.0', '', '80.0'),
        ('m (zero-shot, multi30k-retrieval)', '', '10.0', ''),
        ('m (zero-shot, after xvnli, multi30k-retrieval)', '', '20.0◊', ''),
    ]
    assert [(row.name, row.cells[0]) for row in table2.rows if row.ours] == [
        ('m (fine-tuned on en, coco)', '12.3'),
        ('m (zero-shot, coco)', '12.3†'),
    ]


def test_other_languages_than_the_papers_are_no_translation(tmp_path: Path) -> None:
    results.translation(tmp_path / 'm', source='cs')
    assert [row for row in grids(tmp_path / 'm')[1].rows if row.ours] == []


@pytest.mark.parametrize('names', [('a', 'b'), ('b', 'a')])
def test_runs_in_the_order_given(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        results.tatoeba(tmp_path / name)
    table8 = grids(*(tmp_path / name for name in names))[3]
    assert [row.name for row in table8.rows if row.ours] == list(names)
