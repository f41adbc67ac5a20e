"""--decontaminate and --exclude, through whole builds."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from data_pipeline.build import build
from data_pipeline.finish import finish
from data_pipeline.job import Job
from data_pipeline.settings import Settings
from shards.errors import UserError
from tests.data_pipeline.conftest import Builder, samples, tree
from tests.data_pipeline.test_build_pictures import write_tar
from tests.data_pipeline.test_build_texts import moses


def drawing(shade: int, size: int = 96, kind: str = 'PNG', corner: int = 40, **options: object) -> bytes:
    """A picture with some structure; other shades are other colours of the same drawing."""
    image = Image.new('RGB', (96, 96), (255, 250, 240))
    pen = ImageDraw.Draw(image)
    pen.ellipse((10, 12, 60, 70), fill=(shade, 80, 200 - shade))
    pen.rectangle((corner, 50, 90, 90), fill=(20, 200 - shade, shade))
    out = io.BytesIO()
    image.resize((size, size)).save(out, kind, **options)
    return out.getvalue()


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    folder = tmp_path / 'evaluation'
    (folder / 'tatoeba').mkdir(parents=True)
    (folder / 'tatoeba/tatoeba.deu-eng.deu').write_text('Ein Hund bellt!\nEin Hund bellt.\nDie Katze schläft.\n')
    (folder / 'tatoeba/tatoeba.deu-eng.eng').write_text('A dog barks.\nA dog barks.\nThe cat sleeps.\n')
    (folder / 'images').mkdir()
    (folder / 'images/1.png').write_bytes(drawing(30))
    return folder


def test_bitext(tokenizer: Path, tmp_path: Path, evaluation: Path) -> None:
    moses(
        tmp_path / 'raw/de-en.txt.zip',
        [
            ('ein  hund bellt', 'a hound barks'),
            ('Die Maus', 'The cat  sleeps'),
            ('Die Katze', 'The cat'),
            ('Ein Hund bellt.', 'A dog barks.'),
        ],
    )
    job = Job('opus', tmp_path / 'raw', tmp_path / 'out', Settings(holdout=0), tokenizer=tokenizer, decontaminate=(evaluation,))
    manifests = build(job, 1, 0, 1)
    assert manifests is not None
    assert manifests[0].samples == 1
    assert manifests[0].dropped == {'evaluation_text': 3}
    assert manifests[0].settings['decontaminate'][0]['texts'] == 4  # of six lines
    report = json.loads((tmp_path / 'out/opus/decontamination.json').read_text())
    assert report == {
        'evaluation/tatoeba/tatoeba.deu-eng.deu': {'texts': 3, 'found': 2},
        'evaluation/tatoeba/tatoeba.deu-eng.eng': {'texts': 3, 'found': 3},
        'evaluation (pictures)': {'pictures': 1, 'found': 0},
    }
    whole = tree(tmp_path / 'out')
    build(job, 1, 0, 1)
    assert tree(tmp_path / 'out') == whole
    with pytest.raises(UserError, match=r'was begun with --decontaminate .*evaluation, not \(none\)'):
        build(Job('opus', tmp_path / 'raw', tmp_path / 'out', Settings(holdout=0), tokenizer=tokenizer), 1, 0, 1)
    off = Settings(holdout=0, without='evaluation_text,language')
    manifests = build(Job('opus', tmp_path / 'raw', tmp_path / 'off', off, tokenizer=tokenizer, decontaminate=(evaluation,)), 1, 0, 1)
    assert manifests is not None
    assert manifests[0].samples == 4


def test_text(tokenizer: Path, tmp_path: Path, evaluation: Path) -> None:
    (tmp_path / 'raw').mkdir()
    (tmp_path / 'raw/de.txt').write_text('Die Katze schläft.\nEin langer Absatz: Die Katze schläft.\n\nEIN HUND BELLT\n')
    sets = (evaluation / 'tatoeba', evaluation / 'images')  # one without pictures, one without texts
    job = Job('cc100', tmp_path / 'raw', tmp_path / 'out', Settings(holdout=0), tokenizer=tokenizer, decontaminate=sets)
    (manifest,) = build(job, 1, 0, 1) or []
    assert manifest.samples == 1  # a text in which one occurs is another text
    assert manifest.dropped == {'evaluation_text': 2}


def test_pictures(tmp_path: Path, evaluation: Path) -> None:
    rows: list[tuple[str, bytes, str | None]] = [
        ('http://x/same', drawing(30), 'same'),
        ('http://x/jpeg', drawing(30, kind='JPEG', quality=60), 'encoded again'),
        ('http://x/large', drawing(30, 700), 'larger'),
        ('http://x/colour', drawing(150), 'another colour'),
        ('http://x/shape', drawing(30, corner=62), 'another shape'),
        ('http://x/text', drawing(200), 'the cat sleeps'),
        ('http://x/broken', b'<html>', 'broken'),
    ]
    write_tar(tmp_path / 'raw/images/00000.tar', rows)
    job = Job('cc3m', tmp_path / 'raw', tmp_path / 'out', Settings(holdout=0), decontaminate=(evaluation,))
    (manifest,) = build(job, 1, 0, 1) or []
    assert {sample['url'] for sample in samples(tmp_path / 'out/cc3m/train')} == {'http://x/colour', 'http://x/shape'}
    assert manifest.dropped == {'evaluation_picture': 3, 'evaluation_text': 1, 'no_caption': 1, 'picture_not_decodable': 1}
    report = json.loads((tmp_path / 'out/cc3m/decontamination.json').read_text())
    assert report['evaluation (pictures)'] == {'pictures': 1, 'found': 1}
    assert report['evaluation/tatoeba/tatoeba.deu-eng.eng']['found'] == 1


@pytest.mark.parametrize('form', ['shards', 'zstd', 'tsv', 'list', 'jsonl'])
def test_exclude(build_corpus: Builder, tmp_path: Path, form: str) -> None:
    write_tar(tmp_path / 'cc3m/images/00000.tar', [(f'http://x/{name}', drawing(shade), name) for shade, name in enumerate('abc')])
    if form in ('shards', 'zstd'):
        build_corpus('cc3m', tmp_path / 'out', tmp_path / 'cc3m', holdout=0.5, compression='none' if form == 'shards' else 'zstd:1')
        reference = tmp_path / 'out/cc3m'
    else:
        reference = tmp_path / f'urls.{form}'
        rows = {'tsv': 'words\thttp://x/{}', 'list': 'http://x/{}', 'jsonl': '{{"url": "http://x/{}"}}'}[form]
        reference.write_text(''.join(rows.format(name) + '\n' for name in 'abc'))
    write_tar(tmp_path / 'raw/images/00000.tar', [(f'https://x/{name}', drawing(shade + 50), name) for shade, name in enumerate('cde')])
    job = Job('cc12m', tmp_path / 'raw', tmp_path / 'out', Settings(holdout=0), exclude=(reference,))
    (manifest,) = build(job, 1, 0, 1) or []
    assert [sample['url'] for sample in samples(tmp_path / 'out/cc12m/train')] == ['https://x/d', 'https://x/e']
    assert manifest.dropped == {'excluded_url': 1}
    assert manifest.settings['exclude'][0]['urls'] == 3


def test_mistakes(tokenizer: Path, tmp_path: Path, evaluation: Path) -> None:
    (tmp_path / 'raw').mkdir()
    with zipfile.ZipFile(tmp_path / 'raw/de-en.txt.zip', 'w') as archive:
        archive.writestr('X.de-en.de', 'eins\n')
        archive.writestr('X.de-en.en', 'one\n')

    def run(corpus: str, **paths: tuple[Path, ...]) -> None:
        build(Job(corpus, tmp_path / 'raw', tmp_path / 'out', Settings(), tokenizer=tokenizer, **paths), 1, 0, 1)  # type: ignore[arg-type]

    with pytest.raises(UserError, match='does not exist'):
        run('opus', decontaminate=(tmp_path / 'missing',))
    with pytest.raises(UserError, match='is no folder; give the folder of an evaluation set'):
        run('opus', decontaminate=(evaluation / 'images/1.png',))
    with pytest.raises(UserError, match='--exclude has no meaning for opus'):
        run('opus', exclude=(evaluation,))
    write_tar(tmp_path / 'raw/images/00000.tar', [('http://x/a', drawing(1), 'a')])
    (tmp_path / 'none.txt').write_text('no address\n')
    with pytest.raises(UserError, match=r'none\.txt holds no URL'):
        run('cc3m', exclude=(tmp_path / 'none.txt',))


@pytest.mark.parametrize('corpus', ['opus', 'cc100', 'cc3m'])
def test_tasks_do_not_matter_with_every_rule_on(tokenizer: Path, tmp_path: Path, evaluation: Path, corpus: str) -> None:
    raw = tmp_path / 'raw'
    options: dict[str, Any] = {'holdout': 0.2}
    exclude: tuple[Path, ...] = ()
    if corpus == 'opus':
        german, english = 'Der Satz Nummer {} ist lang genug, um ihn zu beurteilen.', 'Sentence {} is long enough'
        rows = [(german.format(i % 7), english.format(i % 7) + '!' * (i % 3)) for i in range(30)]
        for name in 'AB':
            moses(raw / name / 'de-en.txt.zip', [*rows, ('Die Katze', 'The cat sleeps.')])
        options |= {'near_duplicates': 0.7, 'chunk_bytes': 4096}
    elif corpus == 'cc100':
        raw.mkdir()
        for code in ('de', 'zh'):
            paragraphs = [f'Absatz {i} mit einigen Worten, die sich {"fast" if i % 2 else "kaum"} wiederholen.' for i in range(40)]
            (raw / f'{code}.txt').write_text('\n\n'.join([*paragraphs, 'Die Katze schläft.']))
        options |= {'near_duplicates': 0.7, 'cross_documents': True, 'limit': 'de=1K'}
    else:
        for shard in range(3):
            write_tar(raw / f'images/{shard:05}.tar', [(f'http://x/{shard}{i}', drawing(20 * i + shard), f'a {i}') for i in range(10)])
        (tmp_path / 'urls.txt').write_text('https://x/11\n')
        exclude = (tmp_path / 'urls.txt',)

    def job(out: str) -> Job:
        settings = Settings(**options)
        return Job(corpus, raw, tmp_path / out, settings, tokenizer=tokenizer, exclude=exclude, decontaminate=(evaluation,))

    assert build(job('one'), 1, 0, 1)
    for task in (2, 0, 1):
        build(job('three'), 1, task, 3)
    finish(tmp_path / 'three')
    assert tree(tmp_path / 'one') == tree(tmp_path / 'three')
    assert (tmp_path / f'one/{corpus}/decontamination.json').exists()
