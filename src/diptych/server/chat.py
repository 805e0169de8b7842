"""Dialogues about a collection over HTTP, as `diptych chat` leads them; they end with the server."""

from __future__ import annotations

import secrets
import tempfile
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from diptych.engine.chat import Conversation
from diptych.engine.sessions import Session
from diptych.server import schema
from diptych.server.app import Json, Serving
from diptych.server.asking import facts_of_results
from diptych.server.errors import Refused

if TYPE_CHECKING:
    from diptych.server.holding import Served

__all__ = ["Talks", "router"]

_MOST = 64  # dialogues that are kept; the one that rested longest makes room

router = APIRouter()


class Said(BaseModel):
    """What is said in a dialogue, or pointed at; nothing of both shows it as it stands."""

    model_config = ConfigDict(extra="forbid")

    chat: str | None = Field(default=None, max_length=64, description="The dialogue; a new one if left out.")
    say: str = Field(default="", max_length=schema.MOST_WORDS, description="Describes, or answers.")
    more: list[Annotated[int, Field(ge=1)]] = Field(default=[], max_length=100, description="Ranks.")
    less: list[Annotated[int, Field(ge=1)]] = Field(default=[], max_length=100, description="Ranks.")
    undo: bool = Field(default=False, description="Take the last turn back.")
    k: int = Field(default=20, ge=1, le=200)
    where: str | None = Field(default=None, max_length=schema.MOST_WORDS)
    collection: str | None = Field(default=None, max_length=1_000)


class TurnFacts(BaseModel):
    """One round of a dialogue; see `diptych.engine.sessions.Turn`."""

    said: str
    searched: str
    ask: str
    degraded: str


class Talked(BaseModel):
    """A dialogue as it stands, and what was found last."""

    chat: str
    model: str
    turns: list[TurnFacts]
    found: schema.Found | None


class Talk:
    """One dialogue, led by one request at a time.

    Args:
        conversation: With its own log.
    """

    def __init__(self, conversation: Conversation) -> None:
        self.conversation, self.lock = conversation, threading.Lock()


class Talks:
    """The dialogues of a server, in a folder that ends with it.

    Args:
        llm: Name of the language model that asks back.
    """

    def __init__(self, llm: str) -> None:
        self.llm = llm
        self._folder = tempfile.TemporaryDirectory(prefix="diptych-chat-")
        self._talks: OrderedDict[tuple[str, str], Talk] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, served: Served, *, k: int, where: str | None) -> tuple[str, Talk]:
        """A new dialogue with its name, which nobody can guess."""
        name = secrets.token_urlsafe(12)
        opened = served.warmed()
        log = Session(Path(self._folder.name) / f"{name}.jsonl")
        talk = Talk(Conversation(opened, opened.assisted(self.llm).model, log, k=k, where=where))
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


@router.post("/api/v1/chat", response_model=Talked)
async def chat(request: Request, said: Said) -> Any:
    """Say something in a dialogue, or point at results: what was found, and what is asked back."""
    serving: Serving = request.app.state.serving
    talks: Talks | None = request.app.state.talks
    if talks is None:
        raise Refused("NotFound", "this server was started without a language model")
    served = serving.holding.get(said.collection)
    local = bool(request.state.local)

    def work() -> Json:
        if said.chat is None:
            name, talk = talks.begin(served, k=said.k, where=said.where)
        else:
            name, talk = said.chat, talks.get(served, said.chat)
        with talk.lock:
            _turn(talk.conversation, said)
            return Json(_facts(served, name, talk.conversation, local=local))

    return await serving.searches.run(work)


def _turn(talk: Conversation, said: Said) -> None:
    """Do what is asked of a dialogue."""
    if said.undo:
        talk.undo()
    elif said.more or said.less:
        talk.like(said.more or said.less, less=not said.more)
    elif said.say.strip():
        talk.say(said.say)


def _facts(served: Served, name: str, talk: Conversation, *, local: bool) -> dict[str, Any]:
    turns = talk.session.turns
    found = None
    if talk.results is not None and turns:
        asked = schema.Query(text=[turns[-1].searched], k=talk.k, offset=0)
        found = facts_of_results(talk.results, served, asked, turns[-1].searched, local=local)
    return {
        "chat": name,
        "model": "" if talk.model is None else talk.model.name,
        "turns": [
            {name: getattr(one, name) for name in ("said", "searched", "ask", "degraded")} for one in turns
        ],
        "found": found,
    }
