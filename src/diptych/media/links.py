"""Links that lead out of the folders given: whoever made a folder would else choose what is read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["LEADS_OUT", "leads_out", "real"]

LEADS_OUT = "is a link out of the folder, and such links are followed only if that is asked for"
"""Why what lies behind such a link was left out."""


def real(folders: Iterable[str | Path]) -> list[str]:
    """The real paths of folders."""
    return [os.path.realpath(one) for one in folders]


def leads_out(link: str | Path, roots: Sequence[str] | None) -> bool:
    """Whether a link leads out of these real folders; never, if None."""
    if roots is None:
        return False
    target = Path(os.path.realpath(link))
    return not any(Path(root) in (target, *target.parents) for root in roots)
