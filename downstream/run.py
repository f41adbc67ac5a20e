#!/usr/bin/env python
"""The command `downstream` for launchers, which start a script:

deepspeed downstream/run.py TASK VERB --model DIR --data DIR ...
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # a script's own folder comes first on the path

from downstream.cli import main  # noqa: E402

if __name__ == '__main__':
    sys.exit(main())
