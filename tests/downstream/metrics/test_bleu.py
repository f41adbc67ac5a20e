"""Both BLEUs against sacrebleu's own functions on raw strings and a count of n-grams by hand."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import sacrebleu

from downstream.metrics.bleu import literature_bleu, moses, sacre_bleu

REFERENCES = [
    'Ein kleiner Hund läuft über die Wiese.', 'Zwei Frauen, die lachen, sitzen auf einer Bank.', 'Der Mann trägt ein T-Shirt.',
    'Ein Schild mit der Aufschrift "Eis".', 'Ein Kind isst einen Apfel.',
]  # fmt: skip
HYPOTHESES = [
    'Ein kleiner Hund rennt über die grüne Wiese.', 'Zwei Frauen sitzen lachend auf einer Bank.', 'der Mann trägt ein T-Shirt', '',
    'Ein Ein Ein Ein.',
]  # fmt: skip


def multi_bleu(hypotheses: list[str], references: list[str]) -> float:
    """multi-bleu.perl: clipped n-gram precisions of the whole corpus up to 4, no smoothing, brevity penalty."""
    right, total, lengths = [0] * 4, [0] * 4, [0, 0]
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        words, others = hypothesis.split(), reference.split()
        lengths[0] += len(words)
        lengths[1] += len(others)
        for n in range(1, 5):
            grams, allowed = (Counter(tuple(side[at : at + n]) for at in range(len(side) - n + 1)) for side in (words, others))
            right[n - 1] += sum((grams & allowed).values())
            total[n - 1] += sum(grams.values())
    if not all(right):
        return 0.0
    penalty = min(1.0, math.exp(1 - lengths[1] / lengths[0]))
    return 100 * penalty * math.exp(sum(math.log(a / b) for a, b in zip(right, total, strict=True)) / 4)


def test_sacrebleu_on_raw_strings() -> None:
    found = sacre_bleu(HYPOTHESES, REFERENCES, 'de')
    assert found['score'] == sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES]).score
    assert 5 < found['score'] < 60
    assert found['signature'] == f'nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}'


def test_scripts_without_spaces_have_their_own_tokens() -> None:
    hypotheses, references = ['一只小狗在草地上跑。'], ['一只小狗在草地上奔跑。']
    found = sacre_bleu(hypotheses, references, 'zh')
    assert found['score'] == sacrebleu.corpus_bleu(hypotheses, [references], tokenize='zh').score > 50
    assert sacre_bleu(['猫がいる。'], ['猫がいます。'], 'ja')['signature'].count('tok:char') == 1


def test_literature_lower_cases_and_does_not_smooth() -> None:
    tokenised = [moses(text, 'de') for text in REFERENCES]
    found = literature_bleu(HYPOTHESES, tokenised, 'de')
    assert found['score'] == pytest.approx(multi_bleu([moses(text, 'de') for text in HYPOTHESES], tokenised))
    assert found['score'] > sacre_bleu(HYPOTHESES, REFERENCES, 'de')['score']  # 'der' and 'Der' are one word here
    assert 'smooth:none' in found['signature'] and found['signature'].startswith('lc.norm.tok:sacremoses-de|')
    assert literature_bleu(['ein hund .'], ['ein hund .'], 'de')['score'] == 0  # no 4-gram: multi-bleu.perl gives 0


def test_ends_of_the_scale() -> None:
    assert sacre_bleu(REFERENCES, REFERENCES, 'de')['score'] == pytest.approx(100)
    assert literature_bleu(REFERENCES, [moses(text, 'de') for text in REFERENCES], 'de')['score'] == pytest.approx(100)
    empty = [''] * len(REFERENCES)
    assert sacre_bleu(empty, REFERENCES, 'de')['score'] == literature_bleu(empty, REFERENCES, 'de')['score'] == 0


def test_moses() -> None:
    """What tokenizer.perl does: quotes become entities, hyphens and decimal commas stay, abbreviations keep their point."""
    assert moses('Das T-Shirt (rot), „1,5 m“ z.B. hier.', 'de') == 'das t-shirt ( rot ) , &quot; 1,5 m &quot; z.b. hier .'
    assert moses("L'homme n'est pas là…", 'fr') == 'l&apos; homme n&apos; est pas là ...'
