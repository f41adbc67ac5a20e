"""The hub's own client against a small server that answers as the hub does, and against none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from huggingface_hub import constants, file_download

from pretrain.init import hub
from pretrain.init.weights import open_weights
from shards.errors import UserError

COMMIT = '0' * 40
STATE = {'a': torch.arange(4.0)}


class Hub(BaseHTTPRequestHandler):
    """Files of the repository some/model, at /some/model/resolve/main/NAME."""

    files: dict[str, bytes]

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        repository, _, name = self.path.strip('/').partition('/resolve/main/')
        content = self.files.get(name) if repository == 'some/model' else None
        self.send_response(200 if content is not None or self.path == '/' else 404)
        if content is None:
            self.send_header('X-Error-Code', 'EntryNotFound' if repository == 'some/model' else 'RepoNotFound')
        else:
            self.send_header('ETag', f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header('X-Repo-Commit', COMMIT)
        self.send_header('Content-Length', str(len(content or b'')))
        self.end_headers()
        if body and content:
            self.wfile.write(content)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    torch.save(STATE, tmp_path / 'pytorch_model.bin', _use_new_zipfile_serialization=False)
    weights = (tmp_path / 'pytorch_model.bin').read_bytes()
    Hub.files = {'config.json': json.dumps({'model_type': 'mbart'}).encode(), 'pytorch_model.bin': weights}
    server = ThreadingHTTPServer(('127.0.0.1', 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    url = f'http://127.0.0.1:{server.server_address[1]}'
    settings = {'ENDPOINT': url, 'HF_HUB_CACHE': str(tmp_path / 'cache'), 'HF_HUB_OFFLINE': False, 'HF_HUB_DISABLE_XET': True}
    for name, value in settings.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(file_download, 'HUGGINGFACE_CO_URL_TEMPLATE', url + '/{repo_id}/resolve/{revision}/{filename}')
    monkeypatch.setattr(hub, 'SECONDS', 2.0)
    yield url
    server.shutdown()
    server.server_close()


def test_downloaded_then_taken_from_the_cache(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """mBART-cc25's case: no safetensors, a pickle in the older layout."""
    weights = open_weights('init.text', 'some/model')
    assert weights.format == 'bin' and torch.equal(weights['a'], STATE['a'])
    monkeypatch.setattr(constants, 'ENDPOINT', 'http://127.0.0.1:9')  # nobody listens
    assert torch.equal(open_weights('init.text', 'some/model')['a'], STATE['a'])
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    assert torch.equal(open_weights('init.text', 'some/model')['a'], STATE['a'])


def test_problems_are_one_line(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusal(name: str) -> str:
        with pytest.raises(UserError) as caught:
            open_weights('init.visual', name)
        assert str(caught.value).startswith(f'init.visual = {name}: there is no such folder') and '\n' not in str(caught.value)
        return str(caught.value)

    assert f'no such repository on {address} that you may read' in refusal('some/other')
    monkeypatch.setattr(constants, 'ENDPOINT', 'http://127.0.0.1:9')
    message = refusal('some/model')
    assert 'the hub cannot be reached (http://127.0.0.1:9: ConnectionError)' in message
    assert '`hf download some/model --local-dir DIR`' in message
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    assert 'HF_HUB_OFFLINE is set' in refusal('some/model')
