"""Settings: what the shipped files say, and what a mistake is answered with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pretrain.config import TASKS, Config, dump_config, flat, load_config
from pretrain.evaluation.curve import retrieval_split
from shards.errors import UserError

CONFIGS = Path(__file__).parents[3] / 'configs'


def refusal(path: Path | None, *overrides: str) -> str:
    """The one line that a mistake is answered with."""
    with pytest.raises(UserError) as caught:
        load_config(path, list(overrides))
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_defaults_are_the_papers() -> None:
    here = ['init.text=null', 'init.visual=null', 'eval.retrieval.data=null']
    assert load_config(CONFIGS / 'paper.yaml', here) == load_config(None) == Config()
    paper = Config()
    assert (paper.steps, paper.batch.global_, paper.optimizer.lr, paper.optimizer.lr_min) == (60_000, 4096, 1e-4, 1e-6)
    assert (paper.optimizer.warmup, paper.optimizer.betas, paper.optimizer.weight_decay) == (4000, (0.9, 0.999), 0.1)
    assert tuple(paper.tasks) == TASKS and paper.precision == 'bf16' and paper.model.dropout == 0.1


def test_paper_yaml_names_settings_that_exist() -> None:
    """Every key of the file is in the resolved configuration, with the value that the file gives."""
    resolved = yaml.safe_load(dump_config(load_config(CONFIGS / 'paper.yaml')))

    def check(part: dict[str, object], whole: dict[str, object], prefix: str) -> None:
        for key, value in part.items():
            if isinstance(value, dict):
                check(value, whole[key], f'{prefix}{key}.')  # type: ignore[arg-type]
            else:
                assert whole[key] == value, prefix + key

    check(yaml.safe_load((CONFIGS / 'paper.yaml').read_text()), resolved, '')


def test_paper_yaml_writes_out_every_decision() -> None:
    """The settings in the table of docs/method.md stand in the file itself, but for those that only another choice reads."""
    table = (CONFIGS.parent / 'docs/method.md').read_text(encoding='utf8').partition('## Decisions')[2].partition('\n## ')[0]
    settings = {
        key
        for line in table.splitlines()
        for key in re.findall(r'`(steps|tasks|task_weights|[a-z_]+(?:\.[a-z_]+)+)`', line.rpartition(' | ')[2])
    }
    assert len(settings) > 40
    paper = yaml.safe_load((CONFIGS / 'paper.yaml').read_text())

    def written(key: str) -> bool:
        part = paper
        for name in key.split('.'):
            if not isinstance(part, dict) or name not in part:
                return False
            part = part[name]
        return True

    not_read = {key for key in settings if not key.startswith('finetune.') and not written(key)}
    assert not_read == {'model.logit_bias', 'batch.draws', 'batch.tasks', 'model.visual.options'}


def test_the_default_run_has_a_retrieval_curve_in_a_fresh_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONFIGS.parent)
    split = retrieval_split(load_config(CONFIGS / 'paper.yaml'))
    assert split is not None and len(split.names) == 183 and len(split.captions) == 21


@pytest.mark.parametrize('setting', ['tasks=[mt, entailment]', 'eval.tasks=[entailment]'])
def test_pretraining_has_no_task_of_fine_tuning(setting: str) -> None:
    assert 'entailment is no task of pre-training; `downstream TASK finetune` trains it' in refusal(CONFIGS / 'sample.yaml', setting)


def test_sample_trains_all_tasks_alike() -> None:
    sample = load_config(CONFIGS / 'sample.yaml')
    assert tuple(sample.tasks) == TASKS and not sample.task_weights
    assert sample.data.shards == 'runs/demo/shards' and sample.precision == 'bf16'


def test_the_longer_run_is_that_of_the_sample_but_for_what_it_says() -> None:
    short, long = (yaml.safe_load(dump_config(load_config(CONFIGS / name))) for name in ('sample.yaml', 'sample_long.yaml'))
    assert long['steps'] > short['steps'] and long['out'] != short['out']
    said = yaml.safe_load((CONFIGS / 'sample_long.yaml').read_text())

    def check(wanted: dict[str, Any], short: dict[str, Any], long: dict[str, Any]) -> None:
        for key in {*short, *long}:
            if isinstance(wanted.get(key), dict):
                check(wanted[key], short[key], long[key])
            elif key in wanted:
                assert long[key] == wanted[key] != short.get(key), key
            else:
                assert long[key] == short[key], key

    del said['base']
    check(said, short, long)


def test_dumped_configuration_loads_again(tmp_path: Path) -> None:
    config = load_config(CONFIGS / 'sample.yaml', ['seed=7', 'task_weights.mlm=0.5', 'data.cache=/x/ÿ', 'eval.tasks=[mt]'])
    (tmp_path / 'config.yaml').write_text(dump_config(config), encoding='utf8')
    assert load_config(tmp_path / 'config.yaml') == config


def test_overrides() -> None:
    config = load_config(
        CONFIGS / 'sample.yaml',
        ['batch.global=32', 'optimizer.lr=1e-4', 'optimizer.betas=[0.9,1e-1]', 'tasks=[mlm, mt]', 'eval.retrieval.data=null',
         'model.visual.options={depth: 2}', 'out=a=b', 'log.tensorboard=false', 'data.pictures=[wit]'],
    )  # fmt: skip
    assert config.batch.global_ == 32 and config.optimizer.lr == 1e-4 and config.optimizer.betas == (0.9, 0.1)
    assert config.tasks == ['mlm', 'mt'] == config.eval_tasks
    assert config.eval.retrieval.data is None and config.model.visual.options == {'depth': 2}
    assert config.out == 'a=b' and config.log.tensorboard is False and config.data.pictures == ['wit']
    assert load_config(None, ['tasks=[mlm]', 'eval.tasks=[mlm, mt]']).eval_tasks == ['mlm', 'mt']


@pytest.mark.parametrize(
    ('override', 'words'),
    [
        ('batch.globl=3', ['unknown setting batch.globl', 'did you mean batch.global?']),
        ('batch.global_=3', ['unknown setting batch.global_', 'batch.global?']),
        ('optimiser.lr=3', ['unknown setting optimiser', 'did you mean optimizer?']),
        ('step=3', ['unknown setting step', 'did you mean steps?']),
        ('lr=3', ['unknown setting lr', 'did you mean optimizer.lr?']),
        ('learning_rate=1', ['unknown setting learning_rate (on the command line); did you mean optimizer.lr?']),
        ('epochs=3', ['did you mean steps (of a fine-tuning: finetune.epochs)?']),
        ('finetune.epoch=3', ['unknown setting finetune.epoch', 'did you mean finetune.epochs?']),
        ('eval.retrieval.langages=[en]', ['did you mean eval.retrieval.languages?']),
        ('tasks=[mt, cmlc]', ['tasks.1', 'did you mean cmcl?']),
        ('precision=fp16', ['did you mean bf16?']),
        ('precision=none', ["Input should be 'fp32' or 'bf16'"]),
        ('steps', ["'steps' is not key=value"]),
        ('steps=many', ['steps', "'many'", 'integer']),
        ('steps=0', ['steps = 0', 'greater than 0']),
        ('tasks=[mlm, mrm]', ['tasks.1', "'mrm'", "'mlm'"]),
        ('tasks=3', ['tasks', 'list']),
        ('tasks=[]', ['tasks', 'at least 1']),
        ('tasks=[mlm, mt, mlm]', ['tasks names mlm twice']),
        ('data.pictures=[wit, wit]', ['data.pictures names wit twice']),
        ('precision=fp16', ['precision', "'fp32' or 'bf16'"]),
        ('task_weights.mrm=2', ['task_weights.mrm', "'mlm'"]),
        ('task_weights.mt=-1', ['task_weights.mt = -1', 'greater than 0']),
        ('task_weights.mt=nan', ['task_weights.mt', 'finite']),
        ('task_weights.mt=.inf', ['task_weights.mt', 'finite']),
        ('batch.tasks={mlm: 0}', ['batch.tasks.mlm = 0', 'greater than 0']),
        ('batch.tasks.mlm=-8', ['batch.tasks.mlm = -8', 'greater than 0']),
        ('batch.tasks.mrm=8', ['batch.tasks.mrm', "'mlm'"]),
        ('optimizer.betas=[1.0, 2]', ['optimizer.betas.0', 'less than 1']),
        ('optimizer.clip=.inf', ['optimizer.clip', 'finite']),
        ('model.visual.options={qkv_bias: no}', ['model.visual.options', 'qkv_bias=no: write true or false']),
        ('model.visual.std=[0.5, 0, 0.5]', ['model.visual.std.1', 'greater than 0']),
        ('model.heads=3', ['model', 'heads=3 must divide dim=1024', 'are 1, 2, 4']),
        ('data.text_tokens=2000', ['data.text_tokens=2000', 'model.max_positions=1024']),
        ('batch.merge=any', ['batch.merge', "'all' or 'drawn'"]),
        ('batch.draws=4', ['batch.draws=4', 'batch.merge=drawn']),
        ('task.itm_negatives=soft', ['task.itm_negatives', "'random' or 'hard'"]),
        ('task.duplicates=negative', ['task.duplicates', "'positive' or 'ignored'"]),
        ('model.contrastive=siglip', ['model.contrastive', "'softmax' or 'sigmoid'"]),
        ('model.text_pooling=max', ['model.text_pooling', "'cls', 'eos' or 'mean'"]),
        ('task.mask_ratio=1.5', ['task.mask_ratio', 'less than 1']),
        ('steps.more=1', ['steps.more: steps is a single value']),
        ('data.shards=[', ["'data.shards=['", 'not valid YAML']),
        ('batch.tasks={mt:8}', ["'batch.tasks={mt:8}': in YAML a space follows a colon; batch.tasks.mt=8 says the same"]),
        ('out=3', ['out = 3', 'string']),
        (
            'batch=4',
            ['batch = 4 (on the command line): batch has settings of its own: batch.merge, batch.draws, batch.global, batch.tasks, '],
        ),
        (
            'eval.retrieval=no',
            ["eval.retrieval = 'no' (on the command line): eval.retrieval has settings of its own: eval.retrieval.data, "],
        ),
        ('task_weights=3', ["task_weights = 3 (on the command line): write KEY: VALUE pairs, as in 'task_weights={KEY: VALUE}', or "]),
        ('eval=null', ['eval = None', 'eval has settings of its own: eval.every, eval.samples, eval.tasks, eval.retrieval']),
        ('finetune=yes', ["finetune = 'yes'", 'finetune has settings of its own: finetune.benchmark, ', 'finetune.text_only, …']),
    ],
)
def test_mistakes_are_named(override: str, words: list[str]) -> None:
    answer = refusal(CONFIGS / 'paper.yaml', override)
    assert all(word in answer for word in words), answer


def test_what_is_like_nothing_is_told_without_a_guess() -> None:
    assert refusal(CONFIGS / 'paper.yaml', 'foo=1') == 'unknown setting foo (on the command line)'


def test_norwegian_is_no_truth_value(tmp_path: Path) -> None:
    """YAML 1.1 reads `no` as false. Where a truth value is wanted, it still is one."""
    path = tmp_path / 'run.yaml'
    path.write_text('eval: {retrieval: {languages: [en, no, NO]}}\nlog: {tensorboard: no}\nmodel: {recompute: on}')
    config = load_config(path)
    assert config.eval.retrieval.languages == ['en', 'no', 'NO'] and config.log.tensorboard is False and config.model.recompute is True
    path.write_text(dump_config(config))
    assert load_config(path) == config
    config = load_config(None, ['eval.retrieval.languages=[no,de]', 'log.tensorboard=false', 'model.recompute=yes'])
    assert config.eval.retrieval.languages == ['no', 'de'] and not config.log.tensorboard and config.model.recompute
    assert load_config(None, ['eval.retrieval.languages=no']).eval.retrieval.languages == ['no']


def test_a_word_for_a_list_is_a_list_of_one() -> None:
    config = load_config(None, ['tasks=cmcl', 'eval.tasks=mt', 'data.pictures=wit'])
    assert (config.tasks, config.eval.tasks, config.data.pictures) == (['cmcl'], ['mt'], ['wit'])
    assert refusal(None, 'tasks=mlm,mt').endswith('; a list is written tasks=[mlm,mt]')
    assert 'did you mean cmcl?' in refusal(None, 'tasks=cmlc')


def test_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In every path; a name on Hugging Face's hub and an address stay."""
    monkeypatch.setenv('HOME', str(tmp_path))
    keys = ['out', 'data.shards', 'data.tokenizer', 'data.cache', 'init.text', 'init.visual', 'eval.retrieval.data', 'log.mlflow']
    (tmp_path / 'below.yaml').write_text('steps: 7')
    (tmp_path / 'run.yaml').write_text('base: ~/below.yaml')
    found = flat(load_config('~/run.yaml', [f'{key}=~/{key}' for key in keys]).model_dump())
    assert [found[key] for key in keys] == [f'{tmp_path}/{key}' for key in keys] and found['steps'] == 7
    config = load_config(None, ['data.shards=s3://bucket/~', 'init.text=org/model', 'log.mlflow=http://host:5000'])
    assert (config.data.shards, config.init.text, config.log.mlflow) == ('s3://bucket/~', 'org/model', 'http://host:5000')


def test_mistakes_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / 'run.yaml'
    assert f'configuration {path} does not exist; see configs/' in refusal(path)
    assert f'configuration {tmp_path} cannot be read' in refusal(tmp_path)
    path.write_text('steps: [1\nseed: 2')
    assert f'configuration {path} is not valid YAML' in refusal(path)
    path.write_bytes(b'out: \xff')
    assert f'configuration {path} is not valid YAML' in refusal(path)
    path.write_text('- steps')
    assert f'{path} must be a mapping' in refusal(path)
    path.write_text('sets: 1')
    assert f'unknown setting sets (in {path}); did you mean steps?' in refusal(path, 'seed=2')
    path.write_text('1: 2')
    assert '1' in refusal(path)
    path.write_text('optimizer: {lr: fast}')
    assert f"optimizer.lr = 'fast' (in {path}): " in refusal(path, 'optimizer.warmup=7')


def test_a_mistake_says_where_it_stands(tmp_path: Path) -> None:
    below, path = tmp_path / 'below.yaml', tmp_path / 'run.yaml'
    below.write_text('optimizer: {lr: fast}')
    path.write_text('base: below.yaml\nsteps: 5\noptimizer: {warmup: 3}')
    assert f"optimizer.lr = 'fast' (in {below}): " in refusal(path)
    assert "optimizer.lr = 'slow' (on the command line): " in refusal(path, 'optimizer.lr=slow')
    assert 'unknown setting optimizer.sped (on the command line)' in refusal(path, 'optimizer.sped=1')
    assert "tasks.1 = 'nt' (on the command line): " in refusal(path, 'optimizer.lr=1e-4', 'tasks=[mt,nt]')


def test_settings_that_do_not_fit_together_are_found_where_they_stand(tmp_path: Path) -> None:
    below, path = tmp_path / 'below.yaml', tmp_path / 'run.yaml'
    below.write_text('model: {dim: 64}\nsteps: 7\ndata: {caption_tokens: 6000}')
    path.write_text('base: below.yaml\nmodel: {heads: 5}')
    assert f'model (in {below} and in {path}): heads=5 must divide dim=64' in refusal(path, 'steps=3')
    assert f'model (in {below} and on the command line): heads=7 must divide dim=64' in refusal(path, 'model.heads=7')
    path.write_text('base: below.yaml')
    assert f'configuration (in {below}): data.caption_tokens=6000 is more than model.max_positions=' in refusal(path, 'steps=3')
    assert '(on the command line): batch.draws=2 counts' in refusal(path, 'batch.draws=2', 'data.caption_tokens=50')
    assert refusal(None, 'steps=x').startswith("steps = 'x': "), 'there is but one place'


def test_arguments_leave_the_layers_as_they_are(tmp_path: Path) -> None:
    """A section that a file and an argument both set."""
    path = tmp_path / 'run.yaml'
    path.write_text('optimizer: {lr: fast}')
    assert f"optimizer.lr = 'fast' (in {path}): " in refusal(path, 'optimizer.warmup=x')


def test_empty_sections_are_filled(tmp_path: Path) -> None:
    path = tmp_path / 'run.yaml'
    path.write_text('optimizer: {lr: 1e-5}\ndata:\n')
    config = load_config(path, ['data.workers=0'])
    assert config.data.workers == 0 and config.optimizer.lr == 1e-5
    path.write_text('')
    assert load_config(path) == Config()


def test_a_file_on_top_of_another(tmp_path: Path) -> None:
    (tmp_path / 'deep').mkdir()
    (tmp_path / 'all.yaml').write_text('steps: 7\ntasks: [mlm, mt]\noptimizer: {lr: 1e-5, warmup: 3}\nbatch: {tasks: {mlm: 8}}')
    (tmp_path / 'deep/middle.yaml').write_text('base: ../all.yaml\noptimizer: {warmup: 4}\nbatch: {tasks: {mt: 16}}')
    (tmp_path / 'deep/top.yaml').write_text('base: middle.yaml\ntasks: [mt]')
    config = load_config(tmp_path / 'deep/top.yaml', ['steps=9'])
    assert (config.steps, config.tasks, config.optimizer.lr, config.optimizer.warmup) == (9, ['mt'], 1e-5, 4)
    assert config.batch.size('mlm') == 8 and config.batch.size('mt') == 16
    path = tmp_path / 'top.yaml'
    path.write_text('base: missing.yaml')
    assert f'configuration {tmp_path / "missing.yaml"}, which {path} names as its base, does not exist' in refusal(path)
    path.write_text('base: [all.yaml]')
    assert f"configuration {path}: base = ['all.yaml'] must be the path" in refusal(path)
    path.write_text('base: top.yaml')
    assert f'configuration {path} is, over `base`, its own base' in refusal(path)


def test_ablations_leave_one_task_out() -> None:
    """The paper's Table 3: 50,000 steps, 512 samples; everything else as the whole run, the left-out task still evaluated."""
    whole = load_config(CONFIGS / 'ablations/all.yaml')
    assert (whole.steps, whole.batch.global_, tuple(whole.tasks)) == (50_000, 512, TASKS)
    for task in ('itm', 'mlm', 'cmcl', 'mmmt', 'vplm'):
        part = load_config(CONFIGS / f'ablations/no_{task}.yaml')
        assert part.tasks == [other for other in TASKS if other != task] and tuple(part.eval_tasks) == TASKS
        assert part.model_copy(update={'tasks': whole.tasks, 'out': whole.out}) == whole


@pytest.mark.parametrize(
    ('name', 'tasks'),
    [
        ('clip', ['cmcl']),
        ('mural', ['cmcl', 'clcl']),
        ('simvlm', ['plm', 'vplm']),
        ('uc2', ['mlm', 'itm', 'vtlm']),
        ('m3p', ['mlm', 'itm']),
    ],
)
def test_compared_systems(name: str, tasks: list[str]) -> None:
    """The paper's recipe but for the tasks, and the header says what is not as in the system's own paper."""
    path = CONFIGS / f'baselines/{name}.yaml'
    config = load_config(path)
    assert config.tasks == tasks == config.eval_tasks and config.out == f'runs/baselines/{name}'
    assert (config.task.code_switch == 0.5) == (name == 'm3p')
    assert '# Not as in the paper' in path.read_text()


def test_every_file_loads() -> None:
    files = sorted(CONFIGS.rglob('*.yaml'))
    assert len(files) >= 13
    assert len({load_config(file).out for file in files}) == len(files), 'no two write into the same folder'
