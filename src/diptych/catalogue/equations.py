r"""Equations of a card, found in its prose.

A card may hold a block that begins with the line ``Equations:`` and ends with an empty line or the card::

    Equations:
    - the objective (eq. 8): J = J_1 + \lambda J_2
        + \eta J_3
    - labels, predicted from the common space (eq. 5): J_1 = \frac1n \lVert P^\top U - Y \rVert_F
    where $U$ has the images' vectors as columns.

Each item says in a few words what it is, has the number of its paper in brackets if it has one, and LaTeX as
it stands between dollars. Lines that go on are indented.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Block", "Equation", "faults", "parted"]

_BLOCK = re.compile(r"^Equations:[ \t]*\n(.+?)(?:\n[ \t]*\n|\Z)", re.MULTILINE | re.DOTALL)
_ITEM = re.compile(r"(?P<says>[^:$\\]+?)(?:\s+\((?P<number>[^()]+)\))?:\s+(?P<latex>\S.*)")
_INLINE = re.compile(r"\$([^$]+)\$")


@dataclass(frozen=True, slots=True)
class Equation:
    """One equation.

    Args:
        says: What it is, in a few words; all of the item, if that has no equation.
        number: Where its paper has it ("eq. 8"); "" if it does not.
        latex: Without dollars; "" if the item has none.
    """

    says: str
    number: str
    latex: str

    @property
    def heading(self) -> str:
        """What it is, and where its paper has it."""
        return f"{self.says} ({self.number})" if self.number else self.says


@dataclass(frozen=True, slots=True)
class Block:
    """The equations of a card.

    Args:
        equations: In order, the objective first.
        where: A sentence ("where ...") that explains symbols, which stand between dollars; "" if none does.
    """

    equations: tuple[Equation, ...]
    where: str

    def explained(self, turned: Callable[[str], str]) -> str:
        """The sentence, with the LaTeX of its symbols turned into something else."""
        return _INLINE.sub(lambda found: turned(found[1]), self.where)


def parted(prose: str) -> tuple[str, Block | None, str]:
    """A card's prose before its equations, the equations (None if it has none), and the prose after them."""
    found = _BLOCK.search(prose)
    if found is None:
        return prose, None, ""
    items: list[str] = []
    for line in found[1].splitlines():
        if line.startswith("- "):
            items.append(line[2:].strip())
        elif line.startswith("where ") or not items:
            items.append(line.strip())
        else:
            items[-1] += f" {line.strip()}"
    where = items.pop() if items[-1].startswith("where ") else ""
    block = Block(tuple(map(_equation, items)), where)
    return prose[: found.start()].strip(), block, prose[found.end() :].strip()


def faults(block: Block) -> list[str]:
    """What is wrong with the form of a block, a sentence each."""
    told = [
        f"{one.says!r} is no equation; write '- what it says (eq. 1): LaTeX'"
        for one in block.equations
        if not one.latex
    ]
    for text in (*(one.latex for one in block.equations), *_INLINE.findall(block.where)):
        bare = re.sub(r"\\[{}]", "", text)
        left, right = (len(re.findall(rf"\\{side}(?![A-Za-z])", text)) for side in ("left", "right"))
        if bare.count("{") != bare.count("}") or left != right:
            told.append(f"the braces of {text!r} do not pair")
    if _INLINE.sub("", block.where).count("$"):
        told.append(f"the dollars of {block.where!r} do not pair")
    return told if block.equations else ["'Equations:' holds none"]


def _equation(item: str) -> Equation:
    found = _ITEM.fullmatch(item)
    if found is None:
        return Equation(item, "", "")
    return Equation(found["says"], found["number"] or "", found["latex"])
