"""BLEU-4 of translations, two ways: sacreBLEU's own (cased, on detokenised text), and the literature's on Multi30k, which compares
text that was lower-cased, punctuation-normalised and tokenised by the Moses scripts with the repository's own tokenised references.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from sacrebleu.metrics import BLEU
from sacremoses import MosesPunctNormalizer, MosesTokenizer

# sacreBLEU's tokenizers: 13a but for scripts without spaces, which it would take for one word a sentence.
TOKENIZERS = {'zh': 'zh', 'zh-TW': 'zh', 'ja': 'char', 'th': 'char', 'my': 'char', 'km': 'char', 'lo': 'char'}
LITERATURE = ('en', 'de', 'fr', 'cs')  # languages of Multi30k, for which the Moses scripts were used


def sacre_bleu(hypotheses: Sequence[str], references: Sequence[str], language: str) -> dict[str, Any]:
    """{'score' (0 to 100), 'signature'} of corpus BLEU, cased."""
    return _corpus(BLEU(tokenize=TOKENIZERS.get(language, '13a')), hypotheses, references, '')


def literature_bleu(hypotheses: Sequence[str], tokenised: Sequence[str], language: str) -> dict[str, Any]:
    """{'score' (0 to 100), 'signature'} of corpus BLEU as multi-bleu.perl has it (no smoothing), against references that `moses` made."""
    made = [moses(hypothesis, language) for hypothesis in hypotheses]
    return _corpus(BLEU(tokenize='none', smooth_method='none', force=True), made, tokenised, f'lc.norm.tok:sacremoses-{language}|')


def moses(text: str, language: str) -> str:
    """Lower-cased, punctuation normalised, tokenised, in this order, as the repository's own script makes `*.lc.norm.tok.*`."""
    normaliser, tokenizer = _scripts(language)
    tokens: str = tokenizer.tokenize(normaliser.normalize(text.lower()), return_str=True)
    return tokens


def _corpus(metric: BLEU, hypotheses: Sequence[str], references: Sequence[str], before: str) -> dict[str, Any]:
    found = metric.corpus_score(list(hypotheses), [list(references)])
    return {'score': float(found.score), 'signature': before + str(metric.get_signature())}


@cache
def _scripts(language: str) -> Any:
    return MosesPunctNormalizer(language), MosesTokenizer(language)
