"""Checks hyper-parameters against the signature of the class that takes them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

from diptych.errors import BadParameter, UnknownName

__all__ = ["checked"]

_CALLED: Mapping[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple: "a list",
}


def checked(kind: type, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters, after a check against the constructor: known names, types, nothing missing.

    A list given for a tuple becomes one, because JSON knows only lists.

    Raises:
        BadParameter: naming the parameter, what was given and what is allowed.
    """
    signature = inspect.signature(kind)
    if any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
        return dict(parameters)
    found = {}
    for key, value in parameters.items():
        if key not in signature.parameters:
            near = str(UnknownName(f"parameter of {kind.__name__}", key, signature.parameters))
            raise BadParameter(near)
        default = signature.parameters[key].default
        found[key] = tuple(value) if isinstance(default, tuple) and isinstance(value, list) else value
        if not _finite(value) and _finite(default):
            usual = "" if default is inspect.Parameter.empty else f" like {default!r}"
            raise BadParameter(f"{key} of {kind.__name__} must be finite{usual}, not {value!r}")
        if default is inspect.Parameter.empty or default is None or value is None:
            continue
        allowed = (int, float) if isinstance(default, float) else type(default)
        if isinstance(value, bool) != isinstance(default, bool) or not isinstance(found[key], allowed):
            wanted = _CALLED.get(type(default), f"of the type {type(default).__name__}")
            raise BadParameter(f"{key} of {kind.__name__} must be {wanted} like {default!r}, not {value!r}")
    needed = [key for key, p in signature.parameters.items() if p.default is p.empty and key not in found]
    if needed:
        raise BadParameter(f"{kind.__name__} needs {' and '.join(needed)}, so give it as a parameter")
    return found


def _finite(value: Any) -> bool:
    """Whether a number, or every number of a sequence, is finite; anything else is not asked."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, tuple | list) or all(map(_finite, value))
