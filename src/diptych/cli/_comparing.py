"""What ``diptych evaluate A B`` does: two saved evaluations, compared query by query."""

from __future__ import annotations

import json
from pathlib import Path

from diptych.cli._terminal import say, say_json, shown

__all__ = ["compare_saved"]


def compare_saved(
    first: Path, second: Path, out: Path | None, *, plots: bool, as_json: bool, as_csv: bool
) -> None:
    """Compare, save and print.

    Args:
        first, second: Folders that `diptych evaluate` wrote.
        out: Gets ``comparison.json`` and the page; a folder named after both, if None.
        plots: Write a page, too.
        as_json, as_csv: Print in that form.

    Raises:
        MissingData, BadData: a folder holds no saved evaluation.
        UsageError: the two were not asked the same.
    """
    from rich.console import Console
    from rich.table import Table

    from diptych.core import DIRECTIONS
    from diptych.evaluation import compare, rescore
    from diptych.files import write
    from diptych.report import comparison

    found = compare(rescore(first), rescore(second))
    folder = out or Path("evaluations") / f"{first.resolve().name}-against-{second.resolve().name}"
    write(folder / "comparison.json", json.dumps(found.as_json(), indent=2) + "\n")
    if plots:
        write(folder / "report.html", comparison.comparison_page(found))
    if as_json:
        say_json(found.as_json())
        return
    if as_csv:
        say(*comparison.comparison_csv(found).splitlines())
        return
    console = Console(soft_wrap=True)
    for direction in found.differences:
        title = f"{' against '.join(comparison.names(found))}, {direction} ({DIRECTIONS[direction]})"
        table = Table(box=None, pad_edge=False, title=shown(title), title_justify="left")
        for at, heading in enumerate(comparison.HEADINGS):
            table.add_column(heading, justify="right" if at else "left")
        for row in comparison.rows(found, direction):
            table.add_row(*row)
        console.print(table)
    console.print(shown(comparison.note(found), "dim"), highlight=False)
    say(f"saved comparison.json{' and report.html' if plots else ''} in {folder}", err=True)
