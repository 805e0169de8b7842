"""The survey's tables beside ours: what was printed, what the paper says, what Diptych measures here."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from diptych.bench.cells import Cell, Store, missing, open_cell_data, run
from diptych.bench.plan import ours
from diptych.bench.tables import Published, Row
from diptych.errors import DiptychError
from diptych.evaluation import DIRECTIONS
from diptych.report.bench_page import Table

__all__ = ["Found", "compute_rows", "survey_json", "survey_table"]

Found = Mapping[int, list[float] | str]
"""Our values, or the reason why there are none, by number of the row."""


def compute_rows(
    table: Published,
    folder: Path,
    *,
    systems: Collection[str] = (),
    root: Path | None = None,
    compute: bool = True,
    tell: Callable[[str], None] = lambda _: None,
) -> Found:
    """Compute the rows whose system and data are here, with seed 0.

    Args:
        table: One of the survey's.
        folder: Keeps results and runs.
        systems: Compute only these; all, if empty.
        root: Folder of the data sets.
        compute: False only collects.
        tell: Is told of each cell that is computed.
    """
    store = Store(folder / "results.jsonl")
    found: dict[int, list[float] | str] = {}
    reasons: dict[tuple[str, str], str] = {}
    for number, row in enumerate(table.rows):
        if not row.name:
            found[number] = "Diptych has no such system"
            continue
        if (row.name, row.dataset) not in reasons:
            reasons[row.name, row.dataset] = missing(_cells(row)[0], root)
        if reason := reasons[row.name, row.dataset]:
            found[number] = reason
            continue
        wanted = compute and (not systems or row.name in systems)
        found[number] = _row(row, folder, store, root, wanted, tell)
    return found


def _row(
    row: Row, folder: Path, store: Store, root: Path | None, wanted: bool, tell: Callable[[str], None]
) -> list[float] | str:
    direction = next(name for name, short in DIRECTIONS.items() if short == row.direction)
    entries = []
    for cell in _cells(row):
        dataset = open_cell_data(cell, root)
        entry = store.get(cell.key(dataset))
        if entry is None and wanted:
            try:
                entry = run(cell, dataset, folder / "runs")
            except DiptychError as error:
                return f"failed: {error}"
            store.put(entry)
            tell(f"{row.system} on {row.dataset}: done in {entry['cpu_seconds']:.0f} s")
        if entry is None:
            return "not run yet"
        entries.append(entry["results"][direction]["values"])
    if row.metric == "R@n":
        return [float(entries[0][str(column)]) for column in row.columns]
    return [float(values["MAP@ALL"]) for values in entries]


def _cells(row: Row) -> list[Cell]:
    """One cell, or one for each code length; settings are those of our own table where it has the data."""
    plan = ours()
    entry = next((entry for entry in plan.entries if entry.data == row.dataset), None)
    if entry is not None and entry.protocol == row.protocol:
        return [plan.cell(entry, row.name, 0, 0)]
    bits = [column for column in row.columns if isinstance(column, int)]
    if not bits:
        return [Cell(row.name, row.dataset, row.protocol)]
    return [Cell(row.name, row.dataset, row.protocol, settings={"bits": length}) for length in bits]


def survey_table(table: Published, found: Found) -> Table:
    """Printed, the paper's and our value side by side."""
    rows: list[list[Any]] = []
    reasons = {reason: at for at, reason in enumerate(_reasons(found), start=1)}
    for number, row in enumerate(table.rows):
        ours_ = found[number]
        for at, column in enumerate(row.columns):
            paper = row.paper[at] if row.paper else None
            own: Any = ours_ if isinstance(ours_, str) else round(ours_[at], 4)
            other = row.paper_metric and row.paper_metric != row.metric
            rows.append(
                [
                    row.system,
                    row.printed_dataset,
                    row.direction,
                    f"{column} bits" if isinstance(column, int) else str(column),
                    f"{row.survey[at]:.3f}",
                    None if paper is None else f"{paper:.3f}" + (f" ({row.paper_metric})" if other else ""),
                    f"- [{reasons[own]}]" if isinstance(own, str) else f"{own:.3f}",
                    None if isinstance(own, str) else f"{own - row.survey[at]:+.3f}",
                    "; ".join(part for part in (row.remark, row.paper_source) if part),
                ]
            )
    headings = ["system", "data", "direction", "column", "survey", "paper", "ours", "ours - survey", "remark"]
    notes = [f"[{at}] {reason}" for reason, at in reasons.items()]
    return Table(table.title, headings, rows, f"Source: {table.source}.", [*table.remarks, *notes])


def _reasons(found: Found) -> list[str]:
    """Why cells are empty, each reason once."""
    return list(dict.fromkeys(reason for reason in found.values() if isinstance(reason, str)))


def survey_json(table: Published, found: Found) -> str:
    """All of it for programs."""
    rows = [
        {
            "system": row.system,
            "name": row.name or None,
            "dataset": row.dataset,
            "protocol": row.protocol,
            "direction": row.direction,
            "metric": row.metric,
            "columns": list(row.columns),
            "survey": list(row.survey),
            "paper": list(row.paper) or None,
            "paper_metric": row.paper_metric or None,
            "ours": None if isinstance(found[number], str) else found[number],
            "missing": found[number] if isinstance(found[number], str) else None,
            "remark": row.remark or None,
        }
        for number, row in enumerate(table.rows)
    ]
    content = {"name": table.name, "title": table.title, "remarks": list(table.remarks), "rows": rows}
    return json.dumps(content, indent=1) + "\n"
