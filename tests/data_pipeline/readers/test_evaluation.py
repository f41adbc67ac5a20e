"""Which texts and pictures of an evaluation set are looked for, in each set's own layout."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from data_pipeline.readers.evaluation import read
from shards.errors import UserError


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == '.gz' else data)


def texts(root: Path) -> dict[str, list[str]]:
    return {name: list(found) for name, found in read(root).texts}


def pictures(root: Path) -> set[str]:
    return {path.name for path in read(root).pictures}


def test_multi30k(tmp_path: Path) -> None:
    task = tmp_path / 'data/task1'
    for split, line in (('train', 'a train'), ('val', 'a\u2028val'), ('test_2017_mscoco', 'a test')):
        write(task / f'raw/{split}.en.gz', f'{line}\n')
        write(task / f'image_splits/{split}.txt', f'{split}.jpg#17\n')
        write(tmp_path / f'images/{split}.jpg', 'picture')
    write(task / 'tok/val.lc.norm.tok.de', 'ein val\n')
    assert texts(tmp_path) == {
        'data/task1/raw/test_2017_mscoco.en.gz': ['a test'],
        'data/task1/raw/val.en.gz': ['a\u2028val'],
        'data/task1/tok/val.lc.norm.tok.de': ['ein val'],
    }
    assert pictures(tmp_path) == {'val.jpg', 'test_2017_mscoco.jpg'}


def test_tatoeba(tmp_path: Path) -> None:
    write(tmp_path / 'tatoeba.hin-eng.hin', 'नमस्ते।\n')
    write(tmp_path / 'tatoeba.hin-eng.eng', 'Hello.\n')
    assert texts(tmp_path) == {'tatoeba.hin-eng.hin': ['नमस्ते।'], 'tatoeba.hin-eng.eng': ['Hello.']}


def test_coco_and_coco_cn(tmp_path: Path) -> None:
    images = [
        {'filename': f'COCO_val2014_{split}.jpg', 'split': split, 'sentences': [{'raw': f'a {split}', 'tokens': []}]}
        for split in ('train', 'restval', 'val', 'test')
    ]
    write(tmp_path / 'coco/dataset_coco.json', json.dumps({'images': images, 'dataset': 'coco'}))
    for image in images:
        write(tmp_path / f'coco/val2014/{image["filename"]}', 'picture')
    for split in ('train', 'test'):
        # One of COCO's training pictures is a test picture of COCO-CN.
        write(tmp_path / f'coco-cn/coco-cn_{split}.txt', {'train': 'COCO_val2014_train\n', 'test': 'COCO_val2014_restval\n'}[split])
    write(tmp_path / 'coco-cn/imageid.human-written-caption.txt', 'COCO_val2014_train#0\t火车\nCOCO_val2014_restval#0 一只狗 在\n')
    write(tmp_path / 'coco-cn/._coco-cn_test.txt', b'\xff\xfe')
    assert texts(tmp_path) == {
        'coco/dataset_coco.json': ['a val', 'a test'],
        'coco-cn/imageid.human-written-caption.txt': ['一只狗 在'],
    }
    assert pictures(tmp_path) == {f'COCO_val2014_{split}.jpg' for split in ('restval', 'val', 'test')}


def test_xvnli_and_xgqa(tmp_path: Path) -> None:
    for split in ('train', 'dev', 'test'):
        row = {'sentence1': '', 'sentence2': f'{split} sentence', 'Flikr30kID': split}
        write(tmp_path / f'xvnli/en/{split}.jsonl', json.dumps(row) + '\n')
        write(tmp_path / f'images/{split}.jpg', 'picture')
    write(tmp_path / 'xgqa/few_shot/de/test.json', json.dumps({'1': {'question': 'Was?', 'imageId': 'n1', 'answer': 'food'}}))
    write(tmp_path / 'xgqa/train.json', json.dumps([{'img_id': 'x', 'sent': 'What?', 'label': {}}]))
    write(tmp_path / 'xgqa/valid.json', json.dumps([{'img_id': 'y', 'sent': 'Who?', 'label': {}}]))
    write(tmp_path / 'xgqa/trainval_ans2label.json', '{"yes": 0}')
    assert texts(tmp_path) == {
        'xvnli/en/dev.jsonl': ['dev sentence'],
        'xvnli/en/test.jsonl': ['test sentence'],
        'xgqa/few_shot/de/test.json': ['Was?'],
        'xgqa/valid.json': ['Who?'],
    }
    assert pictures(tmp_path) == {'dev.jpg', 'test.jpg'}


def test_plain_files(tmp_path: Path) -> None:
    write(tmp_path / 'mine.txt', 'one\ntwo\n')
    write(tmp_path / 'pictures/a.PNG', 'picture')
    write(tmp_path / 'table.xlsx', 'unknown')
    write(tmp_path / 'README.txt', 'about')
    assert texts(tmp_path) == {'mine.txt': ['one', 'two']}
    assert pictures(tmp_path) == {'a.PNG'}
    assert read(tmp_path).ignored == ['table.xlsx']


def test_mistakes(tmp_path: Path) -> None:
    write(tmp_path / 'empty/README.md', 'nothing')
    with pytest.raises(UserError, match='holds no text and no picture that could be evaluated on'):
        read(tmp_path / 'empty')
    write(tmp_path / 'bad/dataset_coco.json', '{"images": 1}')
    with pytest.raises(UserError, match='is not a Karpathy file'):
        read(tmp_path / 'bad')
    write(tmp_path / 'worse/valid.json', '{')
    with pytest.raises(UserError, match=r'valid\.json is not JSON'):
        read(tmp_path / 'worse')
