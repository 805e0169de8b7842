"""Parts of a report: sections, tables, charts and small pictures."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diptych.optional import optional
from diptych.report import style
from diptych.report.style import safe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL.Image import Image

__all__ = ["Value", "chart", "charts", "collapsed", "page", "picture", "section", "table"]

_SOFT = "#87837c"
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?( ± \d+\.\d+)?|-( \[\d+\])?")
_SIDE = 200  # pixels of a small picture's longer side

_STYLE = """\
td.spread { white-space: nowrap; font-variant-numeric: tabular-nums; }
td.spread span { display: inline-block; min-width: 3.5rem; text-align: right; }
td.spread span + span { min-width: 4.2rem; text-align: left; padding-left: .3rem; }
td.short { font-variant-numeric: tabular-nums; white-space: nowrap; }
td.long { min-width: 13rem; }
td small { display: block; color: var(--soft); font-size: .78rem; }
th:first-child, td:first-child { position: sticky; left: 0; background: var(--ground); }
.charts { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(24rem, 100%), 1fr)); }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: .6rem; }
figure svg { width: 100%; height: auto; display: block; }
.row { display: grid; grid-template-columns: minmax(8rem, 14rem) 1fr; gap: .8rem; padding: .6rem 0;
  border-bottom: 1px solid var(--line); }
.hits { display: flex; flex-wrap: wrap; align-items: flex-start; gap: .5rem; }
.hit { width: 8.2rem; font-size: .78rem; border: 2px solid var(--line); border-radius: .5rem;
  overflow: hidden; background: var(--card); }
.hit.yes { border-color: var(--accent); }
.hit div { padding: .3rem .4rem; overflow-wrap: anywhere; }
.hit img, .asked img { width: 100%; aspect-ratio: 1; object-fit: cover; display: block; }
.asked { font-size: .9rem; overflow-wrap: anywhere; }
.asked img { max-width: 14rem; }
@media (max-width: 40rem) { .row { grid-template-columns: 1fr; } .hit { width: calc(50% - .25rem); }
  th { white-space: normal; } th, td { padding: .28rem .45rem; } table { font-size: .84rem; } }
"""


@dataclass(frozen=True)
class Value:
    """An entry of a table with something to say of it.

    Args:
        text: The value.
        below: Smaller lines under it.
        best: It is the best of its column, and set in bold.
    """

    text: str
    below: tuple[str, ...] = ()
    best: bool = False

    def __str__(self) -> str:
        return self.text


def page(title: str, *parts: str) -> str:
    """The whole page."""
    return style.document(title, *parts, style=_STYLE)


def section(heading: str, *parts: str, note: str = "") -> str:
    """A heading, a line of explanation, and what belongs to them."""
    said = f'<p class="note">{safe(note)}</p>' if note else ""
    return f"<section><h2>{safe(heading)}</h2>{said}\n" + "\n".join(parts) + "\n</section>"


def collapsed(summary: str, *parts: str) -> str:
    """What is there for whoever opens it."""
    return f"<details><summary>{safe(summary)}</summary>\n" + "\n".join(parts) + "\n</details>"


def table(headings: Sequence[str], rows: Sequence[Sequence[Any]], *, caption: str = "") -> str:
    """A table; floats get four digits, columns of numbers stand right, None is a dash."""
    said = f"<caption>{safe(caption)}</caption>" if caption else ""
    head = "".join(f"<th>{safe(heading)}</th>" for heading in headings)
    kinds = [_kind_of(column) for column in zip(*rows, strict=True)]
    body = "\n".join("<tr>" + "".join(map(_entry, row, kinds)) + "</tr>" for row in rows)
    return f'<div class="wide"><table>{said}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def chart(draw: Callable[[Axes], None], *, alt: str, width: float = 5.2, height: float = 3.4) -> str:
    """A figure drawn with matplotlib, as SVG inside the page.

    Args:
        draw: Draws into the axes.
        alt: What it shows, in words.
        width, height: Inches.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    matplotlib = optional("matplotlib", "drawing charts", "plots")
    figures = optional("matplotlib.figure", "drawing charts", "plots")
    looks: Any = {
        "text.color": _SOFT,
        "axes.labelcolor": _SOFT,
        "axes.edgecolor": _SOFT,
        "xtick.color": _SOFT,
        "ytick.color": _SOFT,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": _SOFT,
        "grid.alpha": 0.25,
        "axes.grid": True,
        "legend.frameon": False,
        "svg.fonttype": "none",  # text stays text: small, and it can be selected
        "svg.hashsalt": "diptych",  # the same chart is the same file
        "font.family": "sans-serif",
    }
    with matplotlib.rc_context(looks):
        figure = figures.Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots()
        axes.set_prop_cycle(color=style.COLOURS)
        draw(axes)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    return f'<figure role="img" aria-label="{safe(alt)}">{svg[svg.index("<svg") :]}</figure>'


def charts(*figures: str) -> str:
    """Charts side by side where there is room."""
    return f'<div class="charts">{"".join(figures)}</div>'


def picture(image: Image, alt: str) -> str:
    """A small copy of a picture inside the page."""
    return style.picture(image, alt, _SIDE)


def _kind_of(column: Sequence[Any]) -> str:
    """What a column holds: numbers, numbers of which some have a deviation, or words."""
    if not all(
        value is None or isinstance(value, int | float) or _NUMBER.fullmatch(str(value)) for value in column
    ):
        return "words"
    return "spread" if any(" ± " in str(value) for value in column) else "number"


def _entry(value: Any, kind: str) -> str:
    shown = "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
    told = safe(shown)
    if kind == "spread":  # means below means and deviations below deviations, where some have none
        mean, _, deviation = shown.partition(" ± ")
        told = f"<span>{safe(mean)}</span><span>{f'± {safe(deviation)}' if deviation else ''}</span>"
    if isinstance(value, Value):
        told += "".join(f"<small>{safe(line)}</small>" for line in value.below)
    if kind == "words":
        # Words of a name or a few numbers stay on one line; sentences keep a width that can be read.
        kind = "short" if len(shown) <= 26 else "long" if len(shown) > 60 else ""
    names = " ".join(filter(None, (kind, "best" if isinstance(value, Value) and value.best else "")))
    return f'<td class="{names}">{told}</td>' if names else f"<td>{told}</td>"
