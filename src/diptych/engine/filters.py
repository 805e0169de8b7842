"""Reads what pictures must fulfil from text, and checks it against the fields that a collection has.

The language is that of SQL's conditions, and no more of it than `_GRAMMAR` has: nothing of the text reaches a
database but the values, as parameters.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from diptych.engine.conditions import AllOf, AnyOf, Condition, Negation, Test
from diptych.errors import UsageError
from diptych.media.metadata import KINDS, Kind, Value, field_name, typed
from diptych.printable import type_of

__all__ = ["checked", "known_field", "parsed"]

_LONGEST, _DEEPEST = 20_000, 50  # characters, and levels
_WINDOW = 60  # characters that are shown around what is wrong
_LISTED = 30  # fields that an error names at most

_GRAMMAR = r"""
?start: either
?either: both ("or"i both)* -> any_of
?both: negated ("and"i negated)* -> all_of
?negated: "not"i negated -> no | "(" either ")" | test
?test: name OPERATOR value -> compared
    | name "is"i "null"i -> missing
    | name "is"i "not"i "null"i -> known
    | name "in"i "(" value ("," value)* ")" -> one_of
    | name "not"i "in"i "(" value ("," value)* ")" -> none_of
    | name "like"i text -> like
    | name "not"i "like"i text -> unlike
    | name "between"i value "and"i value -> between
    | name "not"i "between"i value "and"i value -> outside
name: NAME | QUOTED
value: DATE | NUMBER | STRING | QUOTED | NAME
text: STRING | QUOTED | NAME
OPERATOR: "<=" | ">=" | "<>" | "!=" | "==" | "=" | "<" | ">"
DATE.2: /\d{4}-\d\d(-\d\d([T ]\d\d:\d\d(:\d\d)?)?)?(?![\w-])/
NUMBER: /[+-]?\d+(\.\d+)?([eE][+-]?\d+)?(?!\w)/
STRING: /'(?:[^']|'')*'/
QUOTED: /"(?:[^"]|"")*"/
NAME: /[^\W\d]\w*/
%import common.WS
%ignore WS
"""

_EXPECTED = {
    "NAME": "a field", "OPERATOR": "a comparison (=, !=, <, <=, >, >=)", "IN": "in (...)",
    "LIKE": "like '...'", "BETWEEN": "between ... and ...", "IS": "is null",
    "AND": "and", "OR": "or", "NOT": "not", "LPAR": "(", "RPAR": ")", "COMMA": ",", "NULL": "null",
    "$END": "the end", "NUMBER": "a number", "DATE": "a date such as 2024-05-01", "STRING": "a text in '...'",
}  # fmt: skip


def parsed(text: str) -> Condition:
    """The condition that a text says.

    Raises:
        UsageError: it says none; points at the place, and names what could stand there.

    Example:
        >>> parsed("date >= 2024-05 and not tag in (dog, 'my cat')")
        date >= '2024-05' and not (tag = 'dog' or tag = 'my cat')
    """
    from lark.exceptions import UnexpectedCharacters, UnexpectedToken

    if len(text) > _LONGEST:
        raise UsageError(f"a filter has at most {_LONGEST:,} characters, not {len(text):,}")
    if not text.strip():
        raise UsageError("the filter is empty; write one such as: date >= 2024 and tag = 'dog'")
    try:
        found: Any = _parser().parse(text)
    except UnexpectedToken as error:
        at = len(text.rstrip()) if error.token.type == "$END" else error.token.start_pos or 0
        raise _pointing(text, at, f"expected {_listed(error.accepts or error.expected)}") from None
    except UnexpectedCharacters as error:
        raise _pointing(text, error.pos_in_stream or 0, f"expected {_listed(error.allowed or ())}") from None
    assert isinstance(found, Condition)
    return found


def checked(condition: str | Condition, names: Collection[str]) -> Condition:
    """A condition whose fields are there and whose values are of their kinds, as a home takes it.

    Args:
        condition: As text or as it is.
        names: Of the fields that the collection has, besides those that every one knows.

    Raises:
        UsageError: it is no condition, or compares what cannot be compared; points at the place in a text.
    """
    text = condition if isinstance(condition, str) else ""
    found = parsed(condition) if isinstance(condition, str) else condition
    if not isinstance(found, Condition):
        raise UsageError(f"a filter is a text or a condition of diptych.where, not {type_of(found)}")
    if found.depth > _DEEPEST:
        raise UsageError(f"a filter has at most {_DEEPEST} levels of parentheses, not {found.depth}")
    return _checked(found, text, names)


def known_field(name: str, names: Collection[str]) -> str:
    """The field that is meant.

    Raises:
        UsageError: there is none of that name; says which are like it, or which there are.
    """
    meant = field_name(name)
    if meant in KINDS or meant in names:
        return meant
    every = sorted({*KINDS, *names})
    near = difflib.get_close_matches(meant, every, n=3)
    what = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(every[:_LISTED])}"
    raise UsageError(f"no picture here has a field {name!r}; {what}")


def _checked(condition: Condition, text: str, names: Collection[str]) -> Condition:
    if isinstance(condition, Negation):
        return Negation(_checked(condition.of, text, names))
    if isinstance(condition, AllOf | AnyOf):
        return type(condition)(tuple(_checked(part, text, names) for part in condition.parts))
    assert isinstance(condition, Test)
    try:
        return _typed_test(condition, names)
    except UsageError as error:
        if condition.at < 0:
            raise
        raise _pointing(text, condition.at, str(error)) from None


def _typed_test(test: Test, names: Collection[str]) -> Test:
    name = known_field(test.field, names)
    if test.operator == "like" and (KINDS.get(name) == "number" or name in ("modified", "year")):
        raise UsageError(f"{name} is no text, so it is like nothing; compare it with =, <, > or between")
    values: list[Value] = []
    for value in test.values:
        kind = "text" if test.operator == "like" else KINDS.get(name)
        found = "" if value == "" and kind in ("text", None) else typed(value, kind)
        if found is None:
            raise UsageError(_no_value(name, value, kind))
        values.append(found)
    return replace(test, field="date" if name == "year" else name, values=tuple(values))


def _no_value(name: str, value: Value, kind: Kind | None) -> str:
    if kind == "number":
        return f"{name} is compared with numbers, and {value!r} is none"
    if kind == "date":
        return (
            f"{name} is compared with dates such as 2024, 2024-05, 2024-05-01 or '2024-05-01 10:30', and "
            f"{value!r} is none"
        )
    return f"{name} cannot be compared with {value!r}"


def _pointing(text: str, at: int, what: str) -> UsageError:
    """An error whose notes are the text and a mark below the place that it is about."""
    line = "".join(" " if letter.isspace() else letter for letter in text)
    first = max(0, at - _WINDOW)
    part = line[first : at + _WINDOW]
    before, after = "..." * (first > 0), "..." * (at + _WINDOW < len(line))
    error = UsageError(f"the filter cannot be used from its character {at + 1} on: {what}")
    error.add_note(f"  {before}{part}{after}")
    error.add_note(f"  {' ' * (len(before) + at - first)}^")
    return error


def _listed(terminals: Collection[str]) -> str:
    """What may stand at a place, in words."""
    names = [
        said
        for name, said in _EXPECTED.items()
        if name in terminals and not (name == "NAME" and "STRING" in terminals)  # a word is a text there
    ]
    return ", ".join(names[:-1]) + (" or " if len(names) > 1 else "") + (names[-1] if names else "less")


@functools.cache
def _parser() -> Any:
    from lark import Lark

    return Lark(_GRAMMAR, parser="lalr", transformer=_builder())


def _builder() -> Any:
    from lark import Token, Transformer, v_args

    def unquoted(token: Token) -> str:
        mark = token[0]
        return str(token[1:-1]).replace(2 * mark, mark) if mark in "'\"" else str(token)

    @v_args(inline=True)
    class Builder(Transformer[Token, Any]):
        """Makes conditions while the text is read, so that its depth costs nothing."""

        def name(self, token: Token) -> tuple[str, int]:
            return unquoted(token), token.start_pos or 0

        def value(self, token: Token) -> Value:
            if token.type == "NUMBER":
                number = typed(str(token), "number")
                assert number is not None
                return number
            return unquoted(token)

        def text(self, token: Token) -> str:
            return unquoted(token)

        def any_of(self, *parts: Condition) -> Condition:
            return functools.reduce(Condition.__or__, parts)

        def all_of(self, *parts: Condition) -> Condition:
            return functools.reduce(Condition.__and__, parts)

        def no(self, part: Condition) -> Condition:
            return ~part

        def compared(self, name: tuple[str, int], operator: Token, value: Value) -> Condition:
            if operator in ("!=", "<>"):
                return ~_test(name, "=", value)
            return _test(name, "=" if operator == "==" else str(operator), value)

        def known(self, name: tuple[str, int]) -> Condition:
            return _test(name, "known")

        def missing(self, name: tuple[str, int]) -> Condition:
            return ~_test(name, "known")

        def one_of(self, name: tuple[str, int], *values: Value) -> Condition:
            return AnyOf(tuple(_test(name, "=", value) for value in values))

        def none_of(self, name: tuple[str, int], *values: Value) -> Condition:
            return ~self.one_of(name, *values)

        def like(self, name: tuple[str, int], text: str) -> Condition:
            return _test(name, "like", text)

        def unlike(self, name: tuple[str, int], text: str) -> Condition:
            return ~_test(name, "like", text)

        def between(self, name: tuple[str, int], first: Value, last: Value) -> Condition:
            return _test(name, "between", first, last)

        def outside(self, name: tuple[str, int], first: Value, last: Value) -> Condition:
            return ~_test(name, "between", first, last)

    return Builder()


def _test(name: tuple[str, int], operator: Any, *values: Value) -> Condition:
    return Test(name[0], operator, tuple(values), name[1])
