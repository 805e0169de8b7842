"""Where results are kept: one JSON line each, found again by fingerprint or by the cell alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from diptych.bench.cells import Cell

__all__ = ["Result", "Store"]

Result = Mapping[str, Any]
"""What `diptych.bench.run.run` returns."""


class Store:
    """Results by fingerprint, one JSON line each; a line is on disk when `put` returns.

    Args:
        path: The file; made when the first result comes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._by_key: dict[str, Result] = {}
        self._by_cell: dict[str, Result] = {}
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    self._add(json.loads(line))
                except json.JSONDecodeError:
                    continue  # a line that was cut off when the program was killed; it is computed again

    def _add(self, result: Result) -> None:
        self._by_key[result["key"]] = result
        if "cell" in result:
            self._by_cell[_said(result["cell"])] = result

    def __iter__(self) -> Iterator[Result]:
        return iter(self._by_key.values())

    def get(self, key: str) -> Result | None:
        """The result of that fingerprint."""
        return self._by_key.get(key)

    def latest(self, cell: Cell) -> Result | None:
        """The newest result of that cell, whatever its code and data were."""
        return self._by_cell.get(_said(asdict(cell)))

    def put(self, result: Result) -> None:
        """Append a result."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        whole = not self.path.is_file() or self.path.read_bytes()[-1:] in (b"\n", b"")
        with self.path.open("a", encoding="utf-8") as file:
            file.write(("" if whole else "\n") + json.dumps(result) + "\n")
        self._add(result)


def _said(cell: Mapping[str, Any]) -> str:
    return json.dumps(cell, sort_keys=True)
