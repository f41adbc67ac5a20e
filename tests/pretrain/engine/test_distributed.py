"""What importing DeepSpeed does beside importing it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.docs.commands import ROOT

IMPORT = 'from pretrain.engine.distributed import import_deepspeed; import_deepspeed(); import sys; assert "mlflow" in sys.modules'


def test_nothing_is_reported_to_anybody(tmp_path: Path) -> None:
    """DeepSpeed imports mlflow where it is installed, which keeps an identity for its reports in HOME."""
    environment = {**os.environ, 'HOME': str(tmp_path), 'PYTHONPATH': ''}
    environment.pop('MLFLOW_DISABLE_TELEMETRY', None)
    subprocess.run([sys.executable, '-c', IMPORT], cwd=ROOT, env=environment, check=True)
    assert not [path for path in tmp_path.rglob('*') if 'mlflow' in path.parts]
