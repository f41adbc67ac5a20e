"""`data_pipeline show`: look at samples, as text or as one self-contained page."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_pipeline.drops import Examples
from data_pipeline.finish import EMPTY
from data_pipeline.reasons import REASONS
from data_pipeline.verify import decode_samples, stream_folders
from shards.errors import UserError
from shards.page import self_contained
from shards.pictures import open_picture
from shards.schema import COLUMNS, INDEX, Manifest, read_manifest
from shards.storage import Location
from shards.tokenizer import Tokenizer

_SHARDS = 8  # of a stream that are read, spread evenly over it
_SIDE = 320  # pixels of a picture on the page


def lines(folder: Location, samples: int, tokenizer: Tokenizer | None) -> Iterator[str]:
    """A few samples of every stream as text."""
    for stream in stream_folders(folder):
        manifest = read_manifest(stream)
        yield f'{_name(manifest, stream)}: {manifest.samples:,} samples'
        for record in _records(stream, manifest, samples, tokenizer, pictures=False):
            yield f'  {record["id"]} {record.get("url", "")}'.rstrip()
            yield from (f'    {language:8} {text}' for language, text in record['texts'])
        for reason, number, meaning, examples in _dropped(manifest.dropped, manifest.examples):
            yield f'  dropped: {reason} {number:,} ({meaning or "see docs/data.md"})'
            yield from (f'    such as {example}' for example in examples[:1])


def page(folder: Location, samples: int, tokenizer: Tokenizer | None) -> str:
    """HTML that needs nothing else: pictures and texts of every stream to page through, counts, and why records were dropped.

    What comes from the shards is data in a JSON block and set as text by a script, and only that script may run (content security policy):
    a caption or URL with markup is shown, never executed.
    """
    streams: list[dict[str, Any]] = []
    for stream in stream_folders(folder):
        manifest = read_manifest(stream)
        size = sum(shard['bytes'] for shard in manifest.shards)
        streams.append(
            {
                'name': _name(manifest, stream),
                'samples': manifest.samples,
                'facts': f'{manifest.samples:,} samples in {len(manifest.shards):,} shards, {size / 2**20:,.1f} MiB, {manifest.kind}',
                'languages': dict(sorted(manifest.languages.items(), key=lambda item: -item[1])),
                'tokens': manifest.tokens or None,
                'counted': {'pictures': 'captions', 'text': 'sequences', 'bitext': 'pairs'}[manifest.kind],
                'dropped': _dropped(manifest.dropped, manifest.examples),
                'warnings': manifest.warnings,
                'records': list(_records(stream, manifest, samples, tokenizer, pictures=True)),
            }
        )
    streams.sort(key=lambda stream: stream['counted'] != 'captions')  # pictures first
    streams += _empty(folder)
    return self_contained(Path(__file__).with_name('show_page'), 'Shards', {'title': str(folder), 'streams': streams})


def _dropped(dropped: dict[str, int], examples: Examples) -> list[tuple[str, int, str, list[str]]]:
    """(reason, number, what it means, examples), the most frequent first."""
    by_number = sorted(dropped.items(), key=lambda item: (-item[1], item[0]))
    return [(reason, number, REASONS.get(reason, ''), examples.get(reason, [])) for reason, number in by_number]


def _empty(folder: Location) -> list[dict[str, Any]]:
    """Streams that nothing is left of: there is nothing to page through, but it says why."""
    found = []
    places: Iterator[Location] = folder.rglob(EMPTY)
    for path in sorted(places, key=str):
        for name, told in sorted(json.loads(path.read_text(encoding='utf8')).items()):
            facts = 'nothing is left of it'
            common = {'samples': 0, 'languages': {}, 'tokens': None, 'counted': '', 'warnings': [], 'records': []}
            found.append(
                {'name': f'{path.parent.name} {name}', 'facts': facts, 'dropped': _dropped(told['dropped'], told['examples']), **common}
            )
    return found


def _name(manifest: Manifest, stream: Location) -> str:
    below = '' if manifest.kind == 'pictures' else f' {stream.name}'
    return f'{manifest.corpus} {manifest.split}{below}'


def _records(stream: Location, manifest: Manifest, samples: int, tokenizer: Tokenizer | None, pictures: bool) -> Iterator[dict[str, Any]]:
    """Samples spread evenly over some shards of a stream."""
    if tokenizer and manifest.tokenizer not in (None, tokenizer.fingerprint):
        raise UserError(f'{stream} was built with another tokenizer ({manifest.tokenizer}); give --tokenizer that one, or none')
    entries = json.loads((stream / INDEX).read_text(encoding='utf8'))['shards']
    chosen = _spread(len(entries), _SHARDS)
    for number, place in enumerate(chosen):
        entry = entries[place]
        file = entry['zip_data'] or entry['raw_data']
        share = samples * (number + 1) // len(chosen) - samples * number // len(chosen)
        decoded = decode_samples((stream / file['basename']).read_bytes(), entry)
        for row in _spread(len(decoded), share):
            yield _record(decoded[row], f'{file["basename"]} {row}', manifest, stream, tokenizer, pictures)


def _spread(number: int, most: int) -> list[int]:
    """At most `most` of `number` places, evenly."""
    count = min(number, most)
    return [i * number // count for i in range(count)]


def _record(
    sample: dict[str, Any], name: str, manifest: Manifest, stream: Location, tokenizer: Tokenizer | None, pictures: bool
) -> dict[str, Any]:
    if manifest.kind == 'pictures':
        texts = [(language, text) for language, some in sample['captions'].items() for text in some]
        image = {'image': _thumbnail(sample['image'])} if pictures else {}
        return {'id': f'{name} · {sample["image_id"]}', 'texts': texts, 'url': sample['url'], 'licence': sample['licence'], **image}
    languages = [stream.name] if manifest.kind == 'text' else sorted(manifest.languages)
    columns = COLUMNS[manifest.kind]
    texts = [
        (language, tokenizer.decode(sample[column]) if tokenizer else ' '.join(map(str, sample[column].tolist())))
        for language, column in zip(languages, columns, strict=True)
    ]
    return {'id': name, 'texts': texts}


def _thumbnail(data: bytes) -> str:
    """The picture as a data URL: as it is if small, else shrunk."""
    with open_picture(data) as image:
        kind = {'JPEG': 'jpeg', 'PNG': 'png', 'WEBP': 'webp'}[str(image.format)]
        if max(image.size) > _SIDE:
            shrunk = image.convert('RGB')
            shrunk.thumbnail((_SIDE, _SIDE))
            out = io.BytesIO()
            shrunk.save(out, 'JPEG', quality=85)
            data, kind = out.getvalue(), 'jpeg'
    return f'data:image/{kind};base64,{base64.b64encode(data).decode()}'
