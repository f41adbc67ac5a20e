"""What a run reads: tokenizer, shards, initial weights, evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pretrain.config import Config
from pretrain.doctor.finding import FAIL, NOTE, OK, Finding
from shards.errors import UserError


def data(config: Config) -> Iterator[Finding]:
    """Tokenizer and shards, as the run itself checks them before it starts; each that is not there by itself."""
    from pretrain.data.sources import check_data
    from pretrain.missing import lacking, of_demo
    from shards.tokenizer import Tokenizer

    missing = lacking(config)
    for path, command in missing.items():
        yield Finding('data', path, FAIL, 'is not there', f'make demo, or {command}' if of_demo(missing) else command)
    if config.data.tokenizer in missing:
        return
    try:
        tokenizer = Tokenizer.load(Path(config.data.tokenizer), config.model.family)
    except UserError as error:
        yield Finding('data', f'tokenizer: {config.data.tokenizer}', FAIL, 'cannot be used', str(error))
        return
    found = f'{tokenizer.vocabulary:,} ids, fingerprint {tokenizer.fingerprint[:12]}'
    yield Finding('data', f'tokenizer: {config.data.tokenizer}', OK, found)
    if missing:
        return
    try:
        streams = check_data(config, tokenizer)
    except UserError as error:
        yield Finding('data', f'shards: {config.data.shards}', FAIL, 'do not fit the run', str(error))
        return
    found = f'{len(streams)} streams fit the run; `data_pipeline verify` reads every sample'
    yield Finding('data', f'shards: {config.data.shards}', OK, found)


def earlier(config: Config) -> Iterator[Finding]:
    """What the run's folder holds, as the run itself looks at it before it starts."""
    from pretrain.engine.checkpoint import checkpoints
    from pretrain.model.folder import CHECKPOINTS
    from pretrain.preflight import check_newest_checkpoint

    try:
        check_newest_checkpoint(config)
    except UserError as error:
        yield Finding('checkpoints', f'out: {config.out}', FAIL, 'holds another run', str(error))
        return
    found = checkpoints(Path(config.out) / CHECKPOINTS)
    said = f'the run goes on after {found[-1].name}, if that is whole' if found else 'no checkpoints: a new run'
    yield Finding('checkpoints', f'out: {config.out}', OK, said)


def weights(config: Config) -> Iterator[Finding]:
    """Published weights that the run starts from: a folder, the hub's cache, or a download at the start."""
    from huggingface_hub import try_to_load_from_cache

    from pretrain.init.weights import NAMES

    files = [*NAMES, *(f'{file}.index.json' for file in NAMES)]
    for key, name in (('init.text', config.init.text), ('init.visual', config.init.visual)):
        if name is None:
            yield Finding('weights', key, OK, 'none: random')
        elif Path(name).is_dir():
            yield Finding('weights', f'{key}: {name}', OK, 'a folder')
        elif name.startswith(('.', '/')):
            remedy = f'set {key} to a folder with the weights, or to the name of a repository of the hub'
            yield Finding('weights', f'{key}: {name}', FAIL, 'is no folder', remedy)
        elif any(isinstance(try_to_load_from_cache(name, file), str) for file in files):
            yield Finding('weights', f'{key}: {name}', OK, "in the hub's cache")
        else:
            remedy = f'without a network there: `hf download {name} --local-dir DIR` elsewhere, and {key}=DIR'
            yield Finding('weights', f'{key}: {name}', NOTE, 'is downloaded from the hub at the first start', remedy)


def evaluation(config: Config) -> Iterator[Finding]:
    """The set whose retrieval the run watches."""
    from pretrain.evaluation.curve import retrieval_split

    try:
        split = retrieval_split(config)
    except UserError as error:
        yield Finding('evaluation', 'eval.retrieval', FAIL, 'cannot be used', str(error))
        return
    found = 'none' if split is None else f'{len(split.names)} pictures, captions in {" ".join(sorted(split.captions))}'
    yield Finding('evaluation', 'eval.retrieval', OK, found)
