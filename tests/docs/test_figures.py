"""The README's figures of the demo are those of docs/benchmarks.md, where its output stands, and that is what docs/demo.json says."""

from __future__ import annotations

import json
import re

from downstream.quickstart import results
from tests.docs.commands import ROOT

README = (ROOT / 'README.md').read_text(encoding='utf8')
SHOWN = README.partition('<!-- demo-output -->')[2].partition('<!-- /demo-output -->')[0]
PRINTED = (ROOT / 'docs/benchmarks.md').read_text(encoding='utf8').partition('```\n')[2].partition('```')[0]
NUMBER = re.compile(r'\d+\.\d+')


def rows(text: str) -> dict[str, list[str]]:
    """First cell -> numbers of the rows of the README's tables."""
    cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in text.splitlines() if line.startswith('| ')]
    return {first: [cell for cell in rest if NUMBER.fullmatch(cell)] for first, *rest in cells}


def test_recalls_and_losses_of_the_readme_are_those_that_were_printed() -> None:
    lines = {re.split(r' {2,}', line)[0]: NUMBER.findall(line) for line in PRINTED.splitlines()}
    shown = rows(SHOWN)
    for name in ('en', 'de', 'fr', 'cs', 'chance'):
        assert shown[name] == lines[name][:6], name
    assert shown['mean'] == lines['mean en de fr cs'][:6]
    tasks = ('cmcl', 'clcl', 'itm', 'mlm', 'plm', 'vplm', 'mt', 'mmmt')
    assert [shown['0'], shown['640']] == [[lines[task][when] for task in tasks] for when in (0, 1)]


def test_what_was_printed_is_made_of_the_results_of_one_run() -> None:
    """docs/demo.json is the results.json of the demo whose output, picture and losses the documents show."""
    content = json.loads((ROOT / 'docs/demo.json').read_text(encoding='utf8'))
    name = 'multi30k_seen'
    found = content['retrieval'][name]
    starred = {line.split()[0] for line in PRINTED.splitlines() if re.match(r'[a-z]{2} \*', line)}
    assert results.text({name: found}, content['heldout'], set(found['languages']) - starred, name) == PRINTED.strip()
