"""What packages of others add, found by entry points; what is wrong with one is said in a sentence."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["GROUPS", "Kind", "Plugin", "plugins"]

Kind = Literal["system", "feature", "dataset", "index", "home", "llm"]

GROUPS: Mapping[Kind, str] = {
    "system": "diptych.systems",
    "feature": "diptych.features",
    "dataset": "diptych.datasets",
    "index": "diptych.indexes",
    "home": "diptych.homes",
    "llm": "diptych.llms",
}
"""The group of entry points of each kind."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point of a package.

    Args:
        name: By which it is called here.
        module: What `importlib.import_module` takes.
        package: Who brings it: name and version.
        path: The module's file; None where it cannot be found.
        fault: Why not, as the end of a sentence; empty if it was found.
    """

    name: str
    module: str
    package: str
    path: Path | None
    fault: str = ""

    def broken(self, fault: str) -> str:
        """The sentence that says what is wrong, and what to do."""
        who = self.package
        return (
            f"{self.name} of {who} cannot be used: {fault}; update that package, or uninstall it "
            f"(pip uninstall {who.partition(' ')[0]})"
        )


def _changed(place: str) -> int:
    """When something was installed into or taken out of a folder last; 0 if it is none."""
    try:
        return os.stat(place or ".").st_mtime_ns
    except OSError:
        return 0


@functools.lru_cache(maxsize=4)
def _points(places: tuple[tuple[str, int], ...]) -> Mapping[str, tuple[importlib.metadata.EntryPoint, ...]]:
    """Our groups of entry points in these places as they are now: to read all packages takes a while."""
    found = importlib.metadata.entry_points()
    return {group: tuple(found.select(group=group)) for group in GROUPS.values()}


def plugins(kind: Kind) -> Iterator[Plugin]:
    """What other packages announce of that kind; their modules are not imported, only found."""
    for point in _points(tuple((place, _changed(place)) for place in sys.path)).get(GROUPS[kind], ()):
        name = point.name.replace("-", "_")
        package = "a package" if point.dist is None else f"{point.dist.name} {point.dist.version}"
        fault, path = "", None
        try:
            spec = importlib.util.find_spec(point.module)
        except Exception as error:  # noqa: BLE001  # whatever its parent package raises is told, and costs no other
            fault = f"{point.module} cannot be imported ({type(error).__name__}: {error})"
        else:
            if spec is not None and spec.origin and Path(spec.origin).is_file():
                path = Path(spec.origin)
            else:
                fault = f"it announces the module {point.module}, which is not there"
        yield Plugin(name, point.module, package, path, fault)
