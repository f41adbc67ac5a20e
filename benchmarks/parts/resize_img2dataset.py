"""img2dataset's own resizer on a folder of pictures, for an interpreter that has it: prints the best seconds of some rounds.

    PYTHON benchmarks/parts/resize_img2dataset.py FOLDER SIDE ROUNDS CLOCK

CLOCK is a function of the module `time`: perf_counter, or process_time for CPU seconds.
"""

from __future__ import annotations

import io
import sys
import time
from importlib import import_module
from pathlib import Path


def main(folder: str, side: str, rounds: str, clock: str) -> None:
    now = getattr(time, clock)
    import_module('cv2').setNumThreads(1)  # this project depends on neither of the two
    resizer = import_module('img2dataset.resizer').Resizer(int(side), 'keep_ratio_largest', resize_only_if_bigger=True, encode_quality=90)
    pictures = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    best = float('inf')
    for _ in range(int(rounds)):
        start = now()
        for picture in pictures:
            *_, error = resizer(io.BytesIO(picture))
            assert error is None, error
        best = min(best, now() - start)
    print(best)


if __name__ == '__main__':
    main(*sys.argv[1:])
