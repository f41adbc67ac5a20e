"""Stand-ins for all that docs/obtain.md downloads, at the publishers' addresses: of the sample, or as the readers' tests make them."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import sentencepiece

from data_pipeline.drops import Drops
from data_pipeline.readers import img2dataset
from data_pipeline.readers.wit import COLUMNS
from downstream.data.xgqa import LARGER
from tests.docs.commands import ROOT
from tests.downstream.data.coco_files import write_coco, write_coco_cn
from tests.support.internet import Files
from tests.support.toy_benchmarks import write_text, write_xgqa, write_xvnli

RAW, EVALUATION = ROOT / 'sample/raw', ROOT / 'sample/evaluation'
GOOGLE, FACEBOOK, HUB, STANFORD = (
    f'https://{host}' for host in ('storage.googleapis.com', 'dl.fbaipublicfiles.com', 'huggingface.co', 'cs.stanford.edu')
)
WIKIMEDIA = 'https://analytics.wikimedia.org/published/datasets/one-off/caption_competition/training/image_pixels'
NOT_WANTED = f'{WIKIMEDIA}/README.md'  # lies beside what the page takes
PICTURES = 'https://images.example.org/'  # the sample's
CC100 = ('en', 'de', 'fr', 'cs', 'ja', 'zh-Hans')
MULTIUN = ('ar-en', 'de-en', 'en-es', 'en-fr', 'en-ru', 'en-zh')


def offer_corpora(files: Files) -> None:
    """The five corpora's files, and mBART's tokenizer."""
    shutil.copy(RAW / 'cc3m/Train_GCC-training.tsv', files.place(f'{GOOGLE}/gcc-data/Train/GCC-training.tsv'))
    shutil.copy(RAW / 'cc12m/cc12m.tsv', files.place(f'{GOOGLE}/conceptual_12m/cc12m.tsv'))
    header = gzip.compress('\t'.join(COLUMNS).encode() + b'\n')
    for number in range(10):
        own = RAW / f'wit/wit_v1.train.all-0000{number}-of-00010.tsv.gz'
        files.place(f'{GOOGLE}/gresearch/wit/{own.name}').write_bytes(own.read_bytes() if own.exists() else header)
    for path in (RAW / 'wit/image_data_train/image_pixels').iterdir():
        shutil.copy(path, files.place(f'{WIKIMEDIA}/{path.name}'))
    files.place(NOT_WANTED).write_text('See the competition.\n')
    for code in CC100:
        shutil.copy(RAW / f'cc100/{code}.txt.xz', files.place(f'https://data.statmt.org/cc-100/{code}.txt.xz'))
    for pair in MULTIUN:
        with zipfile.ZipFile(files.place(f'https://object.pouta.csc.fi/OPUS-MultiUN/v1/moses/{pair}.txt.zip'), 'w') as archive:
            for code in pair.split('-'):
                archive.writestr(f'MultiUN.{pair}.{code}', f'in {code}\n')
    shutil.copy(RAW / 'opus/WikiMatrix/WikiMatrix.en-fr.tsv.gz', files.place(f'{FACEBOOK}/laser/WikiMatrix/v1/WikiMatrix.en-fr.tsv.gz'))
    with tarfile.open(files.place(f'{FACEBOOK}/laser/WikiMatrix/WikiMatrix.v1.1620_language_pairs.tar'), 'w') as tar:
        tar.add(RAW / 'opus/WikiMatrix/WikiMatrix.de-en.tsv.gz', 'v1/WikiMatrix.de-en.tsv.gz')
    shutil.copy(RAW / 'opus/IITB/parallel.tgz', files.place('https://www.cfilt.iitb.ac.in/iitb_parallel/iitb_corpus_download/parallel.tgz'))
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(['a few words'] * 9), model_writer=model, vocab_size=12, minloglevel=2)
    files.place(f'{HUB}/facebook/mbart-large-cc25/resolve/main/sentencepiece.bpe.model').write_bytes(model.getvalue())


def offer_pictures(files: Files) -> None:
    """Those that the sample has, where its lists say that they are."""
    for corpus in ('cc3m', 'cc12m'):
        for shard in img2dataset.shards(RAW / corpus / 'images'):
            for picture in img2dataset.pictures(shard, '', Drops()):
                files.place(picture.url).write_bytes(picture.image)


def offer_evaluation_sets(files: Files, made: Path) -> None:
    """What the seven benchmarks consist of. In `made` they are made first; there the pictures remain that no address has."""
    repository = 'https://github.com/multi30k/dataset'
    shutil.copytree(EVALUATION / 'multi30k_emoji/data', files.place(repository) / 'data')
    files.commit(repository)
    repository = 'https://github.com/facebookresearch/LASER'
    shutil.copytree(EVALUATION / 'tatoeba', files.place(repository) / 'data/tatoeba/v1')
    files.commit(repository)

    write_xvnli(made / 'xvnli', 1)
    write_xgqa(made / 'gqa', 1)
    repository = 'https://github.com/e-bug/iglue'
    xvnli, gqa = (files.place(repository) / 'datasets' / name / 'annotations' for name in ('XVNLI', 'gqa'))
    for language in ('en', 'de'):
        shutil.copytree(made / 'xvnli' / language, xvnli / language)
    zipped(xvnli / 'en/train.jsonl.zip', xvnli / 'en', 'train.jsonl')
    (xvnli / 'en/train.jsonl').unlink()
    zipped(gqa / 'train.json.zip', made / 'gqa', 'train.json')
    for name in ('valid.json', 'trainval_ans2label.json'):
        shutil.copy(made / 'gqa' / name, gqa)
    files.commit(repository)
    repository = 'https://github.com/adapter-hub/xGQA'
    data = files.place(repository) / 'data'
    shutil.copytree(made / 'gqa/few_shot', data / 'few_shot')
    (larger := data / LARGER.replace('*', 'de')).parent.mkdir()
    shutil.copy(data / 'few_shot/de/test.json', larger)
    files.commit(repository)
    zipped(files.place('https://downloads.cs.stanford.edu/nlp/data/gqa/images.zip'), made / 'gqa', 'images')

    write_coco(made / 'coco')
    write_text(made / 'coco/train2014/README', ['The pictures of these splits are all in val2014.'])
    zipped(files.place(f'{STANFORD}/people/karpathy/deepimagesent/caption_datasets.zip'), made / 'coco', 'dataset_coco.json')
    for part in ('train2014', 'val2014'):
        zipped(files.place(f'http://images.cocodataset.org/zips/{part}.zip'), made / 'coco', part)
    write_coco_cn(made / 'coco-cn')
    name = 'coco-cn-version1805v1.1'
    with tarfile.open(files.place(f'{HUB}/datasets/AIMClab-RUC/COCO-CN/resolve/main/{name}.tar.gz'), 'w:gz') as tar:
        tar.add(made / 'coco-cn', name)


def write_flickr30k(archive: Path, made: Path) -> None:
    """Flickr30k's pictures, which come by a form: those of Multi30k and of XVNLI."""
    with tarfile.open(archive, 'w:gz') as tar:
        for folder in (made / 'xvnli/images', EVALUATION / 'multi30k_emoji/images'):
            tar.add(folder, 'flickr30k-images')


def zipped(archive: Path, root: Path, name: str) -> None:
    """An archive of a file or a folder below `root`."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, 'w') as file:
        for member in [root / name] if (root / name).is_file() else sorted((root / name).rglob('*')):
            file.write(member, member.relative_to(root))
