"""Which model a new collection gets, and what to say of stronger ones and of codes."""

from __future__ import annotations

import importlib.util
import os
import socket
from collections.abc import Mapping
from typing import Any

__all__ = ["STRONGER", "hub_answers", "kind_of_codes", "remark"]

STRONGER = "clip:vit-b-32@onnx"
_HUB = ("huggingface.co", 443)


def hub_answers(seconds: float = 1.5) -> bool:
    """Whether the model hub can be reached; never waits longer than `seconds`."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes"}:
        return False
    try:
        socket.create_connection(_HUB, timeout=seconds).close()
    except OSError:
        return False
    return True


def kind_of_codes(facts: Mapping[str, Any]) -> str:
    """How many bits codes have, or that a graph of the vectors stands in their place."""
    return f"{facts['bits']} bits" if facts["bits"] else "a graph"


def remark() -> str:
    """One line for whoever founds a collection without naming a model."""
    if importlib.util.find_spec("huggingface_hub") is None:
        return (
            "using the built-in model; for stronger ones: pip install 'diptych[hub]', "
            f"then diptych index --rebuild --model {STRONGER}"
        )
    if not hub_answers():
        return "no model hub within reach: using the built-in model"
    return (
        f"using the built-in model; stronger, and downloaded once: diptych index --rebuild --model {STRONGER}"
    )
