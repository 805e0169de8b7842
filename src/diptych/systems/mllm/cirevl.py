r"""CIReVL: Vision-by-Language for Training-Free Compositional Image Retrieval (Karthik et al., ICLR 2024).

Paper: arXiv 2310.09291
Code: ExplainableML/Vision_by_Language@a8ba813 (src/main.py, utils.py, prompts.py, compute_results.py)
Tables: survey Table 1 only; it is no system of Table 4, whose task is another
Inputs: a picture with a change in words, and a gallery
Learns from: nothing
Structure: pipeline
Representation: real-valued
Survey: turns a text into a fixed descriptive sentence that a conventional model searches with. The picture
    that the text changes, which makes the task composed retrieval, is not mentioned there.

The picture is described in words, a language model merges the description with the change into a description
of the picture that is wanted, and an encoder searches with it. Nothing is trained, and whoever searches can
read what was understood.

Equations:
- what is searched with: y' = \Psi(c(x), t)
- the score, of a picture v in the gallery: s(v) = \cos\left( f(v), \; u(g(y')) + w \, u(f(x)) \right)
where $x$ is the picture that is given and $t$ the change, $c$ describes pictures, $\Psi$ is the language
model, $f$ and $g$ are the encoder's towers, $u$ makes unit vectors and $w$ is `image_weight`, 0 in the paper.

Differs from the paper: the prompt is our own, with its examples as turns of a chat, and asks to say
positively what is to be seen, as encoders overlook a "without". Whatever goes wrong in merging, description
and change are searched, not the change alone, and where nothing describes the picture, picture and change as
vectors. Pictures are as the encoder prepares them, not padded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from diptych.core import Item, Run, Side, Stage
from diptych.errors import UsageError
from diptych.llm import (
    RULE,
    Answer,
    LanguageModel,
    Prompt,
    Unusable,
    Usage,
    ask,
    asked,
    assistant,
    describing,
    each,
    fenced,
    labelled,
    sentence,
    user,
    wanted,
)
from diptych.llm import system as told
from diptych.pipeline import over

__all__ = ["CIReVL"]

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "focus": {"image_weight": 1.0},  # GeneCIS: the picture keeps half a say
    "tiny": {"words": 20},
}
RECIPES: Mapping[str, Mapping[str, Any]] = {"fashion": {"task": "fashion"}}

LABEL = "Edited description"

_TASKS: Mapping[str, tuple[str, tuple[tuple[str, str, str], ...]]] = {
    "general": (
        "a picture",
        (
            ("a brown dog runs on a beach", "at night, with snow", "a brown dog runs through snow at night"),
            ("two women sit on a bench", "one of them is a man", "a man and a woman sit on a bench"),
            ("a bowl of apples on a table", "remove the bowl, more apples", "many apples lie on a table"),
        ),
    ),
    "fashion": (
        "a piece of clothing in a shop",
        (
            ("a blue shirt with long sleeves", "is red", "a red shirt with long sleeves"),
            ("a black dress", "is shorter and has dots", "a short black dress with dots"),
        ),
    ),
}

_SYSTEM = (
    "You are given the description of {what} and a change that somebody wants. Reply with a short "
    "description of what is wanted after the change: only what will be seen, said positively, nothing "
    "invented. Reply with one line after '{label}:'. {rule}"
)
_DESCRIBE = "Describe what this picture shows in one short sentence: what, how many, which colours, where."


class CIReVL:
    """Searches for a picture that is changed in words.

    A query holds a picture and a text that says what is to be otherwise; any other query is searched as it
    is.

    Args:
        encoder: Searches: a system's name, an `Encoder`, or None for the built-in one.
        llm: Merges description and change: a `LanguageModel`, its name, or None for the one that the
            environment sets.
        captioner: Describes the picture: as `llm`; None leaves it to `llm` if that sees, and else to the
            packaged captioner. A query's ``meta["caption"]`` stands for it.
        task: Which prompt: "general" or "fashion".
        words: Longest description.
        image_weight: Weight of the picture itself beside the description; 0 in the paper, 1 for the averages
            that it uses on GeneCIS.
        otherwise: What is searched where the model merges nothing: "texts", description and change one after
            the other, or "vectors", the sum of those of picture and change, as a plain search does.

    Raises:
        UsageError: there is no such task.
    """

    def __init__(
        self,
        encoder: Any = None,
        llm: Any = None,
        captioner: Any = None,
        *,
        task: str = "general",
        words: int = 40,
        image_weight: float = 0.0,
        otherwise: str = "texts",
    ) -> None:
        if otherwise not in ("texts", "vectors"):
            raise UsageError(f"what is not merged is searched as texts or as vectors, not as {otherwise!r}")
        if task not in _TASKS:
            raise UsageError(f"descriptions are merged for {' or '.join(_TASKS)}, not for {task!r}")
        self.encoder, self.llm, self.captioner = encoder, llm, captioner
        self.task, self.words, self.image_weight, self.otherwise = task, words, image_weight, otherwise

    def over(self, gallery: Sequence[Item], k: int, to: Side) -> Stage:
        """The merging, and the encoder's search with what comes of it.

        Raises:
            UsageError: no language model is named.
        """
        return self.merging() >> over(_encoder(self.encoder), gallery, k, to=to)

    def merging(self) -> Stage:
        """The stage that replaces queries of a picture and a change by a description of what is wanted.

        Raises:
            UsageError: no language model is named.
        """
        model = wanted(self.llm, "cirevl")
        return Merge(self, model, describing(self.captioner, model, "cirevl"))


def _encoder(given: Any) -> Any:
    from diptych.catalogue import load

    return load(given or "builtin") if given is None or isinstance(given, str) else given


class Merge(Stage):
    """Replaces queries of a picture and a change by a description of what is wanted.

    Args:
        how: Task, longest description and weight of the picture.
        model: Merges.
        captioner: Describes pictures.
    """

    def __init__(self, how: CIReVL, model: LanguageModel, captioner: LanguageModel) -> None:
        self.how, self.model, self.captioner = how, model, captioner

    def __call__(self, run: Run) -> Run:
        """The run with the new queries; notes say how they came about, or why they did not."""
        found = each(self._merged, run.queries, self.model)
        return run.with_queries([item for item, _ in found]).noted([note for _, note in found])

    def _merged(self, query: Item) -> tuple[Item, Mapping[str, Any]]:
        if query.image is None or not isinstance(query.text, str) or query.terms:
            return query, {}
        caption, usage = self._caption(query)
        if caption.value is None:
            why = f"nothing describes the picture ({caption.reason}), so it is searched as it is"
            return query, {"degraded": why, "reason": caption.reason, "usage": usage.as_dict()}
        answer = ask(
            self.model, merging(caption.value, query.text, self.how.task), self._read(caption.value, query)
        )
        usage += answer.usage
        note: dict[str, Any] = {"caption": caption.value, "usage": usage.as_dict()}
        text = answer.value
        if text is None:
            why = f"description and change were not merged ({answer.reason})"
            note |= {"degraded": why, "reason": answer.reason}
            if self.how.otherwise == "vectors":
                return query, note
            text = plain(caption.value, query.text)
        note["rewritten"] = text
        merged = Item(query.id, text=text, meta=query.meta)
        if self.how.image_weight:
            picture = Item(image=query.image, meta=query.meta)
            merged = Item(query.id, terms=((1.0, merged), (self.how.image_weight, picture)), meta=query.meta)
        return merged, note

    def _caption(self, query: Item) -> tuple[Answer[str], Usage]:
        known = query.meta.get("caption")
        if isinstance(known, str) and known.strip():
            return Answer(known), Usage()
        prompt = asked(query.image, _DESCRIBE, max_tokens=60)
        answer = ask(self.captioner, prompt, lambda text: sentence(text, words=self.how.words))
        return answer, answer.usage

    def _read(self, caption: str, query: Item) -> Any:
        def read(text: str) -> str:
            found = labelled(text, LABEL, words=self.how.words)
            if _plain(found) == _plain(caption) and not _words(str(query.text)) <= _words(caption):
                raise Unusable("It repeats the description; the change must show in it.")
            return found

        return read


def merging(caption: str, change: str, task: str = "general") -> Prompt:
    """The prompt that merges a description with a change."""
    what, examples = _TASKS[task]
    shots = [
        turn
        for before, edit, after in examples
        for turn in (user(_question(before, edit)), assistant(f"{LABEL}: {after}"))
    ]
    rule = told(_SYSTEM.format(what=what, label=LABEL, rule=RULE))
    return Prompt((rule, *shots, user(_question(caption, change))), max_tokens=96, stop=("\n\n",))


def plain(caption: str, change: str) -> str:
    """What is searched without a model: description and change, one after the other."""
    return f"{caption.rstrip(' .')}, {change}"


def _question(caption: str, change: str) -> str:
    return f"Description: {fenced(caption)}\nChange: {fenced(change)}"


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))
