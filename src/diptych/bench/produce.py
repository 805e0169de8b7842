"""Produces a whole report: which table, its cells, and the facts that stand above them; and writes it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.bench import ablations, curves, survey
from diptych.bench.fill import Filled, Filler
from diptych.bench.plan import ours
from diptych.bench.report import ours_content, ours_tables
from diptych.bench.tables import PUBLISHED, published
from diptych.errors import UnknownName
from diptych.evaluation import definitions
from diptych.files import write as write_file
from diptych.provenance import commit, versions
from diptych.report.bench_page import as_html, as_markdown

if TYPE_CHECKING:
    from diptych.report.bench_page import Table

__all__ = ["TABLES", "Report", "produce", "write"]

TABLES = ("ours", *PUBLISHED, "ablations", "curves")

_FINISHED = re.compile(r"^- (\d+) of \d+ cells finished\.$", re.MULTILINE)


@dataclass(frozen=True)
class Report:
    """A result table, ready to be written.

    Args:
        title: Of the report.
        facts: Lines above the tables.
        tables: What it shows.
        content: All of it as JSON text.
        reasons: Why results were not compared with their data.
        finished, asked: Numbers of cells that have a result, and of all.
    """

    title: str
    facts: list[str]
    tables: list[Table]
    content: str
    finished: int
    asked: int
    reasons: Sequence[str] = ()

    def markdown(self) -> str:
        """All of it as Markdown."""
        return as_markdown(self.title, self.tables, facts=self.facts, reasons=self.reasons)

    def html(self) -> str:
        """All of it as a page, with charts."""
        return as_html(self.title, self.tables, facts=self.facts, reasons=self.reasons)


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
        folder, entries, systems, root, compute, tell: See `Filler`.

    Raises:
        UnknownName: no such table, entry or system.
    """
    if table not in TABLES:
        raise UnknownName("result table", table, TABLES)
    filler = Filler(folder, root=root, entries=entries, systems=systems, compute=compute, tell=tell)
    if table in PUBLISHED:
        return _survey(table, filler)
    return {"ablations": _ablations, "curves": _curves, "ours": _ours}[table](filler)


def _survey(table: str, filler: Filler) -> Report:
    printed = published(table)
    filled = filler.fill(table, survey.wanted(printed))
    found = survey.found_rows(printed, filled)
    facts = ["Ours: seed 0, on data and features that are here; otherwise the cell says what is missing."]
    tables = [survey.survey_table(printed, found)]
    if printed.references:
        tables.append(survey.reference_table(printed))
    return _report(table, printed.title, facts, tables, survey.survey_content(printed, found), filled)


def _ablations(filler: Filler) -> Report:
    filled = filler.fill("the ablations", ablations.wanted())
    found = ablations.found_rows(filled)
    shown = ablations.ablation_table(found)
    return _report("ablations", shown.title, [], [shown], ablations.ablation_content(found), filled)


def _curves(filler: Filler) -> Report:
    title, seeds, _ = curves.curves()
    filled = filler.fill("the learning curves", curves.wanted())
    facts = [f"Mean and standard deviation over seeds {', '.join(map(str, seeds))}; one thread; CPU."]
    content = curves.curve_content(filled)
    return _report("curves", title, facts, curves.curve_tables(filled), content, filled)


def _ours(filler: Filler) -> Report:
    plan = ours()
    filled = filler.fill("our table", plan.wanted())
    facts = [
        f"Mean and standard deviation over seeds {', '.join(map(str, plan.seeds))}; one thread; CPU.",
        f"MAP@ALL: {definitions()['MAP@ALL']}. R@n: {definitions()['R@n']}.",
        f"Ties: {definitions()['ties']}.",
    ]
    return _report("ours", plan.title, facts, ours_tables(plan, filled), ours_content(plan, filled), filled)


def _report(
    name: str, title: str, facts: list[str], tables: list[Table], content: Mapping[str, Any], filled: Filled
) -> Report:
    made = f"Command: diptych bench {name}. Commit {(commit() or 'unknown')[:10]}, "
    made += ", ".join(f"{package} {version}" for package, version in versions().items()) + "."
    facts = [*facts, f"{filled.finished} of {filled.asked} cells finished."]
    if filled.unchecked:
        facts.append(
            f"Results on {', '.join(filled.unchecked)} are those that are kept, not compared with their "
            "data, which are not here."
        )
    reasons = [f"{data}: {why}" for data, why in filled.unchecked.items()]
    numbers = {"finished": filled.finished, "asked": filled.asked}
    text = json.dumps({**content, **numbers}, indent=1) + "\n"
    return Report(title, [*facts, made], tables, text, filled.finished, filled.asked, reasons)


def write(report: Report, folder: Path, name: str) -> list[Path]:
    """Write the report as Markdown, JSON and a page; a table that has more results than it is kept.

    Args:
        report: From `produce`.
        folder: Made if need be; gets ``NAME.md``, ``NAME.json`` and ``NAME.html``.
        name: Of the table.

    Returns:
        What was written; nothing, if this report lacks cells, and the Markdown file there has more of them
        or does not say how many it has.
    """
    former = folder / f"{name}.md"
    if former.is_file() and report.finished < min(_finished(former), report.asked):
        return []
    texts = {"md": report.markdown(), "json": report.content, "html": report.html()}
    for ending, text in texts.items():
        write_file(folder / f"{name}.{ending}", text)
    return [folder / f"{name}.{ending}" for ending in texts]


def _finished(path: Path) -> float:
    """How many cells a report says that it has finished; infinitely many, if it does not say."""
    found = _FINISHED.search(path.read_text(encoding="utf-8"))
    return int(found[1]) if found else float("inf")
