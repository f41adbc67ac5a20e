"""`data_pipeline stats`: what shards hold, and what was dropped."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from data_pipeline.finish import EMPTY
from data_pipeline.verify import stream_folders
from shards.schema import read_manifest
from shards.storage import Location


def collect(folder: Location) -> dict[str, Any]:
    """What the streams at or below a folder hold: for each corpus its kind, splits, licences, drop reasons, numbers of texts that a rule
    changed, warnings, settings and tokenizer.

    A split has its number of streams, samples, bytes, languages and tokens. `languages` counts captions (pictures), sequences
    (text) or pairs (bitext, under both languages), `licences` samples; of an older build there are none.
    """
    result: dict[str, Any] = {}
    for stream in stream_folders(folder):
        manifest = read_manifest(stream)
        corpus = result.setdefault(
            manifest.corpus,
            {
                'kind': manifest.kind,
                'splits': {},
                'licences': Counter(),
                'dropped': Counter(),
                'rewritten': Counter(),
                'warnings': [],
                'settings': manifest.settings,
                'tokenizer': manifest.tokenizer,
            },
        )
        split = corpus['splits'].setdefault(
            manifest.split, {'streams': 0, 'samples': 0, 'bytes': 0, 'languages': Counter(), 'tokens': Counter()}
        )
        split['streams'] += 1
        split['samples'] += manifest.samples
        split['bytes'] += sum(shard['bytes'] for shard in manifest.shards)
        split['languages'].update(manifest.languages)
        split['tokens'].update(manifest.tokens)
        corpus['licences'].update(manifest.licences)
        corpus['dropped'].update(manifest.dropped)
        corpus['rewritten'].update(manifest.rewritten)
        corpus['warnings'] += manifest.warnings
    for path in folder.rglob(EMPTY):
        if path.parent.name in result:
            for told in json.loads(path.read_text(encoding='utf8')).values():
                result[path.parent.name]['dropped'].update(told['dropped'])
                result[path.parent.name]['rewritten'].update(told.get('rewritten', {}))
    return result


def as_json(folder: Location) -> str:
    return json.dumps(collect(folder), ensure_ascii=False, indent=1, sort_keys=True)


def tables(folder: Location) -> str:
    """The same for people."""
    lines: list[str] = []
    for name, corpus in collect(folder).items():
        lines += [name, *_splits(corpus), *_languages(corpus)]
        lines.append(
            '  licences: ' + (', '.join(f'{licence} {number:,}' for licence, number in corpus['licences'].most_common()) or 'not recorded')
        )
        lines.append(
            '  dropped: ' + (', '.join(f'{reason} {number:,}' for reason, number in sorted(corpus['dropped'].items())) or 'nothing')
        )
        if corpus['rewritten']:
            lines.append('  rewritten: ' + ', '.join(f'{rule} {number:,}' for rule, number in sorted(corpus['rewritten'].items())))
        lines += [f'  warning: {warning}' for warning in corpus['warnings']] + ['']
    return '\n'.join(lines).rstrip()


def _splits(corpus: dict[str, Any]) -> list[str]:
    lines = []
    for split, said in sorted(corpus['splits'].items()):
        streams = f'{said["streams"]} stream' + ('s' if said['streams'] > 1 else '')
        tokens = f', {sum(said["tokens"].values()):,} tokens' if said['tokens'] else ''
        lines.append(f'  {split}: {said["samples"]:,} samples in {streams}, {said["bytes"] / 2**20:,.1f} MiB{tokens}')
    return lines


def _languages(corpus: dict[str, Any]) -> list[str]:
    """A line for each language, the largest first."""
    counted = {'pictures': 'captions', 'text': 'sequences', 'bitext': 'pairs'}[corpus['kind']]
    splits = dict(sorted(corpus['splits'].items()))
    total: Counter[str] = Counter()
    for said in splits.values():
        total.update(said['languages'])
    with_tokens = corpus['tokenizer'] is not None
    header = [
        f'  {"language":10}',
        *(f'{f"{split} {counted}":>20}' for split in splits),
        *(f'{f"{split} tokens":>16}' for split in splits if with_tokens),
    ]
    lines = [''.join(header)]
    for language in sorted(total, key=lambda code: (-total[code], code)):
        numbers = [f'{said["languages"][language]:20,}' for said in splits.values()]
        numbers += [f'{said["tokens"][language]:16,}' for said in splits.values() if with_tokens]
        lines.append(''.join([f'  {language:10}', *numbers]))
    return lines
