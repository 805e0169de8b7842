"""Dialogues: what is said in one, what was found and is asked back, whole or step by step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, ConfigDict, Field

from diptych.engine.chat import Conversation, Step
from diptych.errors import DiptychError
from diptych.server import schema
from diptych.server.app import Json, Serving
from diptych.server.asking import facts_of_results
from diptych.server.chat import Talks
from diptych.server.errors import Refused, facts_of
from diptych.server.routes.shared import FAILURES, Here, is_local, serving_of

if TYPE_CHECKING:
    from diptych.engine.results import Results
    from diptych.server.holding import Served

__all__ = ["router"]

router = APIRouter(responses=FAILURES)


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


@router.post("/api/v1/chat", response_model=Talked)
async def chat(request: Request, said: Said) -> Any:
    """Say something in a dialogue, or point at results: what was found, and what is asked back."""
    return await _talked(request, said)


@dataclass(slots=True)
class _Following:
    """A turn that goes on.

    Args:
        work: The turn.
        first: The step that it took first; None of one that is over.
        steps: Those after it; None follows the last.
    """

    work: asyncio.Task[Json]
    first: Json | None
    steps: asyncio.Queue[Json | None]


async def _begun(request: Request, said: Said) -> _Following:
    """A turn that has begun, so that one that is refused is told as any other request."""
    loop, steps = asyncio.get_running_loop(), asyncio.Queue[Json | None]()
    work = asyncio.ensure_future(
        _talked(request, said, lambda facts: loop.call_soon_threadsafe(steps.put_nowait, facts))
    )

    def ended(_: object) -> None:
        if not work.cancelled():
            work.exception()  # looked at here, as nobody may follow any more
        steps.put_nowait(None)

    work.add_done_callback(ended)
    first = await steps.get()
    if first is None and (failed := work.exception()) is not None:
        raise failed
    return _Following(work, first, steps)


@router.post("/api/v1/chat/events", response_class=EventSourceResponse)
async def chat_events(
    request: Request, serving: Here, following: Annotated[_Following, Depends(_begun)]
) -> AsyncIterator[ServerSentEvent]:
    """The same as it goes on: `step` for each step of the turn, then `end` with the dialogue, or `error`."""
    step = following.first
    while step is not None:
        yield ServerSentEvent(event="step", raw_data=bytes(step.body).decode())
        step = await following.steps.get()
    try:
        talked = await following.work
    except DiptychError as error:
        told = Json(facts_of(error, local=is_local(request), folders=serving.holding.folders))
        yield ServerSentEvent(event="error", raw_data=bytes(told.body).decode())
    else:
        yield ServerSentEvent(event="end", raw_data=bytes(talked.body).decode())


async def _talked(request: Request, said: Said, on_step: Callable[[Json], Any] | None = None) -> Json:
    """The dialogue after a turn, done beside searches, so that a slow model holds nobody else up.

    Raises:
        Refused: there is no such dialogue, or no language model; as for `Gate.run`.
    """
    serving: Serving = serving_of(request)
    talks: Talks | None = request.app.state.talks
    if talks is None:
        raise Refused("NotFound", "this server was started without a language model")
    served = serving.holding.get(said.collection)
    local = is_local(request)
    known = None if said.chat is None else talks.get(served, said.chat)

    def work() -> Json:
        name, talk = talks.begin(served, k=said.k, where=said.where) if known is None else (said.chat, known)

        def told(step: Step) -> None:
            if on_step is not None:
                on_step(Json(_step_facts(served, talk.conversation, step, local=local)))

        with talk.lock:
            talk.conversation.on_step = told
            talk.model.begin()
            _turn(talk.conversation, said)
            return Json(_facts(served, str(name), talk.conversation, local=local))

    return await serving.chats.run(work)


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
    searched = turns[-1].searched if turns else ""
    return {
        "chat": name,
        "model": "" if talk.model is None else talk.model.name,
        "turns": [
            {name: getattr(one, name) for name in ("said", "searched", "ask", "degraded")} for one in turns
        ],
        "found": _found(served, talk, talk.results if turns else None, searched, local=local),
    }


def _step_facts(served: Served, talk: Conversation, step: Step, *, local: bool) -> dict[str, Any]:
    found = _found(served, talk, step.results, step.searched, local=local)
    return {"step": step.step, "said": step.said, "searched": step.searched, "found": found}


def _found(
    served: Served, talk: Conversation, results: Results | None, searched: str, *, local: bool
) -> dict[str, Any] | None:
    if results is None:
        return None
    asked = schema.Query(text=[searched], k=talk.k, offset=0)
    return facts_of_results(results, served, asked, searched, local=local)
