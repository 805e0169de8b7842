"""Cards: what the docstrings of systems, extractors and data sets say, read without importing them."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import re
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from diptych.errors import UnknownName
from diptych.optional import lacking

__all__ = ["Card", "Kind", "card", "cards", "module_of", "named_by", "names", "needing"]

Kind = Literal["system", "feature", "dataset"]

_ROOT = Path(__file__).parents[1]
_CALLED: Mapping[str, str] = {"system": "system", "feature": "feature extractor", "dataset": "data set"}
_FIELD = re.compile(r"([A-Z][A-Za-z -]{1,30}):(?:\s+(.*))?$")


@dataclass(frozen=True, slots=True)
class Card:
    """What a module's docstring says of it.

    Args:
        name: File name, as used everywhere.
        title: The docstring's first line without the leading "NAME: ".
        family: The folder of a system ("hashing"); "" for the other kinds.
        fields: The ``Field: text`` lines that follow the title, in order, each on one line.
        idea: The prose after the fields.
        path: The file.
        module: What `importlib.import_module` takes.
    """

    name: str
    title: str
    family: str
    fields: Mapping[str, str]
    idea: str
    path: Path
    module: str

    def as_dict(self) -> dict[str, str]:
        """What it says, as JSON has it; its fields stand among the others."""
        return {
            "name": self.name,
            "family": self.family,
            "title": self.title,
            **self.fields,
            "idea": self.idea,
        }


def names(kind: Kind) -> list[str]:
    """Every name of that kind, sorted."""
    return sorted(cards(kind))


def card(kind: Kind, name: str) -> Card:
    """The card of one system, feature extractor or data set.

    Raises:
        UnknownName: if there is none of that name; the message lists the nearest.
    """
    known = cards(kind)
    key = name.replace("-", "_")
    if key not in known:
        raise UnknownName(_CALLED[kind], name, known)
    return known[key]


def cards(kind: Kind) -> dict[str, Card]:
    """All cards of that kind by name; nothing is imported."""
    return {found.name: found for found in _find(kind)}


def module_of(card: Card) -> Any:
    """A card's module, imported.

    Raises:
        MissingExtra: it needs a package that is not installed.
    """
    with needing(card.name):
        return importlib.import_module(card.module)


def named_by(card: Card) -> Any:
    """What a card's module is about, imported: the class that stands first in its ``__all__``.

    Raises:
        MissingExtra: the module needs a package that is not installed.
    """
    module = module_of(card)
    return getattr(module, module.__all__[0])


@contextlib.contextmanager
def needing(name: str) -> Iterator[None]:
    """A block that imports what a name needs; where an extra would bring what is missed, it says so.

    Raises:
        MissingExtra: names the extra.
    """
    try:
        yield
    except ImportError as error:
        extra = lacking(error, name)
        if extra is None:
            raise
        raise extra from error


def _find(kind: Kind) -> Iterator[Card]:
    if kind == "system":
        for path in sorted((_ROOT / "systems").glob("*/[!_]*.py")):
            family = path.parent.name
            yield from _read(path.stem, path, family, f"diptych.systems.{family}.{path.stem}")
        yield from _third_party(kind)
        return
    folder = {"feature": "features", "dataset": "data/sets"}[kind]
    for path in sorted((_ROOT / folder).glob("[!_]*.py")):
        yield from _read(path.stem, path, "", f"diptych.{folder.replace('/', '.')}.{path.stem}")
    yield from _third_party(kind)


def _third_party(kind: Kind) -> Iterator[Card]:
    """What other packages bring, by entry points of ``diptych.systems``, ``.features`` and ``.datasets``."""
    for point in importlib.metadata.entry_points(group=f"diptych.{kind}s"):
        spec = importlib.util.find_spec(point.module)
        if spec is not None and spec.origin:
            family = "third party" if kind == "system" else ""
            yield from _read(point.name, Path(spec.origin), family, point.module)


def _read(name: str, path: Path, family: str, module: str) -> Iterator[Card]:
    """The card of one file; a file whose docstring has no fields (a shared part) has none."""
    title, _, rest = _docstring(path).partition("\n")
    fields: dict[str, str] = {}
    lines = rest.splitlines()
    while lines:
        line = lines[0]
        match = _FIELD.match(line)
        if match and match[1] != "Differs from the paper":
            fields[match[1]] = (match[2] or "").strip()
        elif line.startswith((" ", "\t")) and fields:
            last = next(reversed(fields))
            fields[last] = f"{fields[last]} {line.strip()}".strip()
        elif line.strip():
            break
        lines.pop(0)
    if fields:
        short = title.partition(": ")[2] or title
        yield Card(name, short.strip(), family, fields, "\n".join(lines).strip(), path, module)


def _docstring(path: Path) -> str:
    """The module docstring, from the first token alone."""
    with tokenize.open(path) as source:
        for token in tokenize.generate_tokens(source.readline):
            if token.type == tokenize.STRING:
                return inspect.cleandoc(str(ast.literal_eval(token.string)))
            if token.type not in (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE):
                break
    return ""
