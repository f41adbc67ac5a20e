"""Where the ranks of a run meet, and by which interface, when nobody has said it: by environment variables of the launcher."""

from __future__ import annotations

import fcntl
import ipaddress
import os
import re
import socket
import struct
from contextlib import suppress
from pathlib import Path

SIOCGIFADDR = 0x8915  # linux/sockios.h: the address of an interface
# What NCCL and PyTorch do when a GPU or the network goes wrong; slurm/lib.sh explains each, and sets the same.
NCCL = {
    'TORCH_NCCL_ASYNC_ERROR_HANDLING': '3',  # a collective that fails ends its process
    'TORCH_NCCL_HEARTBEAT_TIMEOUT_SEC': '600',
    'TORCH_FR_BUFFER_SIZE': '2000',  # collectives that the flight recorder keeps
    'TORCH_NCCL_DUMP_ON_TIMEOUT': '1',
    'NCCL_DEBUG': 'WARN',
}
ELSEWHERE = '192.0.2.1'  # RFC 5737: an address that nobody has. It is only asked which way would lead there
NODES = ('SLURM_STEP_NUM_NODES', 'GROUP_WORLD_SIZE', 'CROSS_SIZE')  # of srun, torchrun, deepspeed


def master_address() -> str:
    """Under srun the first node, where rank 0 is; if its name is not known here, where srun runs; else this machine."""
    nodes = os.environ.get('SLURM_STEP_NODELIST') or os.environ.get('SLURM_JOB_NODELIST')
    if nodes:
        with suppress(OSError):
            socket.gethostbyname(first_host(nodes))
            return first_host(nodes)
    return os.environ.get('SLURM_LAUNCH_NODE_IPADDR', '127.0.0.1')


def first_host(nodes: str) -> str:
    """Of a list of nodes as Slurm writes it: a01 of `a[01-04,7],b`."""
    first = re.split(r',(?![^\[]*\])', nodes)[0]
    return re.sub(r'\[([^],-]+)[^]]*\]', r'\1', first)


def prepare_nccl(flight: Path) -> None:
    """Before the group of a run on GPUs is made: NCCL's settings that nobody has chosen. Each rank's flight record goes to
    `flight`/rank-N.
    """
    for name, value in NCCL.items():
        os.environ.setdefault(name, value)
    if 'TORCH_FR_DUMP_TEMP_FILE' not in os.environ:
        os.environ['TORCH_FR_DUMP_TEMP_FILE'] = str(flight.absolute() / 'rank-')
        with suppress(OSError):  # a folder that cannot be written to is told by the run's lock, in one line
            flight.mkdir(parents=True, exist_ok=True)


def choose_gloo_interface(master: str) -> None:
    """Sets GLOO_SOCKET_IFNAME when the run spans nodes and nobody has. Gloo would take the address that the host's own name has, which with
    Debian's /etc/hosts is 127.0.1.1: the other nodes do not get there.
    """
    if 'GLOO_SOCKET_IFNAME' in os.environ or not any(int(os.environ.get(name, '1')) > 1 for name in NODES):
        return
    name = interface_towards(master)
    if name is not None:
        os.environ['GLOO_SOCKET_IFNAME'] = name


def interface_towards(host: str) -> str | None:
    """The interface whose address this machine has when it speaks to `host`, or, if that is its own name, to the rest of the world.
    None: the loopback was asked for, or nothing is known.
    """
    try:
        own = _source(host)
        if _is_loopback(own) and not _is_loopback(host):
            own = _source(ELSEWHERE)
        return None if _is_loopback(own) else _interface_of(own)
    except OSError:  # an unknown name, no route
        return None


def _source(host: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))  # a datagram's socket: nothing is sent
        return str(probe.getsockname()[0])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == 'localhost'


def _interface_of(address: str) -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # it has no address
                answer = fcntl.ioctl(probe, SIOCGIFADDR, struct.pack('256s', name.encode()))
                if socket.inet_ntoa(answer[20:24]) == address:
                    return name
    return None
