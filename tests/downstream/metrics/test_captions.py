"""Caption metrics against pycocoevalcap as it is called elsewhere, sacrebleu, and CIDEr-D's formula in numpy."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import sacrebleu
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from downstream.metrics import captions
from downstream.metrics.captions import METRICS, Tokens, english_tokens, score_captions
from downstream.metrics.tokens import jieba_words, words
from tests.support.java import java, replaced_java
from tests.support.launch import ROOT

REFERENCES = [
    ['A man rides a horse on the beach.', 'Man riding a brown horse by the sea.', 'Someone on a horse.'],
    ['Two dogs are playing with a red ball.', 'A couple of dogs play.'],
    ['A plate of food on a wooden table.', "There's a plate with food.", 'Food, on a plate!', 'A table with a plate of food.'],
    ['A café with an open door.'],
]
HYPOTHESES = [
    'A man riding a horse on the beach.', 'Two dogs playing with a ball', 'A plate of food on a table.', 'An open door (red) of a café',
]  # fmt: skip
WORDS = Tokens('words', words)


def cider_d(hypotheses: list[str], references: list[list[str]]) -> float:
    """n = 1..4: tf-idf with document frequencies over the references, clipped, Gaussian penalty of the length (sigma 6), x 10."""
    total = 0.0
    for n in range(1, 5):

        def grams(text: str, n: int = n) -> Counter[tuple[str, ...]]:
            split = text.split()
            return Counter(tuple(split[at : at + n]) for at in range(len(split) - n + 1))

        df = Counter(gram for own in references for gram in {gram for text in own for gram in grams(text)})

        def vector(text: str) -> dict[tuple[str, ...], float]:
            return {gram: count * (math.log(len(references)) - math.log(max(1, df[gram]))) for gram, count in grams(text).items()}  # noqa: B023

        for hypothesis, own in zip(hypotheses, references, strict=True):
            mine = vector(hypothesis)
            for reference in own:
                other = vector(reference)
                norms = [math.sqrt(sum(value**2 for value in one.values())) for one in (mine, other)]
                dot = sum(min(value, other.get(gram, 0)) * other.get(gram, 0) for gram, value in mine.items())
                gap = len(hypothesis.split()) - len(reference.split())
                if all(norms):
                    total += 10 / 4 * dot / (norms[0] * norms[1]) * math.exp(-(gap**2) / 72) / len(own) / len(hypotheses)
    return total


@java
@pytest.mark.slow
def test_chinese_in_any_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the C locale Java would read every Chinese word as question marks, and words of equal length would be equal. It comes
    first: METEOR's program takes seconds to start, and the one of this locale serves all others.
    """
    monkeypatch.setenv('LC_ALL', 'C')
    captions._meteor_program.cache_clear()
    tokens = Tokens('jieba', jieba_words)
    references = [['一个男人骑着马。', '男人在骑马'], ['桌子上有一盘食物。']]
    wrong = score_captions(['两条小狗玩皮球', '窗户前面停着汽车'], references, tokens, spice=False)
    assert wrong['METEOR'] == 0 and wrong['unavailable'] == {'SPICE': 'is for English'}
    right = score_captions(['一个男人骑着马', '桌子上有一盘食物'], references, tokens, spice=False)
    assert right['METEOR'] > 0.9 and right['BLEU-4'] == pytest.approx(1)


@java
@pytest.mark.slow
def test_scores_are_pycocoevalcaps() -> None:
    """Its own tokenizer and scorers, called as its users do."""
    gts = {place: [{'caption': text} for text in own] for place, own in enumerate(REFERENCES)}
    res = {place: [{'caption': text}] for place, text in enumerate(HYPOTHESES)}
    cut_gts, cut_res = PTBTokenizer().tokenize(gts), PTBTokenizer().tokenize(res)
    found = score_captions(HYPOTHESES, REFERENCES, english_tokens())
    assert found['BLEU-4'] == pytest.approx(Bleu(4).compute_score(cut_gts, cut_res, verbose=0)[0][3])
    assert found['ROUGE-L'] == pytest.approx(Rouge().compute_score(cut_gts, cut_res)[0])
    assert found['CIDEr'] == pytest.approx(Cider().compute_score(cut_gts, cut_res)[0])
    assert found['METEOR'] == pytest.approx(captions._meteor_program().compute_score(cut_gts, cut_res)[0])  # it starts for seconds
    assert 'tokens:PTB' in found['signature']
    assert 0.2 < found['METEOR'] < 0.8


def test_bleu_and_cider_by_other_means() -> None:
    found = score_captions(HYPOTHESES, REFERENCES, WORDS)
    cut = words(HYPOTHESES)
    most = max(map(len, REFERENCES))
    streams = [[words([own[place]])[0] if place < len(own) else None for own in REFERENCES] for place in range(most)]
    bleu = sacrebleu.corpus_bleu(cut, streams, tokenize='none', smooth_method='none', force=True)  # type: ignore[arg-type]
    assert found['BLEU-4'] == pytest.approx(bleu.score / 100, rel=1e-6)
    assert found['CIDEr'] == pytest.approx(cider_d(cut, [words(own) for own in REFERENCES]))
    assert found['CIDEr'] > 1


@java
def test_empty_captions() -> None:
    found = score_captions(['', HYPOTHESES[1], '...', ''], REFERENCES, english_tokens())
    assert 0 < found['METEOR'] < 0.3 and 0 < found['CIDEr'] < 2
    assert 0 < found['BLEU-4'] < 0.2  # the brevity penalty
    nothing = score_captions([''] * 4, REFERENCES, english_tokens())
    assert [nothing[name] == pytest.approx(0, abs=1e-6) for name in METRICS[:4]] == [True] * 4


def test_equal_captions_are_perfect() -> None:
    found = score_captions([own[0] for own in REFERENCES], REFERENCES, WORDS)
    assert found['BLEU-4'] == pytest.approx(1) and found['ROUGE-L'] == pytest.approx(1)


def test_without_java_nothing_is_put_in_its_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    tokens = english_tokens()
    found = score_captions(HYPOTHESES, REFERENCES, tokens)
    assert found['METEOR'] is None and found['SPICE'] is None
    assert found['unavailable'] == dict.fromkeys(('METEOR', 'SPICE'), 'needs Java, which is not here')
    assert found['BLEU-4'] > 0
    assert 'no Java: not comparable with PTB' in found['signature']


@java
def test_spice_is_not_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr('downstream.metrics.captions.PACKAGE', tmp_path)  # an installation without CoreNLP
    found = score_captions(HYPOTHESES, REFERENCES, WORDS)
    assert found['SPICE'] is None and 'needs CoreNLP 3.6.0' in found['unavailable']['SPICE']


# In a process of its own, which can be given up when it hangs. METEOR's program is stopped, so that it dies while its answer is waited for.
KILLED = """
import os, signal, threading
from downstream.metrics import captions
from downstream.metrics.tokens import words

def scored():
    return captions.score_captions(['a b'] * 3, [['a b']] * 3, captions.Tokens('words', words), spice=False)

process = captions._meteor_program().meteor_p
os.kill(process.pid, signal.SIGSTOP)
threading.Timer(0.5, process.kill).start()
found = scored()
assert found['METEOR'] is None and found['BLEU-4'] is not None
print(found['unavailable']['METEOR'])
print(scored()['METEOR'])
"""


def last_words(program: str) -> list[str]:
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    done = subprocess.run([sys.executable, '-c', program], env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert 'Exception ignored' not in done.stderr
    return done.stdout.splitlines()


@java
@pytest.mark.slow
def test_meteor_that_is_killed_in_a_call_is_not_available_and_starts_again() -> None:
    why, again = last_words(KILLED)
    assert why.startswith('its Java program failed (')
    assert float(again) > 0.9


def test_a_meteor_that_cannot_run_is_not_available(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Java that ends as soon as it is asked something, as for lack of memory."""
    replaced_java(tmp_path, 'read line; exit 1', monkeypatch)
    why, again = last_words(KILLED)
    assert why.startswith('its Java program failed (')
    assert again == 'None'
