"""Every code that a corpus or benchmark uses resolves, to one code."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest

from shards.errors import UserError
from shards.languages import APPENDED, CC25, LANGUAGES, canonical, token

SAMPLE = Path(__file__).parents[2] / 'sample'

CC25_SPEC = (
    'ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT lv_LV my_MM ne_NP nl_XX ro_RO ru_RU si_LK '
    'tr_TR vi_VN zh_CN'
)
MBART50 = (
    'af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID ka_GE km_KH mk_MK ml_IN mn_MN mr_IN pl_PL ps_AF pt_XX sv_SE sw_KE ta_IN te_IN th_TH tl_XX '
    'uk_UA ur_PK xh_ZA gl_ES sl_SI'
)
WIT = (
    'af an ar arz ast az azb ba bar be bg bn br bs ca ce ceb ckb cs cv cy da de el en eo es et eu fa fi fil fr fy ga gl hr hsb ht hu hy ia '
    'id io is it iw ja jv ka kk kn ko la lah lb lmo lt lv mg mk ml mn mr ms my nan nds ne nl nn no nv oc pa pl pt qu ro ru sco si sk sl sq '
    'sr sr-Latn sv sw ta te tg th tr tt uk ur uz vec vi vo war xmf yue zh zh-TW'
)
CC100 = (
    'af am ar as az be bg bn bn_rom br bs ca cs cy da de el en eo es et eu fa ff fi fr fy ga gd gl gn gu ha he hi hi_rom hr ht hu hy id ig '
    'is it ja jv ka kk km kn ko ku ky la lg li ln lo lt lv mg mk ml mn mr ms my my_zaw ne nl no ns om or pa pl ps pt qu rm ro ru sa si sc '
    'sd sk sl so sq sr ss su sv sw ta ta_rom te te_rom th tl tn tr ug uk ur ur_rom uz vi wo xh yi yo zh-Hans zh-Hant zu'
)
TATOEBA = (
    'afr ara bul ben deu ell spa est eus pes fin fra heb hin hun ind ita jpn jav kat kaz kor mal mar nld por rus swh tam tel tha tgl tur '
    'urd vie cmn'
)
OTHERS = 'en de id bn ko pt ru zh fr cs ar es vi eng'  # xGQA, XVNLI, Multi30k


@pytest.mark.parametrize('codes', [CC25_SPEC, MBART50, WIT, CC100, TATOEBA, OTHERS])
def test_every_code_of_the_specifications_resolves(codes: str) -> None:
    for code in codes.split():
        assert canonical(code) in LANGUAGES
        assert token(code) in CC25 + APPENDED


def test_every_code_of_the_sample_resolves() -> None:
    codes = {path.name.partition('.')[0] for path in SAMPLE.glob('raw/cc100/*.xz')}
    codes |= {path.name.split('.')[1] for path in SAMPLE.glob('evaluation/*/data/task1/raw/*.gz')}
    codes |= {path.suffix[1:] for path in SAMPLE.glob('evaluation/tatoeba/*')}
    for path in SAMPLE.glob('raw/wit/*.tsv.gz'):
        with gzip.open(path, 'rt', encoding='utf8', newline='') as handle:
            codes |= {row['language'] for row in csv.DictReader(handle, delimiter='\t')}
    for path in SAMPLE.glob('raw/*/translations*.jsonl'):
        codes |= {code for line in path.read_text(encoding='utf8').splitlines() for code in json.loads(line)['caption']}
    assert len(codes) > 30
    assert {canonical(code) for code in codes} <= set(LANGUAGES)


@pytest.mark.parametrize(
    ('code', 'expected'),
    [
        ('iw', 'he'),
        ('fil', 'tl'),
        ('tgl', 'tl'),
        ('deu', 'de'),
        ('ger', 'de'),
        ('cmn', 'zh'),
        ('zh-Hans', 'zh'),
        ('zh_CN', 'zh'),
        ('zh-Hant', 'zh-TW'),
        ('zh_tw', 'zh-TW'),
        ('nb', 'no'),
        ('nn', 'nn'),
        ('pes', 'fa'),
        ('swh', 'sw'),
        ('pt_br', 'pt'),
        ('es-419', 'es'),
        ('ns', 'nso'),
        ('de_DE', 'de'),
        ('my_zaw', 'my_zaw'),
        ('hi_rom', 'hi_rom'),
        ('sr-Latn', 'sr_rom'),
        ('EN', 'en'),
        ('ast', 'ast'),
    ],
)
def test_spellings(code: str, expected: str) -> None:
    assert canonical(code) == expected
    assert canonical(expected) == expected


def test_tokens_are_mbarts() -> None:
    assert ' '.join(CC25) == CC25_SPEC
    assert ' '.join(APPENDED[:27]) == MBART50
    assert len(set(CC25 + APPENDED)) == len(CC25 + APPENDED) == len(LANGUAGES)
    assert [token(code) for code in ('de', 'zh', 'he', 'pt', 'eu', 'zh-TW')] == ['de_DE', 'zh_CN', 'he_IL', 'pt_XX', 'eu_XX', 'zh_TW']
    for code in LANGUAGES:
        assert canonical(token(code)) == code


def test_unknown_code_names_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown language code 'deus'; the nearest known one is "):
        canonical('deus')
    with pytest.raises(UserError, match='unknown language code'):
        canonical('')
