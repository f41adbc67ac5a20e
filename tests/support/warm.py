"""Asks the fork server to run a script in several ranks: `python -I warm.py SOCKET RANKS PORT SCRIPT ARGUMENT …`, for which `prewarmed`
gives the first words; with 0 RANKS and PORT - in one process that belongs to no launcher (`alone`). It prints what they print, passes
signals on, and ends with their exit code. It imports nothing heavy.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

PYTHON = 'FORKED_PYTHON'  # variable: the program by which what was forked starts Python
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)


def ask(place: str, request: dict[str, Any]) -> socket.socket:
    """Send a request, with this process's stdin, stdout and stderr."""
    server = socket.socket(socket.AF_UNIX)
    server.connect(place)
    content = json.dumps(request).encode()
    socket.send_fds(server, [len(content).to_bytes(8, 'little')], [0, 1, 2])
    server.sendall(content)
    return server


def answer(server: socket.socket) -> int:
    """The exit code."""
    code = server.recv(1)
    return code[0] if code else 70


def main() -> int:
    place, ranks, port, *arguments = sys.argv[1:]
    environment = {**os.environ, **({'MASTER_PORT': port} if int(ranks) else {})}
    ignored = [
        int(number) for number in PASSED_ON if signal.getsignal(number) is signal.SIG_IGN
    ]  # which a process that is started inherits
    request = {'world': int(ranks), 'environment': environment, 'folder': str(Path.cwd()), 'script': arguments, 'ignored': ignored}
    with ask(place, request) as server:
        for number in set(PASSED_ON) - set(ignored):
            signal.signal(number, lambda number, frame: server.sendall(bytes([number])))
        code = answer(server)
    if code == 256 - signal.SIGKILL:  # this process ends as they did
        os.kill(os.getpid(), signal.SIGKILL)
    return code


if __name__ == '__main__':
    sys.exit(main())
