"""Texts cut into words for caption metrics: each function gives the same number of texts, their tokens separated by single spaces."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import tempfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pycocoevalcap
from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS, STANFORD_CORENLP_3_4_1_JAR

from shards.errors import UserError

PACKAGE = Path(pycocoevalcap.__path__[0])
JAVA_UTF8 = '-Dfile.encoding=UTF-8'


def has_java() -> bool:
    """Whether `java` can be started."""
    return shutil.which('java') is not None


def ptb(texts: Sequence[str]) -> list[str]:
    """As pycocoevalcap's PTBTokenizer: Stanford's tokenizer, lower case, without punctuation. Needs Java.

    Its class writes a temporary file into the installed package, and loses its place when texts are empty; so the same program is called
    here without. Raises UserError when it fails.
    """
    wanted = [place for place, text in enumerate(texts) if text.split()]
    if not wanted:
        return [''] * len(texts)
    jar = PACKAGE / 'tokenizer' / STANFORD_CORENLP_3_4_1_JAR
    options = ['-preserveLines', '-lowerCase', '-encoding', 'utf-8']
    program = ['java', JAVA_UTF8, '-cp', str(jar), 'edu.stanford.nlp.process.PTBTokenizer', *options]
    lines = '\n'.join(' '.join(texts[place].split()) for place in wanted) + '\n'  # no line end of any script inside
    try:
        done = subprocess.run(program, input=lines.encode(), capture_output=True, check=False)
    except OSError as error:
        raise _failed(str(error)) from None
    found = done.stdout.decode(errors='replace').split('\n')[:-1]  # what was killed may end inside a letter
    if done.returncode or len(found) != len(wanted):
        raise _failed(f'exit code {done.returncode}, {len(found)} of {len(wanted)} lines: {done.stderr.decode(errors="replace")[-500:]}')
    out = [''] * len(texts)
    for place, line in zip(wanted, found, strict=True):
        out[place] = ' '.join(token for token in line.rstrip().split(' ') if token not in PUNCTUATIONS)
    return out


def _failed(why: str) -> UserError:
    why = ' '.join(why.split()).removesuffix(':')
    return UserError(f'the PTB tokenizer, a Java program, failed ({why}); see that Java has the memory it needs, and start again')


def words(texts: Sequence[str]) -> list[str]:
    """Lower-case words, without punctuation: what is left without Java. Figures from it are not the literature's."""
    return [' '.join(re.findall(r"\w+(?:['’-]\w+)*", text.lower())) for text in texts]


def jieba_words(texts: Sequence[str]) -> list[str]:
    """Chinese words by jieba, without punctuation, as the literature scores COCO-CN."""
    return [' '.join(token for token in _jieba().lcut(text) if _is_word(token)) for text in texts]


def characters(texts: Sequence[str]) -> list[str]:
    """Single characters, without punctuation and spaces."""
    return [' '.join(character for character in text if _is_word(character)) for text in texts]


def _is_word(token: str) -> bool:
    return any(unicodedata.category(character)[0] in 'LNM' for character in token)


@functools.cache
def _jieba() -> Any:
    import jieba

    tokenizer = jieba.Tokenizer()
    with tempfile.TemporaryDirectory() as private:  # its cache would be read, by marshal, from a file that anyone may have written
        tokenizer.tmp_dir = private
        jieba.setLogLevel('WARNING')
        tokenizer.initialize()
    return tokenizer
