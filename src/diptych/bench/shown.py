"""Kept results as a page shows them: flat, by seed, each with what computed it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from diptych import catalogue
from diptych.bench.plan import ours
from diptych.bench.store import Result, Store
from diptych.core import DIRECTIONS
from diptych.errors import MissingData
from diptych.report.bench_page import bench_command

__all__ = ["cells"]


def cells(path: Path | str) -> list[dict[str, Any]]:
    """The results that ``results.jsonl`` holds, in the order in which they were finished.

    Each has "system", its "family" ("baselines" for these), "bits" (0 for real values), "entry" (the data set
    as the table names it), "data", "protocol", "features", "pairs", "limit", "seed", "settings", "measure",
    "command" (empty where our table has no such cell), "cpu_seconds", "commit", "versions", and for both
    directions, as "IqT" and "TqI", "values" by measure, of codes with MAP as expected over all orders of
    ties, "ties" [worst, best] of the measure, "curve" [recall, precision], "queries" and "gallery".

    Raises:
        MissingData: there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingData(f"there are no results at {path}; give a results.jsonl, as diptych bench writes it")
    family = {name: card.family for name, card in catalogue.cards("system").items()}
    rows = {_said(asdict(wanted.cell)): wanted for wanted in ours().wanted()}
    found = []
    for result in Store(path):
        cell = result["cell"]
        wanted = rows.get(_said(cell))
        trained = str(cell["system"]).removeprefix("sign:").partition(":")[0]
        signs = str(cell["system"]).startswith("sign:")
        bits = int(cell["settings"].get("dim" if signs else "bits", 0))
        found.append(
            {
                **{name: cell[name] for name in _OF_CELL},
                "family": family.get(trained, ""),
                "bits": bits,
                "entry": wanted.entry if wanted else cell["data"],
                "command": bench_command("ours", wanted.entry, cell["system"]) if wanted else "",
                "measure": result["measure"],
                **{name: result.get(name) for name in ("cpu_seconds", "commit", "versions")},
                **{
                    short: _direction(result, direction, bits=bits)
                    for direction, short in DIRECTIONS.items()
                    if direction in result["results"]
                },
            }
        )
    return found


_OF_CELL = ("system", "data", "protocol", "features", "pairs", "limit", "seed", "settings")


def _direction(result: Result, direction: str, *, bits: int) -> dict[str, Any]:
    side: Mapping[str, Any] = result["results"][direction]
    values, ties = dict(side["values"]), side.get("ties", {})
    if bits:  # equal distances have no order of their own
        values |= {name: span["expected"] for name, span in ties.items() if name in values}
    span = ties.get(result["measure"])
    return {
        "values": values,
        "ties": None if span is None else [span["worst"], span["best"]],
        "curve": side.get("curve"),
        "queries": side["queries"],
        "gallery": side["gallery"],
    }


def _said(cell: Mapping[str, Any]) -> str:
    return json.dumps(cell, sort_keys=True)
