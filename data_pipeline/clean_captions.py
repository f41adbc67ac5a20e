"""Captions by the rules, before they are grouped by picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from data_pipeline.cleaning import normalise, person, rewrites, without_content
from data_pipeline.drops import Drops
from data_pipeline.job import Job
from data_pipeline.records import Caption
from data_pipeline.references import evaluation_of


def clean_captions(captions: Iterable[Caption], fallback: bool, job: Job, drops: Drops) -> Iterator[Caption]:
    """Normalised captions; those that are empty or stand in an evaluation set are counted.

    A `fallback` (img2dataset's copy) that is empty loses nothing: the corpus's own file is the authority, and counts its own. So with those
    that a rule changes.
    """
    settings, evaluation = job.settings, evaluation_of(job)
    nfc, person_applies = settings.applies('nfc'), job.corpus == 'cc12m' and settings.applies('person')
    for caption in captions:
        text = normalise(caption.text, nfc)
        if not fallback and text is not caption.text:
            drops.rewritten.update(rewrites(caption.text, text))
        if without_content(text, settings):
            drops.add('empty_caption', not fallback, _told(caption))
        elif evaluation.has_text(text, drops):
            drops.add('evaluation_text', 1, _told(caption))
        else:
            if person_applies and (named := person(text)) != text:
                text = named
                drops.rewritten.update([] if fallback else ['person'])
            yield caption if text == caption.text else caption._replace(text=text)


def _told(caption: Caption) -> str:
    return f'{caption.key} {caption.language}: {caption.text}'
