"""Where processes of a launcher may meet."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from pretrain import ports
from pretrain.ports import free_port, taken


def test_a_port_is_free_and_none_that_the_system_hands_out(monkeypatch: pytest.MonkeyPatch) -> None:
    handed_out = int(Path('/proc/sys/net/ipv4/ip_local_port_range').read_text().split()[0])
    first = free_port()
    assert 1024 <= first < handed_out
    with socket.socket() as other:
        other.bind(('', first))
        assert taken(first) is not None
        second = free_port()
        monkeypatch.setattr(ports, 'PORTS', [first, second])
        assert free_port() == second
        monkeypatch.setattr(ports, 'PORTS', [first])
        with pytest.raises(OSError, match='is taken'):
            free_port()
