"""``diptych illustrate``: put pictures of a collection into a text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diptych.cli._llm import Budget, Llm, Seconds, SendPictures, assistant
from diptych.cli._options import AsJson, Trust
from diptych.cli._terminal import say, say_json
from diptych.errors import UsageError

if TYPE_CHECKING:
    from diptych.core import Item

__all__ = ["command"]


def command(
    text: Annotated[Path, typer.Argument(metavar="TEXT.md", help="The text, in Markdown or plain.")],
    place: Annotated[
        Path, typer.Option("--in", help="Indexed folder, or one inside it.", show_default="this folder")
    ] = Path(),
    out: Annotated[
        Path | None,
        typer.Option(help="Write here, as Markdown or (.html) as a page; default: standard output."),
    ] = None,
    most: Annotated[int, typer.Option("--pictures", help="Most pictures.", min=1)] = 4,
    llm: Llm = None,
    depth: Annotated[int, typer.Option(help="Candidates that the model selects from.", min=1, max=8)] = 4,
    budget: Budget = None,
    llm_seconds: Seconds = 30.0,
    send_pictures: SendPictures = None,
    as_json: AsJson = False,
    trust: Trust = False,
) -> None:
    """Put pictures of a collection into a text, each behind the paragraph that it illustrates.

    A language model says where pictures help and what they should show, and selects among what is found;
    without one, the first sentences of paragraphs ask. Pictures stay where they are and are named from the
    folder of the text that is written.
    """
    from diptych import catalogue, files
    from diptych.core import Item
    from diptych.engine import collection as engine
    from diptych.llm import default_name
    from diptych.media.textfiles import content, decoded
    from diptych.report.article import blocks, page, with_pictures

    try:
        parts = blocks(decoded(content(text)))
    except OSError as error:
        raise UsageError(f"{text} cannot be read ({error.strerror or error}); give a text file") from error
    if not parts:
        raise UsageError(f"{text} holds no text to illustrate")
    helped = bool(llm or default_name())
    system: Any = catalogue.load("internlm-xcomposer", depth=depth)
    folder = (out.parent if out is not None else Path()).absolute()
    with engine.open(place, create=False, trust=trust) as opened:
        limits: dict[str, Any] = {"budget": budget, "seconds": llm_seconds, "send_pictures": send_pictures}
        model = assistant(opened, llm, **limits).model if helped else None

        def find(words: str, k: int) -> list[Item]:
            found = opened.search(words, k=k)
            return [
                Item(one.id, image=one.path, text=one.text, meta={"path": one.path})
                for one in found
                if one.path is not None
            ]

        placed = system.illustrate(parts, find, most=most, model=model)
    if not placed:
        say("no picture was placed", err=True)
    told = {one.after: (one.caption, one.picture.meta["path"]) for one in placed}
    if as_json:
        say_json(
            [
                {
                    "after": one.after,
                    "caption": one.caption,
                    "image": str(one.picture.meta["path"]),
                    **({"notes": one.note} if one.note else {}),
                }
                for one in placed
            ]
        )
    if out is None:
        if not as_json:
            say(*with_pictures(parts, told, folder).removesuffix("\n").split("\n"))
        return
    as_page = out.suffix.lower() in (".html", ".htm")
    written = page(text.stem, parts, told, folder) if as_page else with_pictures(parts, told, folder)
    try:
        files.write(out, written)
    except OSError as error:
        raise UsageError(f"{out} cannot be written ({error.strerror or error}); give another file") from error
    for why in dict.fromkeys(one.note["degraded"] for one in placed if one.note.get("degraded")):
        say(f"less than was asked for: {why}", err=True)
