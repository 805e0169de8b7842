"""The survey's tables beside ours: what was printed, what the paper says, what Diptych measures here."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from diptych.bench.cells import Cell, Store, missing, open_cell_data, run
from diptych.bench.plan import ours
from diptych.bench.tables import Published, Row
from diptych.core import DIRECTIONS
from diptych.errors import DiptychError, UnknownName
from diptych.report.bench_page import Chart, Table

__all__ = ["Found", "compute_rows", "reference_table", "survey_json", "survey_table"]

Found = Mapping[int, list[float] | str]
"""Our values, or the reason why there are none, by number of the row."""


def compute_rows(
    table: Published,
    folder: Path,
    *,
    systems: Collection[str] = (),
    data: Collection[str] = (),
    root: Path | None = None,
    compute: bool = True,
    tell: Callable[[str], None] = lambda _: None,
) -> Found:
    """Compute the rows whose system and data are here, with seed 0.

    Args:
        table: One of the survey's.
        folder: Keeps results and runs.
        systems, data: Compute only these; all, if empty.
        root: Folder of the data sets.
        compute: False only collects.
        tell: Is told of each cell that is computed.

    Raises:
        UnknownName: a system or data set that the table does not have.
    """
    for kind, names, known in (
        (f"system of {table.name}", systems, {row.name for row in table.rows if row.name}),
        (f"data set of {table.name}", data, {row.dataset for row in table.rows}),
    ):
        for name in names:
            if name not in known:
                raise UnknownName(kind, name, known)
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
        wanted = compute and (not systems or row.name in systems) and (not data or row.dataset in data)
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
    """Printed, the paper's and our value side by side; a row's code lengths or measures in one line."""
    rows: list[list[Any]] = []
    reasons = {reason: at for at, reason in enumerate(_reasons(found), start=1)}
    for number, row in enumerate(table.rows):
        own = found[number]
        other = row.paper_metric and row.paper_metric != row.metric
        rows.append(
            [
                row.system,
                row.printed_dataset,
                row.direction,
                _columns(row.columns),
                _values(row.survey),
                _values(row.paper) + (f" ({row.paper_metric})" if other else "") if row.paper else None,
                f"- [{reasons[own]}]" if isinstance(own, str) else _values(own),
                None
                if isinstance(own, str)
                else " / ".join(f"{a - b:+.3f}" for a, b in zip(own, row.survey, strict=True)),
                "; ".join(part for part in (row.remark, row.paper_source) if part),
            ]
        )
    headings = ["system", "data", "direction", "column", "survey", "paper", "ours", "ours - survey", "remark"]
    notes = [f"[{at}] {reason}" for reason, at in reasons.items()]
    charts = [_chart(table, found, direction) for direction in DIRECTIONS.values()]
    title = "The survey's values, the papers' own, and ours"
    return Table(title, headings, rows, f"Source: {table.source}.", [*table.remarks, *notes], charts)


def reference_table(table: Published) -> Table:
    """Values of others on the same ground."""
    rows = [
        [
            one.system,
            data,
            direction,
            _columns(one.columns),
            _values(values),
            one.metric,
            one.source,
            one.remark,
        ]
        for one in table.references
        for direction, by_data in (("IqT", one.IqT), ("TqI", one.TqI))
        for data, values in by_data.items()
    ]
    headings = ["system", "data", "direction", "column", "value", "measure", "source", "remark"]
    return Table("Values of others, to judge these by", headings, rows)


def _columns(columns: Sequence[str | int]) -> str:
    return " / ".join(map(str, columns)) + (" bits" if isinstance(columns[0], int) else "")


def _values(values: Sequence[float]) -> str:
    """Three digits, or four where a fourth was printed."""
    return " / ".join(
        f"{value:.3f}" if abs(value - round(value, 3)) < 1e-9 else f"{value:.4f}" for value in values
    )


def _chart(table: Published, found: Found, direction: str) -> Chart:
    """One direction at the most bits, or by the first measure."""
    bits = isinstance(table.rows[0].columns[0], int)
    at = -1 if bits else 0
    series: dict[str, tuple[list[Any], list[float]]] = {
        name: ([], []) for name in ("survey", "paper", "ours")
    }
    for number, row in enumerate(table.rows):
        if row.direction != direction:
            continue
        own = found[number]
        values = {"survey": row.survey, "paper": row.paper, "ours": () if isinstance(own, str) else own}
        for name, given in values.items():
            if given:
                series[name][0].append(f"{row.system}, {row.printed_dataset}")
                series[name][1].append(given[at])
    points = {name: one for name, one in series.items() if one[0]}
    shown = str(table.rows[0].columns[at])
    if bits:
        return Chart(f"{direction}, {shown} bits", points, y=table.rows[0].metric, dots=True)
    return Chart(direction, points, y=shown, dots=True)


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
            "printed_dataset": row.printed_dataset,
            "protocol": row.protocol,
            "direction": row.direction,
            "metric": row.metric,
            "columns": list(row.columns),
            "survey": list(row.survey),
            "paper": list(row.paper) or None,
            "paper_metric": row.paper_metric or None,
            "paper_source": row.paper_source or None,
            "ours": None if isinstance(found[number], str) else found[number],
            "missing": found[number] if isinstance(found[number], str) else None,
            "remark": row.remark or None,
        }
        for number, row in enumerate(table.rows)
    ]
    content = {
        "name": table.name,
        "title": table.title,
        "source": table.source,
        "remarks": list(table.remarks),
        "rows": rows,
        "references": [asdict(one) for one in table.references],
    }
    return json.dumps(content, indent=1) + "\n"
