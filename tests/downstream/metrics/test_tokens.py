"""Words of captions, against pycocoevalcap's own tokenizer where Java runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from downstream.metrics.tokens import characters, jieba_words, ptb, words
from shards.errors import UserError
from tests.support.java import java, replaced_java

TEXTS = [
    'A man, with a "café" (red)!', "Two T-shirts -- don't fall; they're 1,000.5 metres up.", 'A dog & a cat...', 'plain text',
    'A U.S. flag.', "The women's [old] bags: 'new' ones?",
]  # fmt: skip


@java
def test_ptb_is_pycocoevalcaps() -> None:
    reference = PTBTokenizer().tokenize({place: [{'caption': text}] for place, text in enumerate(TEXTS)})
    assert ptb(TEXTS) == [reference[place][0] for place in range(len(TEXTS))]
    assert ptb(TEXTS)[0] == 'a man with a café -lrb- red -rrb-'


@java
def test_ptb_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty texts first, in between and last, and line ends of any script inside."""
    monkeypatch.setenv('LC_ALL', 'C')
    assert ptb(['', 'A\u2028cat\x0b\x85café.', ' ', 'One\ndog\r\n', '']) == ['', 'a cat café', '', 'one dog', '']
    assert ptb(['', '']) == ['', ''] and ptb([]) == []


@pytest.mark.parametrize(
    ('program', 'why'),
    [
        ('echo a man; printf "%s\\n" "no memory" "for this" >&2; exit 137', r'exit code 137, 1 of 2 lines: no memory for this'),
        ('kill -9 $$', r'exit code -9, 0 of 2 lines'),
        ('exec head -c 3', r'exit code 0, 0 of 2 lines'),  # it ends inside a letter
    ],
)
def test_a_tokenizer_that_fails_is_one_line(program: str, why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    replaced_java(tmp_path, program, monkeypatch)
    with pytest.raises(UserError, match=rf'^the PTB tokenizer, a Java program, failed \({why}\); see that Java has the memory it needs.*$'):
        ptb(['zé', 'b'])


def test_words() -> None:
    assert words(TEXTS[:2]) == ['a man with a café red', "two t-shirts don't fall they're 1 000 5 metres up"]


def test_chinese() -> None:
    assert jieba_words(['一个男人和一个女人穿着军装玩手机。', '“猫”！', '']) == ['一个 男人 和 一个 女人 穿着 军装 玩 手机', '猫', '']
    assert characters(['两只 cat，3。', '']) == ['两 只 c a t 3', '']
