"""Speaks with a Milvus server: asks again for a while, and says in plain words what it says is wrong."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from diptych.engine.homes.address import Address
from diptych.errors import CollectionError, ConnectionLost
from diptych.optional import optional

__all__ = ["PATIENCE", "NotThere", "Server"]

_T = TypeVar("_T")

PATIENCE = 20.0
"""Seconds for which a server that does not answer is asked again."""

_COMING = 120.0  # seconds for one that answers, but has not yet loaded what it has on disk
_CONNECTING = 10.0
_PAUSE = 0.25
_LOST = re.compile(
    r"fail connecting|unavailable|failed to connect|deadline.?exceeded|connection refused|socket closed|"
    r"stream removed|server is not ready|not ready yet|closed channel",
    re.IGNORECASE,
)
_NOT_READY = re.compile(
    r"not (fully )?loaded|unrecoverable|no available|not available|node not (found|match)|channel not|"
    r"not serviceable|timestamp lag|find no|delegator|leader|loading collection",
    re.IGNORECASE,
)
_NOT_THERE = re.compile(
    r"(collection|partition|index)[^.]*(not (found|exist)|doesn't exist)|can't find collection", re.IGNORECASE
)
_REFUSED = re.compile(r"auth|permission|privilege|user or password|api.?key", re.IGNORECASE)


class NotThere(CollectionError):
    """The copy, or a part of it, is not on the server."""


class Server:
    """The server of an address.

    Args:
        address: Of a collection there.

    Raises:
        MissingExtra: Milvus' client is not installed.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._client: Any = None
        self._errors: tuple[type[Exception], ...] = ()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def connect(self) -> None:
        """See that somebody answers.

        Raises:
            ConnectionLost: nobody does.
            CollectionError: the server refuses.
        """
        self.ask(lambda client: client.list_collections(timeout=_CONNECTING))

    def ask(self, action: Callable[[Any], _T]) -> _T:
        """What a function gives that gets the client; done again where the server was away.

        All that is asked of a server may be asked twice.

        Raises:
            ConnectionLost: nobody answers, for longer than a server takes to come back.
            NotThere: what is asked for is not on it.
            CollectionError: it refuses.
        """
        started = time.monotonic()
        while True:
            try:
                return action(self._connected())
            except self._errors as error:
                # Not from the error, which may repeat the address with its password.
                found, patience = self._named(error)
            if time.monotonic() - started > patience:
                raise found
            if isinstance(found, ConnectionLost):
                self.close()
            time.sleep(_PAUSE)

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                pymilvus = optional("pymilvus", "a collection in Milvus", "milvus")
                grpc = optional("grpc", "a collection in Milvus", "milvus")
                self._errors = (pymilvus.MilvusException, grpc.RpcError)
                # It prints whole traces, with addresses, of what is said in a sentence here.
                for name in ("pymilvus", "pymilvus.milvus_client"):
                    logging.getLogger(name).setLevel(logging.CRITICAL + 1)
                self._client = pymilvus.MilvusClient(**self._login(), timeout=_CONNECTING)
            return self._client

    def _login(self) -> dict[str, str]:
        options = dict(self.address.options)
        found = {
            "uri": self.address.url,
            "user": self.address.user,
            "password": self.address.password or os.environ.get("MILVUS_PASSWORD", ""),
            "token": options.get("token", os.environ.get("MILVUS_TOKEN", "")),
            "db_name": self.address.database,
        }
        return {name: value for name, value in found.items() if value}

    def _named(self, error: Exception) -> tuple[CollectionError, float]:
        """What an error means, and for how long what led to it is worth being tried."""
        shown, raw = self.address.shown, str(getattr(error, "message", "") or error)
        said = self.address.hidden(raw)[:300]
        code = str(getattr(error, "code", ""))
        if _NOT_THERE.search(raw) and not _NOT_READY.search(raw):
            return NotThere(f"{shown} has lost what it was to search ({said}); search again"), 0.0
        if _LOST.search(raw) or "UNAVAILABLE" in code or "DEADLINE" in code:
            return ConnectionLost(
                f"{shown} does not answer ({said}); look whether the server runs and can be reached from "
                "here, what was stored before is whole"
            ), PATIENCE
        if _NOT_READY.search(raw):
            return ConnectionLost(
                f"{shown} is not ready ({said}); do it again later, what was stored before is whole"
            ), _COMING
        if _REFUSED.search(raw):
            return CollectionError(
                f"{shown} refuses user and password ({said}); look at both, and give the password in "
                "MILVUS_PASSWORD rather than in the address"
            ), 0.0
        return CollectionError(f"{shown} could not do what was asked ({said})"), 0.0
