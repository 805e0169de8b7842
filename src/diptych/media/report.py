"""What was read of somebody's pictures and captions, and what was not, and why."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

__all__ = ["IN_PART", "Left", "Report", "counted"]

IN_PART = "used in part"
"""How a line begins that tells of those, after what they are."""

_FIRST = 5  # of what was left out that are named

_SINGULAR = {
    "pictures": "picture",
    "captions": "caption",
    "rows": "row",
    "names": "name",
    "lists": "list",
    "files": "file",
    "arrays": "array",
    "folders": "folder",
    "splits": "split",
    "texts": "text",
    "images": "image",
    "copies": "copy",
    "calls": "call",
    "tokens": "token",
}


_VERBS = frozenset(
    {"belongs", "describes", "does", "has", "holds", "is", "lacks", "leads", "means", "names", "needs", "was"}
)
"""With which a reason may begin, which then speaks of one."""


def counted(count: int, what: str) -> str:
    """So many of a kind.

    Args:
        count: How many.
        what: Their kind in the plural, one of those that a `Report` counts or "texts" and "images".

    Example:
        >>> counted(1, "pictures"), counted(2000, "texts")
        ('1 picture', '2,000 texts')
    """
    return f"{count:,} {_SINGULAR.get(what, what) if count == 1 else what}"


@dataclass(slots=True)
class Left:
    """What was left out for one reason.

    Args:
        what: "rows", "files", "pictures", "captions" or "folders".
        reason: Why.
        count: How many.
        first: The first of them, by name.
    """

    what: str
    reason: str
    count: int = 0
    first: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """One line: ``2 rows not used: each has no caption (captions.csv, line 3; ...)``."""
        return self.told("not used")

    def told(self, how: str) -> str:
        """One line that says how they were used."""
        more = "; ..." if self.count > len(self.first) else ""
        each = "each " if self.count > 1 and self.reason.partition(" ")[0] in _VERBS else ""
        return f"{counted(self.count, self.what)} {how}: {each}{self.reason} ({'; '.join(self.first)}{more})"

    def count_in(self, names: Sequence[str], count: int) -> None:
        """Count more of them, the first of which are named."""
        self.count += count
        self.first += names[: max(0, _FIRST - len(self.first))]


@dataclass(slots=True)
class Report:
    """How many rows, files, pictures, captions and folders were used, and which were not.

    Attributes:
        used: How many of each.
        left: What was left out, by what it is and why.
        remarks: What else there is to know, a sentence each.
    """

    used: dict[str, int] = field(default_factory=dict)
    _left: dict[tuple[str, str], Left] = field(default_factory=dict)
    _partly: dict[tuple[str, str], Left] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    @property
    def left(self) -> list[Left]:
        """What was left out, in the order in which it was met."""
        return list(self._left.values())

    @property
    def partly(self) -> list[Left]:
        """What was used only in part, in the order in which it was met."""
        return list(self._partly.values())

    def use(self, **counts: int) -> None:
        """Count what was used."""
        for what, count in counts.items():
            self.used[what] = self.used.get(what, 0) + count

    def leave(self, what: str, reason: str, *names: str, count: int | None = None) -> None:
        """Count what was left out.

        Args:
            what: "rows", "files", "pictures", "captions" or "folders".
            reason: Why, in a few words.
            names: Of those that are left out, or of the first of them.
            count: How many, if not all are named.
        """
        count = len(names) if count is None else count
        if not count:
            return
        self._left.setdefault((what, reason), Left(what, reason)).count_in(names, count)

    def note(self, what: str, reason: str, *names: str, count: int | None = None) -> None:
        """Count what was used, but only in part; it counts as used, too.

        Args:
            what, names, count: As for `leave`.
            reason: What is missing, in a few words.
        """
        count = len(names) if count is None else count
        self._partly.setdefault((what, reason), Left(what, reason)).count_in(names, count)

    def lose(self, what: str, reason: str, *names: str, count: int | None = None) -> None:
        """Count what had been counted as used until it turned out that it cannot be.

        Args:
            what, reason, names, count: As for `leave`.
        """
        self.leave(what, reason, *names, count=count)
        if what in self.used:
            self.used[what] -= len(names) if count is None else count

    def join(self, other: Report | None) -> Report:
        """Count what another report counts, if there is one; gives this one."""
        if other is None:
            return self
        self.use(**other.used)
        for left in other.left:
            self.leave(left.what, left.reason, *left.first, count=left.count)
        for part in other.partly:
            self.note(part.what, part.reason, *part.first, count=part.count)
        self.remarks += [one for one in other.remarks if one not in self.remarks]
        return self

    def below(self, folder: str) -> Report:
        """The same with the paths that lie in a folder written from there."""
        start = folder.rstrip(os.sep) + os.sep

        def short(found: Mapping[tuple[str, str], Left]) -> dict[tuple[str, str], Left]:
            return {
                key: replace(left, first=[name.removeprefix(start) for name in left.first])
                for key, left in found.items()
            }

        return replace(self, _left=short(self._left), _partly=short(self._partly))

    def lines(self) -> list[str]:
        """All of it, a line for what was used, for each reason and for each remark."""
        counts = [counted(count, what) for what, count in sorted(self.used.items(), key=_order) if count]
        read = [f"read: {', '.join(counts)}"] if counts else []
        return [*read, *map(str, self.left), *(one.told(IN_PART) for one in self.partly), *self.remarks]

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        partly = {"used_in_part": [asdict(one) for one in self.partly]} if self._partly else {}
        left = [asdict(one) for one in self.left]
        return {"used": dict(self.used), "not_used": left, **partly, "remarks": list(self.remarks)}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Report:
        """The report of which `as_dict` told."""
        found = cls(dict(told.get("used", {})), remarks=list(told.get("remarks", ())))
        for name, into in (("not_used", found._left), ("used_in_part", found._partly)):
            for one in told.get(name, ()):
                into[one["what"], one["reason"]] = Left(**one)
        return found


def _order(used: tuple[str, int]) -> int:
    what = list(_SINGULAR)
    return what.index(used[0]) if used[0] in what else len(what)
