"""Find pictures with words and words with pictures; train, measure and serve cross-modal retrieval."""

from __future__ import annotations

from diptych._version import __version__

__all__ = ["__version__"]
