"""Starts the page, and ends it: port, temporary files, signals."""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket
import sys
import tempfile
import threading
import warnings
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from downstream.web.pictures import find_pictures
from pretrain.model.folder import model_folder
from shards.errors import UserError

UPLOAD = '64mb'  # the largest file that is taken
LOCAL = ('127.0.0.1', '::1', 'localhost')


def serve(model: Path, images: Path | None, texts: Path | None, host: str, port: int) -> None:
    """Load a model, embed what is searched, and serve the page until Ctrl-C or SIGTERM.

    Raises UserError without gradio and babel, for a taken port, for a folder without a model, pictures or texts.
    """
    if lacking := [name for name in ('gradio', 'babel') if find_spec(name) is None]:
        raise UserError(f"the page needs {' and '.join(lacking)}: pip install -e '.[demo]' in the folder of this repository")
    check_port(host, port)  # before the model is loaded: mistakes are said at once
    with tempfile.TemporaryDirectory(prefix='ernie-unix2-demo-') as uploads:
        # gradio reads these when it is imported. Nothing is counted or sent anywhere, and nothing that was uploaded outlives the page.
        os.environ |= {'GRADIO_ANALYTICS_ENABLED': 'False', 'HF_HUB_DISABLE_TELEMETRY': '1', 'GRADIO_TEMP_DIR': uploads}
        _serve(model, images, texts, host, port)


def _serve(model: Path, images: Path | None, texts: Path | None, host: str, port: int) -> None:
    paths = find_pictures(images)
    model_folder(model)
    gc.disable()  # as in pretrain/run.py, while imports take their seconds
    from downstream.api import opened
    from downstream.web.collection import embed_pictures, embed_texts, find_texts
    from pretrain.export.data import trained_languages
    from pretrain.model.load import find_model

    gc.enable()
    found = find_model(model)
    loaded = opened(found)
    rows = find_texts(texts, loaded.loaded.config)
    warnings.filterwarnings('ignore', module=r'gradio\.')  # of its own use of Starlette, once a click
    from downstream.web.page import THEME, build

    page = build(loaded, embed_pictures(loaded, paths), embed_texts(loaded, rows), str(model), trained_languages(found))
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        page.launch(
            server_name=host, server_port=port, share=False, inbrowser=False, quiet=True, prevent_thread_lock=True, ssr_mode=False,
            pwa=False, mcp_server=False, enable_monitoring=False, footer_links=[], max_file_size=UPLOAD, theme=THEME,
        )  # fmt: skip
    except OSError:  # between the check and now
        raise _taken(host, port) from None
    if host not in LOCAL:
        print(f'whoever reaches {host} can use this page: there is no password', file=sys.stderr, flush=True)
    print(f'the page is at http://{f"[{host}]" if ":" in host else host}:{port} until Ctrl-C', flush=True)
    ended.wait()
    with suppress(OSError):
        page.close(verbose=False)


def check_port(host: str, port: int) -> None:
    """Raises UserError when a server cannot listen there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the last page's connections may still be closing
            probe.bind(address)
    except socket.gaierror as error:
        raise UserError(f'{host} is no address of this machine ({error.strerror}); --host takes one, such as 127.0.0.1') from None
    except PermissionError:
        raise UserError(f'port {port} is for the system; choose one from 1024 on with --port') from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise _taken(host, port) from None
        raise UserError(f'{host} is no address of this machine ({error.strerror}); --host takes one, such as 127.0.0.1') from None


def _taken(host: str, port: int) -> UserError:
    return UserError(f'port {port} of {host} is taken, perhaps by another page; choose another with --port')
