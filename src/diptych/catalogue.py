"""Finds systems, feature extractors and data sets by file name, and loads them by their one name.

A name is ``system[:variant][@weights]``: ``dscmr``, ``clip:vit-b-32@openai``, ``dscmr@runs/pascal``; the path
of a run folder is a name too. A card is a module's docstring: it is read without importing the module, so
that listing costs milliseconds and never loads torch.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import re
import sys
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from diptych.errors import BadData, BadParameter, MissingData, UnknownName, UsageError

__all__ = ["Card", "Kind", "Name", "card", "cards", "checked", "load", "load_dataset", "names", "parse"]

Kind = Literal["system", "feature", "dataset"]

_ROOT = Path(__file__).parent
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


@dataclass(frozen=True, slots=True)
class Name:
    """The parts of ``system[:variant][@weights]``; what is not given is None."""

    system: str
    variant: str | None = None
    weights: str | None = None

    def __str__(self) -> str:
        variant = f":{self.variant}" if self.variant else ""
        return f"{self.system}{variant}" + (f"@{self.weights}" if self.weights else "")


def parse(name: str) -> Name:
    """The parts of a name.

    Raises:
        UsageError: if the system is missing.
    """
    head, _, weights = name.partition("@")
    system, _, variant = head.partition(":")
    if not system:
        raise UsageError(f"{name!r} names no system; a name is system[:variant][@weights], such as builtin")
    return Name(system.replace("-", "_"), variant or None, weights or None)


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


def load(name: str, *, seed: int = 0, **parameters: Any) -> Any:
    """The system of that name, ready to encode, score or be trained.

    Args:
        name: ``system[:variant][@weights]``, or the path of a run folder.
        seed: Draws the first weights of systems that have any.
        parameters: Hyper-parameters, over those of the variant.

    Raises:
        UnknownName: no such system or variant.
        BadParameter: a hyper-parameter that the system does not have.
        MissingData: the weights are not there.
        BadData: a run folder that is not whole.
    """
    if _is_path(name):
        return _load_run(Path(name), parameters)
    parts = parse(name)
    if parts.weights and (Path(parts.weights) / "card.json").is_file():
        return _load_run(Path(parts.weights), parameters, expected=parts.system)
    found = card("system", parts.system)
    module = importlib.import_module(found.module)
    system = getattr(module, module.__all__[0])
    variants: Mapping[str, Mapping[str, Any]] = module.VARIANTS
    if parts.variant is not None and parts.variant not in variants:
        raise UnknownName(f"variant of {parts.system}", parts.variant, variants)
    variant = parts.variant or next(iter(variants))
    chosen = {**variants[variant], **parameters}
    with _seeded(seed):
        if parts.weights:
            if not hasattr(system, "from_weights"):
                raise UsageError(
                    f"{parts.system} takes no weights, but {parts.weights!r} was given after '@'"
                )
            return system.from_weights(parts.weights, **chosen)
        return system(**checked(system, chosen))


def load_dataset(name: str, root: Path | None = None) -> Any:
    """The data set of that name, with its files under `root` (default: where `diptych data` puts them).

    Raises:
        UnknownName: no such data set.
    """
    module = importlib.import_module(card("dataset", name).module)
    return getattr(module, module.__all__[0])(root=root)


def checked(system: type, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters, after a check against the constructor: known names, and the types of the defaults.

    Raises:
        BadParameter: naming the parameter, what was given and what is allowed.
    """
    signature = inspect.signature(system)
    if any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
        return dict(parameters)
    for key, value in parameters.items():
        if key not in signature.parameters:
            near = str(UnknownName(f"parameter of {system.__name__}", key, signature.parameters))
            raise BadParameter(near)
        default = signature.parameters[key].default
        if default is inspect.Parameter.empty or default is None or value is None:
            continue
        allowed = (int, float) if isinstance(default, float) else type(default)
        wrong = isinstance(value, bool) != isinstance(default, bool) or not isinstance(value, allowed)
        if wrong and not (isinstance(default, tuple) and isinstance(value, list)):
            raise BadParameter(
                f"{key} of {system.__name__} must be a {type(default).__name__} "
                f"like {default!r}, not {value!r}"
            )
    return dict(parameters)


def _is_path(name: str) -> bool:
    return (Path(name) / "card.json").is_file() or (
        "@" not in name and ("/" in name or "\\" in name or name.startswith((".", "~")))
    )


def _load_run(folder: Path, parameters: Mapping[str, Any], *, expected: str | None = None) -> Any:
    folder = folder.expanduser()
    if not (folder / "card.json").is_file():
        raise MissingData(
            f"{folder} is not a run folder: it has no card.json; "
            "give the folder that `diptych train` wrote, or a system's name"
        )
    try:
        saved = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        system = parse(saved["name"]).system
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise BadData(f"{folder / 'card.json'} is damaged ({error}); train again or restore it") from error
    if expected and expected != system:
        raise UsageError(f"{folder} holds {system}, not {expected}; use {system}@{folder}")
    module = importlib.import_module(card("system", system).module)
    head = getattr(module, module.__all__[0]).from_weights(str(folder), **parameters)
    if not saved.get("features"):
        return head
    from diptych.chain import join

    extractors = importlib.import_module("diptych.features").load(folder / "features")
    return join(head, image=extractors.get("image"), text=extractors.get("text"))


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch for what is built inside, and only if the system's module has already imported it."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _find(kind: Kind) -> Iterator[Card]:
    if kind == "system":
        if (_ROOT / "builtin" / "__init__.py").is_file():
            yield from _read("builtin", _ROOT / "builtin" / "__init__.py", "builtin", "diptych.builtin")
        for path in sorted((_ROOT / "systems").glob("*/[!_]*.py")):
            family = path.parent.name
            yield from _read(path.stem, path, family, f"diptych.systems.{family}.{path.stem}")
        yield from _third_party()
        return
    folder = {"feature": "features", "dataset": "data/sets"}[kind]
    for path in sorted((_ROOT / folder).glob("[!_]*.py")):
        yield from _read(path.stem, path, "", f"diptych.{folder.replace('/', '.')}.{path.stem}")


def _third_party() -> Iterator[Card]:
    for point in importlib.metadata.entry_points(group="diptych.systems"):
        spec = importlib.util.find_spec(point.module)
        if spec is not None and spec.origin:
            yield from _read(point.name, Path(spec.origin), "third party", point.module)


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
