"""The failure policy: read tolerantly, check, ask once more, give up with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from diptych.errors import ImageError
from diptych.llm import Prompt, Unusable, ask, asked, labelled, numbers, sentence
from diptych.testing import Faulty, Scripted


def test_a_good_reply_is_read() -> None:
    answer = ask(Scripted("  a dog  "), asked("?"), sentence)
    assert (answer.value, answer.reason, answer.usage.calls) == ("a dog", "", 1)


def test_a_bad_reply_is_asked_for_once_more_with_what_is_wrong() -> None:
    model = Scripted(["", "a dog"])
    answer = ask(model, asked("?"), sentence)
    assert (answer.value, answer.usage.calls) == ("a dog", 2)
    assert "one short line is wanted" in model.prompts[1].messages[-1].text
    model = Scripted(["", "a dog"])
    assert ask(model, asked("?"), sentence, repair=False).reason == "parse"


def test_a_model_that_repeats_the_complaint_has_no_reply() -> None:
    model = Scripted(lambda prompt: prompt.messages[-1].text if len(prompt.messages) > 1 else "")
    answer = ask(model, asked("?"), sentence)
    assert (answer.value, answer.reason, answer.usage.calls) == (None, "parse", 2)


@pytest.mark.parametrize(
    ("faults", "reason", "calls"),
    [
        (["timeout"], "timeout", 1),
        (["unreachable"], "unreachable", 1),
        (["overflow"], "context_overflow", 1),
        (["refusal"], "refusal", 1),
        (["empty"], "parse", 2),
        (["long"], "parse", 2),
        (["empty", "timeout"], "timeout", 2),
    ],
)
def test_every_fault_ends_with_a_reason(faults: list[str], reason: str, calls: int) -> None:
    answer = ask(Faulty(faults), asked("?"), sentence)  # type: ignore[arg-type]
    assert (answer.value, answer.reason, answer.usage.calls) == (None, reason, calls)


def test_a_picture_that_cannot_be_read_is_a_reason() -> None:
    def look(prompt: Prompt) -> str:
        raise ImageError("a.jpg", "damaged")

    assert ask(Scripted(look), asked(Path("a.jpg")), sentence).reason == "pictures"


@pytest.mark.parametrize(
    "said", ["I'm sorry, I can't.", "I cannot help with that", "As an AI, I", "I am unable to see it"]
)
def test_models_refuse_in_words(said: str) -> None:
    assert ask(Scripted(said), asked("?"), sentence).reason == "refusal"


@pytest.mark.parametrize("said", ["a man who cannot help laughing", "a sorry dog", "an ai lab"])
def test_a_caption_is_no_refusal(said: str) -> None:
    assert ask(Scripted(said), asked("?"), sentence).value == said


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("Edited Description: a bag: red", "a bag: red"),
        ("**Edited description**: a red bag", "a red bag"),
        ("Sure.\nedited description : a red bag\nAnything else?", "a red bag"),
        ("a red bag", "a red bag"),
    ],
)
def test_a_label_is_found_and_a_colon_after_it_kept(said: str, found: str) -> None:
    assert labelled(said, "edited description") == found


def test_a_reply_of_marks_and_blanks_is_none() -> None:
    for said in ("", "  \n ", "...", '""', "Edited description:", "\x00\ufffd%%% 99, 99 {]", "7", "a {{[[(("):
        with pytest.raises(Unusable, match="one short line"):
            labelled(said, "edited description", words=1)


@pytest.mark.parametrize(
    ("said", "count", "places"),
    [
        ("[3, 1, 2, 4]", 4, [2, 0, 1, 3]),
        ("[3, 3, 9, 1]", 4, [2, 0]),
        ("Best is 2, then 1.", 2, [1, 0]),
        ('["2", "1"]', 2, [1, 0]),
        ("[2, 1, oops]", 2, [1, 0]),
        ("2 > 1 > 3", 3, [1, 0, 2]),
    ],
)
def test_numbers_are_read_tolerantly(said: str, count: int, places: list[int]) -> None:
    assert numbers(said, count) == places


@pytest.mark.parametrize("said", ["", "[9, 9]", "[1]", "1e9 9999999999999999", "[[1,2,3,4]", "-"])
def test_fewer_than_half_are_none(said: str) -> None:
    if said == "[[1,2,3,4]":
        assert numbers(said, 4) == [0, 1, 2, 3]
        return
    with pytest.raises(Unusable, match="numbers from 1 to 4"):
        numbers(said, 4)
