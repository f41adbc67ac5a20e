"""Ports of this machine: where the processes of a launcher meet."""

from __future__ import annotations

import random
import socket

# Below those that the system hands out to whoever connects somewhere: a launcher takes its port many seconds after it was found free.
PORTS = range(16_000, 32_768)


def taken(port: int) -> OSError | None:
    """Why nothing can listen on a port; None: it is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of a run that has ended may still be closing
        try:
            probe.bind(('', port))
        except OSError as error:
            return error
    return None


def free_port() -> int:
    """A port that nothing listens on. Raises OSError when all are taken."""
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        if taken(port) is None:
            return port
    raise OSError(f'every port from {PORTS[0]} to {PORTS[-1]} is taken')
