"""The page: a picture -> captions and the nearest texts; a text -> the nearest pictures; a text -> translations. Needs gradio and babel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from downstream.api import Model
from downstream.web.collection import Pictures, Texts, nearest
from downstream.web.languages import choices, named
from shards.errors import UserError
from shards.pictures import thumbnail

NEAREST_TEXTS = 3  # a language
FIRST = ('en', 'de', 'fr', 'zh')  # languages that are chosen when the page opens, as far as there are texts in them
SIDE = 320  # pixels of the pictures that a search shows
ONE_AT_A_TIME: dict[str, Any] = {'concurrency_id': 'model', 'concurrency_limit': 1}
THEME = gr.themes.Base(font=['system-ui', 'sans-serif'], font_mono=['system-ui', 'sans-serif'])  # the default one fetches its fonts


def build(model: Model, pictures: Pictures, texts: Texts, name: str, trained: list[str]) -> gr.Blocks:
    """The page of a model, called `name` and trained on these languages, with what it searches."""
    answers = Answers(model, pictures, texts)
    chosen = [code for code in FIRST if code in texts.languages] or texts.languages[:1]
    codes = choices(model.loaded.tokenizer.languages, trained, texts.languages, mark=model.loaded.config.finetune is None)
    spoken_of = ', '.join(map(named, texts.languages)) if len(texts.languages) <= len(FIRST) else f'{len(texts.languages)} languages'
    with gr.Blocks(title='ERNIE-UniX2', analytics_enabled=False) as page:
        gr.Markdown(f'# ERNIE-UniX2\n`{name}`: {len(pictures.paths)} pictures and {len(texts.rows)} texts in {spoken_of}')
        with gr.Tab('Picture to text'), gr.Row():
            with gr.Column():
                picture = _upload('Picture', 'picture')
                languages = gr.Dropdown(codes, value=chosen, multiselect=True, label='Languages', elem_id='languages')
                describe = gr.Button('Describe', variant='primary', elem_id='describe')
            with gr.Column():
                captions = _rows(['language', 'caption'], 'Captions that the model writes', 'captions')
                near = _rows(['language', 'cosine', 'text'], 'Nearest texts', 'nearest')
        with gr.Tab('Text to pictures'):
            with gr.Row():
                query = gr.Textbox(label='Text', elem_id='query', scale=4)
                language = gr.Dropdown(codes, value=chosen[0], label='Its language', elem_id='query-language')
                count = gr.Slider(1, 24, 8, step=1, label='Pictures', elem_id='count')
            search = gr.Button('Search', variant='primary', elem_id='search')
            found = gr.Gallery(label='Nearest pictures', columns=4, buttons=[], interactive=False, elem_id='found')
        with gr.Tab('Translation'), gr.Row():
            with gr.Column():
                source = gr.Textbox(label='Text', elem_id='source')
                with gr.Row():
                    spoken = gr.Dropdown(codes, value=chosen[0], label='From', elem_id='from')
                    target = gr.Dropdown(codes, value=chosen[-1], label='To', elem_id='to')
                beside = _upload('Picture (may be left out)', 'beside')
                translate = gr.Button('Translate', variant='primary', elem_id='translate')
            written = _rows(['', 'translation'], 'Translations', 'translations')
        # The button is for another choice of languages: a picture that is dropped needs none.
        _on([picture.upload, describe.click], answers.describe, [picture, languages], [captions, near])
        _on([search.click, query.submit], answers.search, [query, language, count], [found])
        _on([translate.click, source.submit], answers.translate, [source, spoken, target, beside], [written])
    return page


class Answers:
    """What the buttons ask for. Every method raises UserError, which becomes a message on the page."""

    def __init__(self, model: Model, pictures: Pictures, texts: Texts):
        self.model, self.pictures, self.texts = model, pictures, texts

    def describe(self, picture: str | None, languages: list[str]) -> tuple[list[list[str]], list[list[str]]]:
        """Rows (language, caption) and rows (language, cosine, text) of the nearest texts."""
        if picture is None or not languages:
            raise UserError('give a picture and at least one language')
        raw = _bytes(picture)
        (query,) = self.model.embed_images([raw])
        captions = [[named(code), *self.model.caption([raw], code)] for code in languages]
        rows: list[list[str]] = []
        for code in [code for code in languages if code in self.texts.languages] or self.texts.languages:
            own = [place for place, (language, _) in enumerate(self.texts.rows) if language == code]
            close = nearest(query, self.texts.vectors[own], NEAREST_TEXTS)
            rows += [[named(code), f'{cosine:.3f}', self.texts.rows[own[place]][1]] for place, cosine in close]
        return captions, rows

    def search(self, text: str, language: str, count: int) -> list[tuple[Image.Image, str]]:
        """The nearest pictures, each with its name and cosine."""
        (query,) = self.model.embed_texts([_said(text)], language)
        close = nearest(query, self.pictures.vectors, int(count))
        paths = [(self.pictures.paths[place], cosine) for place, cosine in close]
        return [(_small(path), f'{path.name}  {cosine:.3f}') for path, cosine in paths]

    def translate(self, text: str, source: str, target: str, picture: str | None) -> list[list[str]]:
        """Rows (with or without the picture, translation)."""
        rows = [['from the text alone', *self.model.translate([_said(text)], source, target)]]
        if picture is not None:
            rows.append(['with the picture', *self.model.translate([text], source, target, [_bytes(picture)])])
        return rows


def _on(events: list[Any], answer: Callable[..., Any], inputs: list[Any], outputs: list[Any]) -> None:
    def shown(*values: Any) -> Any:
        try:
            return answer(*values)
        except UserError as error:
            raise gr.Error(str(error), duration=None, print_exception=False) from None

    # Nothing is shown as the answer to another question; and a table of gradio that has rows keeps their number (its issue 13611).
    emptied = gr.on(events, lambda: dict.fromkeys(outputs), None, outputs, queue=False, show_progress='hidden', api_visibility='private')
    emptied.then(shown, inputs, outputs, api_visibility='private', **ONE_AT_A_TIME)


def _upload(label: str, name: str) -> gr.Image:
    """Where a picture is dropped. gradio would open it itself, and end in a trace for what is none: the model's own reader judges."""
    image = gr.Image(type='filepath', image_mode=None, sources=['upload', 'clipboard'], label=label, elem_id=name, height=300, buttons=[])
    image.preprocess = lambda payload: None if payload is None else payload.path  # type: ignore[method-assign]
    return image


def _rows(head: list[str], label: str, name: str) -> gr.Dataframe:
    return gr.Dataframe(headers=head, label=label, elem_id=name, interactive=False, wrap=True, buttons=[])


def _said(text: str) -> str:
    if not text.strip():
        raise UserError('write a text first')
    return text


def _bytes(path: str) -> bytes:
    """An uploaded file: messages should not name where it lies."""
    return Path(path).read_bytes()


def _small(path: Path) -> Image.Image:
    """At most SIDE pixels a side. Raises UserError for a file that has gone since it was embedded."""
    try:
        return thumbnail(path, SIDE)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f'picture {path} cannot be shown any more ({error}); start the page again') from None
