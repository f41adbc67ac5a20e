"""Every setting of a run, typed and described.

A YAML file and `key.sub=value` arguments fill it; an unknown key is answered with the nearest.
"""
from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from shards.errors import UserError

TASKS = ('cmcl', 'clcl', 'itm', 'mlm', 'plm', 'vplm', 'mt', 'mmmt')
Task = Literal['cmcl', 'clcl', 'itm', 'mlm', 'plm', 'vplm', 'mt', 'mmmt']
Pictures = Literal['cc3m', 'cc12m', 'wit']


class Section(BaseModel):
    model_config = ConfigDict(extra='forbid', validate_default=True)


class Visual(Section):
    name: str = Field(
        'vit_base_patch16_224', description='any timm VisionTransformer with a class token, by name; its weights start random'
    )
    image_size: int = Field(224, gt=0, description='pixels a side, a multiple of the patch size')
    options: dict[str, Any] = Field(
        default_factory=dict, description="arguments for timm's constructor that change the named model, e.g. depth, embed_dim, patch_size"
    )


class Model(Section):
    """Sizes of the four parts."""

    visual: Visual = Visual()
    dim: int = Field(1024, gt=0, description='width of text encoder, cross encoder and decoder')
    heads: int = Field(16, gt=0, description='attention heads of those three; divides dim')
    ffn: int = Field(4096, gt=0, description='width of their feed-forward layers')
    text_layers: int = Field(12, ge=1, description='layers of the text encoder')
    cross_layers: int = Field(12, ge=1, description='layers of the cross encoder')
    decoder_layers: int = Field(12, ge=1, description='layers of the decoder')
    max_positions: int = Field(1024, gt=0, description='learned positions of text encoder and decoder, as mBART: the longest sequence')
    dropout: float = Field(0.1, ge=0, lt=1, description='in text encoder, cross encoder and decoder, as mBART; the ViT has none')
    projection: int = Field(256, gt=0, description='size of the contrastive space (bias-free linear from both towers)')
    logit_scale: float = Field(1 / 0.07, gt=0, description='initial inverse temperature of the contrastive softmax')
    logit_scale_max: float = Field(100.0, gt=0, description='the learnt inverse temperature is clamped here')
    token_std: float = Field(0.02, gt=0, description='standard deviation of all initial weights but those of the ViT, norms and biases')

    @model_validator(mode='after')
    def _heads_divide(self) -> Model:
        if self.dim % self.heads:
            raise ValueError(f'heads={self.heads} must divide dim={self.dim}')
        return self


class Data(Section):
    shards: str = Field('shards', description='folder that holds <corpus>/<split>/… as data_pipeline builds it')
    tokenizer: str = Field('tokenizer', description='folder of the tokenizer; its fingerprint must be that of the text shards')
    cache: str | None = Field(
        None, description='folder for decompressed copies of compressed shards, as large as they are; none: one in the temporary folder'
    )
    pictures: list[Pictures] = Field(
        default_factory=lambda: list(get_args(Pictures)), min_length=1, description='picture corpora to train on; each must be there'
    )
    workers: int = Field(4, ge=0, description='loader processes per rank; the batches do not depend on it')
    prefetch: int = Field(2, ge=1, description='steps that each worker prepares ahead')
    caption_tokens: int = Field(64, ge=4, description='longest caption, special tokens included')
    text_tokens: int = Field(128, ge=4, description='longest text of CC100 and OPUS, special tokens included')
    language_alpha: float = Field(
        0.7, ge=0, le=1,
        description='languages are drawn with p proportional to n^alpha, n: captions, tokens (CC100), pairs (OPUS); mBART 0.7, XLM-R 0.3',
    )
    corpus_alpha: float = Field(
        1.0, ge=0, le=1,
        description='picture corpora are drawn with p proportional to n^alpha, n: records that the task can use (1: by size)',
    )
    block: int = Field(1024, gt=0, description='positions of a task in which every stream has a fixed quota')
    shuffle_shards: int = Field(
        8, gt=0,
        description='shards in a window of the block shuffle: samples are mixed, and files read, within so many of a stream at a time',
    )
    augment_min_scale: float = Field(
        0.8, gt=0, le=1,
        description="smallest share of the largest square's area that a random crop keeps; 1: the centred square, no cropping",
    )
    augment_flip: float = Field(0.0, ge=0, le=1, description='probability of a mirror image (captions name left and right, so 0)')
    augment_colour: float = Field(
        0.0, ge=0, le=1, description='brightness and contrast vary by up to this share, each channel by half of it'
    )


class TaskOptions(Section):
    mask_ratio: float = Field(0.15, gt=0, lt=1, description='probability that MLM chooses a token (80/10/10), at least one a text')
    mlm_text_share: float = Field(0.5, ge=0, le=1, description='share of MLM samples from CC100; the others have pictures')
    mmmt_mask_ratio: float = Field(
        0.15, gt=0, lt=1, description='probability that mMMT replaces a source token by <mask>, at least one a text'
    )
    mmmt_image_drop: float = Field(0.2, ge=0, le=1, description='probability that an mMMT sample has no picture')
    prefix_probability: float = Field(
        0.5, ge=0, le=1, description='probability that T_p is prefix_share of the text rather than 0 (PLM, vPLM)'
    )
    prefix_share: float = Field(0.2, gt=0, lt=1, description='T_p as a share of the text, rounded down')
    itm_negative_share: float = Field(
        0.5, ge=0, le=1, description='probability that the picture or the text (half each) of an ITM pair is replaced'
    )


class Batch(Section):
    global_: int = Field(4096, gt=0, alias='global', description='samples per task per update, over all ranks; a multiple of their number')
    tasks: dict[Task, int] = Field(
        default_factory=dict,
        description='samples per update of single tasks, where not `global`; their loss keeps its weight (contrast gains from negatives)',
    )
    micro: int = Field(
        128, gt=0,
        description='samples of one task in one forward of a rank, at most; contrastive losses span the global batch all the same',
    )

    def size(self, task: str) -> int:
        """Samples of `task` per update, over all ranks."""
        return {str(name): size for name, size in self.tasks.items()}.get(task, self.global_)


class Optimizer(Section):
    lr: float = Field(1e-4, gt=0, description='highest learning rate')
    lr_min: float = Field(1e-6, ge=0, description='floor of the cosine')
    warmup: int = Field(4000, ge=0, description='steps of linear warm-up')
    betas: tuple[float, float] = Field((0.9, 0.999), description="decay of AdamW's two moments")
    eps: float = Field(1e-8, gt=0, description="AdamW's epsilon")
    weight_decay: float = Field(0.1, ge=0, description='on parameters of two dimensions or more: not on biases, norms and the logit scale')
    clip: float = Field(1.0, gt=0, description='largest norm of the merged gradient')


class Checkpoint(Section):
    every: int = Field(1000, gt=0, description='steps between checkpoints; one more at the end, and when the run is stopped')
    keep: int = Field(3, ge=1, description='newest checkpoints that stay')


class Retrieval(Section):
    data: str | None = Field(None, description="a folder in Multi30k's layout, ranked zero-shot at every evaluation; none: no curve")
    split: str = Field('test_2016_flickr', description='name of the image list and the caption files')
    languages: list[str] = Field(default_factory=list, description='in any spelling; empty: every language that the folder has')


class Eval(Section):
    every: int = Field(
        1000, gt=0, description='steps between evaluations (held-out losses, retrieval curve); also at the start and at the end'
    )
    samples: int = Field(64, gt=1, description='held-out samples per task and language, at most')
    tasks: list[Task] | None = Field(
        None, description='tasks with a held-out loss; none: those that are trained. An ablation names the left-out one here'
    )
    retrieval: Retrieval = Retrieval()


class Log(Section):
    every: int = Field(10, gt=0, description='steps between lines on the terminal; metrics.jsonl has every step')
    tensorboard: bool = Field(True, description='also write RUN/tensorboard')


class Config(Section):
    """A run."""

    out: str = Field('runs/paper', description='folder of checkpoints, metrics and events; a second start with the same folder continues')
    steps: int = Field(60_000, gt=0, description='optimizer steps of the whole run')
    seed: int = Field(0, ge=0, description='of initial weights, order of the data, every choice about a sample, dropout')
    tasks: list[Task] = Field(default_factory=lambda: list(get_args(Task)), min_length=1, description='tasks that are trained')
    task_weights: dict[Task, float] = Field(
        default_factory=dict,
        description='weight of a task in the merged loss, which is a mean; 1 where it is not named (the paper: all equal)',
    )
    precision: Literal['fp32', 'bf16'] = Field('bf16', description="of the forward and backward; the optimizer's weights are fp32 in both")
    model: Model = Model()
    data: Data = Data()
    task: TaskOptions = TaskOptions()
    batch: Batch = Batch()
    optimizer: Optimizer = Optimizer()
    checkpoint: Checkpoint = Checkpoint()
    eval: Eval = Eval()
    log: Log = Log()

    @property
    def eval_tasks(self) -> list[Task]:
        """Tasks with a held-out loss."""
        return self.tasks if self.eval.tasks is None else self.eval.tasks

    @model_validator(mode='after')
    def _fits_together(self) -> Config:
        lists: dict[str, list[str]] = {'tasks': [*self.tasks], 'eval.tasks': [*self.eval_tasks], 'data.pictures': [*self.data.pictures]}
        for name, values in lists.items():
            twice = [value for value in values if values.count(value) > 1]
            if twice:
                raise ValueError(f'{name} names {twice[0]} twice')
        for name, tokens in (('caption_tokens', self.data.caption_tokens), ('text_tokens', self.data.text_tokens)):
            if tokens > self.model.max_positions:
                raise ValueError(f'data.{name}={tokens} is more than model.max_positions={self.model.max_positions}')
        return self

    def weight(self, task: str) -> float:
        """Weight of `task` in the merged loss, before it is divided by the number of tasks."""
        return {str(name): weight for name, weight in self.task_weights.items()}.get(task, 1.0)


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
        except OSError as error:
            raise UserError(f'configuration {path} cannot be read ({error.strerror}); see configs/') from None
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
        if raw.get(key) is None:
            raw[key] = {}
        raw = raw[key]
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
    if first['type'] == 'value_error':  # of settings that do not fit together: the message names them
        return f'{where or "configuration"}{source}: {first["ctx"]["error"]}'
    return f'{where} = {first["input"]!r}{source}: {first["msg"]}'


def _keys(model: type[BaseModel], prefix: str = '') -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        names.append(key)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += _keys(field.annotation, key + '.')
    return names
