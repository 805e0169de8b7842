"""Fingerprint of the code that a result comes from: some modules and all of the package that they import.

Imports are read from the source, those inside functions included; nothing is imported for it. What counts is
the code as Python parses it: comments, docstrings and line breaks do not, so that a mended sentence makes no
result old, and the same source has the same fingerprint on every machine and in every Python.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["OUTSIDE", "closure", "code_sha256", "literal"]

OUTSIDE: Mapping[str, str] = {
    "diptych": "hands names on, on first use",
    "diptych._version": "says a number",
    "diptych.provenance": "says versions and commit",
    "diptych.errors": "words sentences",
    "diptych.optional": "words sentences about packages that are not installed",
    "diptych.printable": "words sentences",
    "diptych.files": "writes results, and does not make them",
    "diptych.cli": "reads words of the command line and prints",
    "diptych.report": "shows results",
    "diptych.catalogue.listing": "finds modules by name; what they do counts by their own code",
    "diptych.engine": "fills and searches collections of users; no table does",
    "diptych.testing": "checks systems",
    "diptych.training.view": "draws progress and curves",
    "diptych.data.sets": "what it reads counts by its contents",
    "diptych.data.readers": "what they read counts by its contents",
    "diptych.data.originals": "what it finds counts by its contents",
    "diptych.data": "picks a reader; what is read counts by its contents",
    "diptych.data.contents": "only fingerprints",
    "diptych.data.incoming": "checks arrays; what is read counts by its contents",
    "diptych.data.reading": "says what was read; what is read counts by its contents",
    "diptych.media.captions": "reads captions; what is read counts by its contents",
    "diptych.media.cells": "reads cells of tables; what is read counts by its contents",
    "diptych.media.links": "says which files may be read",
    "diptych.media.names": "finds pictures by name; what is read counts by its contents",
    "diptych.media.report": "says what was read; what is read counts by its contents",
    "diptych.media.separated": "reads tables; what is read counts by its contents",
    "diptych.media.sidecars": "reads files beside pictures; what is read counts by its contents",
    "diptych.media.structured": "reads JSON; what is read counts by its contents",
    "diptych.media.tables": "reads tables; what is read counts by its contents",
    "diptych.media.textfiles": "reads text files; what is read counts by its contents",
    "diptych.bench.code": "only fingerprints",
}
"""Modules that no number depends on, each with the reason; a package stands for all that is in it, except
`diptych` and `diptych.data`, which stand for themselves alone."""

_ALONE = frozenset({"diptych", "diptych.data"})
_ROOT = Path(__file__).parents[1]


def code_sha256(*modules: str) -> str:
    """Fingerprint, in hex digits, of modules of this package and of all in it that they import.

    Args:
        modules: Dotted names; one of another package counts by its own source alone.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    said = [f"{name} {_digest(name)}" for name in closure(*modules)]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()


@cache
def closure(*modules: str) -> tuple[str, ...]:
    """The modules and all of this package that they import, directly or through others, sorted.

    What `OUTSIDE` names is left out, with what only it imports.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found and not _outside(name):
            found.add(name)
            waiting += _imports(name)
    return tuple(sorted(found))


def literal(module: str, name: str, otherwise: Any) -> Any:
    """What a module gives a name at its top, read without importing it; `otherwise`, if it does not.

    Raises:
        ValueError: it is not written out as a value.
    """
    for node in _parsed(module).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(one, ast.Name) and one.id == name for one in targets):
                return ast.literal_eval(node.value)
    return otherwise


def _outside(name: str) -> bool:
    return name in OUTSIDE or any(
        name.startswith(f"{package}.") for package in OUTSIDE if package not in _ALONE
    )


@cache
def _imports(name: str) -> tuple[str, ...]:
    """The modules of this package that one imports; with a module also the packages around it, which run."""
    found: list[str] = []
    for node in ast.walk(_parsed(name)):
        if isinstance(node, ast.Import):
            wanted = [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            wanted = [str(node.module), *(f"{node.module}.{one.name}" for one in node.names)]
        else:
            continue
        found += [one for one in wanted if one.partition(".")[0] == "diptych" and _source(one) is not None]
    parts = name.split(".")
    around = [".".join(parts[:end]) for end in range(1, len(parts))] if parts[0] == "diptych" else []
    return tuple(dict.fromkeys([*found, *around]))


def _source(name: str) -> Path | None:
    """The file of a module; None if there is none, as for a name that a module defines."""
    parts = name.split(".")
    if parts[0] != "diptych":
        import importlib.util

        spec = importlib.util.find_spec(name)
        return None if spec is None or spec.origin is None else Path(spec.origin)
    path = _ROOT.joinpath(*parts[1:])
    return next((one for one in (path.with_suffix(".py"), path / "__init__.py") if one.is_file()), None)


@cache
def _parsed(name: str) -> ast.Module:
    path = _source(name)
    if path is None:
        raise ModuleNotFoundError(f"there is no module {name}", name=name)
    return ast.parse(path.read_bytes())


@cache
def _digest(name: str) -> str:
    return hashlib.sha256("".join(_canonical(_parsed(name))).encode()).hexdigest()


def _canonical(node: object) -> Iterator[str]:
    """The parsed source as text, without strings that stand alone and what only type checkers read.

    Fields that are empty are passed over, as newer Pythons add such fields to old nodes.
    """
    if isinstance(node, ast.AST):
        yield f"({type(node).__name__}"
        for field in node._fields:
            value = getattr(node, field, None)
            if value is not None and value != [] and field not in ("ctx", "kind", "type_comment"):
                yield f" {field}="
                yield from _canonical(value)
        yield ")"
    elif isinstance(node, list):
        for one in node:
            if not _says_nothing(one):
                yield from _canonical(one)
                yield ","
    else:
        yield repr(node)


def _says_nothing(node: object) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
