"""What each part of a system brings: the system as it is, and without that part, on the same data."""

from __future__ import annotations

import statistics
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from typing import Any

from diptych.bench.fill import Filled, Wanted
from diptych.bench.plan import ours
from diptych.bench.report import Notes, spread
from diptych.bench.store import Result
from diptych.core import DIRECTIONS
from diptych.report.bench_page import Table

__all__ = ["Ablation", "Found", "ablation_content", "ablation_table", "ablations", "found_rows", "wanted"]

Found = Mapping[tuple[str, str], Sequence[Result] | str]
"""Results of each (system, label), one a seed, or the reason why there are none."""


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


def wanted() -> Iterator[Wanted]:
    """All cells; the row is (system, label)."""
    _, seeds, systems = ablations()
    plan = ours()
    for ablation in systems:
        entry = next(entry for entry in plan.entries if entry.id == ablation.entry)
        for label, settings in ablation.rows():
            for seed in seeds:
                cell = plan.cell(entry, ablation.name, bits=0, seed=seed)
                yield Wanted(
                    replace(cell, settings={**cell.settings, **settings}),
                    entry=ablation.entry,
                    system=ablation.name,
                    row=(ablation.name, label),
                    label=f"{ablation.name} {label} seed {seed}",
                )


def found_rows(filled: Filled) -> Found:
    """Results of each row, one a seed, or why there are none; a row that lacks one has none."""
    _, _, systems = ablations()
    rows = [(one.name, label) for one in systems for label, _ in one.rows()]
    return {row: filled.reasons.get(row) or filled.results[row] for row in rows}


def ablation_table(found: Found) -> Table:
    """Values, and differences to the whole system seed by seed, each with its deviation."""
    title, seeds, systems = ablations()
    shorts = list(DIRECTIONS.values())
    headings = ["system", "data", "", *shorts, *(f"difference {short}" for short in shorts)]
    rows: list[list[Any]] = []
    notes = Notes()
    for ablation in systems:
        whole: dict[str, list[float]] = {}
        for label, _ in ablation.rows():
            if (ablation.name, label) not in found:
                continue
            results = found[ablation.name, label]
            if isinstance(results, str):
                rows.append([ablation.name, ablation.entry, label, *[notes.mark(results)] * 2, None, None])
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
    return Table(title, headings, rows, note, reasons=notes.lines(), command="diptych bench ablations")


def _values(results: Sequence[Result]) -> tuple[str, dict[str, list[float]]]:
    """The measure and its value of every seed in both directions; the mean of three recalls, as one jumps."""
    measure, names = results[0]["measure"], [results[0]["measure"]]
    if measure == "R@1":
        measure, names = "mean of R@1, R@5 and R@10", ["R@1", "R@5", "R@10"]
    values = {
        side: [statistics.fmean(float(one["results"][side]["values"][n]) for n in names) for one in results]
        for side in DIRECTIONS
    }
    return measure, values


def ablation_content(found: Found) -> dict[str, Any]:
    """All of it for programs, as JSON has it."""
    rows = [
        {"system": name, "label": label, "missing" if isinstance(one, str) else "seeds": one}
        for (name, label), one in found.items()
    ]
    return {"rows": rows}
