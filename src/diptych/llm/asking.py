"""Asks a model for something of a known form: reads its reply, checks it, asks once more, gives up.

This is the one failure policy of every system that asks a model: whoever gets no value goes on with its own
fallback, and says so with the reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from diptych.errors import ImageError, NoReply
from diptych.llm.protocol import LanguageModel, Prompt, Reply, Usage, assistant, user
from diptych.llm.untrusted import one_line

__all__ = ["Answer", "Unusable", "ask", "each", "labelled", "numbers", "sentence"]

S = TypeVar("S")
T = TypeVar("T")

_REFUSALS = re.compile(
    r"^\W*(?:i['’]?m sorry|i am sorry|sorry,|i can(?:not|['’]t) (?:help|assist|do|provide|comply|fulfill)|"
    r"i['’]?m (?:unable|not able)|i am (?:unable|not able)|as an ai\b)",
    re.IGNORECASE,
)
_COMPLAINT = "That cannot be used"
_WORD = re.compile(r"[^\W\d_]{2,}|[^\x00-\u2e7f]")  # of letters, or one sign of a script that needs no more


class Unusable(Exception):
    """A reply that is not of the form asked for; the text tells the model what it should have been."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What came of asking.

    Args:
        value: What the reply says; None if nothing can be made of it.
        reason: Why there is no value: that of `NoReply`, "refusal" or "parse"; empty if there is one.
        usage: What all calls for it cost.
        text: What the model said last.
    """

    value: T | None
    reason: str = ""
    usage: Usage = field(default_factory=Usage)
    text: str = ""


def ask(model: LanguageModel, prompt: Prompt, read: Callable[[str], T], *, repair: bool = True) -> Answer[T]:
    """What a model replies, read and checked.

    Args:
        model: Is asked once, and once more if the reply cannot be used.
        prompt: What it is asked.
        read: Makes the value of a reply's text, and raises `Unusable` if that is none.
        repair: Whether to ask once more, with what is wrong.
    """
    usage, said = Usage(), ""
    for attempt in range(2 if repair else 1):
        try:
            reply = model.reply(prompt)
        except NoReply as error:
            return Answer(None, error.reason, usage + Usage(calls=1), said)
        except ImageError:
            return Answer(None, "pictures", usage, said)
        usage, said = usage + reply.usage, reply.text
        if refused(reply):
            return Answer(None, "refusal", usage, said)
        try:
            if _COMPLAINT in reply.text:
                raise Unusable("It repeats what was said of the reply before.")
            return Answer(read(reply.text), "", usage, said)
        except Unusable as error:
            if attempt == 0:
                told = assistant(one_line(reply.text)), user(f"{_COMPLAINT}: {error} Reply again.")
                prompt = replace(prompt, messages=(*prompt.messages, *told))
    return Answer(None, "parse", usage, said)


def refused(reply: Reply) -> bool:
    """Whether a model would not reply: it says so itself, or with the words that models use for it."""
    return reply.finish == "refusal" or bool(_REFUSALS.match(reply.text))


def sentence(text: str, *, words: int = 60) -> str:
    """The first line of a reply that says anything, without quotation marks, bullets and labels.

    Raises:
        Unusable: there is none, or it has more words.

    Example:
        >>> sentence('  "a dog in the snow"  ')
        'a dog in the snow'
    """
    for line in text.splitlines():
        found = one_line(line, 2000).strip(" \t\"'`*#-“”")
        letters = sum(one.isalnum() for one in found)
        if _WORD.search(found) and 2 * letters >= len(found.replace(" ", "")):
            if len(found.split()) > words:
                raise Unusable(f"It has more than {words} words; one short line is wanted.")
            return found
    raise Unusable("It is empty; one short line is wanted.")


def labelled(text: str, label: str, *, words: int = 60) -> str:
    """What follows a label in a reply, up to the end of the line; without the label, the reply's first line.

    A colon inside what follows belongs to it.

    Raises:
        Unusable: there is nothing, or it has more words.

    Example:
        >>> labelled("Sure!\\nEdited description: a bag: red", "edited description")
        'a bag: red'
    """
    found = re.search(rf"{re.escape(label)}\W{{0,3}}:[ \t]*(.*)", text, re.IGNORECASE)
    return sentence(found[1] if found else text, words=words)


def numbers(text: str, count: int) -> list[int]:
    """The numbers from 1 to `count` that a reply lists, as places from 0 on: each once, in its order.

    A JSON list is read as such, anything else by its whole numbers; what is out of range is dropped.

    Raises:
        Unusable: fewer than half of the places are among them.

    Example:
        >>> numbers("Best first: [3, 3, 9, 1]", 4)
        [2, 0]
    """
    found: Sequence[object] = ()
    if listed := re.search(r"\[[^\[\]]*\]", text):
        try:
            found = json.loads(listed[0])
        except ValueError:
            found = re.findall(r"\d+", listed[0])
    if not found:
        found = re.findall(r"(?<![\d.])\d+(?![\d.]*\d)", text)
    places = [int(str(one)) - 1 for one in found if str(one).isdecimal() and len(str(one)) < 6]
    valid = [place for place in dict.fromkeys(places) if 0 <= place < count]
    if 2 * len(valid) < count:
        raise Unusable(
            f"It lists {len(valid)} of the numbers from 1 to {count}; a JSON list of all is wanted."
        )
    return valid


def each(
    function: Callable[[S], T], items: Sequence[S], model: LanguageModel, *, together: int = 4
) -> list[T]:
    """A function of every item, in their order; several at once where the model is asked over a network.

    Args:
        function: Asks the model.
        items: What for.
        model: That is asked.
        together: Most calls at once; a model of this machine answers one after the other anyway.
    """
    if model.abilities.local or together < 2 or len(items) < 2:
        return [function(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(together, len(items))) as pool:
        return list(pool.map(function, items))
