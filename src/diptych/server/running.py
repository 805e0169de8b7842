"""Runs the application on an address until it is told to stop, and lets this user's programs find it."""

from __future__ import annotations

import contextlib
import secrets
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import uvicorn

from diptych.engine.collection import Collection, open_collection
from diptych.engine.homes.address import address_of
from diptych.errors import MissingData, UsageError
from diptych.server.app import create_app
from diptych.server.found import announced
from diptych.server.schema import JobAsked
from diptych.server.security import is_loopback
from diptych.server.settings import Settings

__all__ = ["SHORTEST_TOKEN", "checked_token", "listening", "serve"]

SHORTEST_TOKEN = 16
"""Characters of a token at least."""

_GRACE = 10  # seconds that requests may still take once the server is to stop


def checked_token(token: str | None, host: str) -> str | None:
    """A token that guards a server at such an address.

    Raises:
        UsageError: it is too short to guard anything, or there is none where one is needed.
    """
    if token is None:
        if not is_loopback(host):
            raise UsageError(
                f"whoever reaches {host} could search these pictures, so a token is needed, such as "
                f"{secrets.token_urlsafe(24)}",
                argument="token",
            )
        return None
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(
            f"a token has at least {SHORTEST_TOKEN} letters, digits and signs without blanks; a good one is "
            f"{secrets.token_urlsafe(24)}",
            argument="token",
        )
    return token


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        UsageError: it cannot; says why.
    """
    if not 0 <= port < 65536:
        raise UsageError(f"a port is a number from 0 to 65535, not {port}", argument="port")
    try:
        kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(kind, socket.SOCK_STREAM)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(address)
            found.listen(512)
        except BaseException:
            found.close()
            raise
    except OSError as error:
        raise UsageError(
            f"{host} port {port} cannot be listened on ({error.strerror or error}); choose another port, or "
            "0 for any that is free",
            argument="port",
        ) from error
    return found


def opened(paths: Sequence[str | Path], *, trust: bool) -> tuple[list[Collection], list[Collection]]:
    """The collections of folders and addresses, and those among them of which nothing is indexed yet.

    Raises:
        MissingData, CollectionError: as `open_collection`.
        UsageError: a folder is given twice.
    """
    found: list[Collection] = []
    known: list[tuple[Any, ...]] = []
    with contextlib.ExitStack() as cleaning:
        for path in paths:
            on_server = address_of(path) is not None
            if not on_server and not Path(path).is_dir():
                what = "is not a folder" if Path(path).exists() else "does not exist"
                raise MissingData(f"{path} {what}; give the folders whose pictures are to be served")
            one = open_collection(path, trust=trust, create=not on_server)
            cleaning.callback(one.close)
            which = (one.folder, one.below, one.home.name if on_server else "")
            if which in known:
                raise UsageError(f"{path} is given twice; each folder is served once")
            known.append(which)
            found.append(one)
        cleaning.pop_all()
    return found, [one for one in found if one.home.column is None]


class _Server(uvicorn.Server):
    """Lets those who follow a job go as soon as it is to stop, which they would hold up else."""

    def __init__(self, config: uvicorn.Config, stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._stop = stop

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin to stop; asked again by Ctrl-C, at once. The process then ends as one that did its work."""
        self._stop()
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def serve(
    collections: Sequence[Collection],
    listener: socket.socket,
    settings: Settings,
    *,
    update: Sequence[Collection] = (),
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Serve collections until the process is told to stop; requests that were begun are answered.

    Args:
        collections: Opened ones; they are closed at the end.
        listener: See `listening`.
        settings: How the server behaves.
        update: Those to bring up to date with their folders, beside.
        on_ready: Called once requests are taken.
    """
    key = secrets.token_urlsafe(32)
    app = create_app(collections, settings, keys=[key])
    serving = app.serving
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        proxy_headers=False,  # or whoever sends such a header would be a caller of this machine
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=_GRACE,
    )
    server = _Server(config, serving.stop)
    for served in serving.holding:
        if served.collection in update:
            serving.jobs.ask(served, JobAsked(collection=served.name))
    host, port = listener.getsockname()[:2]
    with announced([(one.name, one.collection) for one in serving.holding], host, port, key):
        if on_ready is not None:
            on_ready()
        server.run(sockets=[listener])
