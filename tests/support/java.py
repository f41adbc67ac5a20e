"""Tests that need Java, which METEOR and pycocoevalcap's tokenizer do."""

from __future__ import annotations

import os
import shutil

import pytest

# Where REQUIRE_JAVA is set (.ci/run) they run and fail without it.
java = pytest.mark.skipif(
    shutil.which('java') is None and os.environ.get('REQUIRE_JAVA') != '1',
    reason='no Java here (Debian: apt-get install default-jre-headless)',
)
