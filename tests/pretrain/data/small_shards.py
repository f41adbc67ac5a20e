"""Writes small streams with streaming's own writer, from pictures and texts of `sample/`."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import tarfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
from streaming import MDSWriter

from pretrain.config import Config
from shards.schema import COLUMNS, KINDS, MANIFEST, MULTILINGUAL, Manifest
from shards.tokenizer import Tokenizer, save_tokenizer

RAW = Path(__file__).parents[3] / 'sample' / 'raw'

PER_SHARD = 20
TEXTS = {'de': 90, 'en': 120, 'tr': 40, 'zh': 30, 'yo': 3}  # cc100: records per language
PAIRS = {('de', 'en'): 70, ('en', 'zh'): 30, ('en', 'sw'): 7}


Record = dict[str, Any]


def write_stream(
    folder: Path, corpus: str, records: list[Record], languages: dict[str, int], tokenizer: str | None, **manifest: Any
) -> None:
    """A stream folder as data_pipeline leaves it, with PER_SHARD records a shard."""
    compression = manifest.pop('compression', None)
    kind = KINDS[corpus]
    index: dict[str, Any] = {'shards': [], 'version': 2}
    for number, first in enumerate(range(0, len(records), PER_SHARD)):
        unit = f'unit-{number:05d}'
        options: dict[str, Any] = {'compression': compression, 'hashes': ['sha256'], 'size_limit': 1 << 30}
        with MDSWriter(out=str(folder / unit), columns=COLUMNS[kind], **options) as writer:
            for record in records[first : first + PER_SHARD]:
                writer.write(record)
        for shard in json.loads((folder / unit / 'index.json').read_text())['shards']:
            for part in ('raw_data', 'zip_data'):
                if shard[part]:
                    shard[part]['basename'] = f'{unit}/{shard[part]["basename"]}'
            index['shards'].append(shard)
        (folder / unit / 'index.json').unlink()
    (folder / 'index.json').write_text(json.dumps(index))
    shards = [{'file': (shard['zip_data'] or shard['raw_data'])['basename'], 'samples': shard['samples']} for shard in index['shards']]
    split = folder.name if kind == 'pictures' else folder.parent.name
    tokens = manifest.pop('tokens', {})
    content = Manifest(corpus, split, kind, len(records), languages, tokens, tokenizer, shards, **manifest)
    (folder / MANIFEST).write_text(content.to_json(), encoding='utf8')
    if kind == 'pictures':
        np.save(folder / MULTILINGUAL, np.array([i for i, record in enumerate(records) if len(record['captions']) > 1], np.int64))


def write_pictures(folder: Path, corpus: str, records: list[Record], **options: Any) -> None:
    languages = Counter(language for record in records for language, texts in record['captions'].items() for _ in texts)
    licences = Counter(record['licence'] for record in records)
    write_stream(folder, corpus, records, dict(languages), None, licences=dict(licences), **options)


def write_texts(folder: Path, corpus: str, records: list[Record], tokenizer: str, **options: Any) -> None:
    languages = folder.name.split('-')
    columns = dict(zip(languages, COLUMNS[KINDS[corpus]], strict=True))
    tokens = {language: sum(len(record[column]) for record in records) for language, column in columns.items()}
    write_stream(folder, corpus, records, dict.fromkeys(languages, len(records)), tokenizer, tokens=tokens, **options)


def sample_pictures() -> list[Record]:
    """CC3M's sample pictures with all their captions."""
    translations = {}
    for line in (RAW / 'cc3m' / 'translations.jsonl').read_text(encoding='utf8').splitlines():
        row = json.loads(line)
        translations[row['url']] = {language: text for language, text in row['caption'].items() if text}
    records = []
    with tarfile.open(RAW / 'cc3m' / 'images' / '00000.tar') as tar:
        members = {member.name: member for member in tar.getmembers()}
        for name in sorted(name for name in members if name.endswith('.json')):
            meta = json.load(tar.extractfile(members[name]))  # type: ignore[arg-type]
            image = tar.extractfile(members[name.replace('.json', '.jpg')]).read()  # type: ignore[union-attr]
            captions = {'en': [meta['caption'] or 'a picture']}
            captions |= {language: [text] for language, text in translations.get(meta['url'], {}).items()}
            name = hashlib.sha256(image).hexdigest()
            records.append({'image': image, 'captions': captions, 'url': meta['url'], 'licence': 'test', 'image_id': name})
    return records


def monolingual(language: str, count: int) -> list[str]:
    name = {'zh': 'zh-Hans'}.get(language, language)
    with lzma.open(RAW / 'cc100' / f'{name}.txt.xz', 'rt', encoding='utf8') as file:
        return [line for line in file.read().split('\n') if line.strip()][:count]


def bitext(pair: tuple[str, str], count: int) -> list[tuple[str, str]]:
    with gzip.open(RAW / 'opus' / 'WikiMatrix' / f'WikiMatrix.{"-".join(pair)}.tsv.gz', 'rt', encoding='utf8') as file:
        rows = [line.split('\t') for line in file.read().split('\n')[-count - 1 : -1]]
    return [(row[1], row[2]) for row in rows]


def train_tokenizer(texts: Iterable[str], folder: Path) -> Tokenizer:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, model_type='unigram', vocab_size=900, unk_id=0, bos_id=1, eos_id=2, pad_id=-1,
        hard_vocab_limit=False, character_coverage=0.98, num_threads=1, minloglevel=2,
    )  # fmt: skip
    return save_tokenizer(folder, model.getvalue(), {})


def make_config(home: Path, **changes: Any) -> Config:
    """A configuration on the shards of `home`; sections are given as dicts, e.g. data={'workers': 2}."""
    raw: dict[str, Any] = {
        'steps': 20, 'seed': 3, 'batch': {'global': 16, 'micro': 8}, 'eval': {'samples': 8},
        'model': {'visual': {'image_size': 32}},
        'data': {'shards': str(home / 'shards'), 'tokenizer': str(home / 'tokenizer'), 'workers': 0, 'block': 64, 'shuffle_shards': 2},
    }  # fmt: skip
    for key, value in changes.items():
        raw[key] = {**raw.get(key, {}), **value} if isinstance(value, dict) else value
    return Config.model_validate(raw)
