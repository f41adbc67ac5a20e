"""All scorers on the sample's captions and sentences against sacrebleu, pycocoevalcap as its users call it, and the formulas.

What is scored is made of the references: words are left out, a few texts are empty or another's, and of some the two references differ from
it in length by one word each way, so that which is the closest is a tie.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import sacrebleu
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from downstream.metrics import captions
from downstream.metrics.bleu import literature_bleu, moses, sacre_bleu
from downstream.metrics.captions import Tokens, english_tokens, score_captions
from downstream.metrics.tokens import characters, jieba_words, words
from pretrain.evaluation.multi30k import read_split
from tests.downstream.metrics.test_bleu import multi_bleu
from tests.downstream.metrics.test_captions import cider_d
from tests.support.java import java

SAMPLE = Path(__file__).parents[3] / 'sample/evaluation'
CODES = {'en': 'deu-eng.eng', 'de': 'deu-eng.deu', 'fr': 'fra-eng.fra', 'zh': 'cmn-eng.cmn', 'ja': 'jpn-eng.jpn'}
WAYS = {'en': Tokens('words', words), 'zh': Tokens('jieba', jieba_words), 'ja': Tokens('characters', characters)}


@cache
def texts(language: str) -> list[str]:
    """Captions of 183 pictures and 100 sentences; in Czech the captions alone."""
    found = list(read_split(SAMPLE / 'multi30k_seen', languages=[language]).captions[language].texts)
    if language in CODES:
        found += (SAMPLE / f'tatoeba/tatoeba.{CODES[language]}').read_text(encoding='utf8').split('\n')[:-1]
    return found


def shortened(text: str, number: int) -> str:
    """Without every fifth word, or character where there are no spaces; sometimes nothing."""
    parts = text.split(' ') if ' ' in text else list(text)
    kept = [part for at, part in enumerate(parts) if (at + number) % 5]
    return '' if number % 23 == 7 else (' ' if ' ' in text else '').join(kept)


def compared(language: str) -> tuple[list[str], list[list[str]]]:
    """(what is scored, one to five references of each)."""
    all_texts = texts(language)
    written, references = [], []
    for number, text in enumerate(all_texts):
        other = all_texts[(number + 1) % len(all_texts)]
        own = [text, shortened(text, number + 1) or other, text.partition('(')[0], other, text][: 1 + number % 5]
        hypothesis = other if number % 19 == 3 else shortened(text, number)
        if number % 6 == 5 and len(text.split()) > 2:
            own, hypothesis = [f'{text} {other.split()[0]}', text.rpartition(' ')[0]], text
        written.append(hypothesis)
        references.append([reference.strip() or other for reference in own])
    return written, references


def rouge_l(hypothesis: str, references: list[str]) -> float:
    """Longest common subsequence: the best precision and the best recall over the references, F with beta 1.2."""
    shares = []
    mine = hypothesis.split(' ')
    for reference in references:
        theirs = reference.split(' ')
        row = [0] * (len(theirs) + 1)
        for word in mine:
            line = [0]
            for at, other in enumerate(theirs):
                line.append(row[at] + 1 if word == other else max(row[at + 1], line[at]))
            row = line
        shares.append((row[-1] / len(mine), row[-1] / len(theirs)))
    precision, recall = (max(side) for side in zip(*shares, strict=True))
    return 2.44 * precision * recall / (recall + 1.44 * precision) if precision and recall else 0.0


def test_what_is_compared() -> None:
    """It has what it says: empty texts, ties, one to five references."""
    written, references = compared('en')
    assert len(written) == 283 and written.count('') > 9
    assert {len(own) for own in references} == {1, 2, 3, 4, 5}
    lengths = [(len(text.split()), sorted(len(one.split()) for one in own)) for text, own in zip(written, references, strict=True)]
    assert sum(own == [length - 1, length + 1] for length, own in lengths) > 20


@pytest.mark.parametrize('language', WAYS)
def test_captions_by_formula_and_as_pycocoevalcap_gives_them(language: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What needs no Java, without it."""
    monkeypatch.setenv('PATH', str(tmp_path))
    way = WAYS[language]
    written, references = compared(language)
    found = score_captions(written, references, way)
    assert found['METEOR'] is None and found['SPICE'] is None
    cut, cut_references = way.cut(written), [way.cut(own) for own in references]
    gts, res = dict(enumerate(cut_references)), {place: [text] for place, text in enumerate(cut)}
    assert found['BLEU-4'] == Bleu(4).compute_score(gts, res, verbose=0)[0][3]
    assert found['ROUGE-L'] == Rouge().compute_score(gts, res)[0]
    assert found['CIDEr'] == Cider().compute_score(gts, res)[0]
    streams = [[own[place] if place < len(own) else None for own in cut_references] for place in range(5)]
    bleu = sacrebleu.corpus_bleu(cut, streams, tokenize='none', smooth_method='none', force=True)  # type: ignore[arg-type]
    assert found['BLEU-4'] == pytest.approx(bleu.score / 100, rel=1e-6)
    assert found['CIDEr'] == pytest.approx(cider_d(cut, cut_references))
    rouge = [rouge_l(text, own) for text, own in zip(cut, cut_references, strict=True)]
    assert found['ROUGE-L'] == pytest.approx(sum(rouge) / len(rouge))
    assert 0.3 < found['BLEU-4'] < 0.95 and 1 < found['CIDEr'] < 9.5 and 0.3 < found['ROUGE-L'] < 0.95


@java
@pytest.mark.slow
def test_captions_with_java() -> None:
    """pycocoevalcap's own tokenizer and METEOR. The tokenizer loses its place at empty texts, so it gets the others alone."""
    written, references = compared('en')
    places = [place for place, text in enumerate(written) if text]
    res = {place: [''] for place in range(len(written))}
    res |= PTBTokenizer().tokenize({place: [{'caption': written[place]}] for place in places})
    gts = PTBTokenizer().tokenize({place: [{'caption': text} for text in own] for place, own in enumerate(references)})
    found = score_captions(written, references, english_tokens())
    assert found['BLEU-4'] == Bleu(4).compute_score(gts, res, verbose=0)[0][3]
    assert found['ROUGE-L'] == Rouge().compute_score(gts, res)[0]
    assert found['CIDEr'] == Cider().compute_score(gts, res)[0]
    assert found['METEOR'] == pytest.approx(captions._meteor_program().compute_score(gts, res)[0])
    assert 0.2 < found['METEOR'] < 0.8


@pytest.mark.parametrize(('language', 'tokens'), [('de', '13a'), ('fr', '13a'), ('cs', '13a'), ('en', '13a'), ('zh', 'zh'), ('ja', 'char')])
def test_sacrebleu_of_translations(language: str, tokens: str) -> None:
    written = [shortened(text, number) for number, text in enumerate(texts(language))]
    found = sacre_bleu(written, texts(language), language)
    assert found['score'] == sacrebleu.corpus_bleu(written, [texts(language)], tokenize=tokens).score
    assert f'tok:{tokens}' in found['signature'] and 10 < found['score'] < 90


@pytest.mark.parametrize('language', ['de', 'fr', 'cs', 'en'])
def test_the_literatures_bleu_of_translations(language: str) -> None:
    """multi-bleu.perl's count of what the Moses scripts make."""
    written = [shortened(text, number) for number, text in enumerate(texts(language))]
    tokenised = [moses(text, language) for text in texts(language)]
    found = literature_bleu(written, tokenised, language)
    assert found['score'] == pytest.approx(multi_bleu([moses(text, language) for text in written], tokenised))
    assert 10 < found['score'] < 90
