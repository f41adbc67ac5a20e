"""Every setting of a run, typed and described. A YAML file and `key.sub=value` arguments fill it; an unknown key is answered with the nearest."""
from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shards.errors import UserError

TASKS = ('cmcl', 'clcl', 'itm', 'mlm', 'plm', 'vplm', 'mt', 'mmmt')
Task = Literal['cmcl', 'clcl', 'itm', 'mlm', 'plm', 'vplm', 'mt', 'mmmt']


class Section(BaseModel):
    model_config = ConfigDict(extra='forbid', validate_default=True)


class Visual(Section):
    name: str = Field('vit_base_patch16_224', description='any timm VisionTransformer by name')
    image_size: int = Field(224, gt=0, description='pixels a side')
    options: dict[str, Any] = Field(default_factory=dict, description="arguments for timm's constructor that change the named model, e.g. depth, embed_dim, patch_size")


class Model(Section):
    visual: Visual = Visual()
    dim: int = Field(1024, gt=0, description='width of text encoder, cross encoder and decoder')
    heads: int = Field(16, gt=0, description='attention heads of those three')
    ffn: int = Field(4096, gt=0, description='width of their feed-forward layers')
    text_layers: int = Field(12, ge=1)
    cross_layers: int = Field(12, ge=1)
    decoder_layers: int = Field(12, ge=1)
    max_positions: int = Field(1024, gt=0, description='learned positions, as mBART')
    dropout: float = Field(0.1, ge=0, lt=1, description='as mBART')
    projection: int = Field(256, gt=0, description='size of the contrastive space (bias-free linear from both towers)')
    logit_scale: float = Field(1 / 0.07, gt=0, description='initial inverse temperature of the contrastive softmax')
    logit_scale_max: float = Field(100.0, gt=0)
    token_std: float = Field(0.02, gt=0, description='standard deviation of the initial weights')


class Data(Section):
    shards: str = Field('shards', description='folder that holds <corpus>/<split>/… as data_pipeline builds it')
    tokenizer: str = Field('tokenizer', description='folder of the tokenizer; its fingerprint must be that of the text shards')
    cache: str | None = Field(None, description='folder for decompressed copies of compressed shards, on a local disk; none: one below the temporary folder')
    pictures: list[Literal['cc3m', 'cc12m', 'wit']] = Field(
        default_factory=lambda: ['cc3m', 'cc12m', 'wit'], min_length=1, description='picture corpora that are trained on; each must be there'
    )
    workers: int = Field(4, ge=0, description='loader processes per rank; the batches do not depend on it')
    prefetch: int = Field(2, ge=1, description='steps that each worker prepares ahead')
    caption_tokens: int = Field(64, ge=4, description='longest caption, special tokens included')
    text_tokens: int = Field(128, ge=4, description='longest text of CC100 and OPUS, special tokens included')
    language_alpha: float = Field(0.7, ge=0, le=1, description='languages are drawn with p proportional to n^alpha (mBART 0.7, XLM-R 0.3)')
    corpus_alpha: float = Field(1.0, ge=0, le=1, description='picture corpora are drawn with p proportional to n^alpha (1: by size)')
    block: int = Field(1024, gt=0, description='positions in which every stream has its quota')
    shuffle_shards: int = Field(8, gt=0, description='shards in a window of the block shuffle: files open at a time')
    augment_min_scale: float = Field(0.8, gt=0, le=1, description='smallest share of the area that a random crop keeps; 1 switches cropping off')
    augment_flip: float = Field(0.0, ge=0, le=1, description='probability of a mirror image (captions name left and right, so 0)')
    augment_colour: float = Field(0.0, ge=0, le=1, description='strength of brightness, contrast and channel jitter')


class TaskOptions(Section):
    mask_ratio: float = Field(0.15, gt=0, lt=1, description='share of tokens that MLM masks (80/10/10)')
    mlm_text_share: float = Field(0.5, ge=0, le=1, description='share of MLM samples from CC100, the rest has pictures')
    mmmt_mask_ratio: float = Field(0.15, gt=0, lt=1, description='share of source tokens that mMMT replaces by <mask>')
    mmmt_image_drop: float = Field(0.2, ge=0, le=1, description='probability that an mMMT sample has no picture')
    prefix_probability: float = Field(0.5, ge=0, le=1, description='probability that T_p is prefix_share of the text rather than 0 (PLM, vPLM)')
    prefix_share: float = Field(0.2, gt=0, lt=1)
    itm_negative_share: float = Field(0.5, ge=0, le=1, description='share of ITM pairs whose picture or text is replaced')


class Batch(Section):
    global_: int = Field(4096, gt=0, alias='global', description='samples per task per update, over all ranks')
    micro: int = Field(128, gt=0, description='samples of one task that a rank takes in one forward; contrastive losses still span the global batch')


class Optimizer(Section):
    lr: float = Field(1e-4, gt=0)
    lr_min: float = Field(1e-6, ge=0, description='floor of the cosine')
    warmup: int = Field(4000, ge=0, description='steps of linear warm-up')
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = Field(0.1, ge=0, description='not on biases, norms and the logit scale')
    clip: float = Field(1.0, gt=0, description='gradient norm')


class Checkpoint(Section):
    every: int = Field(1000, gt=0, description='steps')
    keep: int = Field(3, ge=1, description='newest checkpoints that stay')


class Retrieval(Section):
    data: str | None = Field(None, description="a folder in Multi30k's layout, ranked zero-shot at every evaluation; none: no curve")
    split: str = 'test_2016_flickr'
    languages: list[str] = Field(default_factory=list, description='empty: every language that the folder has')


class Eval(Section):
    every: int = Field(1000, gt=0, description='steps between held-out losses')
    samples: int = Field(64, gt=1, description='held-out samples per task and language')
    retrieval: Retrieval = Retrieval()


class Log(Section):
    every: int = Field(10, gt=0, description='steps between lines on the terminal; metrics.jsonl has every step')
    tensorboard: bool = True


class Config(Section):
    """A run."""

    out: str = Field('runs/paper', description='folder of checkpoints, metrics and events; a second start with the same folder continues')
    steps: int = Field(60_000, gt=0)
    seed: int = Field(0, ge=0)
    tasks: list[Task] = Field(default_factory=lambda: list(TASKS), min_length=1)
    task_weights: dict[Task, float] = Field(default_factory=dict, description='weight of a task in the merged loss; 1 where it is not named (the paper: all equal)')
    precision: Literal['fp32', 'bf16'] = 'bf16'
    model: Model = Model()
    data: Data = Data()
    task: TaskOptions = TaskOptions()
    batch: Batch = Batch()
    optimizer: Optimizer = Optimizer()
    checkpoint: Checkpoint = Checkpoint()
    eval: Eval = Eval()
    log: Log = Log()


def load_config(path: str | Path | None, overrides: list[str] | None = None) -> Config:
    """The configuration of a YAML file (none: the defaults) with `key.sub=value` arguments on top.

    Raises UserError that names the key, the file and the valid choices.
    """
    raw: dict[str, Any] = {}
    if path is not None:
        try:
            raw = yaml.safe_load(Path(path).read_text(encoding='utf8')) or {}
        except FileNotFoundError:
            raise UserError(f'configuration {path} does not exist; see configs/') from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f'configuration {path} is not valid YAML: {" ".join(str(error).split())}') from None
        if not isinstance(raw, dict):
            raise UserError(f'configuration {path} must be a mapping of settings')
    for override in overrides or []:
        key, equals, value = override.partition('=')
        if not equals:
            raise UserError(f'{override!r} is not key=value, e.g. batch.global=64')
        _assign(raw, key.split('.'), _parse(override, value))
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        raise UserError(_explain(error, path)) from None


def dump_config(config: Config) -> str:
    """The resolved configuration as YAML, as it is saved beside a run."""
    return yaml.safe_dump(config.model_dump(by_alias=True, mode='json'), sort_keys=False, allow_unicode=True)


def _parse(override: str, text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f'{override!r}: the value is not valid YAML') from None
    if isinstance(value, str):  # YAML 1.1 reads 1e-4 as a string
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _assign(raw: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        raw = raw.setdefault(key, {})
        if not isinstance(raw, dict):
            raise UserError(f'{".".join(keys)}: {key} is a single value, it has no parts')
    raw[keys[-1]] = value


def _explain(error: ValidationError, path: str | Path | None) -> str:
    """The first problem of a validation, in one line."""
    first = error.errors()[0]
    where = '.'.join(str(part) for part in first['loc'])
    source = f' (in {path} or on the command line)' if path else ''
    if first['type'] == 'extra_forbidden':
        near = difflib.get_close_matches(where, _keys(Config), 1, 0.3)
        return f'unknown setting {where}{source}' + (f'; did you mean {near[0]}?' if near else '')
    return f'{where} = {first["input"]!r}{source}: {first["msg"]}'


def _keys(model: type[BaseModel], prefix: str = '') -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        names.append(key)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += _keys(field.annotation, key + '.')
    return names
