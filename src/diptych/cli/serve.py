"""``diptych serve``: search collections from a page, from programs and from other machines."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from diptych.cli._options import Trust
from diptych.cli._terminal import say
from diptych.errors import UsageError

__all__ = ["command"]


def command(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FOLDER...]", help="Folders or addresses to serve [this folder].", show_default=False
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's own needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for any that is free.")] = 8765,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="DIPTYCH_TOKEN",
            help="What callers must show; best given as DIPTYCH_TOKEN.",
            show_default=False,
        ),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File whose first line is the token.", show_default=False)
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Name by which the server may be called; may be repeated.", show_default=False),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Let callers change collections, not only read them.")
    ] = False,
    allow_urls: Annotated[
        bool, typer.Option("--allow-urls", help="Fetch pictures that queries name by their web address.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Bring the collections up to date with their folders, beside.")
    ] = False,
    max_upload: Annotated[int, typer.Option(help="Largest picture that may be sent, in MiB.", min=1)] = 32,
    deadline: Annotated[
        float, typer.Option(help="Seconds after which a request is given up.", min=0.1)
    ] = 30.0,
    rerank: Annotated[
        str | None,
        typer.Option(
            help="A system that ranks first hits anew where a search asks: SYSTEM@WEIGHTS or a run.",
            show_default=False,
        ),
    ] = None,
    bench: Annotated[
        Path | None, typer.Option(help="Results of bench (.jsonl) to show, too.", show_default=False)
    ] = None,
    llm: Annotated[
        str | None,
        typer.Option(
            help="Language model that asks back in dialogues, as of diptych chat.",
            envvar="DIPTYCH_LLM",
            show_default=False,
        ),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
    trust: Trust = False,
) -> None:
    """Search collections in a browser, from programs and from other machines.

    Whoever uses this machine may search; others need a token. Nothing can be
    changed from there without --write. A folder that was never indexed is
    indexed while it is served. Ctrl-C stops the server.
    """
    from diptych.optional import optional

    for module in ("fastapi", "uvicorn", "prometheus_client", "python_multipart"):
        optional(module, "serving collections", "server")
    from diptych.server import running
    from diptych.server.settings import Settings

    if token is not None and token_file is not None:
        raise UsageError("--token and --token-file both give the token; give either")
    token = running.checked_token(_read(token_file) if token_file is not None else token, host)
    settings = Settings(
        token=token,
        write=write,
        urls=allow_urls,
        hosts=frozenset(name.lower() for name in allow_host or []),
        max_upload=max_upload << 20,
        deadline=deadline,
        bench=bench,
        rerank=rerank,
        llm=llm,
    )
    if bench is not None and not bench.is_file():
        raise UsageError(f"{bench} is no file; --bench takes what diptych bench has written (.jsonl)")
    listener = running.listening(host, port)
    try:
        collections, empty = running.opened(paths or ["."], trust=trust)
    except BaseException:
        listener.close()
        raise
    port = listener.getsockname()[1]
    shown = f"[{host}]" if ":" in host else "localhost" if host in ("127.0.0.1", "0.0.0.0") else host
    address = f"http://{shown}:{port}/"

    def ready() -> None:
        for one in collections:
            new = ", which is being indexed for the first time" if one in empty else ""
            say(f"{one.below or one.folder}{new}", err=True)
        say(f"{address}" + ("" if token is None else "   (asks for the token)"), err=True)
        if open_:
            typer.launch(address)

    running.serve(collections, listener, settings, update=collections if update else empty, on_ready=ready)


def _read(path: Path) -> str:
    """The token in a file.

    Raises:
        UsageError: others may read it too, or there is none in it.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise UsageError(f"others can read {path}, which holds the token; do: chmod 600 {path}")
    lines = text.split("\n")
    if not lines[0].strip():
        raise UsageError(f"the first line of {path} is to be the token, and is empty")
    return lines[0].strip()
