"""Which words the packaged text tower can know: English ones.

Its tokeniser reads anything, in pieces where it has to, so that no vector tells a word of another language,
or of none, from a rare one. Known are the whole words of the tokeniser, those of a list of English words
(SCOWL), and what is made of known words: with an ending, or two as one.
"""

from __future__ import annotations

import functools
import gzip
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

__all__ = ["is_known", "language_of", "unknown_words"]

_WEIGHTS = Path(__file__).parent / "weights"
_ENDINGS = ("s", "es", "ed", "ing", "er", "ers", "est", "ly", "y", "ness", "less", "ful", "al", "ish", "like")
_SCRIPTS: Mapping[str, str] = {
    "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean", "CJK": "Chinese", "GREEK": "Greek",
    "HEBREW": "Hebrew", "THAI": "Thai", "GEORGIAN": "Georgian", "ARMENIAN": "Armenian", "TAMIL": "Tamil",
    "CYRILLIC": "a language in Cyrillic letters", "ARABIC": "a language in Arabic letters",
    "DEVANAGARI": "a language in Devanagari letters", "BENGALI": "a language in Bengali letters",
}  # fmt: skip
"""Languages by the first word of the names of their letters, those first that mix with others."""

_SIGNS: Mapping[str, str] = {
    "English": "a an the of and with in on at is are her his two from by",
    "German": "ein eine einen einem einer der die das den dem und mit im am auf ist zwei von vor ß ä ö ü",
    "French": "un une le la les des du et avec dans sur sous est deux au aux en qui d l ç è ê à œ",
    "Czech": "se v ve na s u pes dva který která jsou při před ř ě ů ž š č ý",
    "Spanish": "un una el la los las con en y de del dos por al ñ ó í á",
    "Italian": "un una uno il lo la gli le con di del della su sulla nel nella due che e",
    "Portuguese": "um uma o os as com em no na de do da dois e ã õ ç",
    "Dutch": "een het de met op in van en twee bij voor aan ij",
    "Polish": "na w z i dwa psa jest przed ł ą ę ś ż ń ó",
    "Swedish": "en ett och med på i av två som framför å ä ö",
    "Turkish": "bir ve ile iki üzerinde ğ ş ı",
}
"""Short words and letters by which languages in Latin letters are told."""

_COMMON = frozenset(
    (
        "al", "am", "as", "au", "con", "de", "del", "des", "di", "die", "do", "du", "el", "en", "la", "las",
        "le", "les", "los", "met", "na", "no", "on", "os", "se", "un",
    )
)  # fmt: skip
"""Those that stand in English names and sayings too; each counts half."""

_PART = 3  # letters of a word that another is made of, at least


def unknown_words(text: str) -> tuple[str, ...]:
    """Words of a text, in lower case, that the text tower cannot know, each once.

    Example:
        >>> unknown_words("ein Hund, a dog, xkcdf")
        ('hund', 'xkcdf')
    """
    words = re.findall(r"[^\W\d_]+", text.lower())
    return tuple(word for word in dict.fromkeys(words) if not is_known(word))


def language_of(text: str) -> str | None:
    """The language that a text seems to be in, or its script; None where short words do not tell.

    A guess, of use to say why nothing was found: a single noun in Latin letters could be of many.

    Example:
        >>> language_of("ein Hund am Strand"), language_of("собака"), language_of("Hund")
        ('German', 'a language in Cyrillic letters', None)
    """
    letters = Counter(unicodedata.name(one, "").partition(" ")[0] for one in text if one.isalpha())
    for script, language in _SCRIPTS.items():
        if letters[script]:
            return language
    words = re.findall(r"[^\W\d_]+", text.lower())
    signs = [*words, *(one for word in words for one in word if one > "z")]
    told = Counter(
        {
            language: sum(0.5 if one in _COMMON else 1 for one in signs if one in listed)
            for language, listed in ((language, listed.split()) for language, listed in _SIGNS.items())
        }
    )
    (language, most), (_, next_most) = told.most_common(2)
    return language if most >= 1 and most > next_most else None


def is_known(word: str) -> bool:
    """Whether a word in lower case is English, or made of English words; single Latin letters are."""
    if len(word) == 1:
        return word.isascii()
    if word in _tokens() or word in _listed():
        return True
    return _ends_known(word) or any(
        _whole(word[:at]) and _whole(word[at:]) for at in range(_PART, len(word) - _PART + 1)
    )


def _whole(word: str) -> bool:
    return word in _tokens() or word in _listed()


def _ends_known(word: str) -> bool:
    """Whether it is a known word with an ending: hills, making, running, funnier."""
    for ending in _ENDINGS:
        stem = word.removesuffix(ending)
        if stem == word or len(stem) < _PART:
            continue
        doubled = stem[:-1] if stem[-1] == stem[-2] else stem
        spelled = stem[:-1] + "y" if stem[-1] == "i" else stem
        if any(map(_whole, (stem, stem + "e", doubled, spelled))):
            return True
    return False


@functools.cache
def _tokens() -> frozenset[str]:
    content = json.loads((_WEIGHTS / "tokenizer.json").read_text(encoding="utf-8"))
    return frozenset(word for word in content["model"]["vocab"] if len(word) > 1 and word.isalpha())


@functools.cache
def _listed() -> frozenset[str]:
    return frozenset(gzip.decompress((_WEIGHTS / "english.txt.gz").read_bytes()).decode().split())
