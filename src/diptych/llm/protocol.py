"""What is said to a language model, what it says, and what one is; everything else here is built on it.

A captioner is a model that is shown a picture, a chat is a prompt with earlier replies, and a wrapper (a
budget, a cache) is a model that owns a model. Pictures are whatever `diptych.media.pictures` reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, runtime_checkable

from diptych.errors import UsageError

__all__ = [
    "Abilities",
    "LanguageModel",
    "Message",
    "Prompt",
    "Reply",
    "Role",
    "Token",
    "Usage",
    "asked",
    "assistant",
    "system",
    "user",
]

Role = Literal["system", "user", "assistant"]

_PICTURE = "[picture]"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of what is said: texts and pictures in their order.

    Args:
        role: Whose turn it is.
        parts: A `str` is text; everything else is a picture: a `pathlib.Path`, the bytes of a file, a PIL
            picture, or an array (h, w, 3) of uint8.
    """

    role: Role
    parts: tuple[Any, ...]

    @property
    def text(self) -> str:
        """Its texts, with a mark where a picture stands."""
        return "\n".join(part if isinstance(part, str) else _PICTURE for part in self.parts)

    @property
    def pictures(self) -> tuple[Any, ...]:
        """Its pictures, in their order."""
        return tuple(part for part in self.parts if not isinstance(part, str))


def system(*parts: Any) -> Message:
    """What the model is to be and to heed."""
    return Message("system", parts)


def user(*parts: Any) -> Message:
    """What the model is asked."""
    return Message("user", parts)


def assistant(*parts: Any) -> Message:
    """What the model replied before, or should have replied in an example."""
    return Message("assistant", parts)


@dataclass(frozen=True, slots=True)
class Prompt:
    """Everything that decides a reply.

    Args:
        messages: At least one; the last is the one to reply to.
        max_tokens: Longest reply.
        temperature: 0 for the likeliest reply.
        stop: Texts at which the reply ends; they are not part of it.
        top: How many alternatives of each token are wanted with their log-probabilities; 0 for none.
        seconds: How long a reply may take, from first to last; None leaves it to the model.
        heard: Called with each piece of the reply as it comes, by models that can; decides nothing.

    Raises:
        UsageError: there is no message, or a number is out of its range.

    Example:
        >>> print(asked("Is it red?", max_tokens=1))
        user: Is it red?
    """

    messages: tuple[Message, ...]
    max_tokens: int = 256
    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    top: int = 0
    seconds: float | None = None
    heard: Callable[[str], None] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.messages:
            raise UsageError("a prompt holds at least one message")
        if self.max_tokens < 1 or self.temperature < 0 or self.top < 0:
            raise UsageError(
                f"a reply has at least one token, a temperature of 0 or more and no negative number of "
                f"alternatives, not {self.max_tokens}, {self.temperature} and {self.top}"
            )

    @property
    def pictures(self) -> tuple[Any, ...]:
        """All its pictures, in their order."""
        return tuple(picture for message in self.messages for picture in message.pictures)

    def then(self, *messages: Message) -> Prompt:
        """The prompt with more said after it."""
        return replace(self, messages=(*self.messages, *messages))

    def __str__(self) -> str:
        """The messages as somebody would read them; pictures are marks."""
        return "\n".join(f"{message.role}: {message.text}" for message in self.messages)


def asked(*parts: Any, system: str = "", **decoding: Any) -> Prompt:
    """A prompt of one question.

    Args:
        parts: As in `Message`.
        system: What the model is to be and to heed, if anything.
        decoding: As in `Prompt`.
    """
    before = (Message("system", (system,)),) if system else ()
    return Prompt((*before, user(*parts)), **decoding)


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a reply.

    Args:
        text: As it stands in the reply.
        logprob: Its natural log-probability.
        top: The likeliest tokens at its place and their log-probabilities, itself among them or not.
    """

    text: str
    logprob: float
    top: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """What replies cost; two are added with ``+``.

    Args:
        calls: Replies that were asked for.
        prompt_tokens, reply_tokens: Tokens in and out, as far as the model tells.
        seconds: Wall time.
        money: In the unit in which the price was given; 0 where none was.
    """

    calls: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0
    seconds: float = 0.0
    money: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.reply_tokens + other.reply_tokens,
            self.seconds + other.seconds,
            self.money + other.money,
        )

    def as_dict(self) -> dict[str, float]:
        """Its numbers by name, without those that are 0."""
        numbers = {name: getattr(self, name) for name in self.__slots__}
        return {name: number for name, number in numbers.items() if number}


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said.

    Args:
        text: Without the prompt, and without the text that ended it.
        tokens: Each with its log-probability, if the prompt asked for alternatives and the model gives them.
        finish: Why it ends: "stop" by itself, "length" for want of tokens, "refusal" where the model would
            not.
        usage: What it cost.
    """

    text: str
    tokens: tuple[Token, ...] = ()
    finish: Literal["stop", "length", "refusal"] = "stop"
    usage: Usage = field(default_factory=lambda: Usage(calls=1))


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a model can.

    Args:
        pictures: Most pictures in a prompt; 0 if it cannot see, None where nobody knows.
        logprobs: Whether it tells log-probabilities of tokens.
        chat: Whether it answers questions; a captioner describes pictures and heeds no words.
        local: Whether what it is told stays on this machine.
    """

    pictures: int | None = None
    logprobs: bool | None = None
    chat: bool = True
    local: bool = False


@runtime_checkable
class LanguageModel(Protocol):
    """Anything that replies to a prompt.

    Attributes:
        name: By which it is told from others, in caches and in what is shown; holds no secret.
        abilities: What it can.
    """

    @property
    def name(self) -> str:
        """See above."""
        ...

    @property
    def abilities(self) -> Abilities:
        """See above."""
        ...

    def reply(self, prompt: Prompt) -> Reply:
        """The reply to a prompt.

        Raises:
            NoReply: there is none that can be used; its `reason` says why.
        """
        ...
