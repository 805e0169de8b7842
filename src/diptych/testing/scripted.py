"""Language models for tests: one that says what it was told to, one that fails in every way models fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from diptych.errors import NoReply
from diptych.llm import Abilities, LanguageModel, Prompt, Reply, Usage

__all__ = ["FAULTS", "Faulty", "Scripted"]

Fault = Literal["timeout", "unreachable", "refusal", "garbage", "empty", "long", "overflow", "fine"]

FAULTS: tuple[Fault, ...] = ("timeout", "unreachable", "refusal", "garbage", "empty", "long", "overflow")
"""Everything that `Faulty` does wrong."""

_ALL = Abilities(pictures=16, logprobs=True, local=True)
_NONSENSE = "\x00�%%% 99, 99 {]"


class Scripted:
    """Replies from a list, from a function of the prompt, or always the same; keeps what it was asked.

    Args:
        replies: A text or `Reply` each call, in order, and an error after the last; or a function; or one
            text for every call.
        abilities: What it says that it can.
        name: By which it is known.

    Attributes:
        prompts: What it was asked, in order.

    Example:
        >>> from diptych.llm import asked
        >>> model = Scripted(["blue", "green"])
        >>> [model.reply(asked("Which colour?")).text for _ in range(2)]
        ['blue', 'green']
        >>> len(model.prompts)
        2
    """

    def __init__(
        self,
        replies: str | Iterable[str | Reply] | Callable[[Prompt], str | Reply],
        *,
        abilities: Abilities = _ALL,
        name: str = "scripted",
    ) -> None:
        self.name, self.abilities = name, abilities
        self.prompts: list[Prompt] = []
        self._replies: Any = replies if callable(replies) or isinstance(replies, str) else list(replies)

    def reply(self, prompt: Prompt) -> Reply:
        """The next reply.

        Raises:
            AssertionError: more was asked than there are replies.
        """
        self.prompts.append(prompt)
        if callable(self._replies):
            said = self._replies(prompt)
        elif isinstance(self._replies, str):
            said = self._replies
        else:
            at = len(self.prompts) - 1
            assert at < len(self._replies), f"call {at + 1} of a script of {len(self._replies)}: {prompt}"
            said = self._replies[at]
        if isinstance(said, Reply):
            return said
        return Reply(said, usage=Usage(1, len(str(prompt).split()), len(said.split())))


class Faulty:
    """A model that fails as it is told to, call by call, and otherwise is the one inside.

    Args:
        faults: What goes wrong at each call; the last stays. "fine" hands on to `inner`.
        inner: What replies when nothing goes wrong.

    Attributes:
        prompts: What it was asked, in order.

    Example:
        >>> from diptych.llm import asked
        >>> model = Faulty(["timeout", "fine"], Scripted("yes"))
        >>> model.reply(asked("Is it red?"))
        Traceback (most recent call last):
        diptych.errors.NoReply: scripted did not reply in time
        >>> model.reply(asked("Is it red?")).text
        'yes'
    """

    def __init__(self, faults: Sequence[Fault], inner: LanguageModel | None = None) -> None:
        self.faults, self.inner = list(faults), inner or Scripted("fine")
        self.prompts: list[Prompt] = []

    @property
    def name(self) -> str:
        """That of the one inside."""
        return self.inner.name

    @property
    def abilities(self) -> Abilities:
        """Those of the one inside."""
        return self.inner.abilities

    def reply(self, prompt: Prompt) -> Reply:
        """What goes wrong now, or the reply of the one inside.

        Raises:
            NoReply: it is the turn of a fault that leaves no reply.
        """
        self.prompts.append(prompt)
        fault = self.faults[min(len(self.prompts), len(self.faults)) - 1]
        if fault == "timeout":
            raise NoReply(f"{self.name} did not reply in time", reason="timeout", again=0)
        if fault == "unreachable":
            raise NoReply(f"{self.name} cannot be reached", reason="unreachable", again=0)
        if fault == "overflow":
            raise NoReply(f"{self.name} takes no prompt of that length", reason="context_overflow")
        said = {
            "refusal": Reply("I'm sorry, but I cannot help with that.", finish="refusal"),
            "garbage": Reply(_NONSENSE),
            "empty": Reply(""),
            "long": Reply("again and " * 5000, finish="length"),
        }
        return said[fault] if fault in said else self.inner.reply(prompt)
