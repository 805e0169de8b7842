"""``diptych chat``: find a picture in a dialogue, in which the system asks back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diptych.cli._inline import can_show, show
from diptych.cli._llm import Budget, Llm, Seconds, assistant, cost
from diptych.cli._options import AsJson, Trust
from diptych.cli._results import print_table
from diptych.cli._terminal import say, say_json, typed_lines
from diptych.errors import DiptychError, UsageError

if TYPE_CHECKING:
    from diptych.engine.chat import Conversation
    from diptych.engine.collection import Collection
    from diptych.engine.sessions import Turn

__all__ = ["command"]

_HELP = (
    "Describe the picture; then answer, or say more. /more 1 3 and /less 2 point at results, /undo takes the "
    "last turn back, /restart begins anew, /quit ends. What was said is kept: --resume goes on."
)


def command(
    place: Annotated[
        Path, typer.Option("--in", help="Indexed folder, or one inside it.", show_default="this folder")
    ] = Path(),
    llm: Llm = None,
    k: Annotated[int, typer.Option("-k", help="Most results a turn.")] = 5,
    where: Annotated[
        str | None,
        typer.Option(help="Search only what fulfils this, as in search.", show_default=False),
    ] = None,
    session: Annotated[
        str | None, typer.Option(help="Name of the dialogue; by default the time.", show_default=False)
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the dialogue named, or the latest.")
    ] = False,
    sessions: Annotated[bool, typer.Option("--list", help="List the dialogues that were kept.")] = False,
    budget: Budget = None,
    llm_seconds: Seconds = 30.0,
    as_json: AsJson = False,
    trust: Trust = False,
) -> None:
    """Find a picture in a dialogue: describe it, and answer what the system asks.

    Without a language model the questions come from a list. Lines are read from
    standard input. Each turn is kept when it is whole.
    """
    from diptych.engine import collection as engine
    from diptych.engine.chat import Conversation
    from diptych.engine.sessions import session_of, sessions_in
    from diptych.llm import default_name

    with engine.open(place, create=False, trust=trust) as opened:
        if sessions:
            _list(sessions_in(opened.place), as_json=as_json)
            return
        model = None
        if llm is not None or default_name() is not None:
            model = assistant(opened, llm, budget=budget, seconds=llm_seconds, send_pictures=None).model
        elif budget is not None:
            raise UsageError("--budget says nothing without a language model; add --llm")
        log = session_of(opened.place, session, resume=resume)
        if session is not None and not resume and log.turns:
            raise UsageError(
                f"there is a dialogue {session} already; add --resume to go on, or take another name"
            )
        talk = Conversation(opened, model, log, k=k, where=where)
        if not as_json:
            asks = (
                "questions come from a list, as no language model is named" if model is None else model.name
            )
            say(f"dialogue {log.name}: {asks}", _HELP, err=True)
            for turn in log.turns:
                say(f"> {turn.said}", err=True)
        _lead(talk, opened, as_json=as_json)
        if log.turns:
            say(f"go on with: diptych chat --in {opened.folder} --session {log.name} --resume", err=True)


def _lead(talk: Conversation, opened: Collection, *, as_json: bool) -> None:
    """Read what is said, line by line, until somebody ends it."""
    for line in typed_lines():
        try:
            if line == "/quit":
                return
            if line == "/help":
                say(_HELP, err=True)
            elif line == "/undo":
                say(f"taken back: {talk.undo().said}", err=True)
            elif line == "/restart":
                talk.restart()
                say("begun anew", err=True)
            else:
                _show(talk, _turn(talk, line), as_json=as_json)
        except DiptychError as error:  # a turn that failed is lost, and the dialogue goes on
            from diptych.cli._arguments import told

            say(f"diptych: {told(error)}", err=True)


def _turn(talk: Conversation, line: str) -> Turn:
    word, _, rest = line.partition(" ")
    if word in ("/more", "/less"):
        places = rest.replace(",", " ").split()
        if not places or not all(one.isdecimal() for one in places):
            raise UsageError(f"{word} takes the numbers of results, such as {word} 1 3")
        return talk.like([int(one) for one in places], less=word == "/less")
    if word.startswith("/"):
        raise UsageError(f"there is no {word}; {_HELP}")
    return talk.say(line)


def _show(talk: Conversation, turn: Turn, *, as_json: bool) -> None:
    if as_json:
        from dataclasses import asdict

        results = [result.as_dict() for result in talk.results or ()]
        say_json({**asdict(turn), "results": results}, indent=None)
        return
    if turn.searched != turn.said:
        say(f"searched: {turn.searched}", err=True)
    if talk.results:
        print_table(talk.results, "image")
        if can_show():
            show(talk.results)
    else:
        say("nothing was found", err=True)
    if turn.degraded and talk.model is not None:
        say(f"without the language model's help: {turn.degraded}", err=True)
    if turn.usage.get("calls") and talk.model is not None:
        say(f"{cost(turn.usage)}; in all {cost(talk.spent.as_dict())}", err=True)
    if turn.ask:
        say(turn.ask)


def _list(known: dict[str, Path], *, as_json: bool) -> None:
    from diptych.engine.sessions import Session

    found = []
    for name, path in known.items():
        try:
            turns = Session(path).turns
        except DiptychError as error:
            say(str(error), err=True)
            continue
        found.append({"name": name, "turns": len(turns), "first": turns[0].said if turns else ""})
    if as_json:
        say_json(found)
    for one in () if as_json else found:
        say(f"{one['name']}  {one['turns']} turns  {one['first']}")
