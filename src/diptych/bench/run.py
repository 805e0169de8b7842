"""Fills our table: every cell that can be computed here is, once, and every other one says why not."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych import catalogue
from diptych.bench.cells import Cell, Store, missing, open_cell_data, run
from diptych.bench.plan import Entry, Plan
from diptych.data.base import Dataset
from diptych.errors import DiptychError, UnknownName

__all__ = ["Filled", "fill"]


@dataclass(frozen=True)
class Filled:
    """What there is of a table.

    Args:
        results: Finished cells by (entry, system, bits), one a seed.
        reasons: Why the cells of (entry, system) are not there.
    """

    results: Mapping[tuple[str, str, int], Sequence[Mapping[str, Any]]]
    reasons: Mapping[tuple[str, str], str]


def fill(
    plan: Plan,
    folder: Path,
    *,
    entries: Collection[str] = (),
    systems: Collection[str] = (),
    root: Path | None = None,
    compute: bool = True,
    tell: Callable[[str], None] = lambda _: None,
) -> Filled:
    """Compute what is missing of a table and collect all of it.

    Args:
        plan: The table.
        folder: `results.jsonl` and run folders.
        entries, systems: Compute only these; all, if empty. What is finished is collected in any case.
        root: Folder of the data sets, if not where `diptych data` puts them.
        compute: False only collects.
        tell: Is told of each cell that is computed.

    Raises:
        UnknownName: an entry or a system that the table does not have.
    """
    _known("row of systems in this table", systems, [name for half in plan.systems.values() for name in half])
    _known("data set of this table", entries, [entry.id for entry in plan.entries])
    store = Store(folder / "results.jsonl")
    results: dict[tuple[str, str, int], list[Mapping[str, Any]]] = {}
    reasons: dict[tuple[str, str], str] = {}
    for entry in plan.entries:
        opened: Dataset | str = ""
        for system in plan.systems[entry.half]:
            cells = list(plan.cells(entry, system))
            if why := _absent(system):
                reasons[entry.id, system] = why
                continue
            if opened == "":
                opened = missing(cells[0][1], root) or open_cell_data(cells[0][1], root)
            if isinstance(opened, str):
                reasons[entry.id, system] = opened
                continue
            wanted = compute and _chosen(system, systems) and _chosen(entry.id, entries)
            for bits, cell in cells:
                found = store.get(cell.key(opened))
                if found is None and wanted and (entry.id, system) not in reasons:
                    found = _computed(entry, bits, cell, opened, folder, store, reasons, tell)
                if found is not None:
                    results.setdefault((entry.id, system, bits), []).append(found)
    return Filled(results, reasons)


def _computed(
    entry: Entry,
    bits: int,
    cell: Cell,
    dataset: Dataset,
    folder: Path,
    store: Store,
    reasons: dict[tuple[str, str], str],
    tell: Callable[[str], None],
) -> dict[str, Any] | None:
    where = f"{entry.id} {cell.system}" + (f" {bits} bits" if bits else "") + f" seed {cell.seed}"
    try:
        found = run(cell, dataset, folder / "runs")
    except DiptychError as error:
        # The other systems' cells are still worth computing; the table says what went wrong with this one.
        reasons[entry.id, cell.system] = f"failed: {error}"
        tell(f"{where}: failed: {error}")
        return None
    store.put(found)
    values = ", ".join(
        f"{direction} {one['values'][found['measure']]:.4f}" for direction, one in found["results"].items()
    )
    tell(f"{where}: {found['measure']} {values} ({found['cpu_seconds']:.0f} s)")
    return found


def _absent(system: str) -> str:
    name = catalogue.parse(system.removeprefix("sign:")).system
    return "" if name in catalogue.names("system") else f"Diptych has no system {name} yet"


def _chosen(name: str, allowed: Collection[str]) -> bool:
    return not allowed or name in allowed


def _known(kind: str, names: Collection[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise UnknownName(kind, name, set(known))


def as_json(plan: Plan, filled: Filled) -> str:
    """All cells with their results, and the reasons for those that are not there."""
    cells = [
        {"entry": entry, "system": system, "bits": bits or None, "seeds": list(found)}
        for (entry, system, bits), found in filled.results.items()
    ]
    missing_cells = [
        {"entry": entry, "system": system, "reason": reason}
        for (entry, system), reason in filled.reasons.items()
    ]
    return json.dumps({"title": plan.title, "cells": cells, "missing": missing_cells}, indent=1) + "\n"
