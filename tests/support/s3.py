"""A real HTTP S3 on this machine: moto's server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen

import pytest

BUCKET = 'shards'


@contextmanager
def s3_server() -> Iterator[str]:
    """Runs a server with one bucket, and points the environment to it; yields s3://BUCKET."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as environment:
        host, port = server.get_host_and_port()
        for name, value in {
            'S3_ENDPOINT_URL': f'http://{host}:{port}',
            'AWS_ACCESS_KEY_ID': 'someone',
            'AWS_SECRET_ACCESS_KEY': 'secret',
            'AWS_DEFAULT_REGION': 'us-east-1',
        }.items():
            environment.setenv(name, value)
        with urlopen(Request(f'http://{host}:{port}/{BUCKET}', method='PUT')):  # makes the bucket
            pass
        yield f's3://{BUCKET}'
    server.stop()
