"""CC100 and OPUS from the sample's files to shards, against a few lines of lzma, gzip and sentencepiece; and broken input."""

from __future__ import annotations

import gzip
import json
import lzma
import zipfile
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.readers import opus
from shards.errors import UserError
from shards.schema import Manifest
from shards.tokenizer import Tokenizer
from tests.data_pipeline.conftest import SAMPLE, Builder, samples, tree

Raw = Callable[..., Path]


def flat(lists: Iterable[list[int]]) -> list[int]:
    return list(chain.from_iterable(lists))


def by_stream(manifests: list[Manifest]) -> dict[tuple[str, ...], Manifest]:
    return {(manifest.split, *sorted(manifest.languages)): manifest for manifest in manifests}


def test_cc100(build_corpus: Builder, raw: Raw, tokenizer: Path, tmp_path: Path) -> None:
    folder, out = raw('cc100', 'de.txt.xz', 'zh-Hans.txt.xz', 'zh-Hant.txt.xz'), tmp_path / 'out'
    manifests = by_stream(build_corpus('cc100', out, folder, holdout=0.04, max_tokens=40, chunk_bytes=20_000))
    model = Tokenizer.load(tokenizer)
    for name, language in (('de', 'de'), ('zh-Hans', 'zh'), ('zh-Hant', 'zh-TW')):
        text = lzma.decompress((folder / f'{name}.txt.xz').read_bytes()).decode()
        documents = [flat(model.encode_batch(document.split('\n'))) for document in text.strip('\n').split('\n\n')]
        train, val = ([sample['ids'] for sample in samples(out / f'cc100/{split}/{language}')] for split in ('train', 'val'))
        sequences = [ids.tolist() for ids in train + val]
        assert all(ids.dtype == np.int32 and 0 < len(ids) <= 40 for ids in train + val)
        # Every token of every document, and no sequence with tokens of two of them.
        assert sorted(flat(sequences)) == sorted(flat(documents))
        joined = [f'/{"/".join(map(str, document))}/' for document in documents]
        assert all(any(f'/{"/".join(map(str, sequence))}/' in document for document in joined) for sequence in sequences)
        assert not {ids.tobytes() for ids in train} & {ids.tobytes() for ids in val}
        manifest = manifests['train', language]
        assert (manifest.samples, manifest.languages, manifest.tokens) == (
            len(train),
            {language: len(train)},
            {language: sum(map(len, train))},
        )
        assert manifest.tokenizer == model.fingerprint
        assert [source['path'] for source in manifest.sources] == [f'{name}.txt.xz']
        assert len({shard['file'].partition('/')[0] for shard in manifest.shards}) > 1  # chunks


def test_cc100_duplicates_and_odd_text(build_corpus: Builder, tokenizer: Path, tmp_path: Path) -> None:
    raw, out = tmp_path / 'raw', tmp_path / 'out'
    raw.mkdir()
    (raw / 'zh-Hans.txt.xz').write_bytes(lzma.compress('一只狗\n。。。\n\n一只猫\n'.encode() + b'\xff\n'))
    (raw / 'zh.txt').write_bytes('一只猫\n\n一只狗\n。。。\n\n\n一只\u2028狗\n'.encode())
    (manifest,) = build_corpus('cc100', out, raw, holdout=0)
    model = Tokenizer.load(tokenizer)
    assert [sample['ids'].tolist() for sample in samples(out / 'cc100/train/zh')] == model.encode_batch(['一只狗', '一只猫', '一只 狗'])
    assert manifest.dropped == {'duplicate_document': 2, 'empty': 1, 'invalid_utf8': 1}


def test_opus(build_corpus: Builder, raw: Raw, tokenizer: Path, tmp_path: Path) -> None:
    files = [
        'WikiMatrix/WikiMatrix.de-en.tsv.gz',
        'WikiMatrix/WikiMatrix.en-ja.tsv.gz',
        'OPUS-LibreOffice/v1/moses/de-en.txt.zip',
        'IITB/parallel.tgz',
    ]
    folder, out = raw('opus', *files), tmp_path / 'out'
    manifests = by_stream(build_corpus('opus', out, folder, holdout=0.04))
    assert set(manifests) == {(split, *pair) for split in ('train', 'val') for pair in (('de', 'en'), ('en', 'ja'), ('en', 'hi'))}
    model = Tokenizer.load(tokenizer)
    with zipfile.ZipFile(folder / files[2]) as archive:
        sides = [archive.read(f'LibreOffice.de-en.{code}').decode().split('\n')[:-1] for code in ('de', 'en')]
    rows = list(zip(*sides, strict=True))
    rows += [tuple(line.split('\t')[1:]) for line in gzip.decompress((folder / files[0]).read_bytes()).decode().split('\n')[:-1]]
    encoded = list(zip(model.encode_batch([row[0] for row in rows]), model.encode_batch([row[1] for row in rows]), strict=True))
    train, val = (
        [(sample['source_ids'].tolist(), sample['target_ids'].tolist()) for sample in samples(out / f'opus/{split}/de-en')]
        for split in ('train', 'val')
    )
    manifest = manifests['train', 'de', 'en']
    dropped = sum(manifest.dropped.values())
    assert len(train) + len(val) + dropped == len(rows)
    assert dropped < 0.05 * len(rows)
    assert set(manifest.dropped) <= {'non_letters', 'length_ratio', 'length', 'identical_sides', 'duplicate', 'language'}
    # In the order of the files and their rows.
    for kept in (train, val):
        remaining = iter(encoded)
        assert all(pair in remaining for pair in kept)
    assert not {str(pair) for pair in train} & {str(pair) for pair in val}
    assert manifest.languages == {'de': len(train), 'en': len(train)}
    assert manifest.tokens == {'de': sum(len(one) for one, _ in train), 'en': sum(len(other) for _, other in train)}


def moses(path: Path, rows: list[tuple[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('X.de-en.de', ''.join(f'{one}\n' for one, _ in rows))
        archive.writestr('X.de-en.en', ''.join(f'{other}\n' for _, other in rows))


def test_opus_rules_are_counted(build_corpus: Builder, tmp_path: Path) -> None:
    raw, out = tmp_path / 'raw', tmp_path / 'out'
    rows = [
        ('ein Hund', 'a dog'),
        ('', 'x'),
        ('gleich', 'gleich'),
        ('12 34 56', 'a number'),
        ('ein Hund', 'a dog'),
        ('ein', 'a ' * 40),
        ('wort ' * 300, 'word ' * 300),
    ]
    moses(raw / 'A/de-en.txt.zip', rows)
    moses(raw / 'B/de-en.txt.zip', [('ein Hund', 'a dog'), ('eine  Katze', 'a cat')])
    (manifest,) = build_corpus('opus', out, raw, holdout=0, without='language')  # a word 300 times is in no language
    assert manifest.samples == 2
    assert manifest.dropped == {'duplicate': 2, 'empty': 1, 'identical_sides': 1, 'length': 1, 'length_ratio': 1, 'non_letters': 1}
    assert [source['path'] for source in manifest.sources] == ['A/de-en.txt.zip', 'B/de-en.txt.zip']


def test_rules_can_be_switched_off(build_corpus: Builder, tmp_path: Path) -> None:
    raw = tmp_path / 'raw'
    long = 'Dies ist ein deutscher Satz, der lang genug ist, um beurteilt zu werden.'
    rows = [
        ('Bu\u0308ro', 'office'),
        ('...', '!!!'),
        ('gleich', 'gleich'),
        ('12 34 56', 'a number'),
        ('ein', 'a ' * 20),
        ('wort ' * 300, 'word ' * 300),
        (long, long.replace('.', '!')),
        ('', 'nothing at all'),
    ]
    moses(raw / 'de-en.txt.zip', rows)
    names = ['nfc', 'empty', 'identical_sides', 'non_letters', 'length_ratio', 'length', 'language']
    kept = []
    for number in range(len(names) + 1):
        without = ','.join(names[:number])
        (manifest,) = build_corpus('opus', tmp_path / str(number), raw, holdout=0, without=without)
        assert manifest.settings['without'] == without
        assert not set(manifest.dropped) & set(names[1:number]) - {'empty'}
        kept.append(manifest.samples)
    # nfc drops nothing; three dots are no letters either; a word 300 times is in no language; what has no character at all is never kept.
    assert kept == [1, 1, 1, 2, 4, 5, 5, 7]
    assert manifest.dropped == {'empty': 1}


def test_near_duplicates(build_corpus: Builder, tmp_path: Path) -> None:
    raw = tmp_path / 'raw'
    words = 'one two three four five six seven eight nine ten eleven twelve'
    rows = [(f'Satz {words}', f'sentence {words}'), (f'Satz {words}!', f'Sentence, {words}.'), (f'Satz {words}', f'sentence {words}')]
    moses(raw / 'A/de-en.txt.zip', [*rows, ('ein Hund', 'a dog')])
    moses(raw / 'B/de-en.txt.zip', rows[1:2])
    (manifest,) = build_corpus('opus', tmp_path / 'off', raw, holdout=0, without='language')
    assert (manifest.samples, manifest.dropped) == (3, {'duplicate': 2})
    (manifest,) = build_corpus('opus', tmp_path / 'on', raw, holdout=0, without='language', near_duplicates=0.8)
    assert (manifest.samples, manifest.dropped) == (2, {'duplicate': 2, 'near_duplicate': 1})
    (tmp_path / 'text').mkdir()
    (tmp_path / 'text/en.txt').write_text(f'{words}\n\n{words}!\n\nanother\n')
    (manifest,) = build_corpus('cc100', tmp_path / 'on', tmp_path / 'text', holdout=0, near_duplicates=0.8)
    assert (manifest.samples, manifest.dropped) == (2, {'near_duplicate': 1})


def test_cc100_limits_and_weights(build_corpus: Builder, raw: Raw, tmp_path: Path) -> None:
    folder = raw('cc100', 'de.txt.xz', 'th.txt.xz', 'zh-Hans.txt.xz')
    manifests = by_stream(build_corpus('cc100', tmp_path, folder, holdout=0.04, limit='de=4K, 2K', alpha=0.3))
    texts = {name: lzma.decompress((folder / f'{name}.txt.xz').read_bytes()) for name in ('de', 'th', 'zh-Hans')}
    assert all(len(text) > 8000 for text in texts.values())
    tokens = {}
    for language in ('de', 'th', 'zh'):
        manifest = manifests['train', language]
        assert manifest.dropped['over_limit'] == 1
        tokens[language] = manifest.tokens[language]
    assert tokens['de'] > tokens['zh'] / 4
    total = sum(number**0.3 for number in tokens.values())
    for manifest in manifests.values():
        if manifest.split == 'train':
            assert manifest.sampling is not None
            assert manifest.sampling['alpha'] == 0.3
            assert manifest.sampling['languages'] == pytest.approx({language: number**0.3 / total for language, number in tokens.items()})
        else:
            assert manifest.sampling is None


def test_cc100_across_documents(build_corpus: Builder, tokenizer: Path, tmp_path: Path) -> None:
    raw = tmp_path / 'raw'
    raw.mkdir()
    (raw / 'zh.txt').write_text('一只猫\n\n一只狗\n\n一只鱼\n')
    (manifest,) = build_corpus('cc100', tmp_path / 'out', raw, holdout=0, cross_documents=True)
    assert manifest.samples == 1
    model = Tokenizer.load(tokenizer)
    (sample,) = samples(tmp_path / 'out/cc100/train/zh')
    assert sample['ids'].tolist() == flat(model.encode_batch(['一只猫', '一只狗', '一只鱼']))


def test_texts_that_a_rule_changed_are_counted(build_corpus: Builder, tmp_path: Path) -> None:
    from data_pipeline.stats import collect, tables

    raw, out = tmp_path / 'raw', tmp_path / 'out'
    (raw / 'cc100').mkdir(parents=True)
    (raw / 'cc100/de.txt').write_text('ein\x85Hund im Haus\nBu\u0308ro\n\neine Katze\x00\n', newline='')
    (raw / 'opus').mkdir()
    moses(raw / 'opus/de-en.txt.zip', [('ein  Hund', 'a dog'), ('Bu\u0308ro', 'office\u2028building'), ('eine Katze', 'a cat')])
    (raw / 'opus/WikiMatrix.en-fr.tsv.gz').write_bytes(gzip.compress(b'1.5\tthe\x07same\tthesame\n'))  # nothing is left of it
    (raw / 'cc12m').mkdir()
    (raw / 'cc12m/cc12m.tsv').write_text(''.join(f'http://x/{i}\t<PERSON>  and a dog {i}\n' for i in range(3)))
    (raw / 'cc12m/images/00000').mkdir(parents=True)
    for i, path in enumerate(sorted((SAMPLE / 'raw/cc12m/images_files/00000').glob('*.jpg'))[:3]):
        (raw / f'cc12m/images/00000/{i:09}.jpg').write_bytes(path.read_bytes())
        (raw / f'cc12m/images/00000/{i:09}.json').write_text(json.dumps({'url': f'http://x/{i}', 'caption': ' x', 'status': 'success'}))
    for corpus in ('cc100', 'opus', 'cc12m'):
        build_corpus(corpus, out, raw / corpus, holdout=0)
    told = collect(out)
    assert told['cc100']['rewritten'] == {'control_characters': 1, 'nfc': 1, 'white_space': 1}
    assert told['opus']['rewritten'] == {'control_characters': 1, 'nfc': 1, 'white_space': 2}
    assert told['cc12m']['rewritten'] == {'person': 3, 'white_space': 3}
    assert '  rewritten: person 3, white_space 3\n' in tables(out)
    build_corpus('cc12m', tmp_path / 'off', raw / 'cc12m', holdout=0, without='person')
    assert collect(tmp_path / 'off')['cc12m']['rewritten'] == {'white_space': 3}


def test_a_stream_that_nothing_is_left_of(build_corpus: Builder, tmp_path: Path) -> None:
    from data_pipeline.stats import collect

    raw, out = tmp_path / 'raw', tmp_path / 'out'
    moses(raw / 'de-en.txt.zip', [('ein Hund', 'a dog')])
    (raw / 'WikiMatrix.en-fr.tsv.gz').write_bytes(gzip.compress(b'1.01\ta dog\tun chien\n'))
    (manifest,) = build_corpus('opus', out, raw, holdout=0)
    assert manifest.languages == {'de': 1, 'en': 1}
    assert not (out / 'opus/train/en-fr').exists()
    assert collect(out)['opus']['dropped'] == {'below_threshold': 1}


@pytest.mark.parametrize(
    ('corpus', 'file', 'message'),
    [
        ('cc100', 'de.txt.xz', r'de\.txt\.xz is truncated.*download it again'),
        ('opus', 'WikiMatrix/WikiMatrix.de-en.tsv.gz', r'WikiMatrix\.de-en\.tsv\.gz is truncated.*download it again'),
        ('opus', 'OPUS-LibreOffice/v1/moses/de-en.txt.zip', r'de-en\.txt\.zip is truncated, damaged or no zip.*download it again'),
        ('opus', 'IITB/parallel.tgz', r'parallel\.tgz is truncated.*download it again'),
        ('opus', 'OPUS-LibreOffice/v1/tmx/en-nl.tmx.gz', r'en-nl\.tmx\.gz is truncated.*download it again'),
    ],
)
def test_truncated_download_and_its_replacement(
    build_corpus: Builder, raw: Raw, tmp_path: Path, corpus: str, file: str, message: str
) -> None:
    origin = SAMPLE / 'raw' / corpus / file
    folder = raw(corpus, file, {'cc100': 'th.txt.xz', 'opus': 'WikiMatrix/WikiMatrix.en-th.tsv.gz'}[corpus])
    (folder / file).unlink()
    (folder / file).write_bytes(origin.read_bytes()[:-3000])
    with pytest.raises(UserError, match=message):
        build_corpus(corpus, tmp_path / 'out', folder)
    # The remedy is what the message says; what was done for the other file is kept.
    (folder / file).write_bytes(origin.read_bytes())
    repaired = build_corpus(corpus, tmp_path / 'out', folder)
    assert [m.to_json() for m in repaired] == [m.to_json() for m in build_corpus(corpus, tmp_path / 'fresh', folder)]


def test_unequal_lines(build_corpus: Builder, tmp_path: Path) -> None:
    path = tmp_path / 'raw/de-en.txt.zip'
    path.parent.mkdir()
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('X.de-en.de', 'eins\nzwei\n')
        archive.writestr('X.de-en.en', 'one\n')
    with pytest.raises(UserError, match=r'de-en\.txt\.zip: X\.de-en\.de has more lines than X\.de-en\.en'):
        build_corpus('opus', tmp_path / 'out', tmp_path / 'raw')


@pytest.mark.parametrize('corpus', ['opus', 'cc100'])
def test_every_file_of_the_sample(build_corpus: Builder, tmp_path: Path, corpus: str) -> None:
    manifests = build_corpus(corpus, tmp_path, holdout=0.04)
    train = [manifest for manifest in manifests if manifest.split == 'train']
    if corpus == 'opus':
        assert {'-'.join(sorted(manifest.languages)) for manifest in train} == {bitext.pair for bitext in opus.files(SAMPLE / 'raw/opus')}
    else:
        assert len(train) == 23
    samples_in, dropped = sum(manifest.samples for manifest in manifests), sum(sum(manifest.dropped.values()) for manifest in manifests)
    assert samples_in > (20_000 if corpus == 'opus' else 3000)
    dropped -= sum(manifest.dropped.get('language', 0) for manifest in manifests)  # formulas, mostly: LibreOffice's help is full of them
    assert dropped < 0.03 * samples_in


def test_opus_in_small_frames(build_corpus: Builder, raw: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held in memory while a file is scanned changes nothing; an empty file is a stream that nothing is left of."""
    folder = raw('opus', 'WikiMatrix/WikiMatrix.de-en.tsv.gz')
    (folder / 'WikiMatrix.en-fr.tsv.gz').write_bytes(gzip.compress(b''))
    build_corpus('opus', tmp_path / 'one', folder, chunk_bytes=30_000)
    monkeypatch.setattr('data_pipeline.build_bitext.FRAME', 1000)
    build_corpus('opus', tmp_path / 'other', folder, chunk_bytes=30_000)
    assert tree(tmp_path / 'one') == tree(tmp_path / 'other')
    assert '"en-fr"' in (tmp_path / 'one/opus/empty_streams.json').read_text()
