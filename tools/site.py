"""Builds the site: the pages of docs/, and pages made of cards, printed tables, results and docstrings.

    python tools/site.py            # writes build/site, whose index.html opens from the disk
    python tools/site.py --serve    # shows it on http://127.0.0.1:8000

What the program knows is written once, in the program: these pages are made before each build and never kept.
Their Markdown has no syntax of a plug-in, but for the reference's, so that another builder would do.
"""

from __future__ import annotations

import argparse
import html
import posixpath
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from latex2mathml.converter import convert

import diptych
from diptych import catalogue
from diptych.bench.plan import ours
from diptych.bench.report import main_values, spread
from diptych.bench.store import Store
from diptych.bench.tables import PUBLISHED, Row, published
from diptych.catalogue import Card
from diptych.catalogue.equations import Block, parted

ROOT = Path(__file__).parents[1]
_RENAMED = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "docs/results/README.md": "results/index.md",
    "docs/decisions": "decisions/index.md",
}
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)|!\[([^\]]*)\]\(([^)\s]+)\)")
_FAMILIES = {
    "single_tower": "Single tower",
    "dual_tower": "Dual tower",
    "real_valued": "Real-valued representations",
    "hashing": "Binary representations (hashing)",
    "mllm": "Multimodal language models",
    "baselines": "Baselines",
}
_STRUCTURES = {
    "apart": "Each side is encoded apart, so that its vectors can be indexed",
    "together": "Pairs are read together and scored, which ranks what something else has found",
    "pipeline": "Steps that search, ask a language model, and search again",
}


def main() -> None:
    """Write the pages, then build or serve them; a warning is an error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site")
    parser.add_argument("--serve", action="store_true")
    given = parser.parse_args()
    work = given.out.resolve().with_name(f"{given.out.name}-pages")
    shutil.rmtree(work, ignore_errors=True)
    for page, text in pages().items():
        (work / "docs" / page).parent.mkdir(parents=True, exist_ok=True)
        (work / "docs" / page).write_text(text, encoding="utf-8")
    for kept in sorted(
        [
            *(ROOT / "docs").rglob("*.png"),
            *(ROOT / "docs" / "vendor").rglob("*.*"),
            ROOT / "docs" / "site.css",
        ]
    ):
        target = work / "docs" / kept.relative_to(ROOT / "docs")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(kept, target)
    settings = yaml.safe_load((ROOT / "docs" / "site.yml").read_text(encoding="utf-8"))
    settings |= {"site_dir": str(given.out.resolve()), "docs_dir": str(work / "docs")}
    (work / "properdocs.yml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    verb = ["serve"] if given.serve else ["build", "--strict", "--quiet"]
    command = [sys.executable, "-m", "properdocs", *verb, "--config-file", str(work / "properdocs.yml")]
    raise SystemExit(subprocess.run(command, check=False).returncode)


def pages() -> dict[str, str]:
    """Every page by its place in the site."""
    found = dict(_kept())
    found["decisions/index.md"] = _decisions()
    results = _results()
    found["survey.md"] = _survey(results)
    found["systems/index.md"] = _systems()
    for card in catalogue.cards("system").values():
        found[f"systems/{card.name}.md"] = _system(card, results.get(card.name, []))
    found["extractors.md"] = _cards("Feature extractors", "feature", "diptych list features")
    found["data-sets.md"] = _cards("Data sets", "dataset", "diptych data list")
    found["reference.md"] = _reference()
    return found


def _kept() -> Iterator[tuple[str, str]]:
    """The pages that people write, with their links turned to where the pages stand in the site."""
    top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")]
    for path in [*top, *sorted((ROOT / "docs").rglob("*.md"))]:
        source = path.relative_to(ROOT).as_posix()
        yield _place(source), _relinked(path.read_text(encoding="utf-8"), source)


def _place(source: str) -> str:
    return _RENAMED.get(source, source.removeprefix("docs/"))


def _relinked(text: str, source: str) -> str:
    """Links between files of the repository as links between pages; what has no page is named, not linked."""
    here = posixpath.dirname(_place(source))

    def turned(found: re.Match[str]) -> str:
        said, target = (found[1], found[2]) if found[2] else (found[3], found[4])
        mark = "" if found[2] else "!"
        path, hash_, anchor = target.partition("#")
        if target.startswith(("http", "#")):
            return found[0]
        whole = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if not whole.endswith((".md", ".png")) and whole not in _RENAMED:
            return said
        return f"{mark}[{said}]({posixpath.relpath(_place(whole), here or '.')}{hash_}{anchor})"

    return _LINK.sub(turned, text)


def _decisions() -> str:
    lines = ["# Decisions", "", "Where the design could have gone another way, and why it did not.", ""]
    for path in sorted((ROOT / "docs" / "decisions").glob("*.md")):
        title = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        lines.append(f"- [{title}]({path.name})")
    return "\n".join(lines) + "\n"


def _survey(results: Mapping[str, Sequence[Sequence[str]]]) -> str:
    """The survey's figure and Table 1, and its tables of results with what is wrong in them."""
    lines = [
        "# The survey, and what is here of it",
        "",
        "Li et al., *Bridging Modalities: A Survey of Cross-Modal Image-Text Retrieval* (2024), sorts "
        "systems by two questions: are the two sides encoded apart or together, and is the representation "
        "real-valued or binary? `diptych list systems --by structure` and `--by representation` answer them.",
        "",
    ]
    cards = list(catalogue.cards("system").values())
    for structure, meaning in _STRUCTURES.items():
        lines += [f"## {structure.capitalize()}", "", f"{meaning}.", ""]
        members = [card for card in cards if card.fields.get("Structure") == structure]
        for kind in sorted({card.fields.get("Representation", "") for card in members}):
            named = [card for card in members if card.fields.get("Representation") == kind]
            links = ", ".join(f"[{card.name}](systems/{card.name}.md)" for card in named)
            lines += [f"- {kind or 'of what they search with'}: {links}"]
        lines.append("")
    lines += ["## What it says of each system", ""]
    lines += [
        "Beside it the first of what each reached here, IqT / TqI; its page has all, and the command.",
        "",
    ]
    lines += ["| system | family | in the survey | here |", "|---|---|---|---|"]
    for card in cards:
        if told := card.fields.get("Survey"):
            family = _FAMILIES.get(card.family, card.family)
            here = next(iter(results.get(card.name, ())), None)
            reached = "-" if here is None else f"{here[0]}: {here[2]} {here[3]} / {here[4]}"
            lines.append(
                f"| [{card.name}](systems/{card.name}.md) | {family} | {_cell(told)} | {_cell(reached)} |"
            )
    lines += ["", "## Its tables of results", ""]
    for table in map(published, PUBLISHED):
        lines += [f"### {table.title}", "", *(f"- {remark}" for remark in table.remarks), ""]
        lines += _printed(table.rows, "systems/")
    return "\n".join(lines)


def _printed(rows: Sequence[Row], systems: str) -> list[str]:
    """Printed rows as a table; `systems` is where the systems' pages are."""
    lines = [
        "| system | data set | direction | measure | survey | paper | remark |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        columns = "/".join(map(str, row.columns))
        values = ["/".join(f"{value:g}" for value in said) or "-" for said in (row.survey, row.paper)]
        paper = f"{values[1]} ({row.paper_source})" if row.paper else "-"
        system = f"[{row.system}]({systems}{row.name}.md)" if row.name else row.system
        lines.append(
            f"| {system} | {row.printed_dataset} | {row.direction} | {row.metric} @ {columns} "
            f"| {values[0]} | {_cell(paper)} | {_cell(row.remark)} |"
        )
    return [*lines, ""]


def _systems() -> str:
    lines = ["# Systems", "", "Each trains, is measured and searches by the same commands:", ""]
    lines += ["```bash", "diptych list systems --by family", "```", ""]
    cards = catalogue.cards("system").values()
    for family in [*_FAMILIES, *sorted({card.family for card in cards} - set(_FAMILIES))]:
        members = [card for card in cards if card.family == family]
        if members:
            lines += [
                f"## {_FAMILIES.get(family, family)}",
                "",
                "| system | learns from | what |",
                "|---|---|---|",
            ]
            lines += [
                f"| [{c.name}]({c.name}.md) | {_cell(c.fields.get('Learns from', ''))} | {_cell(c.title)} |"
                for c in members
            ]
            lines.append("")
    return "\n".join(lines)


def _system(card: Card, measured: Sequence[Sequence[str]]) -> str:
    """A system's page: its card, what was printed of it, and what it reached here."""
    lines = [f"# {card.name}", "", f"**{_text(card.title)}**", "", "| its card | |", "|---|---|"]
    lines += [f"| {field} | {_cell(said)} |" for field, said in card.fields.items()]
    source = card.path.relative_to(ROOT).as_posix() if card.path.is_relative_to(ROOT) else card.module
    before, block, after = parted(card.idea)
    lines += [f"| Written in | `{source}` |", "", _prose(before), ""]
    lines += [] if block is None else ["## What it computes", "", *_equations(block), ""]
    lines += [_prose(after), ""]
    lines += ["## What it reached here", ""]
    if measured:
        lines += [
            "Mean and standard deviation over seeds; the tables say how ([results](../results/index.md)).",
            "",
            "| data | bits | measure | image to text | text to image | seeds |",
            "|---|---|---|---|---|---|",
            *(f"| {' | '.join(row)} |" for row in measured),
            "",
            f"Again: `diptych bench ours --system {card.name}`",
        ]
    else:
        lines.append("Nothing of it stands in our tables yet.")
    rows = [row for table in map(published, PUBLISHED) for row in table.rows if row.name == card.name]
    if rows:
        lines += ["", "## What was printed of it", "", *_printed(rows, "")]
    if card.fields.get("Learns from") != "nothing":
        lines += ["", "## Train it", "", f"`diptych train {card.name} --data DATA`, where DATA is one of the"]
        lines.append("[data sets](../data-sets.md) or a folder of pictures with captions.")
    return "\n".join(lines) + "\n"


def _equations(block: Block) -> Iterator[str]:
    """A card's equations as MathML, which browsers draw without a script or a font of ours."""
    for one in block.equations:
        said, drawn = _marked(one.heading), _drawn(one.latex, display="block")
        yield f'<figure class="equation"><figcaption>{said}</figcaption>{drawn}</figure>'
        yield ""
    if block.where:
        said = Block((), _marked(block.where)).explained(lambda latex: _drawn(html.unescape(latex)))
        yield f'<p class="where">{said}</p>'


def _marked(text: str) -> str:
    """Words as HTML, names of parameters as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))


def _drawn(latex: str, display: Literal["inline", "block"] = "inline") -> str:
    """LaTeX as MathML; the converter wants to be told that bars pair and functions end in a space."""
    latex = re.sub(r"(?<!\\left)\\(?=l[Vv]ert)", r"\\left\\", latex)
    latex = re.sub(r"(?<!\\right)\\(?=r[Vv]ert)", r"\\right\\", latex)
    functions = r"\\(?:log|tanh|cos|arccos)"
    latex = re.sub(rf"({functions})\s+(?=[A-Za-z\\])", r"\1\\,", latex)
    latex = re.sub(rf"(?<=[\w}}])\s+(?={functions})", r"\\,", latex)
    return convert(latex, display=display)


def _results() -> dict[str, list[list[str]]]:
    """Rows of the stored table by system."""
    store, plan = Store(ROOT / "docs" / "results" / "results.jsonl"), ours()
    places: dict[tuple[str, str, int], list[Mapping[str, Any]]] = defaultdict(list)
    for wanted in plan.wanted():
        result = store.latest(wanted.cell)
        if result is not None:
            places[wanted.system, wanted.entry, wanted.part[0]].append(result)
    found: dict[str, list[list[str]]] = defaultdict(list)
    for (system, entry, bits), results in places.items():
        measure = str(results[0]["measure"])
        values = [
            spread(main_values(results, direction, measure, bits))
            for direction in ("image to text", "text to image")
        ]
        name = system.partition(":")[0]
        shown = entry if system == name else f"{entry} (`{system}`)"
        found[name].append([shown, str(bits or "-"), measure, *values, str(len(results))])
    return found


def _cards(title: str, kind: Any, command: str) -> str:
    lines = [f"# {title}", "", f"`{command}` says the same.", ""]
    for card in catalogue.cards(kind).values():
        lines += [f"## {card.name}", "", f"**{_text(card.title)}**", ""]
        lines += [f"- {field}: {_text(said)}" for field, said in card.fields.items()]
        lines += ["", _prose(card.idea), ""]
    return "\n".join(lines)


def _reference() -> str:
    """Public names of Python with their docstrings."""
    lines = [
        "# Python reference",
        "",
        "What `import diptych` offers; [In Python](python.md) shows it at work.",
        "",
    ]
    for name, place in sorted(diptych._PUBLIC.items(), key=lambda pair: pair[0].lower()):
        module, _, attribute = place.partition(":")
        lines += [f"## diptych.{name}", "", f"::: {module}.{attribute}" if attribute else f"::: {module}"]
        lines += ["    options:", "      show_root_heading: false", "      show_root_toc_entry: false", ""]
    return "\n".join(lines)


def _prose(text: str) -> str:
    """A docstring's prose as Markdown: lists need an empty line before them."""
    return re.sub(r"(?<=[^\n])\n(?=- )", "\n\n", re.sub(r"\n(?=- )", "\n", _text(text)), count=1)


def _text(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", r"\*")


def _cell(text: str) -> str:
    return _text(text).replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    main()
