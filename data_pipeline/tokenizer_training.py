"""Train or import a sentencepiece model."""

from __future__ import annotations

import hashlib
import heapq
import io
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import sentencepiece

from data_pipeline.cleaning import empty, normalise
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
    sample, counts = draw(texts(raw), settings)
    if not sample:
        raise UserError(f'{raw} holds no texts to train a tokenizer on')
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sample),
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
    return save_tokenizer(out, model.getvalue(), {'trained': asdict(settings), 'texts': counts})


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


def draw(rows: Iterator[tuple[str, str]], settings: TrainingSettings) -> tuple[list[str], dict[str, int]]:
    """Texts to train on, languages balanced, and the number of distinct kept texts by language.

    Of every language the texts with the lowest hashes are kept: a sample that does not depend on their order, in bounded memory. Language l
    gets a share proportional to n_l^alpha of the budget; where it has fewer texts, they are repeated.
    """
    kept: dict[str, list[tuple[int, str]]] = {}
    members: dict[str, set[int]] = {}
    seen: dict[str, int] = {}
    for language, raw_text in rows:
        text = normalise(raw_text)
        if empty(text) or len(text.encode()) > settings.longest:
            continue
        seen[language] = seen.get(language, 0) + 1
        rank = -int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())  # heapq is a min-heap: the highest hash comes first
        heap, known = kept.setdefault(language, []), members.setdefault(language, set())
        if rank in known:
            continue
        known.add(rank)
        if len(heap) < settings.per_language:
            heapq.heappush(heap, (rank, text))
        else:
            known.discard(heapq.heappushpop(heap, (rank, text))[0])
    if not kept:
        return [], {}
    weights = {language: seen[language] ** settings.alpha for language in sorted(kept)}
    budget = min(settings.sentences, sum(len(heap) for heap in kept.values()))
    sample: list[str] = []
    for language, weight in weights.items():
        ordered = [text for _, text in sorted(kept[language], reverse=True)]
        wanted = max(1, round(budget * weight / sum(weights.values())))
        sample.extend(ordered[i % len(ordered)] for i in range(wanted))
    return sample, {language: len(kept[language]) for language in weights}
