"""How the words of what is asked are found, whatever keeps them: within bounds, however common they are.

A home counts words and gives the entries that have them; which are asked for, and how much each tells, is the
same everywhere. What is asked is never a home's own language: it is cut into words, and each is quoted.
"""

from __future__ import annotations

import math
import os
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import ClassVar

import numpy as np

from diptych.core import Rows, Side
from diptych.engine.homes.entries import State, Worded
from diptych.media.metadata import KINDS

__all__ = ["FEW", "MOST", "MOST_WORDS", "NOT_TOLD", "Search", "Words", "cut", "telling", "words_of_name"]

NOT_TOLD = (*(name for name in KINDS if name not in ("tag", "city", "country")), "inscription")
"""Fields that do not say in words what a picture shows; the names of its file and folders stand apart."""

MOST = 2_500
"""Entries that are looked at, and up to which a word is counted, beyond which it is estimated."""

MOST_WORDS = 32
"""Words of what is asked that count."""

FEW = 20_000
"""Rows that a statement compares with."""

# So frequent that they tell nothing, unless nothing else is asked.
_STOP = frozenset(
    {
        *("a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "he", "her", "his", "in", "is"),
        *("it", "its", "of", "on", "or", "s", "she", "t", "that", "the", "their", "there", "they", "this"),
        *("to", "was", "were", "with"),
    }
)
_ENOUGH = 100  # entries with which words that are all common need no wider search
_LAST_FOLDERS = 1  # of a file outside of the collection's folder


@dataclass(frozen=True, slots=True)
class _Word:
    """A word of a query.

    Args:
        match: It in the home's language.
        count: How many entries have it.
        weight: What it tells: the rarer, the more.
    """

    match: str
    count: int
    weight: float


class Search(ABC):
    """One query's search for words; a home says in its own language what is written here.

    Args:
        text: What is asked.
        entries: How many entries there are.
        last: The last row of them.
        without: Leaves out what has all words of one of these.
        within: Rows (m,), ascending, to look at; all, if None.

    Attributes:
        ALL, ANY: What stands between matches in that language.
    """

    ALL: ClassVar[str]
    ANY: ClassVar[str]

    def __init__(
        self, text: str, entries: int, last: int, without: Sequence[str], within: Rows | None
    ) -> None:
        self._entries, self._last, self.within = entries, last, within
        every = cut(text)[:MOST_WORDS]
        self._phrase = self.phrase(every) if len(every) > 1 else ""
        avoided = [self.ALL.join(map(self.quoted, telling(cut(one)))) for one in without]
        self.unless = "".join(self.but_not(one) for one in avoided if one)
        self._words = sorted(map(self._word, telling(every)), key=lambda one: one.count)

    # What a home says

    @abstractmethod
    def quoted(self, word: str) -> str:
        """A match of one word, which has letters and digits only."""

    @abstractmethod
    def phrase(self, words: Sequence[str]) -> str:
        """A match of words one after the other."""

    @abstractmethod
    def but_not(self, match: str) -> str:
        """What is put after a match to leave out those of another."""

    @abstractmethod
    def rows(self, match: str) -> Rows:
        """The first entries that match, ascending; only those of `within`, and not those of `unless`."""

    @abstractmethod
    def counted(self, match: str) -> tuple[int, int]:
        """How many entries match, up to `MOST`, and the last of these."""

    @abstractmethod
    def among(self, rows: Rows, match: str) -> Rows:
        """Those of some entries (m,) that match, and not those of `unless`."""

    # What is asked of it

    def run(self, also: Rows | None) -> Worded:
        """What is found, and how much of what is asked each has."""
        known = [word for word in self._words if word.count]
        total = sum(word.weight for word in self._words)
        if not known:
            return Worded.nothing()
        parts = self._rare(known) if known[0].count <= MOST else self._common(known)
        if also is not None:
            others = np.setdiff1d(also, np.concatenate([rows for rows, _ in parts]))
            parts += [(self.among(others, word.match), word.weight) for word in known if len(others)]
        rows = np.unique(np.concatenate([rows for rows, _ in parts]))
        shares = np.zeros(len(rows))
        for found, weight in parts:
            shares[np.searchsorted(rows, found)] += weight
        shares = np.minimum(
            np.round(shares / total, 6), 1
        )  # all words are 1, in whatever order they are added
        phrases = np.isin(rows, self.rows(self._phrase) if self._phrase else rows[:0])
        return Worded(rows, shares.astype(np.float32), phrases)

    def _rare(self, words: Sequence[_Word]) -> list[tuple[Rows, float]]:
        """Rows and weight of each word, among the entries that have a rare one."""
        rare, others = [words[0]], list(words[1:])
        while others and sum(word.count for word in rare) + others[0].count <= MOST:
            rare.append(others.pop(0))
        parts = [(self.rows(word.match), word.weight) for word in rare]
        any_rare = self.ANY.join(word.match for word in rare)
        parts += [(self.rows(f"({any_rare}){self.ALL}{word.match}"), word.weight) for word in others]
        return parts

    def _common(self, words: Sequence[_Word]) -> list[tuple[Rows, float]]:
        """The same where all words are common: entries that have all of them, or else the rarest of them."""
        parts: list[tuple[Rows, float]] = []
        seen: Rows = np.zeros(0, np.int64)
        for count in range(len(words), 0, -1):
            rows = self.rows(self.ALL.join(word.match for word in words[:count]))
            new = np.setdiff1d(rows, seen)
            parts.append((new, sum(word.weight for word in words[:count])))
            seen = np.union1d(seen, rows)
            if len(seen) >= _ENOUGH:
                break
        return parts

    def _word(self, word: str) -> _Word:
        """A word, counted as far as it is not common; beyond, its first entries tell how dense it is."""
        match = self.quoted(word)
        count, last = self.counted(match)
        if count == MOST:
            count = max(count, round(count * self._last / last))
        weight = math.log1p(max(self._entries - count + 0.5, 0.5) / (count + 0.5))
        return _Word(match, count, weight)


class Words(ABC):
    """What a home answers about words: its entries are counted once a state, and searched in its language."""

    _counted: dict[Side, tuple[State, int]]

    @property
    @abstractmethod
    def state(self) -> State:
        """Which moment is read."""

    @abstractmethod
    def count(self, side: Side) -> int:
        """How many items a side has."""

    @abstractmethod
    def asked(
        self, side: Side, text: str, entries: int, without: Sequence[str], within: Rows | None
    ) -> Search:
        """A search of a side for the words of a text; see `Search`."""

    def words(
        self,
        side: Side,
        text: str,
        *,
        without: Sequence[str] = (),
        within: Rows | None = None,
        also: Rows | None = None,
    ) -> Worded:
        """The entries of a side that share words with a text; see `Home.words`."""
        state = self.state
        if self._counted.get(side, (None, 0))[0] != state:  # which takes a while where there are millions
            self._counted[side] = state, self.count(side)
        return self.asked(side, text, self._counted[side][1], without, within).run(also)


def cut(text: str) -> list[str]:
    """What stands between blanks and signs."""
    return re.findall(r"[^\W_]+", unicodedata.normalize("NFC", text))


def telling(words: Sequence[str]) -> list[str]:
    """The words without repeats, and without those that tell nothing where others do."""
    each = list(dict.fromkeys(word.lower() for word in words))[:MOST_WORDS]
    return [word for word in each if word not in _STOP] or each


def words_of_name(key: bytes) -> str:
    """The words in the name of a file and of its folders, as they are and cut where they were run together.

    Numbers below 100 and single letters, which count and do not name, are left out; so is the ending. Of a
    file outside of the collection's folder only its own folder counts.
    """
    name = PurePosixPath(os.fsdecode(key).encode("utf-8", "replace").decode().replace("\\", "/"))
    parts = [*(name.parts[-1 - _LAST_FOLDERS : -1] if name.is_absolute() else name.parts[:-1]), name.stem]
    found: dict[str, None] = {}
    for word in cut(" ".join(parts)):
        pieces = re.findall(r"[^\W\d_]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", word))
        found.update(dict.fromkeys([word, *pieces]))
    return " ".join(word for word in found if len(word) > (2 if word.isdigit() else 1))
