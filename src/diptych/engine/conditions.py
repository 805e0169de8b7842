"""Conditions on the fields of pictures, as Python expressions; `diptych.engine.filters` reads them from text.

Logic has two values: a comparison with a field that a picture does not have is false, and whatever is negated
takes all that the rest leaves. Of a field with many values any may meet a comparison.

Example:
    >>> from diptych import where
    >>> (where.date >= 2024) & ~where.tag.is_in("dog", "beach")
    date >= 2024 and not (tag = 'dog' or tag = 'beach')
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field as attribute
from typing import Any, Literal, TypeAlias

from diptych.errors import UsageError
from diptych.media.metadata import Value
from diptych.printable import type_of

__all__ = ["AllOf", "AnyOf", "Condition", "Field", "Negation", "Operator", "Test", "where"]

Operator: TypeAlias = Literal["=", "<", "<=", ">", ">=", "like", "between", "known"]


class Condition:
    """What pictures must fulfil; ``&``, ``|`` and ``~`` combine them.

    Attributes:
        depth: Levels of it.
    """

    __slots__ = ()

    depth: int

    def __and__(self, other: Condition) -> Condition:
        return AllOf((*_parts(self, AllOf), *_parts(_condition(other), AllOf)))

    def __or__(self, other: Condition) -> Condition:
        return AnyOf((*_parts(self, AnyOf), *_parts(_condition(other), AnyOf)))

    def __invert__(self) -> Condition:
        return self.of if isinstance(self, Negation) else Negation(self)

    def __bool__(self) -> bool:
        raise UsageError(
            "conditions are combined with &, | and ~, each in parentheses, not with and, or, not"
        )


@dataclass(frozen=True, slots=True, repr=False)
class Test(Condition):
    """A field compared with values.

    Args:
        field: Its name.
        operator: How; "known" for whether there is any value.
        values: Two for "between", none for "known", else one.
        at: Place in the text that it was read from; -1 if it was read from none.
    """

    __test__ = False  # of pytest

    field: str
    operator: Operator
    values: tuple[Value, ...] = ()
    at: int = attribute(default=-1, compare=False)
    depth: int = attribute(default=1, init=False, compare=False)

    def __repr__(self) -> str:
        said = [_shown(value) for value in self.values]
        if self.operator == "known":
            return f"{self.field} is not null"
        return f"{self.field} {self.operator} {' and '.join(said)}"


@dataclass(frozen=True, slots=True, repr=False)
class _Joined(Condition):
    parts: tuple[Condition, ...]
    depth: int = attribute(default=1, init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", 1 + max((part.depth for part in self.parts), default=0))


class AllOf(_Joined):
    """Every part must be fulfilled."""

    __slots__ = ()

    def __repr__(self) -> str:
        return " and ".join(f"({part!r})" if isinstance(part, AnyOf) else repr(part) for part in self.parts)


class AnyOf(_Joined):
    """One of the parts must be fulfilled."""

    __slots__ = ()

    def __repr__(self) -> str:
        return " or ".join(map(repr, self.parts))


@dataclass(frozen=True, slots=True, repr=False)
class Negation(Condition):
    """The condition must not be fulfilled."""

    of: Condition
    depth: int = attribute(default=1, init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", 1 + self.of.depth)

    def __repr__(self) -> str:
        return f"not ({self.of!r})"


class Field:
    """A field to be compared; see `where`."""

    __slots__ = ("_name",)
    __hash__ = None  # type: ignore[assignment]  # two that are equal make a condition

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"<Field {self._name}>"

    def __eq__(self, value: object) -> Condition:  # type: ignore[override]
        return self._test("=", value)

    def __ne__(self, value: object) -> Condition:  # type: ignore[override]
        return ~self._test("=", value)

    def __lt__(self, value: Any) -> Condition:
        return self._test("<", value)

    def __le__(self, value: Any) -> Condition:
        return self._test("<=", value)

    def __gt__(self, value: Any) -> Condition:
        return self._test(">", value)

    def __ge__(self, value: Any) -> Condition:
        return self._test(">=", value)

    def is_in(self, *values: Any) -> Condition:
        """Any of its values is one of these."""
        return AnyOf(tuple(self._test("=", value) for value in values))

    def like(self, pattern: str) -> Condition:
        """Any of its texts is like a pattern: ``%`` stands for any characters, ``_`` for one."""
        return self._test("like", pattern)

    def between(self, first: Any, last: Any) -> Condition:
        """Any of its values lies between two, these included."""
        return self._test("between", first, last)

    def is_null(self) -> Condition:
        """It has no value."""
        return ~self._test("known")

    def _test(self, operator: Operator, *values: Any) -> Condition:
        return Test(self._name, operator, tuple(map(_value, values)))


class _Where:
    """Gives the fields of pictures by their names: ``where.date``, ``where["my column"]``."""

    def __getattr__(self, name: str) -> Field:
        if name.startswith("__"):
            raise AttributeError(name)
        return Field(name)

    def __getitem__(self, name: str) -> Field:
        return Field(name)


where = _Where()
"""Gives the fields that conditions compare: ``where.date >= "2024"``."""


def _value(value: Any) -> Value:
    import datetime

    if isinstance(value, datetime.datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if hasattr(value, "item"):  # of NumPy
        value = value.item()
    if not isinstance(value, str | int | float):
        raise UsageError(f"a field is compared with a text, a number or a date, not with {type_of(value)}")
    return value


def _condition(value: object) -> Condition:
    if not isinstance(value, Condition):
        raise UsageError(
            f"{type_of(value)} is no condition; write comparisons in parentheses, as in "
            "(where.date >= 2024) & (where.camera == 'X')"
        )
    return value


def _parts(condition: Condition, kind: type[_Joined]) -> Sequence[Condition]:
    return condition.parts if isinstance(condition, kind) else (condition,)


def _shown(value: Value) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)
