"""Produces a whole report: which table, its cells, and the facts that stand above them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.bench import ablations
from diptych.bench.plan import ours
from diptych.bench.report import ours_tables
from diptych.bench.run import as_json, fill
from diptych.bench.survey import compute_rows, reference_table, survey_json, survey_table
from diptych.bench.tables import PUBLISHED, published
from diptych.errors import UnknownName
from diptych.evaluation import definitions
from diptych.provenance import commit, versions

if TYPE_CHECKING:
    from diptych.report.bench_page import Table

__all__ = ["TABLES", "Report", "produce"]

TABLES = ("ours", *PUBLISHED, "ablations")


@dataclass(frozen=True)
class Report:
    """A result table, ready to be written.

    Args:
        title: Of the report.
        facts: Lines above the tables.
        tables: What it shows.
        content: All of it as JSON text.
    """

    title: str
    facts: list[str]
    tables: list[Table]
    content: str


def produce(
    table: str,
    folder: Path,
    *,
    entries: Collection[str] = (),
    systems: Collection[str] = (),
    root: Path | None = None,
    compute: bool = True,
    tell: Callable[[str], None] = lambda _: None,
) -> Report:
    """Fill a table as far as it can be filled here.

    Args:
        table: One of `TABLES`.
        folder: Keeps `results.jsonl` and run folders.
        entries, systems: Compute only these; all, if empty.
        root: Folder of the data sets.
        compute: False only collects what is finished.
        tell: Is told of each cell that is computed.

    Raises:
        UnknownName: no such table, entry or system.
    """
    if table not in TABLES:
        raise UnknownName("result table", table, TABLES)
    made = f"Command: diptych bench {table}. Commit {(commit() or 'unknown')[:10]}, "
    made += ", ".join(f"{name} {version}" for name, version in versions().items()) + "."
    if table in PUBLISHED:
        printed = published(table)
        found = compute_rows(
            printed, folder, systems=systems, data=entries, root=root, compute=compute, tell=tell
        )
        facts = [
            "Ours: seed 0, on data and features that are here; otherwise the cell says what is missing.",
            made,
        ]
        tables = [survey_table(printed, found)]
        if printed.references:
            tables.append(reference_table(printed))
        return Report(printed.title, facts, tables, survey_json(printed, found))
    if table == "ablations":
        parts = ablations.compute(folder, systems=systems, root=root, compute=compute, tell=tell)
        shown = ablations.ablation_table(parts)
        return Report(shown.title, [made], [shown], ablations.as_json(parts))
    plan = ours()
    filled = fill(plan, folder, entries=entries, systems=systems, root=root, compute=compute, tell=tell)
    facts = [
        f"Mean and standard deviation over seeds {', '.join(map(str, plan.seeds))}; one thread; CPU.",
        f"MAP@ALL: {definitions()['MAP@ALL']}. R@n: {definitions()['R@n']}.",
        f"Ties: {definitions()['ties']}.",
        made,
    ]
    return Report(plan.title, facts, ours_tables(plan, filled.results, filled.reasons), as_json(plan, filled))
