"""``diptych models``: the models of a collection, side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from diptych.cli._models import kind_of_codes
from diptych.cli._options import AsJson, Indexed, Trust
from diptych.cli._terminal import say, say_json, say_table

__all__ = ["command"]


def command(
    place: Indexed = ".",
    default: Annotated[
        str | None,
        typer.Option(help="Make this one the default, which searches use.", show_default=False),
    ] = None,
    drop: Annotated[
        str | None, typer.Option(help="Forget the vectors of this one.", show_default=False)
    ] = None,
    rerank: Annotated[
        str | None,
        typer.Option(
            help="Learn from the collection's captions how much this one has to say when it re-ranks.",
            show_default=False,
        ),
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option(help="First hits that --rerank looks at; default 128.", min=1, show_default=False),
    ] = None,
    as_json: AsJson = False,
    trust: Trust = False,
) -> None:
    """List the models of a collection, make one the default, or drop one.

    Add one with diptych index FOLDER --add-model NAME.
    """
    from diptych.engine.collection import open_collection
    from diptych.errors import UsageError
    from diptych.pipeline import DEPTH

    if depth is not None and rerank is None:
        raise UsageError("--depth is how many hits --rerank looks at; give that too, or leave it out")
    with open_collection(place, create=False, trust=trust) as opened:
        if rerank is not None:
            chosen = opened.calibrate_rerank(rerank, depth=depth or DEPTH)
            if as_json:
                say_json(chosen.as_dict())
                return
            weights = ", ".join(
                f"{weight:g} where {side}s are searched" for side, weight in chosen.weights.items()
            )
            told = "" if chosen.lines else "; its results are told in no words"
            say(
                f"{chosen.system} re-ranks with the weight {weights}, chosen on {chosen.queries} captions "
                f"({chosen.milliseconds_a_pair:.3g} ms a pair){told}",
                err=True,
            )
        if default is not None:
            opened.set_default_model(default)
        if drop is not None:
            opened.drop_model(drop)
        found, pictures = opened.models(), opened.count("image")
    if as_json:
        say_json([model.as_dict() for model in found])
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("model", "", "pictures", "texts", "dimensions", "codes"):
        table.add_column(heading, no_wrap=heading == "model")
    for model in found:
        codes = kind_of_codes(model.codes) if model.codes else ""
        row = (model.name, "default" * model.default, str(model.images), str(model.texts))
        table.add_row(*row, str(model.dimensions), codes)
    say_table(table)
    for model in found:
        if model.images < pictures:
            say(
                f"{pictures - model.images} of {pictures} pictures have no vector of {model.name} yet and "
                f"are not found by it; to make them: diptych index {opened.folder}",
                err=True,
            )
