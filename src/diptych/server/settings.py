"""What a server is told at its start."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server behaves, whatever it serves.

    Args:
        token: What callers must show; None if they need none, which is for callers of this machine only.
        write: Whether callers may change collections.
        urls: Whether pictures of queries may be addresses on the web, which are then fetched from here.
        hosts: Names by which the server may be called, beside numeric addresses and those of the loopback.
        max_upload: Bytes of a picture that is uploaded, at most.
        max_pixels: Pixels of it, at most.
        deadline: Seconds after which a request is given up.
        threads: Searches that run at a time.
        bench: Results of `diptych bench` that the page shows; None for none.
        llm: Name of the language model that asks back in dialogues; None for none.
        rerank: Name of the system that ranks first hits anew where a caller asks for it; None for none.
        waiting: Searches that may wait for a thread; further ones are refused.
    """

    token: str | None = None
    write: bool = False
    urls: bool = False
    hosts: frozenset[str] = frozenset()
    max_upload: int = 32 << 20
    max_pixels: int = 100_000_000
    deadline: float = 30.0
    bench: Path | None = None
    llm: str | None = None
    rerank: str | None = None
    threads: int = min(8, 2 + (os.cpu_count() or 2))
    waiting: int = 64
