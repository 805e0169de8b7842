"""A dialogue about a collection: what is said is searched, the system asks back, and what is liked counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from diptych.core import Item
from diptych.engine.results import Results
from diptych.engine.sessions import Session, Turn, likes
from diptych.errors import UsageError
from diptych.llm import LanguageModel, Usage, ask, labelled
from diptych.systems.mllm import chatir, eiirwqr

if TYPE_CHECKING:
    from diptych.engine.collection import Collection

__all__ = ["Conversation", "Step"]

_PULL, _PUSH = 0.75, 0.25  # of what was liked and disliked, beside the words; Rocchio's beta and gamma


@dataclass(frozen=True, slots=True)
class Step:
    """How far a turn is.

    Args:
        step: "describing" while one description is made of what was said, "found" when it has been searched
            and a question is thought of.
        said: As in the turn.
        searched: The description; empty as long as there is none.
        results: What was found with it; None as long as nothing was searched.
    """

    step: Literal["describing", "found"]
    said: str
    searched: str = ""
    results: Results | None = None


_REASONS = {
    "timeout": "the model took too long",
    "unreachable": "the model cannot be reached",
    "key": "the model wants a key, or another",
    "rejected": "the model takes no such prompt",
    "context_overflow": "this is more than the model can read",
    "parse": "the model's reply cannot be read",
    "refusal": "the model would not",
    "budget": "nothing is left of what it may cost",
}
"""Reasons of `NoReply` as a dialogue tells them."""


class Conversation:
    """Leads a dialogue, turn by turn, and keeps it.

    The first thing said describes the picture; what is said after a question answers it, and a system of
    `chatir` makes one description of all. Results that are liked pull the search, and their captions go into
    the description as `eiirwqr` has it. Without a model the dialogue is searched as it stands, and questions
    come from a list.

    Args:
        opened: The collection.
        model: Asks and rewrites; None goes on without.
        session: Keeps the turns; those it has are gone on from.
        k: Results a turn.
        where: As for `Collection.search`.
        on_step: Called with each step of a turn, as a model may take its time.

    Attributes:
        results: Of the last turn; None before one, and after `resume` until something is said.
    """

    def __init__(
        self,
        opened: Collection,
        model: LanguageModel | None,
        session: Session,
        *,
        k: int = 10,
        where: str | None = None,
        on_step: Callable[[Step], None] | None = None,
    ) -> None:
        self.opened, self.model, self.session, self.k, self.where = opened, model, session, k, where
        self.on_step = on_step
        self.results: Results | None = None
        self._talk: chatir.Talk | None = None

    @property
    def question(self) -> str:
        """What the next thing said answers; empty if nothing was asked."""
        return self.session.turns[-1].ask if self.session.turns else ""

    @property
    def spent(self) -> Usage:
        """What the turns that hold have cost."""
        return sum((Usage(**turn.usage) for turn in self.session.turns), Usage())  # type: ignore[arg-type]

    def say(self, text: str) -> Turn:
        """Search with what is said, and ask back; the turn is kept when it is whole.

        Raises:
            UsageError: nothing is said.
            CollectionError: the turn cannot be kept.
        """
        if not text.strip():
            raise UsageError("nothing was said; describe the picture, or answer the question")
        return self._turn(Turn(text.strip(), question=self.question))

    def like(self, places: Sequence[int], *, less: bool = False) -> Turn:
        """Search for more, or less, like results of the last turn.

        Args:
            places: Their ranks, from 1 on.
            less: Whether they are not what is meant.

        Raises:
            UsageError: there are no results, or none of that rank.
        """
        before = self.session.turns[-1].found if self.session.turns else ()
        wrong = [place for place in places if not 1 <= place <= len(before)]
        if wrong or not places:
            raise UsageError(
                f"results are pointed at by their ranks from 1 to {len(before)}"
                if before
                else "nothing was found yet that could be pointed at"
            )
        ids = tuple(before[place - 1][0] for place in places)
        told = f"{'less' if less else 'more'} like {', '.join(map(str, places))}"
        good, bad = ((), ids) if less else (ids, ())
        return self._turn(Turn(told, "like", self.question, liked=good, disliked=bad))

    def undo(self) -> Turn:
        """Take the last turn back, and return it."""
        self.results = None
        return self.session.undo()

    def restart(self) -> None:
        """Begin anew."""
        self.results = None
        self.session.restart()

    def _turn(self, turn: Turn) -> Turn:
        talk, turns = self._talking(), [*self.session.turns, turn]
        dialogue = dialogue_of(turns)
        usage, reasons = Usage(), []
        self._tell(Step("describing", turn.said))
        said = talk.query(dialogue)
        usage, text = usage + said.usage, said.text
        if said.reason:
            reasons.append(f"the dialogue was searched as it stands ({_told(said.reason)})")
        good, bad = likes(turns)
        captions = [caption for one in turn.liked if (caption := self._caption(one))]
        if captions and self.model is not None:
            answer = ask(
                self.model,
                eiirwqr.rewriting(dialogue.caption, text, captions),
                lambda reply: labelled(reply, eiirwqr.LABEL, words=60),
            )
            usage += answer.usage
            text = answer.value or text
            if answer.value is None:
                reasons.append(f"what is liked counts by its looks alone ({_told(answer.reason)})")
        self.results = self.opened.search(self._query(text, good, bad), k=self.k, where=self.where)
        self._tell(Step("found", turn.said, text, self.results))
        question = turn.question if turn.kind == "like" else ""  # which still waits for its answer
        if not question:
            missed = [old.question for old in turns if old.kind == "say" and old.question]
            asked = talk.question(dialogue, [one for one in missed if one not in dict(dialogue.turns)])
            question, usage = asked.text, usage + asked.usage
            if asked.reason:
                reasons.append(f"the question is one of a list ({_told(asked.reason)})")
        return self.session.add(
            replace(
                turn,
                searched=text,
                ask=question,
                found=tuple((one.id, round(one.score, 4)) for one in self.results),
                usage=usage.as_dict(),
                degraded="; ".join(dict.fromkeys(reasons)),
            )
        )

    def _tell(self, step: Step) -> None:
        if self.on_step is not None:
            self.on_step(step)

    def _query(self, text: str, good: Sequence[str], bad: Sequence[str]) -> Item:
        """A description, pulled by what was liked and pushed away from what was not meant."""
        from diptych.engine.parts import liked

        def terms(names: Sequence[str], weight: float) -> list[tuple[float, Item]]:
            folder = self.opened.folder
            return [(weight / len(names), liked(self.opened.home, one, folder)) for one in names]

        said = Item(text=text)
        pulls = (*terms(good, _PULL), *terms(bad, -_PUSH))
        return Item(terms=((1.0, said), *pulls)) if pulls else said

    def _caption(self, name: str) -> str:
        item = self.opened.get(name)
        return item.text.partition("\n")[0] if item is not None and isinstance(item.text, str) else ""

    def _talking(self) -> Any:
        if self._talk is None:
            how = chatir.ChatIR(form="joined" if self.model is None else "rewritten")
            encoder = self.opened.encoder
            self._talk = chatir.Talk(how, self.model or _Nobody(), encoder)
        return self._talk


def _told(reason: str) -> str:
    return _REASONS.get(reason, reason)


class _Nobody:
    """Stands for a model where there is none."""

    name = "no language model"

    @property
    def abilities(self) -> Any:
        from diptych.llm import Abilities

        return Abilities(pictures=0, local=True)

    def reply(self, prompt: Any) -> Any:
        from diptych.errors import NoReply

        raise NoReply("no language model is named", reason="missing")


def dialogue_of(turns: Sequence[Turn]) -> chatir.Dialogue:
    """What was said: the description, and the questions that were answered.

    What is said without a question goes on describing.
    """
    dialogue = chatir.Dialogue("")
    for turn in turns:
        if turn.kind != "say":
            continue
        if not dialogue.caption:
            dialogue = chatir.Dialogue(turn.said)
        elif turn.question:
            dialogue = dialogue.then(turn.question, turn.said)
        else:
            dialogue = replace(dialogue, caption=f"{dialogue.caption}, {turn.said}")
    return dialogue
