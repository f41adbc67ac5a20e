"""`--help` of the training command lists every setting with its default."""

from __future__ import annotations

import re
import subprocess
import sys

from pretrain.config import Config, flat, load_config
from tests.support.launch import ROOT


def test_the_listed_defaults_are_the_configurations() -> None:
    """Given back to the command, all at once, they change nothing."""
    words = [sys.executable, str(ROOT / 'pretrain/run.py'), '--help']
    printed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    listed = re.findall(r'^  ([a-z_.0-9]+=.*)$', printed.partition('settings, e.g.')[2], re.MULTILINE)
    assert load_config(None, listed) == Config()
    keys = {line.partition('=')[0] for line in listed}
    assert flat(Config().model_dump(by_alias=True)).keys() - keys == {'finetune'} and len(keys) == len(listed) > 80
    assert '  optimizer.lr=' in printed and '      highest learning rate' in printed


def test_the_help_of_pretrain_imports_no_torch() -> None:
    """Nor does its report, which is read while a run is in progress."""
    code = 'import sys; from pretrain.cli import run; import pretrain.report.page; '
    code += "run(sys.argv[1:]) if 'torch' not in sys.modules else print('torch is imported')"
    printed = subprocess.run([sys.executable, '-c', code, '--help'], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed.startswith('usage: pretrain') and 'doctor' in printed
