r"""EIIRwQR: Enhancing Interactive Image Retrieval With Query Rewriting (Zhu et al., ICMR 2024).

Paper: arXiv 2404.18746 (abstract and a summary of the method read; the full text could not be had)
Code: s04240051/Multimodal-Conversational-Retrieval-System@3131c53 holds a readme only
Tables: survey Table 1 only
Inputs: a text, and pictures with what a user says of those shown
Learns from: nothing
Structure: pipeline
Representation: real-valued
Survey: captions of the candidates enter a language model that changes the query, again and again, and
    nothing is trained. It leaves out the user's feedback and the removal of noise, which the paper puts
    first.

Each round shows the best pictures that were not shown yet. Those that the user takes are described in
words; a language model rewrites the query from what was asked and what several descriptions share, as
descriptions are often wrong or beside the point; the new query, held near the first, finds the next round's.

Equations:
- the vector that is searched with: q = \kappa q_0 + (1 - \kappa) q_t + \beta m_+ - \gamma m_-
- Rocchio's means of what was taken, and what was not: m_+ = \frac{1}{|T|} \sum_{v \in T} v, \quad
    m_- = \frac{1}{|R|} \sum_{v \in R} v
- the score, or the inner product where the encoder compares so: s(v) = \cos(q, v)
where $q_0$ and $q_t$ are vectors of the first query and of that which the model wrote last, and $\kappa$ is
`keep`. The means count with `rocchio`, and where the model did not reply.

Differs from the paper: the constants are ours, as only the skeleton is known. `feedback` is a user, a
simulated one, or none, when the first pictures of a round count as taken, which is the survey's loop. The
first query keeps part of the score, and vectors of what was taken may pull the query (Rocchio), also when
the model fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from diptych.core import Floats, Hits, Item, Rows, Run, Searchable, Side, Stage
from diptych.errors import UsageError
from diptych.index.flat import Flat
from diptych.llm import (
    RULE,
    Answer,
    LanguageModel,
    Prompt,
    Usage,
    ask,
    asked,
    describing,
    fenced,
    labelled,
    sentence,
    wanted,
)
from diptych.pipeline import Indexed, encode, stacked
from diptych.similarity import unit

__all__ = ["EIIRwQR"]

Feedback: TypeAlias = Callable[[Item, Sequence[Item]], Sequence[bool]]
"""Query and pictures shown in, which of them are what was meant out."""

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "rocchio": {"rocchio": True},
    "paging": {"keep": 1.0, "rewrite": False},  # the baseline: further pages of the first query
    "tiny": {"shown": 2, "rounds": 3, "described": 1},
}
RECIPES: Mapping[str, Mapping[str, Any]] = {}

LABEL = "QUERY"

_SYSTEM = (
    f"You clean up the query of a picture search. {RULE} Reply with one sentence of at most 40 words after "
    f"'{LABEL}:'. Keep everything that the original query asks for. Add only what several of the "
    "descriptions of accepted pictures share, or what the query implies; leave out what one description "
    "alone says, and all talk of cameras and quality. Invent nothing."
)
_DESCRIBE = "Describe what this picture shows in one short sentence."


class EIIRwQR:
    """Searches in rounds, and rewrites the query by what the user takes.

    Args:
        encoder: Searches: a system's name, an `Encoder`, or None for the built-in one.
        llm: Rewrites: a `LanguageModel`, its name, or None for the one that the environment sets.
        captioner: Describes pictures: as `llm`; None takes the captions that the gallery has, or else
            `llm` if that sees, or else the packaged captioner.
        feedback: Says which pictures shown are meant; None takes the first `described` of each round.
        shown: Pictures a round.
        rounds: At most.
        described: New pictures that are described, a round.
        keep: Weight of the first query beside the present one (1 - lambda).
        rewrite: Whether the model rewrites the query; without, nothing is asked.
        rocchio: Whether vectors of what was taken pull the query, too.
        beta, gamma: How strongly they pull, and those of what was not taken push.

    Raises:
        UsageError: a number is out of range.
    """

    def __init__(
        self,
        encoder: Any = None,
        llm: Any = None,
        captioner: Any = None,
        feedback: Any = None,
        *,
        shown: int = 10,
        rounds: int = 5,
        described: int = 3,
        keep: float = 0.3,
        rewrite: bool = True,
        rocchio: bool = False,
        beta: float = 0.75,
        gamma: float = 0.0,
    ) -> None:
        if min(shown, rounds, described) < 1 or not 0 <= keep <= 1:
            raise UsageError(
                "at least one picture is shown and described a round, and the first query keeps a part "
                f"from 0 to 1; not shown {shown}, rounds {rounds}, described {described}, keep {keep:g}"
            )
        self.encoder, self.llm, self.captioner, self.feedback = encoder, llm, captioner, feedback
        self.shown, self.rounds, self.described, self.keep = shown, rounds, described, keep
        self.rewrite, self.rocchio, self.beta, self.gamma = rewrite, rocchio, beta, gamma

    def over(self, gallery: Sequence[Item], k: int, to: Side) -> Stage:
        """The rounds; their hits are what was shown, in the order in which it was.

        Raises:
            UsageError: no language model is named, or the encoder does not compare single vectors.
        """
        model = wanted(self.llm, "eiirwqr") if self.rewrite else None
        captioner = None if model is None else describing(self.captioner, model, "eiirwqr")
        encoder = _encoder(self.encoder)
        if encoder.similarity not in ("cosine", "dot"):
            raise UsageError(
                f"eiirwqr moves vectors that compare by cosine or dot, not by {encoder.similarity}"
            )
        index = gallery.searchable(encoder) if isinstance(gallery, Indexed) else None
        if index is None:
            index = Flat.of(encode(encoder, gallery, side=to), encoder.similarity)
        return Rounds(self, model, captioner, encoder, index, to, k)


def _encoder(given: Any) -> Any:
    from diptych.catalogue import load

    return load(given or "builtin") if given is None or isinstance(given, str) else given


@dataclass
class State:
    """What is known of one query: the texts, what was shown, taken and not taken, and what happened."""

    first: Item
    text: str
    shown: list[int] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    queries: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


class Rounds(Stage):
    """Shows, hears, rewrites and searches again, query by query.

    Args:
        how: The system's numbers.
        model: Rewrites; None if nothing is rewritten.
        captioner: Describes pictures without captions; None if nothing does.
        encoder: Makes the vectors.
        index: Searches them.
        to: The side of the gallery.
        k: Hits to keep.
    """

    def __init__(
        self,
        how: EIIRwQR,
        model: LanguageModel | None,
        captioner: LanguageModel | None,
        encoder: Any,
        index: Searchable,
        to: Side,
        k: int,
    ) -> None:
        self.how, self.model, self.captioner, self.encoder = how, model, captioner, encoder
        self.index, self.to, self.k = index, to, k
        self._captions: dict[int, Answer[str]] = {}

    def __call__(self, run: Run) -> Run:
        """The run after all rounds; rounds end when enough was shown."""
        for done in self.rounds(run):
            if done.hits is not None and done.hits.rows.shape[1] >= min(self.k, len(run.gallery)):
                break
        return done.with_hits(done.hits.top(self.k)) if done.hits is not None else done

    def rounds(self, run: Run) -> Iterator[Run]:
        """The run after each round: hits are all that was shown so far, notes say what was asked."""
        states = [State(query, query.text if isinstance(query.text, str) else "") for query in run.queries]
        first = self._vectors(run.queries)
        for _ in range(self.how.rounds):
            vectors = self._moved(run, states, first)
            for state, vector in zip(states, vectors, strict=True):
                self._round(run, state, vector)
            yield run.with_hits(_hits(states)).noted([self._note(state) for state in states])

    def _round(self, run: Run, state: State, vector: Floats) -> None:
        """Show the best that were not shown, hear what is meant, rewrite the query."""
        width = min(self.how.shown + len(state.shown), len(run.gallery))
        found: Rows = self.index.search(vector[None], width).rows[0]
        fresh = [row for row in found.tolist() if row >= 0 and row not in set(state.shown)][: self.how.shown]
        state.shown += fresh
        state.queries.append(state.text)
        items = [run.gallery[row] for row in fresh]
        if self.how.feedback is None:
            said = [at < self.how.described for at in range(len(items))]
        else:
            said = list(self.how.feedback(state.first, items))
        new = [row for row, is_meant in zip(fresh, said, strict=True) if is_meant]
        state.taken += new
        state.refused += [row for row, is_meant in zip(fresh, said, strict=True) if not is_meant]
        if new and self.model is not None and isinstance(state.first.text, str):
            self._rewrite(run, state, new)

    def _rewrite(self, run: Run, state: State, new: Sequence[int]) -> None:
        assert self.model is not None
        captions = []
        for row in new[: self.how.described]:
            answer = self._caption(run, row)
            state.usage += answer.usage
            if answer.value is None:
                state.reasons.append(answer.reason)
            else:
                captions.append(answer.value)
        if not captions:
            return  # vectors alone, if they are to pull
        asked_first = str(state.first.text)
        answer = ask(self.model, rewriting(asked_first, state.text, captions), _read)
        state.usage += answer.usage
        if answer.value is not None:
            state.text = answer.value
            return
        state.reasons.append(answer.reason)
        if answer.reason in ("parse", "refusal"):  # the model is there, but of no use
            state.text = f"{asked_first}, {captions[0]}"

    def _caption(self, run: Run, row: int) -> Answer[str]:
        """What describes an entry, each asked for once."""
        item = run.gallery[row]
        if self.captioner is None or self.how.captioner is None:
            known = item.text.partition("\n")[0].strip() if isinstance(item.text, str) else ""
            if known:
                return Answer(known)
        if self.to != "image" or item.image is None or self.captioner is None:
            return Answer(None, "pictures")
        if row in self._captions:
            return Answer(self._captions[row].value, self._captions[row].reason)
        prompt = asked(item.image, _DESCRIBE, max_tokens=60)
        self._captions[row] = ask(self.captioner, prompt, sentence)
        return self._captions[row]

    def _vectors(self, queries: Sequence[Item]) -> Floats:
        vectors = encode(self.encoder, queries)
        return unit(vectors) if self.encoder.similarity == "cosine" else vectors

    def _moved(self, run: Run, states: Sequence[State], first: Floats) -> Floats:
        """Vectors (q, d) to search with: ``keep q0 + (1 - keep) qt``, and Rocchio's sum.

        Of unit vectors their inner products are ``keep cos(q0, v) + (1 - keep) cos(qt, v)``, but for a
        factor.
        """
        changed = [at for at, state in enumerate(states) if state.text != state.first.text and state.text]
        now = first.copy()
        if changed:
            now[changed] = self._vectors([Item(text=states[at].text) for at in changed])
        moved = self.how.keep * first + (1 - self.how.keep) * now
        for at, state in enumerate(states):
            # Where the model did not reply, what was taken is all that is known.
            pulls = self.how.rocchio or (
                self.how.keep < 1 and state.reasons and state.text == state.first.text
            )
            for rows, weight in ((state.taken, self.how.beta), (state.refused, -self.how.gamma)):
                if pulls and rows and weight:
                    moved[at] += weight * self._mean(run, rows)
        return unit(moved) if self.encoder.similarity == "cosine" else moved

    def _mean(self, run: Run, rows: Sequence[int]) -> Floats:
        vectors = encode(self.encoder, [run.gallery[row] for row in rows], side=self.to)
        mean: Floats = (unit(vectors) if self.encoder.similarity == "cosine" else vectors).mean(axis=0)
        return mean

    @staticmethod
    def _note(state: State) -> Mapping[str, Any]:
        note: dict[str, Any] = {"queries": list(state.queries), "usage": state.usage.as_dict()}
        if state.reasons:
            note |= {
                "degraded": f"a query was not rewritten as it should be ({state.reasons[-1]})",
                "reason": state.reasons[-1],
            }
        return note


def rewriting(first: str, now: str, captions: Sequence[str]) -> Prompt:
    """The prompt that rewrites a query by the captions of what was taken."""
    lines = [f"Original query: {fenced(first)}", f"Current query: {fenced(now)}", "Accepted pictures:"]
    lines += [f"{at}. {fenced(caption)}" for at, caption in enumerate(captions, 1)]
    return asked("\n".join(lines), system=_SYSTEM, max_tokens=96)


def _read(text: str) -> str:
    return labelled(text, LABEL, words=40)


def _hits(states: Sequence[State]) -> Hits:
    """All that was shown, in its order; the scores only say that order."""
    ranked = [
        (np.array(state.shown, np.int64), -np.arange(len(state.shown), dtype=np.float32)) for state in states
    ]
    return stacked(ranked, max((len(state.shown) for state in states), default=0))
