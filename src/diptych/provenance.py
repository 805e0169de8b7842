"""What a result was made with: versions and the commit of the source."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from diptych._version import __version__

__all__ = ["commit", "versions"]


def versions() -> dict[str, str]:
    """Versions of Diptych, Python, numpy, and of torch if it is in use."""
    found = {
        "diptych": __version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        "numpy": np.__version__,
    }
    torch = sys.modules.get("torch")
    return found if torch is None else {**found, "torch": str(torch.__version__)}


def commit() -> str | None:
    """The commit of a source checkout; None for an installed package."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None
