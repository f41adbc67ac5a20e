"""Pictures like photographs, and img2dataset's form of them, for benchmarks that want larger ones than the sample has."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SAMPLE = Path(__file__).parents[2] / 'sample/raw'


def photographs(number: int, width: int, height: int, quality: int) -> Iterator[bytes]:
    """JPEGs with the spectrum of a photograph: octaves of noise, strong at large scale; about 0.2 bytes a pixel at quality 90."""
    chance = np.random.default_rng(0)
    for _ in range(number):
        image = np.zeros((height, width, 3), np.float32)
        for octave in (4, 8, 16, 32, 64, 128):
            noise = chance.normal(0, 60 / octave**0.7, (max(2, octave * height // width), octave, 3)).astype(np.float32)
            channels = [np.asarray(Image.fromarray(noise[..., c]).resize((width, height), Image.Resampling.BICUBIC)) for c in range(3)]
            image += np.stack(channels, 2)
        out = io.BytesIO()
        Image.fromarray(np.clip(image * 1.5 + 128, 0, 255).astype(np.uint8)).save(out, 'JPEG', quality=quality)
        yield out.getvalue()


def tars(folder: Path, pictures: list[bytes], number: int, shards: int) -> list[dict[str, Any]]:
    """img2dataset's webdataset form of `number` records, made distinct by bytes behind the picture; the same records as samples."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    words = [row.split('\t')[0] for row in (SAMPLE / 'cc3m/Train_GCC-training.tsv').read_text().splitlines()]
    samples = []
    for shard in range(shards):
        rows = []
        with tarfile.open(folder / f'{shard:05}.tar', 'w') as archive:
            for i in range(number // shards):
                row = shard * (number // shards) + i
                key, url, caption = f'{shard:05}{i:04}', f'https://pictures.example.org/{row}.jpg', f'{words[row % len(words)]} {row}'
                image = pictures[row % len(pictures)] + row.to_bytes(4, 'big')
                about = {'caption': caption, 'url': url, 'key': key, 'status': 'success', 'error_message': None, 'width': 256}
                for suffix, content in (('jpg', image), ('txt', caption.encode()), ('json', json.dumps(about | {'exif': '{}'}).encode())):
                    info = tarfile.TarInfo(f'{key}.{suffix}')
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
                rows.append(about)
                identity = {'url': url, 'licence': 'a licence of some words, as CC3M has it', 'image_id': f'{row:016x}'}
                samples.append({'image': image, 'captions': {'en': [caption]}, **identity})
        pq.write_table(pa.Table.from_pylist(rows), folder / f'{shard:05}.parquet')
    return samples
