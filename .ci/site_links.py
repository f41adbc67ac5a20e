"""On the site, what a document links to outside docs/ (source files, configurations) is shown as its path: the site does not have it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jieba
from mkdocs.exceptions import PluginError

jieba.setLogLevel('WARNING')  # by which the search index cuts Chinese, and which tells of its dictionary

ROOT = Path(__file__).parents[1]
OUTSIDE = re.compile(r'\[[^\]\n]*\]\(\.\./([^)#\s]+)(?:#[^)]*)?\)')


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page's Markdown with paths in place of such links. A link to what is not there ends the build."""

    def path(link: re.Match[str]) -> str:
        if not (ROOT / link[1]).exists():
            raise PluginError(f'{page.file.src_uri} links to {link[1]}, which does not exist')
        return f'`{link[1].rstrip("/")}`'

    return OUTSIDE.sub(path, markdown)
