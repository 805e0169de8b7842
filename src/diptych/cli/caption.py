"""``diptych caption``: say what pictures show."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diptych.cli._options import AsJson
from diptych.cli._terminal import say, say_json
from diptych.errors import UsageError

if TYPE_CHECKING:
    from diptych.engine.results import Skipped

__all__ = ["command"]

_BATCH = 16


def command(
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="PICTURE...", help="Pictures, folders or patterns.")
    ] = None,
    captioner: Annotated[
        str | None,
        typer.Option(
            help="Who describes, such as captioner@runs/mine or llm:FOLDER [captioner].", show_default=False
        ),
    ] = None,
    sidecars: Annotated[
        bool,
        typer.Option(
            "--sidecars", help="Write each caption into NAME.txt beside its picture, unless there is one."
        ),
    ] = False,
    lines: Annotated[
        Path | None,
        typer.Option("--jsonl", help="Write a line of JSON a picture to this file.", show_default=False),
    ] = None,
    recursive: Annotated[bool, typer.Option(help="Also the folders below.")] = True,
    send_pictures: Annotated[
        bool,
        typer.Option("--send-pictures", help="Let a language model over a network see the pictures."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say in an English sentence what pictures show.

    What is generated is marked so in JSON. The exit code is 1 where no picture could be read.
    """
    from diptych.engine.captioning import captioner_of
    from diptych.engine.scan import expand, walk

    if not paths:
        raise UsageError("nothing to describe; give pictures or a folder: diptych caption cat.jpg")
    found = [one.path for one in walk(expand(paths), recursive=recursive) if one.kind == "image"]
    if not found:
        raise UsageError(f"there is no picture in {', '.join(paths)}")
    system = captioner_of(captioner, sends=send_pictures)
    by = str(getattr(system, "fingerprint", captioner or "captioner"))
    told: list[dict[str, Any]] = []
    lost: list[Skipped] = []
    kept: list[Path] = []
    with _lines_to(lines) as write:
        for path, caption in _described(system, found, lost):
            one = {"image": str(path), "caption": caption, "source": "generated", "by": by}
            if as_json:
                told.append(one)
            elif lines is None and not sidecars:
                say(f"{path}: {caption}")
            write(json.dumps(one, ensure_ascii=False))
            if sidecars and not _sidecar(path, caption):
                kept.append(path)
    if as_json:
        say_json({"captions": told, "skipped": [skipped.as_dict() for skipped in lost]})
    for skipped in lost:
        say(f"not described {skipped.path}: {skipped.reason}", err=True)
    if kept:
        others = f" and {len(kept) - 1} others" if len(kept) > 1 else ""
        say(f"left as they are, as there are texts already: that of {kept[0]}{others}", err=True)
    if len(lost) == len(found):
        raise typer.Exit(1)


def _described(system: Any, paths: Sequence[Path], lost: list[Skipped]) -> Iterator[tuple[Path, str]]:
    """Each picture that can be read, with its caption; what cannot be read is told in `lost`."""
    from diptych.core import offered
    from diptych.engine.results import Skipped
    from diptych.errors import ImageError
    from diptych.media.raw import open_any

    for start in range(0, len(paths), _BATCH):
        some: list[tuple[Path, Any]] = []
        for path in paths[start : start + _BATCH]:
            try:
                some.append((path, open_any(path, size=offered(system, "image_size"))))
            except ImageError as error:
                lost.append(Skipped(path, error.reason))
        if some:
            captions = system.captions([picture for _, picture in some])
            for (path, _), caption in zip(some, captions, strict=True):
                if caption:
                    yield path, caption
                else:
                    lost.append(Skipped(path, "nothing was said of it"))


@contextmanager
def _lines_to(path: Path | None) -> Iterator[Callable[[str], None]]:
    """What writes a line to a file as soon as it is known; nothing, if there is none."""
    if path is None:
        yield lambda line: None
        return
    try:
        with path.open("w", encoding="utf-8", newline="\n") as file:

            def write(line: str) -> None:
                file.write(line + "\n")
                file.flush()

            yield write
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written ({error.strerror or error}); give another file"
        ) from error


def _sidecar(picture: Path, caption: str) -> bool:
    """Write a caption beside its picture; False where there is a text already."""
    from diptych import files

    path = picture.with_suffix(".txt")
    if path.exists():
        return False
    try:
        files.write(path, caption + "\n")
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror or error})") from error
    return True
