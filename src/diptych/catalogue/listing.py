"""Cards: what the docstrings of parts (systems, data sets, indexes ...) say, read without importing them."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import inspect
import re
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.catalogue.plugins import Kind, Plugin, plugins
from diptych.errors import PluginError, UnknownName
from diptych.optional import lacking

__all__ = ["Card", "Kind", "card", "cards", "faults", "module_of", "named_by", "names", "needing"]

_ROOT = Path(__file__).parents[1]
_CALLED: Mapping[Kind, str] = {
    "system": "system",
    "feature": "feature extractor",
    "dataset": "data set",
    "index": "index",
    "home": "home of collections",
    "llm": "language model",
}
# The files of each kind, which are named after them; homes, which are folders, after these.
_FILES: Mapping[Kind, str] = {
    "system": "systems/*/[!_]*.py",
    "feature": "features/[!_]*.py",
    "dataset": "data/sets/[!_]*.py",
    "index": "index/[!_]*.py",
    "home": "engine/homes/*/home.py",
    "llm": "llm/[!_]*.py",
}
# What each thing of a package must have beyond what is noticed when it is first used.
_NEEDED: Mapping[Kind, tuple[str, ...]] = {
    "index": ("add", "remove", "search"),
    "home": ("batch", "snapshot", "vectors_now"),
    "llm": ("reply",),
}
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
        kind: What it is a card of.
        package: Who brings it, if that is not Diptych: name and version.
    """

    name: str
    title: str
    family: str
    fields: Mapping[str, str]
    idea: str
    path: Path
    module: str
    kind: Kind = "system"
    package: str = ""

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
    """The card of one system, feature extractor, data set, index, home or language-model adapter.

    Raises:
        UnknownName: if there is none of that name; the message lists the nearest.
        PluginError: a package announces it, but it cannot be found or has no card.
    """
    known = cards(kind)
    key = name.replace("-", "_")
    if key in known:
        return known[key]
    if told := faults(kind).get(key):
        raise PluginError(told)
    raise UnknownName(_CALLED[kind], name, known)


def cards(kind: Kind) -> dict[str, Card]:
    """All cards of that kind by name; nothing is imported."""
    found = {one.name: one for one in _own(kind)}
    for plugin in plugins(kind):
        if (one := _plugged(kind, plugin)) and isinstance(one, Card):
            found[one.name] = one
    return found


def faults(kind: Kind) -> dict[str, str]:
    """What is wrong with what packages announce of that kind, a sentence each; nothing is imported."""
    told = {plugin.name: _plugged(kind, plugin) for plugin in plugins(kind)}
    return {name: one for name, one in told.items() if isinstance(one, str)}


def module_of(card: Card) -> Any:
    """A card's module, imported.

    Raises:
        MissingExtra: it needs a package that is not installed.
        PluginError: it is another package's, and cannot be imported.
    """
    with needing(card.name):
        try:
            return importlib.import_module(card.module)
        except Exception as error:
            missing = isinstance(error, ImportError) and lacking(error, card.name) is not None
            if missing or not card.package:
                raise
            raise PluginError(_sentence(card, f"{type(error).__name__}: {error}")) from error


def named_by(card: Card) -> Any:
    """What a card's module is about, imported: the class that stands first in its ``__all__``.

    Raises:
        MissingExtra: the module needs a package that is not installed.
        PluginError: it is another package's, and has no such class, or one that lacks what it must have.
    """
    module = module_of(card)
    named = getattr(module, "__all__", None) or [""]
    found = getattr(module, named[0], None)
    if card.package and not isinstance(found, type):
        raise PluginError(_sentence(card, f"{card.module} names no class first in its __all__"))
    lost = [one for one in _NEEDED.get(card.kind, ()) if not hasattr(found, one)]
    if card.package and lost:
        raise PluginError(_sentence(card, f"{named[0]} lacks {', '.join(lost)}"))
    return found


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


@functools.cache
def _own(kind: Kind) -> tuple[Card, ...]:
    """The cards of what lies in this package, whose files are read once."""
    cards = []
    for path in sorted(_ROOT.glob(_FILES[kind])):
        place = path.relative_to(_ROOT.parent).with_suffix("")
        name = path.parent.name if kind == "home" else path.stem
        family = path.parent.name if kind == "system" else ""
        if found := _read(name, path, family, ".".join(place.parts), kind):
            cards.append(found)
    return tuple(cards)


def _plugged(kind: Kind, plugin: Plugin) -> Card | str:
    """The card of what a package announces, or the sentence that says what is wrong with it."""
    if plugin.path is None:
        return plugin.broken(plugin.fault)
    family = "third party" if kind == "system" else ""
    try:
        found = _read(plugin.name, plugin.path, family, plugin.module, kind, plugin.package)
    except (OSError, SyntaxError, ValueError, tokenize.TokenError) as error:
        return plugin.broken(f"{plugin.path} is no Python that can be read ({error})")
    if found is None:
        return plugin.broken(
            f"the docstring of {plugin.module} has no lines 'Field: text', so it has no card"
        )
    return found


def _sentence(card: Card, fault: str) -> str:
    return Plugin(card.name, card.module, card.package, card.path).broken(fault)


def _read(name: str, path: Path, family: str, module: str, kind: Kind, package: str = "") -> Card | None:
    """The card of one file; None of one whose docstring has no fields (a shared part)."""
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
    if not fields:
        return None
    short = (title.partition(": ")[2] or title).strip()
    return Card(name, short, family, fields, "\n".join(lines).strip(), path, module, kind, package)


def _docstring(path: Path) -> str:
    """The module docstring, from the first token alone."""
    with tokenize.open(path) as source:
        for token in tokenize.generate_tokens(source.readline):
            if token.type == tokenize.STRING:
                return inspect.cleandoc(str(ast.literal_eval(token.string)))
            if token.type not in (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE):
                break
    return ""
