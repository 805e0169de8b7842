r"""Gemini: A Family of Highly Capable Multimodal Models (Gemini Team, 2023), and any other model that sees.

Paper: arXiv 2312.11805; yes and no as in Qwen3-VL-Reranker, lists as in RankGPT (arXiv 2304.09542) and LamRA
Code: QwenLM/Qwen3-VL-Embedding@8ce3aab (src/models/qwen3_vl_reranker.py), Code-kunkun/LamRA@7286399
Tables: none; the survey names it in its text alone
Inputs: a text (or a picture), and pictures (or texts) that an encoder found
Learns from: nothing
Structure: pipeline
Representation: real-valued
Survey: an example of a model that was multimodal from the start; no numbers of retrieval.

An encoder finds the first hits, and a model that sees orders them anew: asked of each whether it shows what
is wanted (`yes_no`: the odds of "yes" against "no" from its log-probabilities), for the order of all at once
(`list`: a window slides from the last hits to the first), or for a grade of each (`grade`: of models that
tell no log-probabilities). Whatever goes wrong with a candidate leaves it its place; if it goes wrong with
more than half, or with a list, the order is that of the encoder, and the note says so.

Equations:
- how likely yes is (`yes_no`): p(x) = \sigma(l_{\mathrm{yes}} - l_{\mathrm{no}})
- probabilities of the first token, summed: l_w = \log \sum_{v \in V_w} p(v)
- the new score of a candidate: s(x) = \lambda p(x)
    + (1 - \lambda) \frac{s_0(x) - \min s_0}{\max s_0 - \min s_0}
- a grade from 0 to 10, in its place (`grade`): p(x) = \frac{n}{10}
where $V_w$ are the tokens that read as the word $w$, $s_0$ are scores of the encoder among the candidates,
and $\lambda$ is `weight`. With `list` the order alone counts.

Differs from the paper: it describes the model, and no retrieval; how candidates are judged is that of the
works above, and the weights are ours. A model that does not see, or may not, judges pictures by their
captions, where all candidates have one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from diptych.core import Floats, Hits, Item, Run, Side, Stage
from diptych.errors import UsageError
from diptych.llm import (
    RULE,
    Answer,
    LanguageModel,
    Prompt,
    Reply,
    Unusable,
    Usage,
    ask,
    asked,
    each,
    fenced,
    numbers,
    wanted,
)
from diptych.pipeline import RESCORED, hits_of, over

__all__ = ["Gemini"]

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "list": {"way": "list", "depth": 10},
    "grade": {"way": "grade", "depth": 10},
    "tiny": {"depth": 4},
}
RECIPES: Mapping[str, Mapping[str, Any]] = {}

_WAYS = ("yes_no", "list", "grade")

_JUDGE = (
    "You judge whether a candidate shows what a search asks for. Every object, number, attribute and "
    f"relation that is asked for must be there. {RULE}"
)
_YES_NO = "Is the candidate what the search asks for? Answer with one word, yes or no."
_GRADE = (
    "How well is the candidate what the search asks for? Answer with one whole number from 0 (not at "
    "all) to 10 (in everything)."
)
_ORDER = (
    "Order the {count} numbered candidates by how completely they are what the search asks for. Answer "
    "only with a JSON list of their numbers, best first, each once."
)


class Gemini:
    """Orders the first hits of an encoder anew by what a model that sees says of them.

    Args:
        encoder: Finds the first hits: a system's name, an `Encoder`, or None for the built-in one.
        llm: The model, or its name; None for the one that the environment sets.
        way: "yes_no", "list" or "grade".
        depth: First hits that are judged.
        window, stride: Of `list`: candidates that one call orders, and by how many the window moves.
        weight: Of the model's judgement; the rest is the encoder's score. With `list` its order alone counts.

    Raises:
        UsageError: there is no such way, or a number is out of range.
    """

    def __init__(
        self,
        encoder: Any = None,
        llm: Any = None,
        *,
        way: str = "yes_no",
        depth: int = 20,
        window: int = 10,
        stride: int = 5,
        weight: float = 0.8,
    ) -> None:
        if way not in _WAYS:
            raise UsageError(f"candidates are judged by {', '.join(_WAYS)}, not by {way!r}")
        if depth < 1 or not 0 < stride <= window or not 0 <= weight <= 1:
            raise UsageError(
                "at least one hit is judged, a window moves by no more than its length, and a weight "
                f"lies from 0 to 1; not depth {depth}, window {window}, stride {stride}, weight {weight:g}"
            )
        self.encoder, self.llm, self.way, self.depth = encoder, llm, way, depth
        self.window, self.stride, self.weight = window, stride, weight

    def over(self, gallery: Sequence[Item], k: int, to: Side) -> Stage:
        """The encoder's search, and the judgement of its first hits.

        Raises:
            UsageError: no language model is named.
        """
        model = wanted(self.llm, "gemini")
        encoder = _encoder(self.encoder)
        return over(encoder, gallery, max(k, self.depth), to=to) >> Judge(self, model, to, k)


def _encoder(given: Any) -> Any:
    from diptych.catalogue import load

    return load(given or "builtin") if given is None or isinstance(given, str) else given


class Judge(Stage):
    """Orders the first hits of each query by a model's judgement.

    Args:
        how: Way, depth, window and weight.
        model: Is asked.
        to: The side of the gallery.
        k: Hits to keep.
    """

    def __init__(self, how: Gemini, model: LanguageModel, to: Side, k: int) -> None:
        self.how, self.model, self.to, self.k = how, model, to, k

    def __call__(self, run: Run) -> Run:
        """The run with the new order; notes say what it cost, and why where nothing was changed."""
        before = hits_of(run)
        rows, scores = before.rows.copy(), before.scores.copy()
        notes: list[Mapping[str, Any]] = []
        for at, query in enumerate(run.queries):
            depth = int((before.rows[at, : self.how.depth] >= 0).sum())
            candidates = [run.gallery[int(row)] for row in before.rows[at, :depth]]
            judged, note = self._judged(query, candidates, before.scores[at, :depth])
            notes.append(note)
            if judged is None:
                continue
            order = np.lexsort((np.arange(depth), -judged))  # ties by the first stage
            rows[at, :depth] = before.rows[at, :depth][order]
            # Above whatever was not judged.
            scores[at, :depth] = judged[order] + (before.scores[at, 0] + 1)
        return run.with_hits(Hits(rows, scores).top(self.k)).noted(notes)

    def _judged(
        self, query: Item, candidates: Sequence[Item], first: Floats
    ) -> tuple[Floats | None, Mapping[str, Any]]:
        """Scores (m,) in [0, 1] of the candidates, larger is better; None for those of the first stage."""
        if not candidates:
            return None, {}
        shown = self._shown(query, candidates)
        if shown is None:
            return None, {"degraded": f"{self.model.name} sees no pictures, and not all hits have captions"}
        question, parts = shown
        if self.how.way == "list":
            return self._listed(question, parts)
        one = self._odds if self.how.way == "yes_no" else self._grade
        answers = each(lambda part: one(question, part), parts, self.model)
        usage = sum((answer.usage for answer in answers), Usage())
        failed = [answer.reason for answer in answers if answer.value is None]
        note: dict[str, Any] = {"usage": usage.as_dict()}
        if 2 * len(failed) > len(answers):
            return None, {
                **note,
                "degraded": f"the model judged too few hits ({failed[0]})",
                "reason": failed[0],
            }
        said = np.array([math.nan if one.value is None else one.value for one in answers], np.float32)
        if failed:
            note["not judged"] = len(failed)
        judged = self.how.weight * _interpolated(said) + (1 - self.how.weight) * _between(first)
        return judged.astype(np.float32), {**note, RESCORED: len(parts)}

    def _shown(
        self, query: Item, candidates: Sequence[Item]
    ) -> tuple[tuple[Any, ...], list[tuple[Any, ...]]] | None:
        """The question and each candidate as parts of a message; None if the model cannot look at them."""
        sees = self.model.abilities.pictures != 0
        question = _part(query, "text" if query.text is not None else "image", sees)
        parts = [_part(candidate, self.to, sees) for candidate in candidates]
        found = [part for part in parts if part is not None]
        return None if question is None or len(found) < len(parts) else (question, found)

    def _odds(self, question: tuple[Any, ...], candidate: tuple[Any, ...]) -> Answer[float]:
        """p(yes) / (p(yes) + p(no)) of the model's first token, or its plain word."""
        prompt = _prompt(question, ("Candidate:", *candidate), _YES_NO, max_tokens=1, top=20)
        kept: list[Reply] = []

        def read(text: str) -> float:
            return yes_no(kept[-1])

        return ask(_Keeping(self.model, kept), prompt, read, repair=False)

    def _grade(self, question: tuple[Any, ...], candidate: tuple[Any, ...]) -> Answer[float]:
        prompt = _prompt(question, ("Candidate:", *candidate), _GRADE, max_tokens=8)
        return ask(self.model, prompt, grade)

    def _listed(
        self, question: tuple[Any, ...], parts: Sequence[tuple[Any, ...]]
    ) -> tuple[Floats | None, Mapping[str, Any]]:
        """A window slides over the candidates from the last to the first, so that the best rise."""
        order, usage = list(range(len(parts))), Usage()
        for start in windows(len(parts), self.how.window, self.how.stride):
            part = order[start : start + self.how.window]
            numbered = [piece for at, one in enumerate(part, 1) for piece in (f"{at}:", *parts[one])]
            told = _ORDER.format(count=len(part))
            prompt = _prompt(question, tuple(numbered), told, max_tokens=16 + 6 * len(part))
            answer = ask(self.model, prompt, partial(numbers, count=len(part)))
            usage += answer.usage
            if answer.value is None:
                why = f"the model ordered no list ({answer.reason})"
                return None, {"usage": usage.as_dict(), "degraded": why, "reason": answer.reason}
            order[start : start + self.how.window] = [
                part[place] for place in completed(answer.value, len(part))
            ]
        judged = np.zeros(len(parts), np.float32)
        judged[order] = np.linspace(1, 0, len(parts), dtype=np.float32)
        return judged, {"usage": usage.as_dict(), RESCORED: len(parts)}


class _Keeping:
    """A model whose last reply is kept, for readers that need more than its text."""

    def __init__(self, inner: LanguageModel, kept: list[Reply]) -> None:
        self.name, self.abilities, self.inner, self.kept = inner.name, inner.abilities, inner, kept

    def reply(self, prompt: Prompt) -> Reply:
        self.kept.append(self.inner.reply(prompt))
        return self.kept[-1]


def _prompt(question: tuple[Any, ...], candidates: tuple[Any, ...], told: str, **decoding: Any) -> Prompt:
    return asked("The search asks for:", *question, *candidates, told, system=_JUDGE, **decoding)


def _part(item: Item, side: Side, sees: bool) -> tuple[Any, ...] | None:
    """An item as parts of a message: the side that is meant, or its captions where the model does not see."""
    if side == "image" and sees and item.image is not None:
        return (item.image,)
    return (fenced(item.text),) if isinstance(item.text, str) and item.text.strip() else None


def yes_no(reply: Reply) -> float:
    """How likely a model's first word is yes rather than no, in [0, 1].

    With ``l`` the log of the summed probabilities of what reads as yes or no: sigma(l_yes - l_no). Where
    one of them is not among the alternatives, it is at most as likely as the least likely one told. Without
    log-probabilities the word itself counts.

    Raises:
        Unusable: it says neither.
    """
    if reply.tokens and reply.tokens[0].top:
        top = reply.tokens[0].top
        least = min(top.values())
        sides = []
        for word in ("yes", "no"):
            same = [value for token, value in top.items() if re.sub(r"\W|▁|Ġ", "", token).lower() == word]
            sides.append(float(np.logaddexp.reduce(same)) if same else None)
        yes, no = sides
        if yes is None and no is None:
            raise Unusable("It is neither yes nor no.")
        return float(1 / (1 + np.exp((least if no is None else no) - (least if yes is None else yes))))
    said = re.match(r"\W*(yes|no)\b", reply.text, re.IGNORECASE)
    if said is None:
        raise Unusable("It is neither yes nor no; one of these words is wanted.")
    return 1.0 if said[1].lower() == "yes" else 0.0


def grade(text: str) -> float:
    """The first whole number of a reply as a tenth; raises `Unusable` if there is none from 0 to 10."""
    found = re.search(r"(?<![\d.-])(\d{1,2})(?!\d)", text)
    if found is None or int(found[1]) > 10:
        raise Unusable("It holds no whole number from 0 to 10.")
    return int(found[1]) / 10


def windows(count: int, window: int, stride: int) -> list[int]:
    """Where the windows begin that slide over `count` candidates from the last to the first.

    Example:
        >>> windows(20, 10, 5)
        [10, 5, 0]
    """
    starts = list(range(count - window, 0, -stride)) if count > window else []
    return [*starts, 0]


def completed(places: Sequence[int], count: int) -> list[int]:
    """A part of an order, and after it what it leaves out, as it was.

    Example:
        >>> completed([2, 0], 4)
        [2, 0, 1, 3]
    """
    named = set(places)
    return [*places, *(place for place in range(count) if place not in named)]


def _interpolated(said: Floats) -> Floats:
    """Judgements (m,), those missing between their neighbours', so that they keep about their places."""
    missing = np.isnan(said)
    if missing.any():
        places = np.arange(len(said))
        said = np.where(missing, np.interp(places, places[~missing], said[~missing]), said)
    return said


def _between(first: Floats) -> Floats:
    """Scores (m,) moved and scaled to [0, 1]."""
    least, most = float(first.min()), float(first.max())
    return (first - least) / (most - least) if most > least else np.ones_like(first)
