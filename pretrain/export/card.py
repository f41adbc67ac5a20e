"""The model card, README.md of an export: what the model is, how to use it, what it was trained on, how well it does, its limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

from pretrain.config import Config
from pretrain.evaluation.retrieval import KS
from pretrain.export.data import manifests_of, trained_languages
from pretrain.export.results import Result, model_index, tables
from pretrain.model.load import Found
from pretrain.records import EVALUATION, read_lines
from shards.errors import UserError
from shards.schema import KINDS, Manifest
from shards.tables import markdown

CARD = 'README.md'
MARK = '<!-- written by `pretrain export` -->'
PACKAGES = ('numpy', 'pillow', 'pydantic', 'safetensors', 'sentencepiece', 'simplejpeg', 'timm', 'torch', 'transformers')  # of the code
UNKNOWN = 'unknown: not recorded'


def card(name: str, found: Found, parameters: int, run: Path, results: Sequence[Result] = ()) -> str:
    """The text of the card; `name` is the folder's, `run` the run whose records it quotes, `results` what `downstream` measured."""
    config = found.config
    manifests, lacking = manifests_of(found)
    codes = [code for code in trained_languages(found) if code.isalpha()]  # ISO's: the Hub takes no others
    values = {
        'mark': MARK,
        'name': name,
        'path': repr(f'./{name}'),
        'languages': ''.join(['language:\n', *(f'- {code}\n' for code in codes)]) if codes else '',
        'index': model_index(name, results),
        'packages': ' '.join(PACKAGES),
        'parameters': f'{parameters:,}',
        'step': 'an unknown number of' if found.step is None else str(found.step),
        'tasks': ' '.join(config.tasks),
        'init': _init(config),
        'sizes': _sizes(config),
        'classes': _classes(config),
        'data': _data(manifests, lacking) if config.finetune is None else _finetuned(config),
        'metrics': _metrics(run, found.step, results),
    }
    template = Template((Path(__file__).parent / 'card.md').read_text(encoding='utf8'))
    return template.substitute(values)


def _data(manifests: list[Manifest], lacking: list[str]) -> str:
    rows = []
    for corpus in dict.fromkeys(manifest.corpus for manifest in manifests):
        own = [manifest for manifest in manifests if manifest.corpus == corpus]
        languages = sorted({code for manifest in own for code in manifest.languages})
        rows.append([corpus, KINDS[corpus], f'{sum(one.samples for one in own):,}', ' '.join(languages), _licences(own)])
    text = markdown(['corpus', 'kind', 'samples', 'languages', 'licences as the shards have them'], rows) if rows else ''
    if lacking:
        text += f'\n\nNot counted, as their manifests were gone or had changed when this card was written: {", ".join(lacking)}.'
    if not manifests and not lacking:
        text = 'Not recorded.'
    return (
        f'{text}\n\nShards keep the URL and the licence of every picture, so that one can be looked up. A licence is what is '
        'known of the corpus as published, or what `data_pipeline build --licence` was told of other files.'
    ).strip()


def _licences(manifests: list[Manifest]) -> str:
    """Those that the manifests name, with the number of samples where there are several; what an earlier build did not note is unknown."""
    found = sum((Counter(manifest.licences) for manifest in manifests), Counter[str]())
    found[UNKNOWN] = sum(manifest.samples for manifest in manifests) - found.total()
    named = [(licence or UNKNOWN, count) for licence, count in found.most_common() if count > 0]
    return ', '.join(licence if len(named) == 1 else f'{licence} ({count:,})' for licence, count in named)


def _finetuned(config: Config) -> str:
    assert config.finetune is not None
    return f'Fine-tuned on {config.finetune.benchmark} from `{config.finetune.model}`, whose own card says what that was trained on.'


def _init(config: Config) -> str:
    started = [f'{part} from `{name}`' for part, name in (('text', config.init.text), ('pictures', config.init.visual)) if name]
    return ', '.join(started) or 'random'


def _sizes(config: Config) -> str:
    model = config.model
    layers = f'{model.text_layers} text, {model.cross_layers} cross and {model.decoder_layers} decoder layers of width {model.dim}'
    return f'{layers}, {model.visual.name} on pictures of {model.visual.image_size} pixels, texts as {model.family}'


def _classes(config: Config) -> str:
    if config.finetune is None or not config.model.labels:
        return ''
    named = ', '.join(config.finetune.classes[:10]) + (' …' if len(config.finetune.classes) > 10 else '')
    return f'\n`model(**processor(images=…, text=…, language=…)).class_logits` scores the {config.model.labels} classes: {named}.\n'


def _metrics(run: Path, step: int | None, results: Sequence[Result]) -> str:
    """What `downstream` measured, and the evaluation in training of the step that is exported."""
    parts = [part for part in (tables(results), _in_training(run, step)) if part]
    return '\n\n'.join(parts) or 'None was recorded. `downstream` measures the model on seven benchmarks.'


def _in_training(run: Path, step: int | None) -> str:
    try:
        lines = [line for line in read_lines(run / EVALUATION) if step is not None and line['step'] <= step]
    except UserError:
        lines = []
    if not lines:
        return ''
    line: dict[str, Any] = lines[-1]
    parts = [f'Evaluation in training, at step {line["step"]}; none is a test on data that nothing was chosen by.']
    if line.get('dev'):
        rows = [[language, f'{100 * score:.1f}'] for language, score in line['dev'].items()]
        parts.append(markdown(['development set', f'{line.get("score", "score")} times 100'], rows))
    losses = [[task, f'{found["mean"]:.3f}'] for task, found in (line.get('heldout') or {}).items() if found['mean'] is not None]
    if losses:
        parts.append(markdown(['task', 'held-out loss, mean over languages'], losses))
    if line.get('retrieval'):
        recalls = [
            [language, *(f'{100 * value:.1f}' for way in ('text_to_image', 'image_to_text') for value in found[way])]
            for language, found in line['retrieval'].items()
        ]
        head = [f'{way} R@{k}' for way in ('text to image', 'image to text') for k in KS]
        parts.append('Zero-shot retrieval on the set that the run watches, in percent:')
        parts.append(markdown(['language', *head], recalls))
    return '\n\n'.join(parts)
