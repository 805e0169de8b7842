"""The language model that a command is given: its options, what may be sent to it, and what to say of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diptych.cli._terminal import say
from diptych.errors import UsageError

if TYPE_CHECKING:
    from diptych.engine.assisted import Assistant
    from diptych.engine.collection import Collection

__all__ = ["Budget", "Llm", "Seconds", "SendPictures", "assistant", "budget_of", "cost", "told_cost"]

Llm = Annotated[
    str | None,
    typer.Option(
        "--llm",
        metavar="NAME",
        help="Language model: llm:URL#MODEL, llm:FOLDER or llm:FILE.gguf; by default that of DIPTYCH_LLM.",
        show_default=False,
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        help="The most that the language model may use: calls=20,tokens=5000,seconds=60,money=0.5.",
        show_default=False,
    ),
]
Seconds = Annotated[
    float, typer.Option("--llm-seconds", help="How long a reply of the language model may take.")
]
SendPictures = Annotated[
    bool | None,
    typer.Option(
        "--send-pictures/--no-send-pictures",
        help="From now on, pictures of this collection may be sent to the server of --llm, or may not.",
        show_default=False,
    ),
]

_KINDS: Mapping[str, type] = {"calls": int, "tokens": int, "seconds": float, "money": float}


def budget_of(given: str | None) -> dict[str, Any] | None:
    """The limits that were typed.

    Raises:
        UsageError: they are none.
    """
    if given is None:
        return None
    found: dict[str, Any] = {}
    for part in given.split(","):
        name, equals, number = part.strip().partition("=")
        kind = _KINDS.get(name)
        try:
            if kind is None or not equals or name in found:
                raise ValueError
            found[name] = kind(number)
        except ValueError as error:
            raise UsageError(
                f"--budget takes {', '.join(_KINDS)} with a number each, such as calls=20,money=0.5, "
                f"not {given!r}"
            ) from error
    return found


def assistant(
    opened: Collection,
    llm: str | None,
    *,
    budget: str | None,
    seconds: float,
    send_pictures: bool | None,
    captioner: str | None = None,
) -> Assistant:
    """What searches a collection with the language model that was named.

    Raises:
        UsageError: none is named anywhere, or the limits are none.
    """
    from diptych.engine.assisted import host_of
    from diptych.llm import default_name

    if send_pictures is not None:
        name = llm or default_name() or ""
        opened.allow_pictures(host_of(name), allow=send_pictures)
        what = "may be sent to" if send_pictures else "are no longer sent to"
        say(f"pictures of {opened.folder} {what} {host_of(name)}", err=True)
    return opened.assisted(llm, captioner=captioner, seconds=seconds, budget=budget_of(budget))


def told_cost(notes: Mapping[str, Any]) -> list[str]:
    """What to say of a language model's part in a search: what was searched, what it cost, what failed."""
    lines = []
    if notes.get("caption"):
        lines.append(f"the picture shows: {notes['caption']}")
    if notes.get("rewritten"):
        lines.append(f"searched: {notes['rewritten']}")
    if notes.get("degraded"):
        lines.append(f"without the language model's help: {notes['degraded']}")
    if notes.get("usage"):
        lines.append(f"{notes['model']}: {cost(notes['usage'])}")
    return lines


def cost(usage: Mapping[str, float]) -> str:
    """What replies cost, in a few words.

    Example:
        >>> cost({"calls": 2, "prompt_tokens": 80, "reply_tokens": 9, "seconds": 1.234})
        '2 calls, 89 tokens, 1.2 s'
    """
    from diptych.media.report import counted

    parts = [counted(int(usage.get("calls", 0)), "calls")]
    tokens = int(usage.get("prompt_tokens", 0) + usage.get("reply_tokens", 0))
    if tokens:
        parts.append(counted(tokens, "tokens"))
    if usage.get("seconds"):
        parts.append(f"{usage['seconds']:.1f} s")
    if usage.get("money"):
        parts.append(f"{usage['money']:.4f} of money")
    return ", ".join(parts)
