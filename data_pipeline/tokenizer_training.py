"""Train or import a sentencepiece model."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

import sentencepiece

from data_pipeline.cleaning import empty, normalise
from data_pipeline.kept_texts import KeptTexts
from data_pipeline.texts import texts
from data_pipeline.tokenizer_settings import TrainingSettings
from shards.errors import UserError
from shards.tokenizer import DESCRIPTION, Tokenizer, checked_model, save_tokenizer


def train(raw: Path, out: Path, settings: TrainingSettings) -> Tokenizer:
    """Train a unigram model on the texts of every corpus below `raw`, with mBART's normaliser, and write it to `out`.

    Deterministic: the sample depends on the texts alone, and training runs on one thread. Raises UserError for unusable input or too many
    pieces.
    """
    refuse_existing(out)
    rows = texts(raw)  # nothing is made where there are none
    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out) as file:
            sample, counts = draw(rows, settings, file)
            if not counts:
                raise UserError(f'{raw} holds no texts to train a tokenizer on')
            model = _trained(sample, settings, raw)
        return save_tokenizer(out, model, {'trained': asdict(settings), 'texts': counts})
    except OSError as error:
        raise UserError(f'{error.filename or out}: {error.strerror or error}; mend that, or choose another --out') from None


def _trained(sample: Iterator[str], settings: TrainingSettings, raw: Path) -> bytes:
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=sample,
            model_writer=model,
            model_type='unigram',
            vocab_size=settings.pieces,
            normalization_rule_name='nmt_nfkc',
            character_coverage=settings.character_coverage,
            byte_fallback=False,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            num_threads=1,
            input_sentence_size=0,
            shuffle_input_sentence=False,
            max_sentence_length=settings.longest,
            minloglevel=2,
        )
    except RuntimeError as error:
        # 'INTERNAL: file(line) [condition] Vocabulary size too high ...'
        reason = str(error).rpartition('] ')[2].strip()
        raise UserError(
            f'{raw}: sentencepiece cannot train {settings.pieces} pieces on these texts ({reason}); try another --pieces'
        ) from None
    return model.getvalue()


def import_model(model: Path, out: Path) -> Tokenizer:
    """Take over a model such as mBART's `sentencepiece.bpe.model`. Raises UserError when it does not fit the id rule."""
    refuse_existing(out)
    try:
        content = model.read_bytes()
    except OSError as error:
        raise UserError(f'{model} cannot be read ({error.strerror}); give the sentencepiece.bpe.model of mBART') from None
    return save_tokenizer(out, checked_model(content, model), {'imported': model.name, 'sha256': hashlib.sha256(content).hexdigest()})


def refuse_existing(out: Path) -> None:
    """Raise UserError when `out` has a tokenizer: shards may have been built with it."""
    if (out / DESCRIPTION).exists():
        raise UserError(
            f'{out} holds a tokenizer already; shards built with it would no longer fit: choose another folder or delete that one'
        )


def draw(rows: Iterator[tuple[str, str]], settings: TrainingSettings, file: BinaryIO) -> tuple[Iterator[str], dict[str, int]]:
    """Texts to train on, languages balanced, and the number of distinct kept texts by language. Raises OSError when `file`, an empty one
    for the kept texts, which is read as the texts are, has no room.

    Of every language the texts with the lowest hashes are kept: a sample that does not depend on their order, in bounded memory. Language l
    gets a share proportional to n_l^alpha of the budget; where it has fewer texts, they are repeated.
    """
    kept = KeptTexts(file, settings.per_language)
    seen: Counter[str] = Counter()
    for language, raw_text in rows:
        text = normalise(raw_text)
        if empty(text) or len(text.encode()) > settings.longest:
            continue
        seen[language] += 1
        kept.add(language, text)
    counts = kept.counts()
    weights = {language: seen[language] ** settings.alpha for language in counts}
    total, budget = sum(weights.values()), min(settings.sentences, sum(counts.values()))
    wanted = {language: max(1, round(budget * weight / total)) for language, weight in weights.items()}
    return chain.from_iterable(kept.texts(language, number) for language, number in wanted.items()), counts
