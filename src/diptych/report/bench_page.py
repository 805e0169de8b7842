"""Result tables as Markdown and as one HTML page with charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from diptych.report import page as html
from diptych.report.style import COLOURS, safe

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Chart", "Table", "as_html", "as_markdown"]


@dataclass(frozen=True)
class Chart:
    """Lines over a common axis, or bars if there is one value each, or dots.

    Args:
        title: Of the chart.
        series: Points by name: (x values, y values); one point each makes bars.
        x, y: Labels of the axes.
        dots: x are names, each a line of the chart, on which every series has a dot at y.
    """

    title: str
    series: Mapping[str, tuple[Sequence[Any], Sequence[float]]]
    x: str = ""
    y: str = ""
    dots: bool = False


@dataclass(frozen=True)
class Table:
    """One table of a report.

    Args:
        title: Its heading.
        headings: Of the columns.
        rows: Entries; numbers, text or None.
        note: What a reader must know before reading it.
        remarks: What follows from it, or is wrong with it.
        charts: Shown below it in HTML.
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""
    remarks: Sequence[str] = ()
    charts: Sequence[Chart] = field(default_factory=tuple)


def as_markdown(title: str, tables: Sequence[Table], *, facts: Sequence[str] = ()) -> str:
    """The report as Markdown, without charts."""
    lines = [f"# {title}", "", *(f"- {fact}" for fact in facts), ""]
    for table in tables:
        lines += [f"## {table.title}", ""]
        if table.note:
            lines += [table.note, ""]
        lines.append("| " + " | ".join(map(_plain, table.headings)) + " |")
        lines.append("|" + "---|" * len(table.headings))
        lines += ["| " + " | ".join(_plain(value) for value in row) + " |" for row in table.rows]
        lines += ["", *(f"- {_plain(remark)}" for remark in table.remarks), ""]
    return "\n".join(lines).rstrip() + "\n"


def as_html(title: str, tables: Sequence[Table], *, facts: Sequence[str] = ()) -> str:
    """The report as one self-contained page.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    parts = [f'<p class="note">{safe(fact)}</p>' for fact in facts]
    for table in tables:
        remarks = "".join(f"<li>{safe(remark)}</li>" for remark in table.remarks)
        parts.append(
            html.section(
                table.title,
                html.table(table.headings, table.rows),
                f"<ul>{remarks}</ul>" if remarks else "",
                html.charts(*map(_chart, table.charts)) if table.charts else "",
                note=table.note,
            )
        )
    return html.page(title, *parts)


def _chart(chart: Chart) -> str:
    bars = not chart.dots and all(len(x) == 1 for x, _ in chart.series.values())
    names = list(dict.fromkeys(name for x, _ in chart.series.values() for name in x)) if chart.dots else []

    def draw(axes: Axes) -> None:
        if chart.dots:
            _dots(axes, chart, names)
        elif bars:
            _bars(axes, chart)
        else:
            for number, (name, (x, y)) in enumerate(chart.series.items()):
                # More systems than colours: the second round is dashed.
                dashed = number // len(COLOURS) % 2
                axes.plot(x, y, marker=".", label=name, linestyle="--" if dashed else "-")
            axes.set(xlabel=chart.x, ylabel=chart.y)
            # Below the axes: a dozen lines leave no room among them.
            axes.figure.legend(loc="outside lower center", fontsize="x-small", ncols=5, handlelength=3)
        axes.set_title(chart.title, fontsize="medium")

    count = len(names) if chart.dots else len(chart.series)
    height = max(2.6, 0.24 * count + 1) if bars or chart.dots else 4.2
    return html.chart(draw, alt=chart.title, height=height)


def _bars(axes: Axes, chart: Chart) -> None:
    """Horizontal bars, the first on top; two directions of one system share a label."""
    names = list(chart.series)
    places = np.arange(len(names))[::-1]
    axes.barh(places, [y[0] for _, y in chart.series.values()], color=COLOURS[0], height=0.7)
    axes.set_yticks(places, names, fontsize="x-small")
    axes.set_xlabel(chart.y)
    axes.grid(visible=False, axis="y")


def _dots(axes: Axes, chart: Chart, names: Sequence[str]) -> None:
    """A line for each name, the first on top, with a dot of each series."""
    place = {name: len(names) - 1 - at for at, name in enumerate(names)}
    for at, (name, (x, y)) in enumerate(chart.series.items()):
        # Rings of falling size, so that equal values are seen as such.
        size = max(9 - 3 * at, 3)
        axes.plot(
            y,
            [place[one] for one in x],
            linestyle="",
            marker="o",
            fillstyle="none",
            markersize=size,
            label=name,
        )
    axes.set_yticks(list(place.values()), list(place), fontsize="x-small")
    axes.set_xlabel(chart.y)
    axes.legend(fontsize="x-small")


def _plain(value: Any) -> str:
    if value is None:
        return "-"
    shown = f"{value:.4f}" if isinstance(value, float) else str(value)
    return shown.replace("|", "\\|").replace("\n", " ")
