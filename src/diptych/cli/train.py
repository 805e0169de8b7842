"""``diptych train``: train a system on a data set, or on your own captioned pictures."""

from __future__ import annotations

import os
import shlex
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diptych.cli._options import AsJson
from diptych.cli._terminal import say, say_json, say_table, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from diptych.training.run import Trained

__all__ = ["command"]


def command(
    system: Annotated[
        str, typer.Argument(help="SYSTEM or SYSTEM:VARIANT; see `diptych list systems`.", show_default=False)
    ],
    data: Annotated[
        str,
        typer.Option(help="NAME or NAME:VARIANT of a data set, or the path of your own.", show_default=False),
    ],
    features: Annotated[
        str | None,
        typer.Option(
            help="Turns pictures and captions into features: ENCODER, or image=NAME,text=NAME.",
            show_default=False,
        ),
    ] = None,
    standardise: Annotated[
        bool,
        typer.Option("--standardise", help="Give each extracted feature the mean 0 and the deviation 1."),
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A hyper-parameter, key=value; may be repeated.", show_default=False),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Train so many times, with seeds 0, 1, ...", min=1)] = 1,
    seed: Annotated[int, typer.Option(help="The first seed.", min=0)] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Run folder; default runs/SYSTEM-DATA.", show_default=False),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(help="Folder of a named data set, if not under DIPTYCH_DATA.", show_default=False),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="How to split and evaluate; default: the data set's.", show_default=False),
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(help="Split to choose the epoch by; default: the protocol's.", show_default=False),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Refuse a picture that cannot be read, and do not leave it out."),
    ] = False,
    patience: Annotated[
        int | None,
        typer.Option(
            help="Stop after so many epochs without a better validation.", min=1, show_default=False
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1 ...; default: the fastest.", show_default=False)
    ] = None,
    processes: Annotated[
        int, typer.Option(help="Share each batch among so many, one a card or processor.", min=1)
    ] = 1,
    precision: Annotated[str, typer.Option(help="fp32, bf16 or fp16.")] = "fp32",
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard files too.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a system and evaluate it in both directions."""
    if processes > 1 and "WORLD_SIZE" not in os.environ:
        raise typer.Exit(_launched(processes, sys.argv[1:]))
    from diptych.cli._read import say_left_out, say_read
    from diptych.data import open_data
    from diptych.training.parameters import parse_settings
    from diptych.training.run import train

    chosen = parse_settings(settings or [])
    dataset = open_data(data, root)
    first = os.environ.get("RANK", "0") == "0"
    before = say_read(dataset) if first else {}
    name = f"{system}-{Path(data).name}".replace(":", "-").replace("@", "-")
    folder, typed = out or Path("runs") / name, shlex.join(["diptych", *sys.argv[1:]])
    shared: dict[str, Any] = {"settings": chosen, "protocol": protocol, "command": typed}
    results = []
    for number in range(seed, seed + seeds):
        run = folder / f"seed{number}" if seeds > 1 else folder
        one = train(
            system,
            dataset,
            run,
            seed=number,
            features=features,
            standardise=standardise,
            validation=validation,
            strict=strict,
            patience=patience,
            device=device,
            processes=processes,
            precision=precision,
            tensorboard=tensorboard,
            quiet=quiet or as_json,
            **shared,
        )
        results.append(one)
    if first:
        say_left_out(results[0].read, before)
        _report(results, as_json)


def _launched(processes: int, arguments: Sequence[str]) -> int:
    """Run this very command in several processes; the exit code."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    done = subprocess.run([*launcher, str(processes), "-m", "diptych", *arguments], check=False)
    return done.returncode


def _report(results: Sequence[Trained], as_json: bool) -> None:
    if as_json:
        say_json([one.as_dict() | ({"read": one.read} if one.read else {}) for one in results])
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    directions, names = list(results[0].metrics), _measures(results[0])
    for heading in ("run", "seed", *(f"{direction} {name}" for direction in directions for name in names)):
        table.add_column(heading)
    for one in results:
        values = [one.evaluation.measured[direction][name] for direction in directions for name in names]
        table.add_row(shown(one.run), str(one.seed), *(f"{value:.4f}" for value in values))
    if len(results) > 1:
        spreads = [
            _summary([one.evaluation.measured[direction][name] for one in results])
            for direction in directions
            for name in names
        ]
        table.add_row("mean and deviation", "", *spreads)
    say_table(table)
    if _codes(results[0]) and results[0].measure == "MAP@ALL":
        say("MAP@ALL of codes: expected over all orders of equal distances")
    for one in results:
        if one.chosen:
            say(_choice(one.chosen))
    held = results[0].held_out
    if held:
        from diptych.media.report import counted

        say(f"measured on {counted(held['images'], 'images')} held out of {held['of']!r}, not learned from")


def _choice(chosen: Mapping[str, Any]) -> str:
    """Which settings were chosen, from what and by what."""
    settings = ", ".join(f"{key}={value}" for key, value in chosen["settings"].items())
    grid = ", ".join(f"{key} {{{', '.join(map(str, values))}}}" for key, values in chosen["grid"].items())
    return f"chosen: {settings}, from {grid}, by {chosen['measure']} {chosen['value']:.4f} on {chosen['by']}"


def _codes(one: Trained) -> bool:
    return getattr(one.learner, "similarity", None) == "hamming"


def _measures(one: Trained) -> list[str]:
    """The main measure; codes are often equally far, so beside the first hit the first ten are told."""
    return [one.measure, "R@10"] if _codes(one) and one.measure == "R@1" else [one.measure]


def _summary(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"
