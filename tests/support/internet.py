"""The internet that programs of others (wget, git, pip, img2dataset) see in a test: a proxy on this machine that has files and git
repositories under their real addresses, by TLS and without. All else is not found.
"""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import quote, unquote, urlsplit

import pytest

# Where REQUIRE_WGET is set (.ci/run) they run and fail without it.
wget = pytest.mark.skipif(
    shutil.which('wget') is None and os.environ.get('REQUIRE_WGET') != '1',
    reason='no wget here (Debian: apt-get install wget)',
)
NULL = os.devnull


def bare() -> dict[str, str]:
    """The environment without what sets up Python, make, git, pip and wget, on this machine or by who runs the tests."""
    foreign = re.compile('PYTHON|MAKE|VENV$|GIT_|PIP_|.*_proxy$', re.IGNORECASE)
    kept = {name: value for name, value in os.environ.items() if not foreign.match(name)}
    return {**kept, 'GIT_CONFIG_GLOBAL': NULL, 'GIT_CONFIG_NOSYSTEM': '1', 'GIT_TERMINAL_PROMPT': '0', 'PIP_CONFIG_FILE': NULL,
            'PIP_RETRIES': '0', 'PIP_DISABLE_PIP_VERSION_CHECK': '1', 'SYSTEM_WGETRC': NULL}  # fmt: skip


def git(*words: str, folder: Path, given: bytes = b'') -> bytes:
    """What a command of git printed."""
    return subprocess.run(['git', *words], cwd=folder, env=bare(), input=given, capture_output=True, check=True).stdout


@dataclass
class Files:
    """What is offered: SCHEME/HOST/PATH below `root` is a file, a folder (its address ends in `/`, it is listed), or a repository."""

    root: Path
    found: set[str] = field(default_factory=set)  # addresses of files and repositories that were asked for and are there

    def place(self, address: str) -> Path:
        """Where the file of an address belongs, in a folder that is there."""
        path = self.at(address)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def at(self, address: str) -> Path:
        scheme, host, path, *_ = urlsplit(address)
        return self.root / scheme / host / unquote(path).lstrip('/')

    def commit(self, address: str) -> None:
        """Make what is in the folder of an address a repository."""
        someone = ('-c', 'user.name=someone', '-c', 'user.email=someone@example.org')
        for words in (('init', '-q'), ('add', '--all'), (*someone, 'commit', '-qm', 'all')):
            git(*words, folder=self.at(address))

    def offered(self) -> set[str]:
        """Addresses of all files and repositories."""
        repositories = {path.parent for path in self.root.rglob('.git')}
        files = {path for path in self.root.rglob('*') if path.is_file() and not repositories & set(path.parents)}
        return {'://'.join(path.relative_to(self.root).as_posix().split('/', 1)) for path in repositories | files}


class Handler(BaseHTTPRequestHandler):
    """One connection of a client to the proxy."""

    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True
    site = ''  # at the other end of a tunnel; otherwise a request has the whole address

    def __init__(self, files: Files, tls: ssl.SSLContext, *connection: object):
        self.files, self.tls = files, tls
        super().__init__(*connection)  # type: ignore[arg-type]

    def log_message(self, *_: object) -> None:
        pass

    def do_CONNECT(self) -> None:
        """From here on the client speaks TLS, with the host that it named."""
        self.site = f'https://{self.path.removesuffix(":443")}'
        self.wfile.write(b'HTTP/1.1 200 Connected\r\n\r\n')
        self.connection = self.tls.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile('rb'), self.connection.makefile('wb')
        self.close_connection = False

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def do_GET(self) -> None:
        address, _, query = (self.site + self.path).partition('?')
        path = self.files.at(address)
        if query == 'service=git-upload-pack' and (path.parents[1] / '.git').is_dir():
            self.files.found.add(address.removesuffix('/info/refs'))
            refs = upload_pack(path.parents[1], '--advertise-refs')
            self.answer(b'001e# service=git-upload-pack\n0000' + refs, 'application/x-git-upload-pack-advertisement')
        elif path.is_file():
            self.files.found.add(address)
            self.answer(path.read_bytes(), 'application/octet-stream')
        elif path.is_dir() and address.endswith('/'):
            links = (f'<a href="{quote(name)}">{name}</a>\n' for name in ('../', *sorted(entry.name for entry in path.iterdir())))
            self.answer(f'<!DOCTYPE html><html><body><pre>\n{"".join(links)}</pre></body></html>\n'.encode(), 'text/html; charset=utf-8')
        else:
            self.answer(b'not found\n', 'text/plain', 404)

    def do_POST(self) -> None:
        """What git wants, after it has seen the refs."""
        wanted = self.rfile.read(int(self.headers['Content-Length']))
        path = self.files.at(self.site + self.path).parent
        self.answer(upload_pack(path, wanted=wanted), 'application/x-git-upload-pack-result')

    def answer(self, content: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def upload_pack(repository: Path, *options: str, wanted: bytes = b'') -> bytes:
    """One step of git's protocol over HTTP (gitprotocol-http(5)), version 0."""
    return git('upload-pack', '--stateless-rpc', *options, '.', folder=repository, given=wanted)


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # img2dataset opens 64 connections at once


@contextmanager
def internet(files: Files, settings: Path) -> Iterator[dict[str, str]]:
    """Runs the proxy, for the hosts that `files` has by now; yields the environment of a program that sees no other internet.

    `settings` is an empty folder, for what those programs read.
    """
    certificate, wgetrc = settings / 'certificate.pem', settings / 'wgetrc'
    write_certificate(certificate, [path.name for path in files.root.glob('https/*')])
    wgetrc.write_text(f'ca_certificate={certificate}\nca_directory={settings}\ntries=1\n')
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with Server(('127.0.0.1', 0), partial(Handler, files, tls)) as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        proxy = f'http://127.0.0.1:{server.server_port}'
        trusted = dict.fromkeys(('GIT_SSL_CAINFO', 'PIP_CERT', 'REQUESTS_CA_BUNDLE', 'SSL_CERT_FILE'), str(certificate))
        try:
            yield {**bare(), **trusted, 'WGETRC': str(wgetrc), 'http_proxy': proxy, 'https_proxy': proxy}
        finally:
            server.shutdown()


def write_certificate(path: Path, hosts: list[str]) -> None:
    """A key and a certificate of the hosts, by itself, for a day."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, 'tests')])
    day = timedelta(days=1)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), datetime.now(UTC) - day, datetime.now(UTC) + day
    )
    for extension in (
        x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), x509.BasicConstraints(ca=True, path_length=None),
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
    ):  # fmt: skip
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(secret + builder.sign(key, hashes.SHA256()).public_bytes(pem))
