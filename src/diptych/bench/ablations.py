"""What each part of a system brings: the system as it is, and without that part, on the same data."""

from __future__ import annotations

import json
import statistics
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from diptych.bench.cells import Cell, Store, missing, open_cell_data, run
from diptych.bench.plan import Plan, ours
from diptych.bench.report import spread
from diptych.core import DIRECTIONS
from diptych.errors import DiptychError, UnknownName
from diptych.report.bench_page import Table

__all__ = ["Ablation", "ablation_table", "ablations", "compute"]


@dataclass(frozen=True)
class Ablation:
    """One system and what is taken from it.

    Args:
        name: Of the system.
        entry: Data set of our table.
        without: Label and settings of each part.
        set: Settings of all of them.
    """

    name: str
    entry: str
    without: Sequence[Mapping[str, Any]]
    set: Mapping[str, Any] = field(default_factory=dict)

    def rows(self) -> list[tuple[str, dict[str, Any]]]:
        """Label and settings, the whole system first."""
        parts = [(f"without {part['label']}", {**self.set, **part["set"]}) for part in self.without]
        return [("as it is", dict(self.set)), *parts]


def ablations() -> tuple[str, Sequence[int], list[Ablation]]:
    """Title, seeds and systems, as the package has them."""
    text = resources.files("diptych.bench").joinpath("ablations.toml").read_text(encoding="utf-8")
    content = tomllib.loads(text)
    return content["title"], content["seeds"], [Ablation(**one) for one in content["system"]]


def compute(
    folder: Path,
    *,
    systems: Collection[str] = (),
    root: Path | None = None,
    compute: bool = True,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[tuple[str, str], list[dict[str, Any]] | str]:
    """Results of each (system, label), one a seed, or the reason why there are none.

    Args:
        folder: Keeps results and runs.
        systems: Compute only these; all, if empty.
        root: Folder of the data sets.
        compute: False only collects.
        tell: Is told of each cell that is computed.

    Raises:
        UnknownName: a system that is not in the table.
    """
    _, seeds, wanted = ablations()
    for name in systems:
        if name not in {one.name for one in wanted}:
            raise UnknownName("system of the ablations", name, {one.name for one in wanted})
    store, plan = Store(folder / "results.jsonl"), ours()
    found: dict[tuple[str, str], list[dict[str, Any]] | str] = {}
    for ablation in wanted:
        chosen = compute and (not systems or ablation.name in systems)
        for label, settings in ablation.rows():
            cells = [_cell(plan, ablation, settings, seed) for seed in seeds]
            found[ablation.name, label] = _results(
                cells, f"{ablation.name} {label}", folder, store, root, chosen, tell
            )
    return found


def _cell(plan: Plan, ablation: Ablation, settings: Mapping[str, Any], seed: int) -> Cell:
    entry = next(entry for entry in plan.entries if entry.id == ablation.entry)
    cell = plan.cell(entry, ablation.name, 0, seed)
    return replace(cell, settings={**cell.settings, **settings})


def _results(
    cells: Sequence[Cell],
    name: str,
    folder: Path,
    store: Store,
    root: Path | None,
    wanted: bool,
    tell: Callable[[str], None],
) -> list[dict[str, Any]] | str:
    if reason := missing(cells[0], root):
        return reason
    results = []
    for cell in cells:
        dataset = open_cell_data(cell, root)
        entry = store.get(cell.key(dataset))
        if entry is None and wanted:
            try:
                entry = run(cell, dataset, folder / "runs")
            except DiptychError as error:
                return f"failed: {error}"
            store.put(entry)
            tell(f"{name}, seed {cell.seed}: done in {entry['cpu_seconds']:.0f} s")
        if entry is None:
            return "not run yet"
        results.append(entry)
    return results


def ablation_table(found: Mapping[tuple[str, str], list[dict[str, Any]] | str]) -> Table:
    """Values, and differences to the whole system seed by seed, each with its deviation."""
    title, seeds, wanted = ablations()
    shorts = list(DIRECTIONS.values())
    headings = ["system", "data", "", *shorts, *(f"difference {short}" for short in shorts)]
    rows: list[list[Any]] = []
    for ablation in wanted:
        whole: dict[str, list[float]] = {}
        for label, _ in ablation.rows():
            results = found[ablation.name, label]
            if isinstance(results, str):
                rows.append([ablation.name, ablation.entry, f"{label}: {results}", *[None] * 4])
                continue
            measure, values = _values(results)
            whole = whole or values
            gaps = {side: [a - b for a, b in zip(values[side], whole[side], strict=True)] for side in values}
            shown = [spread(values[side]) for side in DIRECTIONS]
            shown += [spread(gaps[side], "+") if values is not whole else "" for side in DIRECTIONS]
            rows.append([ablation.name, f"{ablation.entry} ({measure})", label, *shown])
    note = (
        f"Mean and standard deviation over seeds {', '.join(map(str, seeds))}; the difference is to the "
        "whole system of the same seed. One smaller than twice its deviation may be chance."
    )
    return Table(title, headings, rows, note)


def _values(results: Sequence[Mapping[str, Any]]) -> tuple[str, dict[str, list[float]]]:
    """The measure and its value of every seed in both directions; the mean of three recalls, as one jumps."""
    measure, names = results[0]["measure"], [results[0]["measure"]]
    if measure == "R@1":
        measure, names = "mean of R@1, R@5 and R@10", ["R@1", "R@5", "R@10"]
    values = {
        side: [statistics.fmean(float(one["results"][side]["values"][n]) for n in names) for one in results]
        for side in DIRECTIONS
    }
    return measure, values


def as_json(found: Mapping[tuple[str, str], list[dict[str, Any]] | str]) -> str:
    """All of it for programs."""
    rows = [
        {"system": name, "label": label, "missing" if isinstance(one, str) else "seeds": one}
        for (name, label), one in found.items()
    ]
    return json.dumps({"rows": rows}, indent=1) + "\n"
