"""Dialogues about a collection that a server leads, as `diptych chat` does; they end with the server."""

from __future__ import annotations

import secrets
import tempfile
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.engine.chat import Conversation
from diptych.engine.sessions import Session
from diptych.errors import NoReply
from diptych.llm import LanguageModel, Prompt, Reply
from diptych.llm.wrappers import Timed, Wrapped
from diptych.server.errors import Refused

if TYPE_CHECKING:
    from diptych.server.holding import Served

__all__ = ["Talks"]

_MOST = 64  # dialogues that are kept; the one that rested longest makes room


class InTime(Wrapped):
    """Gives a model so many seconds for a whole turn, however many replies that takes.

    Args:
        inner: The model.
        seconds: Of a turn.
    """

    def __init__(self, inner: LanguageModel, seconds: float) -> None:
        super().__init__(inner)
        self._seconds, self._until = seconds, 0.0

    def begin(self) -> None:
        """Begin a turn."""
        self._until = time.monotonic() + self._seconds

    def reply(self, prompt: Prompt) -> Reply:
        """The reply, if the turn has time left for it.

        Raises:
            NoReply: it has not, or the model inside has none.
        """
        left = self._until - time.monotonic()
        try:
            if left > 0:
                return Timed(self.inner, left).reply(prompt)
        except NoReply as error:
            if error.reason != "timeout":
                raise
        raise NoReply(
            f"{self.name} took longer than the {self._seconds:g} seconds of a turn", reason="timeout", again=0
        )


class Talk:
    """One dialogue, led by one request at a time.

    Args:
        conversation: With its own log.
        model: That asks back in it.
    """

    def __init__(self, conversation: Conversation, model: InTime) -> None:
        self.conversation, self.model, self.lock = conversation, model, threading.Lock()


class Talks:
    """The dialogues of a server, in a folder that ends with it.

    Args:
        llm: Name of the language model that asks back.
        seconds: That it has for a turn.
    """

    def __init__(self, llm: str, seconds: float) -> None:
        self.llm, self.seconds = llm, seconds
        self._folder = tempfile.TemporaryDirectory(prefix="diptych-chat-")
        self._talks: OrderedDict[tuple[str, str], Talk] = OrderedDict()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Forget all that was said."""
        self._folder.cleanup()

    def begin(self, served: Served, *, k: int, where: str | None) -> tuple[str, Talk]:
        """A new dialogue with its name, which nobody can guess."""
        name = secrets.token_urlsafe(12)
        opened = served.warmed()
        log = Session(Path(self._folder.name) / f"{name}.jsonl")
        model = InTime(opened.assisted(self.llm, seconds=self.seconds).model, self.seconds)
        talk = Talk(Conversation(opened, model, log, k=k, where=where), model)
        with self._lock:
            self._talks[served.name, name] = talk
            while len(self._talks) > _MOST:
                self._talks.popitem(last=False)
        return name, talk

    def get(self, served: Served, name: str) -> Talk:
        """A dialogue that was begun.

        Raises:
            Refused: there is none of that name, or none any more.
        """
        with self._lock:
            talk = self._talks.get((served.name, name))
            if talk is None:
                raise Refused("NotFound", "that dialogue has ended; begin a new one", part="chat")
            self._talks.move_to_end((served.name, name))
        return talk
