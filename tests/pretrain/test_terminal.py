"""The panel on a real pseudo-terminal, read as a terminal shows it; by itself, and from the ranks of the real launcher."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from pretrain import terminal
from pretrain.progress import Standstill, evaluating
from pretrain.terminal import wrapped
from tests.pretrain.test_progress import BAD, configured, told
from tests.support.launch import SECONDS, command, deepspeed, environment

WIDTH = 60


class Screen:
    """A pseudo-terminal of WIDTH columns, and the rows that it would show."""

    def __init__(self) -> None:
        self.ours, self.theirs = os.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack('HHHH', 24, WIDTH, 0, 0))
        self.rows, self.row, self.column = [''], 0, 0
        self.seen: set[str] = set()  # rows that were below the cursor when it returned to the first column
        self._cut = ''  # the beginning of an escape sequence

    def read(self) -> bool:
        """Take what was printed; False when nobody will print any more."""
        try:
            printed = os.read(self.ours, 65536)
        except OSError:  # the last one has closed it
            return False
        text, self._cut = self._cut + printed.decode(errors='replace'), ''
        if (cut := re.search(r'\x1b(\[\d*)?$', text)) is not None:
            text, self._cut = text[: cut.start()], cut[0]
        for token in re.findall(r'\x1b\[\d*[A-Z]|[\r\n]|[^\x1b\r\n]+|.', text):
            self._take(token)
        return bool(printed)

    def drain(self) -> None:
        """Take all that was printed so far."""
        while select.select([self.ours], [], [], 0.2)[0]:
            self.read()

    def _take(self, token: str) -> None:
        if token == '\r':
            self.column = 0
            self.seen.update(self.rows[self.row :])
        elif token == '\n':
            self.row += 1
            self.rows += [''] * (self.row + 1 - len(self.rows))
        elif token == '\x1b[J':
            self.rows[self.row :] = [self.rows[self.row][: self.column]]
        elif token.startswith('\x1b['):
            assert token.endswith('A'), token
            self.row -= int(token[2:-1])
        else:
            before = self.rows[self.row].ljust(self.column)
            self.rows[self.row] = before[: self.column] + token + before[self.column + len(token) :]
            self.column += len(token)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    """What this process prints on stderr."""
    screen = Screen()
    with os.fdopen(screen.theirs, 'w') as stderr:
        monkeypatch.setattr(terminal, 'sys', SimpleNamespace(stderr=stderr))  # pytest takes sys.stderr itself when a test begins
        monkeypatch.setenv('TERM', 'xterm')
        monkeypatch.setattr(terminal, 'PAUSE', 0.0)
        yield screen
        terminal._leave()
    os.close(screen.ours)


def test_the_panel_is_drawn_in_its_place_and_the_last_line_stays(screen: Screen) -> None:
    config = configured(32, 10)
    progress = told(config, range(1, 2), 4.0, 3.0, 1e10)
    told(config, range(2, 7), 0.5, 0.1, 1e10, progress)
    screen.drain()
    assert screen.rows == [
        'step 6/32 (19%)  32 samples/s  utilisation 60.0%',
        'data wait 20.0%  0:13 left  loss 2.506  mt 3.006',
        'cmcl 2.000  lr 9.00e-04  |g| 1.26  temperature 0.0500',
    ]
    assert (screen.row, screen.column) == (0, 0)
    for step in range(7, 33):
        told(config, range(step, step + 1), 0.5, 0.1, 1e10, progress)
        screen.drain()  # a pseudo-terminal holds 4 KB
    lines = [row for row in screen.rows if row]
    assert lines[:4] == [f'step {step}: the update was skipped, {BAD}' for step in (7, 14, 21, 28)]
    assert len(lines) == 5 and lines[4].startswith('step 32/32  loss 2.532  mt 3.032 cmcl 2.000  lr') and lines[4].endswith(' 0:00 left')


@pytest.mark.parametrize(('rows', 'drawn'), [(24, 6), (5, 4), (2, 1), (1, 1)])
def test_the_panel_fits_the_height(screen: Screen, rows: int, drawn: int) -> None:
    """With a line for whatever is printed: a panel that scrolls leaves its first lines behind."""
    fcntl.ioctl(screen.theirs, termios.TIOCSWINSZ, struct.pack('HHHH', rows, WIDTH, 0, 0))
    terminal.show([str(number) * 50 for number in range(6)])
    screen.drain()
    assert screen.rows == [str(number) * 50 for number in range(drawn)]


def test_an_evaluation_is_seen_while_it_runs(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, however young the panel of the step is; the result takes its place."""
    monkeypatch.setattr(terminal, 'PAUSE', 60.0)
    terminal.show(['step 7/9'])
    evaluating(7, Standstill(evaluation=61.0))
    screen.drain()
    assert screen.rows == ['evaluating step 7 …, which took 1:01 the last time']
    terminal.say('held-out loss at step 7: mt 1.0')
    screen.drain()
    assert screen.rows == ['held-out loss at step 7: mt 1.0', '']


def test_nothing_that_others_print_is_lost(screen: Screen) -> None:
    """Another process knows of no panel."""
    terminal.show(['first', 'x' * 50, 'last'])
    os.write(screen.theirs, b'a message of another rank that is long enough\n')
    terminal.show(['first', 'x' * 50, 'last'])
    terminal.say('our own')
    screen.drain()
    message, own = [row for row in screen.rows if row]
    assert message.startswith('a message of another rank that is long enough') and own == 'our own'


def test_what_another_rank_says_stands_by_itself(screen: Screen) -> None:
    """It has drawn no panel, and takes away that of rank 0."""
    for _ in range(2):
        terminal.show(['x' * 50, 'y' * 50])
        terminal._drawn = 0.0  # as it is in the other process
        terminal.say('short')
    screen.drain()
    assert [row for row in screen.rows if row] == ['short', 'short']


def test_no_panel_where_nobody_looks(screen: Screen, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert terminal.is_live()
    monkeypatch.setenv('TERM', 'dumb')
    assert not terminal.is_live()
    monkeypatch.setenv('TERM', 'xterm')
    with (tmp_path / 'log').open('w') as file:
        monkeypatch.setattr(terminal, 'sys', SimpleNamespace(stderr=file))
        assert not terminal.is_live()


def test_lines_fit_the_width() -> None:
    assert wrapped(['aaaa', 'bbbb', 'c' * 30], 12) == ['aaaa  bbbb', 'c' * 11]
    assert wrapped(['aaaa', 'bbbb'], 11) == ['aaaa  bbbb'] and wrapped(['aaaa', 'bbbb'], 10) == ['aaaa', 'bbbb']


@pytest.mark.slow
@pytest.mark.launcher
def test_a_run_of_the_launcher_on_a_terminal(home: Path, tmp_path: Path) -> None:
    """Its processes inherit the terminal: a header first, a panel meanwhile, and at the end lines alone."""
    screen, out = Screen(), tmp_path / 'run'
    settings = ['steps=3', 'tasks=[mlm, cmcl]', 'data.workers=0', 'log.tensorboard=true', 'log.every=1', 'log.peak_tflops=null']
    words = command(deepspeed(2), home, out, *settings)
    started = subprocess.Popen(words, cwd=tmp_path, env={**environment(), 'TERM': 'xterm'}, stdout=screen.theirs, stderr=screen.theirs)
    os.close(screen.theirs)
    while screen.read():
        pass
    os.close(screen.ours)
    assert started.wait(SECONDS) == 0, '\n'.join(screen.rows)
    shown = [row.rstrip() for row in screen.rows if row.strip()]
    assert any(re.match(r'step [12]/3 \((33|67)%\)  ', row) for row in screen.seen), screen.seen  # a fast step's is not drawn
    lines = [row for row in shown if row.startswith('step ')]
    assert len(lines) == 1 and lines[0].startswith('step 3/3  loss ') and 'utilisation' in lines[0] and 'trained 3 steps' in shown
    header = dict(re.findall(r'^  (\w+) +(.*)$', '\n'.join(shown), re.MULTILINE))
    assert header['run'] == f'{out}: 3 steps; a new run' and header['processes'] == '2 on 1 machine, cpu'
    assert re.fullmatch(r'[\d,]+ parameters, bf16; layers text 1, cross 1, decoder 1, width 32; \w+ at 32 pixels', header['model'])
    assert header['tasks'] == 'mlm 8  cmcl 8  samples a step; micro-batches of 4'
    assert re.fullmatch(r'\d+ streams, \d+ shards, [\d,]+ samples; tokenizer of [\d,]+ ids', header['data'])
    assert re.fullmatch(r'relative to [\d.e+-]+ TFLOP/s a process \(of a matrix product, measured just now\)', header['utilisation'])
    assert header['watch'] == f'tensorboard --logdir {out} or pretrain report {out}'
