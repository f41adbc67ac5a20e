"""Results in the form that the evaluations write, with figures that are easy to tell apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from downstream.data.tatoeba import LANGUAGES
from downstream.files import write_json
from downstream.pages.figures import FEWER_PAIRS

WHY = {'METEOR': 'needs Java, which is not here', 'SPICE': 'needs CoreNLP'}
TOKENS = {'BLEU-4': 0.123, 'METEOR': None, 'ROUGE-L': 0.456, 'CIDEr': 1.234, 'SPICE': None, 'unavailable': WHY}
REFERENCES = {'coco': 25_010, 'coco-cn': 6053}


def put(
    folder: Path, task: str, setting: str = 'zero-shot', data: dict[str, Any] | None = None, metric: str = 'x|y', **scores: Any
) -> Path:
    """FOLDER/result.json of a model."""
    about = {'folder': f'/data/{task}', **(data or {})}
    content = {'task': task, 'setting': setting, 'model': {'folder': 'm', 'sha256': 'abc' * 20}, 'data': about, 'metric': metric, **scores}
    write_json(folder / 'result.json', content)
    return folder


def tatoeba(folder: Path, languages: tuple[str, ...] = LANGUAGES, sentences: int | None = None) -> Path:
    """Accuracy of language number n: n %."""
    scores = {
        language: {'sentences': sentences or FEWER_PAIRS.get(language, 1000), 'to_english': LANGUAGES.index(language) / 100, 'chance': 0.01}
        for language in languages
    }
    return put(folder, 'tatoeba', languages=scores)


def xvnli(folder: Path, rows: int = 1150, setting: str = 'fine-tuned on en', **accuracies: float) -> Path:
    """As `downstream xvnli finetune` leaves it."""
    scores = {language: {'rows': rows, 'accuracy': share, 'majority': 0.34} for language, share in accuracies.items()}
    return put(folder, 'xvnli', setting, languages=scores)


def retrieval(
    folder: Path, setting: str = 'zero-shot', split: str = 'test_2016_flickr', pictures: int = 1000, texts: dict[str, int] | None = None,
    **recalls: float,
) -> Path:  # fmt: skip
    """texts: captions a picture, where they are not those of the paper."""
    captions = {'en': 5, 'de': 5} | (texts or {})
    scores = {
        language: {'captions': pictures * captions.get(language, 1), 'mR': share, 'chance': {'mR': 0.01}}
        for language, share in recalls.items()
    }
    return put(folder, 'multi30k-retrieval', setting, {'split': split, 'pictures': pictures}, languages=scores)


def coco(
    folder: Path, task: str = 'coco', setting: str = 'fine-tuned on en', tokens: str = 'PTB', pictures: int = 5000, beams: int = 4,
    references: int | None = None,
) -> Path:  # fmt: skip
    written = {'references': references or REFERENCES[task], 'tokens': {tokens: TOKENS, 'characters': {}}}
    return put(folder, task, setting, {'split': 'test', 'pictures': pictures}, f'beams:{beams}|max:50; recall@1', captioning=written)


def translation(
    folder: Path, score: float = 33.3, source: str = 'en', sentences: int = 1000, beams: int = 4, setting: str = 'fine-tuned on en-de'
) -> Path:
    entry = {'sentences': sentences, 'with_picture': {'tokenised': {'score': score}}, 'text_only': {'tokenised': {'score': 1.0}}}
    data = {'split': 'test_2016_flickr', 'source': source}
    return put(folder, 'multi30k-translation', setting, data, f'bleu|beams:{beams}|max:100', languages={'de': entry})
