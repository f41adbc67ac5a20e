"""Writes the pages: OUT/report.md, report.html, plots/ and examples.html."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from downstream.files import write_text
from downstream.pages.collect import collect
from downstream.pages.examples import examples_page
from downstream.pages.plots import draw, file_name, series, title
from downstream.pages.render import html, markdown
from downstream.pages.tables import list_of_results, paper_grids, retrieval_grids

TITLE = "Downstream results beside the paper's"


def write_report(folders: Sequence[str], out: Path, examples: int, languages: list[str] | None = None) -> list[Path]:
    """Merge the results below the folders (DIR or NAME=DIR); returns what was written. Raises UserError for a folder without one."""
    results = collect(folders)
    grids = [*paper_grids(results), *retrieval_grids(results), list_of_results(results)]
    plots = []
    for number, result in enumerate(results, 1):
        if found := series(result):
            plots.append((title(result), file_name(number, result), draw(found, title(result))))
    files = {
        'report.md': markdown(TITLE, grids, [(name, file) for name, file, _ in plots]),
        'report.html': html(TITLE, grids, [(name, svg) for name, _, svg in plots]),
        'examples.html': examples_page(results, examples, languages),
    }
    for name, text in (files | {file: svg + '\n' for _, file, svg in plots}).items():
        write_text(out / name, text)
    return [out / name for name in files]
