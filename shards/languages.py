"""Every language code of every corpus, in one place: corpus spelling -> canonical code -> mBART's spelling.

Canonical codes are ISO 639-1 where it exists, else ISO 639-3 (`ast`, `yue`); `zh` is Chinese in simplified, `zh-TW` in traditional script,
`xx_rom` is a language in Latin script that is usually written in another, `my_zaw` Burmese in Zawgyi's encoding. `no` is Bokmål, `nn`
Nynorsk.
"""

from __future__ import annotations

import difflib
import re
from functools import cache

from shards.errors import UserError


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# mBART-cc25's codes, in the order of their ids (pieces + 1 ...).
CC25 = _words(
    'ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT lv_LV my_MM ne_NP nl_XX ro_RO ru_RU '
    'si_LK tr_TR vi_VN zh_CN'
)

# What mBART-50 adds, in the order of its ids.
MBART50 = _words(
    'af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID ka_GE km_KH mk_MK ml_IN mn_MN mr_IN pl_PL ps_AF pt_XX sv_SE sw_KE ta_IN te_IN th_TH '
    'tl_XX uk_UA ur_PK xh_ZA gl_ES sl_SI'
)

# Every other language: all of ISO 639-1 and the 639-3 languages of WIT, CC100, WikiMatrix, OPUS and Unicode CLDR. The place in this list
# and the next two is the place in the embedding: never reorder, add at the end of the last only. (A tokenizer folder keeps its own copy, so
# additions here leave built shards valid.)
_OTHERS = _words(
    'aa ab ae ak am an as av ay ba be bg bi bm bo br bs ca ce ch co cr cu cv cy da dv dz ee el eo eu ff fj fo fy ga gd gn gv ha ho ht '
    'hu hy hz ia ie ig ii ik io is iu jv kg ki kj kl kn kr ks ku kv kw ky la lb lg li ln lo lu mg mh mi ms mt na nd ng nn no nr nv ny '
    'oc oj om or os pa pi qu rm rn rw sa sc sd se sg sh sk sm sn so sq sr ss st su tg ti tk tn to ts tt tw ty ug uz ve vo wa wo yi yo '
    'za zu ace ach alt ang arc arz ast azb bar bcl ber bgn bho bjn blo bpy brx bug bxr byn ccp ceb cgg chr chy ckb crh csb cjk dag din '
    'diq doi dsb dua dyu ebu ext fon frp frr fur gag gan gaz gez gsw guz hak haw hif hmn hsb ilo inh jam jbo jmc kaa kab kac kam kbd '
    'kbp kde kea kln kmb knn koi kok krc krl ksb ksh lad lah lbe lez lfn lij lmo ltg luo lus lzh lzz mag mai mas mdf mer mfe mgh mhr '
    'min mni mos mrj mus mwl myv mzn nan nap naq nds new nnh nqo nso nus nyn olo pag pam pap pcd pcm pdc pfl pms pnb pnt quc raj rhg '
    'rof rue rup rwk sah saq sat sbp scn sco seh ses sgs shi shn shs sid smn sms smj sma son srn stq syr szl tcy tet tig tok tpi trv '
    'tum twq tyv tzm udm umb vai vec vep vls vmf vro vun wae wal war wuu xal xmf xog yav yrl yue zea zgh zun'
)
_SCRIPTS = {  # canonical -> token, where a language has a second script
    'zh-TW': 'zh_TW',
    'my_zaw': 'my_ZAW',
    'bn_rom': 'bn_ROM',
    'hi_rom': 'hi_ROM',
    'ta_rom': 'ta_ROM',
    'te_rom': 'te_ROM',
    'ur_rom': 'ur_ROM',
    'sr_rom': 'sr_ROM',
}
_ADDED = _words('')  # since then

_TOKENS: dict[str, str] = (
    {token.partition('_')[0]: token for token in CC25 + MBART50}
    | {code: f'{code}_XX' for code in _OTHERS}
    | _SCRIPTS
    | {code: f'{code}_XX' for code in _ADDED}
)

# Tokens with ids after <mask>, in the order of their ids.
APPENDED = tuple(token for token in _TOKENS.values() if token not in CC25)

# ISO 639-3 (and 639-2) -> 639-1, individual languages that stand for their macrolanguage, deprecated codes, other spellings of scripts.
_ISO3 = _words(
    'aar aa abk ab ave ae afr af aka ak amh am arg an ara ar asm as ava av aym ay aze az bak ba bel be bul bg bis bi bam bm ben bn bod '
    'bo bre br bos bs cat ca che ce cha ch cos co cre cr ces cs chu cu chv cv cym cy dan da deu de div dv dzo dz ewe ee ell el eng en '
    'epo eo spa es est et eus eu fas fa ful ff fin fi fij fj fao fo fra fr fry fy gle ga gla gd glg gl grn gn guj gu glv gv hau ha heb '
    'he hin hi hmo ho hrv hr hat ht hun hu hye hy her hz ina ia ind id ile ie ibo ig iii ii ipk ik ido io isl is ita it iku iu jpn ja '
    'jav jv kat ka kon kg kik ki kua kj kaz kk kal kl khm km kan kn kor ko kau kr kas ks kur ku kom kv cor kw kir ky lat la ltz lb lug '
    'lg lim li lin ln lao lo lit lt lub lu lav lv mlg mg mah mh mri mi mkd mk mal ml mon mn mar mr msa ms mlt mt mya my nau na nde nd '
    'nep ne ndo ng nld nl nno nn nor no nbl nr nav nv nya ny oci oc oji oj orm om ori or oss os pan pa pli pi pol pl pus ps por pt que '
    'qu roh rm run rn ron ro rus ru kin rw san sa srd sc snd sd sme se sag sg hbs sh sin si slk sk slv sl smo sm sna sn som so sqi sq '
    'srp sr ssw ss sot st sun su swe sv swa sw tam ta tel te tgk tg tha th tir ti tuk tk tgl tl tsn tn ton to tur tr tso ts tat tt twi '
    'tw tah ty uig ug ukr uk urd ur uzb uz ven ve vie vi vol vo wln wa wol wo xho xh yid yi yor yo zha za zho zh zul zu'
)
_MEMBERS = _words(
    'arb ar azj az ckm hr cmn zh chi zh ekk et fat ak fuc ff fuv ff gug gn ger de fre fr dut nl gre el cze cs slo sk rum ro mac mk alb '
    'sq arm hy baq eu bur my geo ka ice is may ms per fa tib bo wel cy mao mi khk mn kmr ku knc kr lvs lv nob no nb no npi ne ory or '
    'pbt ps pes fa prs fa plt mg quz qu quy qu als sq swh sw tgl tl fil tl uzn uz ydd yi zsm ms hau ha ike iu ayr ay kmn ku gom kok fil '
    'tl iw he in id ji yi jw jv mo ro sh sh scc sr scr hr'
)
_SPELLINGS = {
    'zh-hans': 'zh',
    'zh-cn': 'zh',
    'zh-sg': 'zh',
    'zh-my': 'zh',
    'cmn-hans': 'zh',
    'zho-hans': 'zh',
    'zhs': 'zh',
    'zh-hant': 'zh-TW',
    'zh-tw': 'zh-TW',
    'zh-hk': 'zh-TW',
    'zh-mo': 'zh-TW',
    'cmn-hant': 'zh-TW',
    'zho-hant': 'zh-TW',
    'zht': 'zh-TW',
    'ns': 'nso',
    'zh-yue': 'yue',
    'zh-min-nan': 'nan',
    'zh-classical': 'lzh',
    'be-tarask': 'be',
    'be-x-old': 'be',
    'nds-nl': 'nds',
    'roa-rup': 'rup',
    'fiu-vro': 'vro',
    'my-zaw': 'my_zaw',
    'sr-latn': 'sr_rom',
    'sr-cyrl': 'sr',
    'bn-latn': 'bn_rom',
    'hi-latn': 'hi_rom',
    'ta-latn': 'ta_rom',
    'te-latn': 'te_rom',
    'ur-latn': 'ur_rom',
}


def _key(code: str) -> str:
    return code.strip().lower().replace('_', '-')


def _table() -> dict[str, str]:
    table = {_key(code): code for code in _TOKENS}
    for pairs in (_ISO3, _MEMBERS):
        table.update(zip(pairs[::2], pairs[1::2], strict=True))
    return table | {_key(token): code for code, token in _TOKENS.items()} | _SPELLINGS


_CANONICAL = _table()
_REGION = re.compile(r'^([a-z]{2,3})-(?:[a-z]{2}|[0-9]{3})$')  # pt_br, es-419: a region is no language of its own here

LANGUAGES = tuple(_TOKENS)  # every canonical code


@cache
def canonical(code: str) -> str:
    """Canonical code of any corpus's code (`iw` -> `he`, `deu` -> `de`, `zh-Hant` -> `zh-TW`, `de_DE` -> `de`, `pt_br` -> `pt`).

    Raises UserError for an unknown one, naming the nearest.
    """
    key = _key(code)
    found = _CANONICAL.get(key)
    if found is None and (region := _REGION.match(key)):
        found = _CANONICAL.get(region[1])
    if found is None:
        near = difflib.get_close_matches(key, _CANONICAL, 1, 0.5)
        hint = f'the nearest known one is {near[0]}' if near else 'known are ISO 639-1 and 639-3 codes'
        raise UserError(f'unknown language code {code!r}; {hint} (shards/languages.py holds the table)')
    return found


def token(code: str) -> str:
    """mBART's spelling of a language: cc25's (`de_DE`), else mBART-50's, else `xx_XX`. Takes any spelling that `canonical` takes."""
    return _TOKENS[canonical(code)]
