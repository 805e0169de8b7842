"""``diptych evaluate``: measure a system, or a ranking that was saved, in both directions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diptych.cli._terminal import say, say_json, shown

if TYPE_CHECKING:
    from diptych.data.base import Dataset
    from diptych.evaluation import Evaluation

__all__ = ["command"]


def command(
    system: Annotated[
        str | None,
        typer.Argument(help="SYSTEM, SYSTEM@WEIGHTS or a run folder of `diptych train`.", show_default=False),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="NAME or NAME:VARIANT of a data set, or the path of your own.", show_default=False),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(help="Score a saved ranking again, without system and data.", show_default=False),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="How to split and evaluate; default: the data set's.", show_default=False),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(help="Folder of a named data set, if not under DIPTYCH_DATA.", show_default=False),
    ] = None,
    cut: Annotated[
        list[int] | None,
        typer.Option(help="K of MAP@K with --run; may be repeated.", min=1, show_default="50"),
    ] = None,
    matches: Annotated[
        list[Path] | None,
        typer.Option(
            help="With --run: a file of other matches (ECCV-Caption, CxC); one for each direction.",
            show_default=False,
        ),
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option(help="Ranks to save of each query; default: all, or 1,000 of very many.", min=1),
    ] = None,
    plots: Annotated[bool, typer.Option("--plots", help="Write report.html with charts too.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the results; default evaluations/SYSTEM-DATA.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a system in both directions, and save numbers and rankings."""
    from diptych.errors import UsageError
    from diptych.evaluation import matched, rescore

    if run is not None:
        if system or data:
            raise UsageError("--run scores a saved ranking, so give no system and no --data with it")
        cuts = tuple(cut or (50,))
        dataset, found = None, rescore(run, cuts=cuts)
        if matches:
            found = matched(found, matches, cuts=cuts)
        folder = out
        if folder is not None:
            found.save(folder)
    else:
        if not system or not data:
            raise UsageError(
                "evaluate needs a system and --data, such as `diptych evaluate builtin --data flickr8k`, "
                "or a saved ranking: `diptych evaluate --run FOLDER`"
            )
        for option, given in (("--cut", cut), ("--matches", matches)):
            if given:
                raise UsageError(
                    f"{option} goes with --run; evaluate first, then score the saved ranking again"
                )
        dataset, found = _evaluated(system, data, protocol, root, depth)
        folder = out or Path("evaluations") / f"{Path(system).name}-{Path(data).name}".replace(
            ":", "-"
        ).replace("@", "-")
        found.save(folder)
    report = _report(found, dataset, folder or _beside(run)) if plots else None
    if as_json:
        say_json(found.as_json())
        return
    _print(found)
    if folder is not None:
        say(f"saved evaluation.json and ranking.npz in {folder}", err=True)
    if report is not None:
        say(f"report: {report}", err=True)


def _evaluated(
    system: str, data: str, protocol: str | None, root: Path | None, depth: int | None
) -> tuple[Dataset, Evaluation]:
    from diptych import catalogue
    from diptych.data import open_data
    from diptych.evaluation import evaluate

    dataset = open_data(data, root)
    dataset.protocol(protocol)  # before a model is loaded for nothing
    loaded = catalogue.load(system)
    card = Path(system.partition("@")[2] or system) / "card.json"
    facts = {"seed": 0}  # what `catalogue.load` draws first weights with
    if card.is_file():
        saved = json.loads(card.read_text(encoding="utf-8"))
        facts = {key: saved.get(key) for key in ("seed", "parameters")}
        if protocol is None:
            dataset = _not_learned(dataset, saved)
    return dataset, evaluate(loaded, dataset, protocol, name=system, depth=depth, facts=facts)


def _not_learned(dataset: Dataset, card: Mapping[str, Any]) -> Dataset:
    """Of data without splits of their own that were learned from, the images that were held out."""
    from diptych.data.views import HeldOut

    held = card.get("held_out")
    if not held or not HeldOut.needed(dataset):
        return dataset
    parted = HeldOut(dataset)
    if parted.split("held-out").sha256() == held["sha256"]:
        say(
            f"the system learned from these data: measured on the {held['images']} images that were held out",
            err=True,
        )
        return parted
    if dataset.name == card.get("data", {}).get("name"):
        say(
            f"{dataset.name} is not what it was when the system learned from it: some of what is measured "
            "here may have been learned from",
            err=True,
        )
    return dataset


def _by(facts: Mapping[str, Any]) -> str:
    used = facts.get("matches", {})
    return f", matches of {' and '.join(one['file'] for one in used.values())}" if used else ""


def _beside(run: Path | None) -> Path:
    assert run is not None
    return run if run.is_dir() else run.parent


def _report(found: Evaluation, dataset: Dataset | None, folder: Path) -> Path:
    from diptych.report.evaluation_page import evaluation_page

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.html"
    path.write_text(evaluation_page(found, dataset), encoding="utf-8")
    return path


def _print(found: Evaluation) -> None:
    from rich.console import Console
    from rich.table import Table

    from diptych.core import DIRECTIONS

    facts = found.facts
    caption = (
        f"{found.data}, protocol {facts['protocol']}{_by(facts)}: "
        + "; ".join(
            f"{direction} ({DIRECTIONS[direction]}) {one.queries} queries against {one.gallery // one.folds}"
            + (f" in {one.folds} folds" if one.folds > 1 else "")
            + (f", {one.without_relevant} of them without a relevant entry" if one.without_relevant else "")
            for direction, one in found.measured.items()
        )
        + ". Interval: 95 %, bootstrap over queries. Ties: worst to best order, where there are any."
    )
    table = Table(box=None, pad_edge=False, title=shown(facts["system"]), title_justify="left")
    table.add_column("")
    for direction in found.measured:
        table.add_column(DIRECTIONS[direction], justify="right")
        table.add_column("interval")
        table.add_column("ties")
    intervals = {direction: one.intervals() for direction, one in found.measured.items()}
    for name in next(iter(found.measured.values())).values():
        row = [name]
        for direction, one in found.measured.items():
            low, high = intervals[direction].get(name, (None, None))
            bounds = one.bounds.get(name, {"worst": 0.0, "best": 0.0})
            tied = abs(bounds["best"] - bounds["worst"]) > 5e-5
            digits = 1 if name == "MeanR" else 3
            row += [
                f"{one[name]:.1f}" if name in ("MedR", "MeanR") else f"{one[name]:.4f}",
                "" if low is None else f"{low:.3f}-{high:.3f}",
                f"{bounds['worst']:.{digits}f}-{bounds['best']:.{digits}f}" if tied else "",
            ]
        table.add_row(*row)
    console = Console(soft_wrap=True)
    console.print(table)
    console.print(shown(caption, "dim"), highlight=False)
