"""BLEU-4, METEOR, ROUGE-L, CIDEr(-D) and SPICE of captions by pycocoevalcap's scorers, each called by itself.

METEOR and SPICE are Java programs. What cannot be computed is None, with the reason; nothing else is put in its place.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.spice.spice import Spice

from downstream.metrics.tokens import JAVA_UTF8, PACKAGE, has_java, ptb, words

METRICS = ('BLEU-4', 'METEOR', 'ROUGE-L', 'CIDEr', 'SPICE')
NO_JAVA = 'needs Java, which is not here'
Texts = dict[int, list[str]]


@dataclass(frozen=True)
class Tokens:
    """How texts are cut before they are scored."""

    name: str  # in the signature
    cut: Callable[[Sequence[str]], list[str]]


def english_tokens() -> Tokens:
    """COCO's own tokenizer; without Java simple words, and the signature says so."""
    return Tokens('PTB', ptb) if has_java() else Tokens('words (no Java: not comparable with PTB)', words)


def score_captions(hypotheses: Sequence[str], references: Sequence[Sequence[str]], tokens: Tokens, spice: bool = True) -> dict[str, Any]:
    """{metric: score or None}, 'unavailable' {metric: why}, 'signature'; scores as the scorers give them (BLEU-4 of 0.4, CIDEr of 1.3).

    references[i] are the texts (at least one) of hypotheses[i]. `spice`: whether the language is one that SPICE parses (English). Raises
    UserError when the tokenizer fails, without which there is no score.
    """
    gts, res = _cut(hypotheses, references, tokens)
    found: dict[str, Any] = {
        'BLEU-4': _bleu4(gts, res),
        'METEOR': None,
        'ROUGE-L': float(Rouge().compute_score(gts, res)[0]),
        'CIDEr': _cider(gts, res),
        'SPICE': None,
    }
    unavailable: dict[str, str] = {}
    for name, scorer in (('METEOR', _meteor), ('SPICE', _spice)):
        if name == 'SPICE' and not spice:
            unavailable[name] = 'is for English'
            continue
        try:
            found[name] = scorer(gts, res)
        except Unavailable as error:
            unavailable[name] = str(error)
    return {**found, 'unavailable': unavailable, 'signature': f'pycocoevalcap|tokens:{tokens.name}|CIDEr:D,df of these references'}


def cider(hypotheses: Sequence[str], references: Sequence[Sequence[str]], tokens: Tokens) -> float:
    """CIDEr alone, as `score_captions` has it."""
    return _cider(*_cut(hypotheses, references, tokens))


def bleu4(hypotheses: Sequence[str], references: Sequence[Sequence[str]], tokens: Tokens) -> float:
    """BLEU-4 alone, as `score_captions` has it."""
    return _bleu4(*_cut(hypotheses, references, tokens))


def _cut(hypotheses: Sequence[str], references: Sequence[Sequence[str]], tokens: Tokens) -> tuple[Texts, Texts]:
    cut = iter(tokens.cut([text for own in references for text in own]))
    gts = {place: [next(cut) for _ in own] for place, own in enumerate(references)}
    return gts, {place: [text] for place, text in enumerate(tokens.cut(hypotheses))}


def _bleu4(gts: Texts, res: Texts) -> float:
    return float(Bleu(4).compute_score(gts, res, verbose=0)[0][3])


def _cider(gts: Texts, res: Texts) -> float:
    return float(Cider().compute_score(gts, res)[0])


class Unavailable(Exception):
    """Why a scorer cannot run here."""


def _meteor(gts: Texts, res: Texts) -> float:
    if not has_java():
        raise Unavailable(NO_JAVA)
    try:
        program = _meteor_program()
        try:
            return float(program.compute_score(gts, res)[0])
        finally:
            if program.lock.locked():  # by the call that was broken off: Meteor.__del__ would wait for it for ever
                _stop(program)
    except (ValueError, OSError) as error:  # the program ended, or wrote something else than numbers
        raise Unavailable(f'its Java program failed ({" ".join(str(error).split())})') from None


def _stop(program: Meteor) -> None:
    """End a program in the middle of a call; the next call starts another."""
    _meteor_program.cache_clear()
    with suppress(OSError):  # what it has not read is written once more
        program.meteor_p.stdin.close()
    program.meteor_p.kill()
    program.meteor_p.wait()
    program.lock.release()


@cache
def _meteor_program() -> Meteor:
    """Started once: it reads its tables for seconds. In any locale it reads UTF-8; else all words of other scripts than Latin, of equal
    length, would be equal in the C locale.
    """
    before = os.environ.get('JAVA_TOOL_OPTIONS')
    os.environ['JAVA_TOOL_OPTIONS'] = f'{before or ""} {JAVA_UTF8}'.strip()
    try:
        return Meteor()
    finally:
        if before is None:
            del os.environ['JAVA_TOOL_OPTIONS']
        else:
            os.environ['JAVA_TOOL_OPTIONS'] = before


def _spice(gts: Texts, res: Texts) -> float:
    if not has_java():
        raise Unavailable(NO_JAVA)
    if not list((PACKAGE / 'spice/lib').glob('stanford-corenlp-*-models.jar')):
        raise Unavailable('needs CoreNLP 3.6.0: run `python -m pycocoevalcap.spice.get_stanford_models` once, with a network')
    try:
        return float(Spice().compute_score(gts, res)[0])
    except (subprocess.SubprocessError, ValueError, OSError) as error:
        raise Unavailable(f'its Java program failed ({" ".join(str(error).split())})') from None
