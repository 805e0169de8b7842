"""The checks of systems that ask a language model, each a function of a `Subject`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core import Hits, Item, Run
from diptych.data.base import Split
from diptych.errors import UsageError
from diptych.llm import DEFAULT, Prompt, Reply
from diptych.testing.scripted import FAULTS, Faulty, Scripted

__all__ = ["TALKING", "Talks"]


def _texts(split: Split) -> list[Item]:
    return list(split.items("text")[:3])


@dataclass(frozen=True)
class Talks:
    """How a system that asks a language model is tried.

    Args:
        replies: What the scripted model says: a text, or a function of the prompt.
        queries: Makes the queries of the split to retrieve in.
        calls: How often the model is asked for these queries; None does not check it.
        prompts: A file with the prompts of these queries as `str` shows them, a line of dashes between; None
            does not check them. A prompt that is changed on purpose is stored anew by deleting the file.
    """

    replies: str | Callable[[Prompt], str | Reply] = "yes"
    queries: Callable[[Split], Sequence[Item]] = _texts
    calls: int | None = None
    prompts: Path | None = None


def asks_as_often_as_declared(subject: Any) -> None:
    """The model is asked as often as was declared, and of two runs the second asks the same."""
    first, second = _asked(subject)[1], _asked(subject)[1]
    calls = subject.talks.calls
    _must(
        calls is None or len(first) == calls,
        f"{subject.name} asks its model {len(first)} times, not {calls}",
    )
    _must(list(map(str, first)) == list(map(str, second)), f"{subject.name} asks something else each time")


def asks_what_is_stored(subject: Any) -> None:
    """The prompts are those that are stored; where none are, they are stored."""
    path = subject.talks.prompts
    if path is None:
        return
    found = "\n---\n".join(map(str, _asked(subject)[1])) + "\n"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(found, encoding="utf-8")
        raise AssertionError(f"{path} was not there; it now holds the prompts of {subject.name}: read them")
    stored = path.read_text(encoding="utf-8")
    _must(found == stored, f"{subject.name} asks otherwise than {path} says:\n{found}")


def says_which_model_is_missing(subject: Any) -> None:
    """Without a language model there is one sentence, which says how to name one."""
    before = os.environ.pop(DEFAULT, None)
    try:
        subject.build(llm=None).over(subject.data[1].items("image"), 5, "image")
    except UsageError as error:
        _must(
            error.argument == "llm" and "\n" not in str(error),
            f"{subject.name} says of a missing model: {error}",
        )
        return
    finally:
        if before is not None:
            os.environ[DEFAULT] = before
    raise AssertionError(f"{subject.name} needs no language model")


def goes_on_without_replies(subject: Any) -> None:
    """Whatever goes wrong with the model, every query has its hits, and a note says that they are less."""
    wanted = len(_asked(subject)[0].queries)
    for fault in FAULTS:
        run = _run(subject, Faulty([fault], Scripted(subject.talks.replies)))
        rows = run.hits.rows if run.hits is not None else np.zeros((0, 0))
        _must(
            rows.shape[0] == wanted and bool((rows[:, 0] >= 0).all()),
            f"{subject.name} finds nothing when its model fails ({fault})",
        )
        noted = [note.get("degraded") for note in run.notes]
        _must(
            len(noted) == wanted and all(noted) and all(note.get("reason") for note in run.notes),
            f"{subject.name} does not say that its model failed ({fault}): {list(run.notes)}",
        )


TALKING: tuple[Callable[[Any], None], ...] = (
    asks_as_often_as_declared,
    asks_what_is_stored,
    says_which_model_is_missing,
    goes_on_without_replies,
)


def _asked(subject: Any) -> tuple[Run, list[Prompt]]:
    model = Scripted(subject.talks.replies)
    run = _run(subject, model)
    _must(isinstance(run.hits, Hits), f"{subject.name}: its stage leaves no hits")
    return run, model.prompts


def _run(subject: Any, model: Any) -> Run:
    gallery = subject.data[1].items("image")
    stage = subject.build(llm=model).over(gallery, 5, "image")
    found: Run = stage(Run(subject.queries, gallery))
    return found


def _must(condition: bool, otherwise: str) -> None:
    if not condition:
        raise AssertionError(otherwise)
