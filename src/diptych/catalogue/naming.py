"""The parts of a name, ``system[:variant][@weights]``."""

from __future__ import annotations

from dataclasses import dataclass

from diptych.errors import UsageError

__all__ = ["Name", "parse"]


@dataclass(frozen=True, slots=True)
class Name:
    """The parts of ``system[:variant][@weights]``; what is not given is None."""

    system: str
    variant: str | None = None
    weights: str | None = None

    def __str__(self) -> str:
        variant = f":{self.variant}" if self.variant else ""
        return f"{self.system}{variant}" + (f"@{self.weights}" if self.weights else "")


def parse(name: str) -> Name:
    """The parts of a name.

    Raises:
        UsageError: if the system is missing.

    Example:
        >>> parse("clip:vit-b-32@openai")
        Name(system='clip', variant='vit-b-32', weights='openai')
    """
    head, _, weights = name.partition("@")
    system, _, variant = head.partition(":")
    if not system:
        raise UsageError(f"{name!r} names no system; a name is system[:variant][@weights], such as builtin")
    return Name(system.replace("-", "_"), variant or None, weights or None)
