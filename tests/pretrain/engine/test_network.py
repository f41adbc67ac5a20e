from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from pretrain.engine.network import NCCL, NODES, choose_gloo_interface, first_host, interface_towards, master_address, prepare_nccl


@pytest.mark.parametrize(
    ('nodes', 'first'),
    [('n0', 'n0'), ('n[0-1]', 'n0'), ('a[01-04,7],b', 'a01'), ('a,b[2-3]', 'a'), ('rack[2,4]node[3-4]', 'rack2node3'), ('g[1]-i', 'g1-i')],
)
def test_the_first_host_of_a_list(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


def test_the_ranks_meet_where_rank_0_is_and_not_where_srun_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('SLURM_LAUNCH_NODE_IPADDR', '10.1.1.1')  # a login node
    monkeypatch.setenv('SLURM_JOB_NODELIST', 'localhost,other')
    assert master_address() == 'localhost'
    monkeypatch.setenv('SLURM_STEP_NODELIST', 'no-such-host.invalid')
    assert master_address() == '10.1.1.1'


def own_address() -> str:
    """Of the interface to the rest of the world."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(('192.0.2.1', 9))
        except OSError:
            pytest.skip('this machine has no network')
        return str(probe.getsockname()[0])


def test_gloo_takes_the_interface_towards_rank_0_when_the_run_spans_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*NODES, 'GLOO_SOCKET_IFNAME'):
        monkeypatch.delenv(name, raising=False)
    address = own_address()
    expected = interface_towards(address)
    assert expected in [name for _, name in socket.if_nameindex()] and expected != 'lo'
    choose_gloo_interface(address)
    assert 'GLOO_SOCKET_IFNAME' not in os.environ
    monkeypatch.setenv('SLURM_STEP_NUM_NODES', '2')
    choose_gloo_interface('127.0.0.1')
    assert 'GLOO_SOCKET_IFNAME' not in os.environ, 'two nodes that are one machine'
    choose_gloo_interface(address)
    assert os.environ.pop('GLOO_SOCKET_IFNAME') == expected


def test_a_name_of_its_own_that_is_the_loopback_is_no_way_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's /etc/hosts: 127.0.1.1 for the host's name."""
    expected = interface_towards(own_address())
    connect = socket.socket.connect

    class Probe(socket.socket):
        def connect(self, address: tuple[str, int]) -> None:  # type: ignore[override]
            connect(self, ('127.0.1.1', 9) if address[0] == 'myself' else address)

    monkeypatch.setattr(socket, 'socket', Probe)
    assert interface_towards('myself') == expected
    assert interface_towards('no-such-host.invalid') is None


def test_nccl_is_set_as_under_slurm_where_nobody_has_set_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*NCCL, 'TORCH_FR_DUMP_TEMP_FILE'):
        monkeypatch.setenv(name, '')  # so that it is as before afterwards
        monkeypatch.delenv(name)
    monkeypatch.setenv('NCCL_DEBUG', 'INFO')
    prepare_nccl(tmp_path / 'run/flight')
    assert {name: os.environ[name] for name in NCCL} == {**NCCL, 'NCCL_DEBUG': 'INFO'}
    assert os.environ['TORCH_FR_DUMP_TEMP_FILE'] == str(tmp_path / 'run/flight/rank-') and (tmp_path / 'run/flight').is_dir()
    slurm = (Path(__file__).parents[3] / 'slurm/lib.sh').read_text()
    assert all(f'export {name}=${{{name}:-{value}}}' in slurm for name, value in NCCL.items())

    monkeypatch.setenv('TORCH_FR_DUMP_TEMP_FILE', '/elsewhere/attempt-1.rank-')
    prepare_nccl(tmp_path / 'other/flight')
    assert os.environ['TORCH_FR_DUMP_TEMP_FILE'] == '/elsewhere/attempt-1.rank-' and not (tmp_path / 'other').exists()
    (tmp_path / 'file').write_text('')
    monkeypatch.delenv('TORCH_FR_DUMP_TEMP_FILE')
    prepare_nccl(tmp_path / 'file/flight')
