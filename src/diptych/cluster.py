"""Ray clusters: which is meant, and how one is reached."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from diptych.errors import Unreachable, UsageError
from diptych.optional import optional

__all__ = ["Cluster", "connected"]


_ADDRESS = re.compile(r"(ray://)?[^\s/:]+:\d+|\[[0-9a-fA-F:]+\]:\d+")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Ray cluster, and what of it is used.

    Args:
        address: HOST:PORT of its head, or ``ray://HOST:PORT`` of its server for clients. Empty for that of
            RAY_ADDRESS, or else for the one that runs on this machine, or else for one of this machine alone
            that ends with the work.
        workers: Processes that work on it; one a processor, or as many as the cards are enough for, if None.
        cards: Graphics cards that each of them gets, which may be a part of one.

    Raises:
        UsageError: a number that is not allowed, or what can be no address.
    """

    address: str = ""
    workers: int | None = None
    cards: float = 0.0

    def __post_init__(self) -> None:
        if self.address and not _ADDRESS.fullmatch(self.address):
            raise UsageError(
                f"{self.address!r} is no address of a cluster; give HOST:PORT of its head, or none for "
                "the one of this machine"
            )
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"a cluster works with at least 1 worker, not {self.workers}")
        if self.cards < 0:
            raise UsageError(f"a worker gets no card, or a part of one or more, not {self.cards}")


@contextlib.contextmanager
def connected(address: str = "") -> Iterator[Any]:
    """A block in which Ray is connected to a cluster; gives the package.

    A program that is connected already stays so, to the cluster that it chose.

    Args:
        address: As for `Cluster`.

    Raises:
        MissingExtra: Ray is not installed.
        Unreachable: no cluster answers there.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers of each cluster
    ray = optional("ray", "work on a cluster", "ray")
    if ray.is_initialized():
        yield ray
        return
    try:
        ray.init(address=address or None, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        said = " ".join(str(error).split())[:200]
        raise Unreachable(
            f"no Ray cluster answers at {address or 'this machine'} ({said}); start one with "
            "Ray's own command, or give the address that it told"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()
