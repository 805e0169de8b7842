"""``diptych search -i``: question after question, on a model that stays loaded."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.cli._inline import can_show, show
from diptych.cli._terminal import say
from diptych.engine.weights import typed, typed_words
from diptych.errors import DiptychError, UsageError

if TYPE_CHECKING:
    from diptych.engine.collection import Collection
    from diptych.engine.results import Results

__all__ = ["Asked", "Session"]

_HELP = """\
Type words, or the path of a picture (dropping it here types it). A weight may stand before words: 2:cat
:like N        more like result N           :and WORDS     look for these words, too
:not WORDS     keep away from these         :where FILTER  only what fulfils it; alone: all again
:to image|text what is to be found          :more          the next results
:open N        show result N's file         :show          pictures in the terminal, on and off
:new           ask anew                     :quit          end; so does Ctrl-D"""


@dataclass
class Asked:
    """What is asked, so far.

    Args:
        texts, images, like, negative: As `Collection.search` takes them.
        to, where, offset: As well.
    """

    texts: list[Any] = field(default_factory=list)
    images: list[Any] = field(default_factory=list)
    like: list[Any] = field(default_factory=list)
    negative: list[Any] = field(default_factory=list)
    to: str = "image"
    where: str | None = None
    offset: int = 0

    def __bool__(self) -> bool:
        return bool(self.texts or self.images or self.like)


class Session:
    """Lines in, results out.

    Args:
        opened: What is searched.
        k: Results at a time.
        given: Further arguments of `Collection.search`.
        tell: Prints results, with what was asked.
        to, where: What is found, and among what, until a line says otherwise.
    """

    def __init__(
        self,
        opened: Collection,
        *,
        k: int,
        given: dict[str, Any],
        tell: Callable[[Results, Asked], None],
        to: str = "image",
        where: str | None = None,
    ) -> None:
        self.opened, self.k, self.given, self.tell = opened, k, given, tell
        self.asked = Asked(to=to, where=where)
        self.results: Results | None = None
        self.shows = can_show()

    def begin(self, asked: Asked) -> None:
        """Answer what was asked when the session began, if something was; else load the model."""
        if asked or asked.where is not None:
            self.asked = asked
            try:
                self._search()
            except DiptychError as error:
                say(f"diptych: {error}", err=True)
        else:
            with contextlib.suppress(DiptychError):  # the first search says what is wrong
                self.opened.loaded()

    def run(self, lines: Iterator[str]) -> None:
        """Answer lines until they end, or one says so; what cannot be done is said, and the next is read."""
        for line in lines:
            try:
                if not self.answer(line.strip()):
                    return
            except DiptychError as error:
                say(f"diptych: {error}", err=True)

    def answer(self, line: str) -> bool:
        """Do what a line asks; False if it ends the session.

        Raises:
            DiptychError: it cannot be done.
        """
        if not line:
            return True
        if line.startswith(":") and len(line) > 1:
            name, _, rest = line[1:].partition(" ")
            command = self._commands().get(name)
            if command is None:
                names = ", ".join(f":{one}" for one in self._commands())
                raise UsageError(f"there is no :{name}; there are {names}")
            return command(rest.strip()) is not False
        self.asked = Asked(to=self.asked.to, where=self.asked.where)
        path = _path(line)
        if path is not None:
            self.asked.images = [path]
        else:
            self.asked.texts = typed_words(line.split())
        return self._search()

    def _commands(self) -> dict[str, Callable[[str], Any]]:
        return {
            "like": self._like,
            "and": self._and,
            "not": self._not,
            "where": self._where,
            "to": self._to,
            "more": self._more,
            "open": self._open,
            "show": self._show,
            "new": self._new,
            "help": lambda _: say(*_HELP.split("\n")),
            "quit": lambda _: False,
        }

    def _search(self) -> bool:
        asked = self.asked
        if not asked:
            if asked.where is None:
                raise UsageError("nothing is asked yet; type words, or the path of a picture")
            self.results = self.opened.newest(
                where=asked.where,
                to=asked.to,  # type: ignore[arg-type]  # it says what is allowed
                k=self.k,
                offset=asked.offset,
            )
        else:
            self.results = self.opened.search(
                text=asked.texts,
                image=asked.images,
                like=asked.like,
                negative=asked.negative,
                to=asked.to,  # type: ignore[arg-type]  # it says what is allowed
                where=asked.where,
                k=self.k,
                offset=asked.offset,
                **self.given,
            )
        self.tell(self.results, asked)
        if self.shows:
            show(self.results)
        return True

    def _like(self, rest: str) -> bool:
        result = self._result(rest)
        self.asked = Asked(like=[result.id], to="image", where=self.asked.where)
        return self._search()

    def _and(self, rest: str) -> bool:
        _needs(rest, ":and", "words")
        self.asked.texts = [*self.asked.texts, *typed_words(rest.split())]
        return self._anew()

    def _not(self, rest: str) -> bool:
        _needs(rest, ":not", "words")
        self.asked.negative = [*self.asked.negative, typed(rest)]
        return self._anew() if self.asked else True

    def _where(self, rest: str) -> bool:
        before = self.asked.where
        self.asked.where = rest or None
        try:
            return self._anew() if self.asked or rest else True
        except UsageError:
            self.asked.where = before  # what is no filter is not kept
            raise

    def _to(self, rest: str) -> bool:
        if rest not in ("image", "text"):
            raise UsageError(f":to takes image or text, not {rest!r}")
        self.asked.to = rest
        return self._anew() if self.asked else True

    def _more(self, _: str) -> bool:
        self.asked.offset += self.k
        return self._search()

    def _open(self, rest: str) -> bool:
        import typer

        result = self._result(rest)
        if result.path is None:
            raise UsageError(f"result {result.rank} has no file")
        typer.launch(str(result.path))
        return True

    def _show(self, _: str) -> bool:
        if not self.shows:
            show(self.results or [])  # says what is missing, if something is
        self.shows = not self.shows
        return True

    def _new(self, _: str) -> bool:
        self.asked = Asked(to=self.asked.to)
        self.results = None
        return True

    def _anew(self) -> bool:
        self.asked.offset = 0
        return self._search()

    def _result(self, number: str) -> Any:
        """The result of a rank."""
        found = {str(result.rank): result for result in self.results or []}
        if number not in found:
            there = f"there are {', '.join(found)}" if found else "there are none yet"
            raise UsageError(f"there is no result {number or '(none was named)'}; {there}")
        return found[number]


def _needs(rest: str, command: str, what: str) -> None:
    if not rest:
        raise UsageError(f"{command} needs {what} behind it")


def _path(line: str) -> Path | None:
    """The picture that a line is, as it is typed, quoted, or dropped into a terminal; None if it is words."""
    try:
        parts = shlex.split(line)
    except ValueError:  # a single quote, as in "a dog's ball"
        parts = []
    for candidate in (line, *(parts if len(parts) == 1 else ())):
        path = Path(candidate).expanduser()
        if ("/" in candidate or "." in candidate) and path.is_file():
            return path
    return None
