"""Language models that own one: with a time-out, with further attempts, within a budget.

A model that is asked over a network gets them in this order, from the inside out: `Timed`, `Retrying`,
`Budgeted`, and around them `diptych.llm.tapes.Cached`.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from diptych.errors import NoReply, UsageError
from diptych.llm.protocol import Abilities, LanguageModel, Prompt, Reply, Usage

__all__ = ["Budgeted", "Retrying", "Timed", "Wrapped"]


class Wrapped:
    """A model that owns a model and is called as that one is.

    Args:
        inner: The model.
    """

    def __init__(self, inner: LanguageModel) -> None:
        self.inner = inner

    @property
    def name(self) -> str:
        """That of the model inside."""
        return self.inner.name

    @property
    def abilities(self) -> Abilities:
        """Those of the model inside."""
        return self.inner.abilities

    def reply(self, prompt: Prompt) -> Reply:
        """The reply of the model inside."""
        return self.inner.reply(prompt)


class Timed(Wrapped):
    """Waits no longer than so many seconds, or than the prompt says, whatever the model does.

    A model that cannot be stopped goes on in a thread of its own, and nobody listens.

    Args:
        inner: The model.
        seconds: For one reply.
    """

    def __init__(self, inner: LanguageModel, seconds: float = 30.0) -> None:
        super().__init__(inner)
        if not seconds > 0:
            raise UsageError(f"a reply is allowed some time, such as 30 seconds, not {seconds:g}")
        self.seconds = seconds

    def reply(self, prompt: Prompt) -> Reply:
        """The reply, if it comes in time.

        Raises:
            NoReply: it does not, or the model inside has none.
        """
        most = self.seconds if prompt.seconds is None else min(self.seconds, prompt.seconds)
        said: list[Reply] = []
        failed: list[BaseException] = []

        def ask() -> None:
            try:
                said.append(self.inner.reply(replace(prompt, seconds=most)))
            except BaseException as error:  # noqa: BLE001  # raised again by whoever waits
                failed.append(error)

        thread = threading.Thread(target=ask, name="diptych-llm", daemon=True)
        thread.start()
        thread.join(most)
        if said:
            return said[0]
        if failed:
            raise failed[0]
        raise NoReply(f"{self.name} did not reply within {most:g} seconds", reason="timeout", again=0)


class Retrying(Wrapped):
    """Asks again, after a while, where that may help: exponential back-off with full jitter.

    Args:
        inner: The model.
        attempts: Calls at most.
        first, longest: Seconds, at most, before the second call, and before any.
        within: Seconds for all attempts together; none is begun later, however many are left.
        sleep, clock: Wait and tell the time.
        seed: Draws the waits.
    """

    def __init__(
        self,
        inner: LanguageModel,
        *,
        attempts: int = 3,
        first: float = 0.5,
        longest: float = 20.0,
        within: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        seed: int | None = None,
    ) -> None:
        super().__init__(inner)
        self.attempts, self.first, self.longest, self.within = attempts, first, longest, within
        self._sleep, self._clock, self._random = sleep, clock, random.Random(seed)

    def reply(self, prompt: Prompt) -> Reply:
        """The first reply.

        Raises:
            NoReply: of the last attempt.
        """
        until = self._clock() + self.within
        for attempt in range(1, self.attempts + 1):
            try:
                left = until - self._clock()
                seconds = left if prompt.seconds is None else min(left, prompt.seconds)
                return self.inner.reply(replace(prompt, seconds=seconds))
            except NoReply as error:
                if error.again is None or attempt == self.attempts:
                    raise
                wait = self._random.uniform(0, min(self.longest, self.first * 2 ** (attempt - 1)))
                wait = max(wait, error.again)
                if self._clock() + wait >= until:
                    raise
                self._sleep(wait)
        raise AssertionError("unreachable: the last attempt returns or raises")


class Budgeted(Wrapped):
    """Replies until something is spent; what is asked afterwards costs nothing and fails.

    A call is begun while anything is left, so that the last one may go beyond; calls never do. May be asked
    from several threads.

    Args:
        inner: The model.
        calls, tokens, seconds, money: The most of each, tokens in and out together; None for no limit.

    Attributes:
        spent: What was used so far.

    Raises:
        UsageError: a limit is negative.
    """

    def __init__(
        self,
        inner: LanguageModel,
        *,
        calls: int | None = None,
        tokens: int | None = None,
        seconds: float | None = None,
        money: float | None = None,
    ) -> None:
        super().__init__(inner)
        self.limits = {"calls": calls, "tokens": tokens, "seconds": seconds, "money": money}
        for what, most in self.limits.items():
            if most is not None and not most >= 0:
                raise UsageError(f"a budget of {what} is a number from 0 on, not {most:g}")
        self.spent = Usage()
        self._begun = 0
        self._lock = threading.Lock()

    def reply(self, prompt: Prompt) -> Reply:
        """The reply, while the budget lasts.

        Raises:
            NoReply: it is spent, or the model inside has none.
        """
        with self._lock:
            used = {
                "calls": self._begun,
                "tokens": self.spent.prompt_tokens + self.spent.reply_tokens,
                "seconds": self.spent.seconds,
                "money": self.spent.money,
            }
            for what, most in self.limits.items():
                if most is not None and used[what] >= most:
                    raise NoReply(
                        f"the budget of {most:g} {what} for {self.name} is spent; allow more, or go on "
                        "without the model",
                        reason="budget",
                    )
            self._begun += 1
        started = time.monotonic()
        try:
            said = self.inner.reply(prompt)
        except NoReply:
            self._count(Usage(calls=1, seconds=time.monotonic() - started))
            raise
        self._count(said.usage)
        return said

    def _count(self, usage: Usage) -> None:
        with self._lock:
            self.spent += usage
