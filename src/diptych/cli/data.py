"""``diptych data``: which data sets there are, where they come from, and whether yours is whole."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diptych.cli._terminal import say, say_json, say_table, shown

if TYPE_CHECKING:
    from diptych.data.base import Dataset, Split
    from diptych.data.originals import Originals

__all__ = ["app"]

app = typer.Typer(
    help="List data sets, say where to get them, record where their files are, and check them.",
    no_args_is_help=True,
    rich_markup_mode=None,  # help as all other commands print it
)

_Name = Annotated[
    str, typer.Argument(help="NAME or NAME:VARIANT, or the path of data of your own.", show_default=False)
]
_Root = Annotated[
    Path | None,
    typer.Option("--root", help="Folder of the set, if not under DIPTYCH_DATA.", show_default=False),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_(as_json: _Json = False) -> None:
    """List the data sets and which of them are ready."""
    from diptych.catalogue import cards
    from diptych.data import open_data
    from diptych.errors import BadData

    found: list[dict[str, Any]] = []
    for name, card in cards("dataset").items():
        told: dict[str, Any] = {"name": name, "title": card.title, "variants": [], "ready": []}
        try:
            dataset = open_data(name)
            told |= {"variants": _variants(dataset), "ready": _ready(dataset)}
        except BadData as error:  # one damaged file must not hide the other sets
            told["damaged"] = str(error)
        found.append(told)
    if as_json:
        say_json(found)
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("name", "ready", "what"):
        table.add_column(heading, no_wrap=heading == "name")
    for row in found:
        table.add_row(row["name"], shown(row.get("damaged") or ", ".join(row["ready"]) or "-"), row["title"])
    say_table(table)


@app.command()
def info(name: _Name, root: _Root = None, as_json: _Json = False) -> None:
    """Say where a data set comes from, what it needs, which splits are there and how it is evaluated."""
    from diptych.data import open_data
    from diptych.data.originals import Originals
    from diptych.data.reading import report_of
    from diptych.errors import BadData

    dataset = open_data(name, root)
    told: dict[str, Any] = {
        "name": dataset.name,
        "variants": _variants(dataset),
        "card": dataset.card,
        "splits": dict.fromkeys(dataset.splits),
        "protocols": {key: asdict(value) for key, value in dataset.protocols.items()},
        "classes": list(dataset.class_names),
    }
    there = dataset.available if isinstance(dataset, Originals) else dataset.splits
    for split in there:
        try:
            told["splits"][split] = _sizes(dataset.split(split))
        except BadData as error:
            told["splits"][split] = {"damaged": str(error)}
    if isinstance(dataset, Originals):
        told |= {"variant": dataset.variant, "folder": str(dataset.originals().folder)}
        told["needs"] = _needs(dataset)
    report = report_of(dataset)
    if report is not None:
        told["read"] = report.as_dict()
    if as_json:
        say_json(told)
        return
    say(*_story(told), *(report.lines() if report is not None else ()))


@app.command()
def prepare(
    name: _Name,
    originals: Annotated[
        Path | None,
        typer.Option("--from", help="Folder of the originals; default: the set's own.", show_default=False),
    ] = None,
    root: _Root = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Accept a set without the parts that checks can spare.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Check that the originals are whole and remember where they are; nothing is copied.

    Without a variant, the one that the folder holds is meant.
    """
    from diptych.data import open_data

    dataset = _known(name, root)
    if originals is not None and ":" not in name:
        there = _known(name, originals)
        dataset = _known(f"{name}:{there.variant}", root)
    record = dataset.prepare(originals, partial=partial)
    ready = open_data(f"{dataset.name}:{dataset.variant}", root)
    splits = {split: ready.split(split) for split in _available(ready)}
    if as_json:
        told = {"name": dataset.name, "variant": dataset.variant, "record": str(record)}
        say_json({**told, "splits": {split: _sizes(part) for split, part in splits.items()}})
        return
    say(f"{dataset.name}:{dataset.variant} is ready ({record})")
    for split, part in splits.items():
        say(f"  {split}: {_in_words(_sizes(part))}")


@app.command()
def verify(name: _Name, root: _Root = None, as_json: _Json = False) -> None:
    """Compare the files with the record that `prepare` wrote, and read every split."""
    found = _known(name, root).verify()
    if as_json:
        say_json([asdict(check) for check in found])
    else:
        say(*(f"{'ok  ' if check.ok else 'BAD '} {check.what}: {check.detail}" for check in found))
    if not all(check.ok for check in found):
        raise typer.Exit(1)


def _known(name: str, root: Path | None) -> Originals:
    """A set with files that can be prepared and verified."""
    from diptych.data import open_data
    from diptych.data.originals import Originals
    from diptych.errors import UsageError

    dataset = open_data(name, root)
    if not isinstance(dataset, Originals):
        raise UsageError(f"{name} needs no preparation; use it as it is")
    return dataset


def _variants(dataset: Dataset) -> list[str]:
    return list(getattr(dataset, "variants", ()))


def _available(dataset: Dataset) -> tuple[str, ...]:
    return getattr(dataset, "available", dataset.splits)


def _ready(dataset: Dataset) -> list[str]:
    """The splits that are there, over all variants: ``variant (splits)``, or the splits alone."""
    variants = _variants(dataset)
    if not variants:
        return list(dataset.splits)
    found = []
    for variant in variants:
        splits = _available(type(dataset).open(None, variant))
        if splits:
            found.append(f"{variant} ({', '.join(splits)})")
    return found


def _sizes(split: Split) -> dict[str, Any]:
    return {
        "images": len(split.image),
        "texts": len(split.text),
        "pairs": len(split.pairs),
        "sha256": split.sha256(),
    }


def _in_words(sizes: dict[str, Any]) -> str:
    if "damaged" in sizes:
        return f"cannot be used: {sizes['damaged']}"
    counts = ", ".join(f"{sizes[what]:,} {what}" for what in ("images", "texts", "pairs"))
    return f"{counts}, sha256 {sizes['sha256'][:16]}"


def _needs(dataset: Originals) -> list[dict[str, Any]]:
    """Every layout of the variant with what it needs and whether that is there."""
    from diptych.data.originals import describe

    files = dataset.originals()
    return [
        {"layout": layout.title, "files": {describe(need): need in files for need in layout.needs}}
        for layout in dataset.variants[dataset.variant]
    ]


def _story(told: dict[str, Any]) -> list[str]:
    lines = told["card"].split("\n") if "variant" in told else []
    if "variant" in told:
        lines += ["", f"Variants: {', '.join(told['variants'])} (here: {told['variant']})"]
        lines += [f"Folder: {told['folder']}"]
        for way in told["needs"]:
            lines += [f"  {way['layout']}:"]
            lines += [
                f"    {'there  ' if there else 'missing'} {what}" for what, there in way["files"].items()
            ]
    lines += ["Splits:"]
    for split, size in told["splits"].items():
        lines.append(f"  {split}: {_in_words(size) if size else 'not here'}")
    lines += ["Protocols:"]
    for name, one in told["protocols"].items():
        way = one["query"] if one["query"] == one["gallery"] else f"{one['query']} against {one['gallery']}"
        folds = f", {one['folds']} folds" if one["folds"] > 1 else ""
        note = f" ({one['note']})" if one["note"] else ""
        lines.append(f"  {name}: {way}, relevant by {one['relevance']}{folds}{note}")
    return lines
