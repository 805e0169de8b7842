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
from pathlib import Path

__all__ = ["is_known", "unknown_words"]

_WEIGHTS = Path(__file__).parent / "weights"
_ENDINGS = ("s", "es", "ed", "ing", "er", "ers", "est", "ly", "y", "ness", "less", "ful", "al", "ish", "like")
_PART = 3  # letters of a word that another is made of, at least


def unknown_words(text: str) -> tuple[str, ...]:
    """Words of a text, in lower case, that the text tower cannot know, each once.

    Example:
        >>> unknown_words("ein Hund, a dog, xkcdf")
        ('hund', 'xkcdf')
    """
    words = re.findall(r"[^\W\d_]+", text.lower())
    return tuple(word for word in dict.fromkeys(words) if not is_known(word))


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
