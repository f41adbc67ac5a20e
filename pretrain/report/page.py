"""The page: what report.html shows of a run, as data; report.js draws it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from pretrain.config import Config, flat
from pretrain.progress import duration
from pretrain.report.curves import Curves
from pretrain.report.read import Line, Run, read_run
from shards.page import self_contained

HERE = Path(__file__).parent
ENDS = {
    '0': 'ended', '2': 'ended by a mistake',
    '129': 'stopped by SIGHUP', '130': 'stopped by SIGINT', '138': 'stopped by SIGUSR1', '143': 'stopped by SIGTERM',
}  # fmt: skip
FAULTS = ('fault', 'rollback', 'removal')


def report(folder: Path) -> str:
    """The page of the run in `folder`. Raises UserError when there is none."""
    run = read_run(folder)
    curves = Curves()
    curves.metrics(run.metrics())
    curves.evaluations(run.evaluations)
    curves.events(run.events)
    data = {
        'title': str(folder),
        'facts': _facts(run, curves),
        'charts': curves.charts(),
        'starts': _starts(run),
        'stops': [line['step'] for line in run.events if line['event'] in ('resume', 'rollback') and 'step' in line],
        'attempts': [list(attempt) for attempt in run.attempts],
        'faults': _faults(run),
        'problems': run.problems,
        'settings': _settings(run),
        'environment': [[name, _text(value)] for name, value in flat(run.environment).items()],
    }
    return self_contained(HERE / 'report', 'Run', data)


def _facts(run: Run, curves: Curves) -> list[list[str]]:
    """[what, value], at the top of the page."""
    last, steps = curves.last, run.settings.get('steps')
    done = last.get('step', 0)
    facts = [['state', _state(run, curves)], ['steps', f'{done:,} of {steps:,}' if isinstance(steps, int) else f'{done:,}']]
    if isinstance(last.get('loss'), dict) and isinstance(last['loss'].get('total'), int | float):
        facts.append(['last loss', f'{last["loss"]["total"]:.3f}'])
    starts = sum(line['event'] in ('start', 'resume') for line in run.events)
    checkpoints = [line for line in run.events if line['event'] == 'checkpoint']
    facts += [['starts', str(starts)], ['skipped updates', str(curves.skipped)], ['checkpoints', str(len(checkpoints))]]
    facts.append(['faults', str(len(_faults(run)))])
    if curves.tokens:
        facts.append(['tokens', f'{int(sum(curves.tokens.values())):,} in {len(curves.tokens)} languages'])
    facts.append(['page written', time.strftime('%Y-%m-%d %H:%M:%S')])
    return facts


def _state(run: Run, curves: Curves) -> str:
    """From the last event: a run that is killed leaves none."""
    telling = [line for line in run.events if line['event'] in ('start', 'resume', 'end')]
    if telling and telling[-1]['event'] == 'end':
        code = _text(telling[-1].get('code'))
        return ENDS.get(code, f'ended with exit code {code}')
    seen = max((float(line['time']) for line in (*run.events, curves.last) if isinstance(line.get('time'), int | float)), default=0.0)
    return f'running, or killed: no end is written, and the last line is {duration(max(0.0, time.time() - seen))} old'


def _starts(run: Run) -> list[list[str]]:
    """[when, what, step, processes, what differs from the start before in versions, machine and settings] of every start and end."""
    rows, before = [], None
    for line in run.events:
        if line['event'] not in ('start', 'resume', 'end'):
            continue
        now, told = line.get('environment'), ''
        if isinstance(now, dict):
            now = {name: _text(value) for name, value in flat(now).items()}
            told = ', '.join(f'{name} {value}' for name, value in now.items() if before is not None and before.get(name) != value)
            if before is None:
                told = f'on {now.get("host", "?")}'
            before = now
        if isinstance(line.get('changed'), dict):
            told = ', '.join(filter(None, [told, *(f'{key}={_text(value)}' for key, value in line['changed'].items())]))
        if line['event'] == 'end':
            told = f'exit code {line.get("code")}' + (f': {line["problem"]}' if line.get('problem') else '')
        rows.append([_when(line), str(line['event']), _text(line.get('step', '')), _text(line.get('world', '')), told])
    return rows


def _faults(run: Run) -> list[list[str]]:
    """[when, what, step, the problem]."""
    rows = []
    for line in run.events:
        if line['event'] in FAULTS:
            rows.append([_when(line), str(line['event']), _text(line.get('step', '')), _text(line.get('problem', ''))])
    return rows


def _settings(run: Run) -> list[list[Any]]:
    """[key, value, default where it is another] of the resolved configuration, then of DeepSpeed's, which has no defaults here."""
    defaults, own = flat(Config().model_dump(by_alias=True, mode='json')), flat(run.settings)
    changed = {key: _text(defaults[key]) for key, value in own.items() if key in defaults and defaults[key] != value}
    deepspeed = [[f'deepspeed.{key}', _text(value), None] for key, value in flat(run.deepspeed).items()]
    return [[key, _text(value), changed.get(key)] for key, value in own.items()] + deepspeed


def _text(value: Any) -> str:
    return 'null' if value is None else str(value)


def _when(line: Line) -> str:
    when = line.get('time')
    return time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(when)) if isinstance(when, int | float) else ''
