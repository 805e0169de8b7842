"""``diptych export``: a collection's vectors and codes, for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diptych.cli._options import AsJson, Indexed, Trust
from diptych.cli._terminal import say, say_json

__all__ = ["command"]


def command(
    place: Indexed = ".",
    to: Annotated[
        Path,
        typer.Option(help="A new .npy or .parquet file, or a folder as clip-retrieval lays it out."),
    ] = Path("vectors"),
    side: Annotated[
        str | None,
        typer.Option(
            help="image or text; else both: in a folder each caption with its picture, in .npy pictures.",
            show_default=False,
        ),
    ] = None,
    codes: Annotated[bool, typer.Option("--codes", help="Also the binary codes of the pictures.")] = False,
    single: Annotated[
        bool, typer.Option("--float32", help="In single precision; else in half, as they are kept.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="Which of the collection's models [the default].", show_default=False)
    ] = None,
    as_json: AsJson = False,
    trust: Trust = False,
) -> None:
    """Write vectors, codes and what they are of, for other programs and for evaluate.

    diptych evaluate --embeddings and diptych data info read what is written as a folder.
    """
    from diptych.engine.collection import open_collection

    with open_collection(place, create=False, trust=trust) as opened:
        chosen = opened if model is None else opened.using(model)
        done = chosen.export(to, side=side, codes=codes, single=single)  # type: ignore[arg-type]  # it says
    if as_json:
        say_json(done.as_dict())
        return
    coded = f", with codes of {done.bits} bits" if done.bits else ""
    say(f"{done.path}: {done.rows} rows of {done.dimensions} dimensions, {done.type}{coded}", err=True)
    if done.left_out:
        say(
            f"{done.left_out} pictures have no captions and are not among the pairs; to write all pictures: "
            "--side image",
            err=True,
        )
