"""The endpoints: what each asks and answers; what they do, other modules say."""

from __future__ import annotations

from diptych.server.routes import collections, items, itself, jobs, searching
from diptych.server.routes.shared import FAILURES

__all__ = ["FAILURES", "ROUTERS"]

ROUTERS = tuple(part.router for part in (searching, items, collections, jobs, itself))
"""All but that of dialogues, which need a language model."""
