"""BLEU, ROUGE-L and CIDEr-D; the expected numbers are those of pycocoevalcap 1.2 on the same words."""

from __future__ import annotations

import random
from math import exp, log, sqrt

import pytest

from diptych.errors import UsageError
from diptych.metrics.captions import Cider, bleu, caption_scores, rouge_l, words

SAID = ["a man rides a horse", "two dogs play in the snow", "a red car"]
WANTED = [
    ["a man rides a brown horse", "a man on a horse"],
    ["two dogs run in the snow", "dogs play in snow"],
    ["a red bus on a street", "the bus is red"],
]


def test_the_numbers_are_those_of_pycocoevalcap() -> None:
    found = caption_scores(SAID, WANTED)
    assert found["BLEU-4"] == pytest.approx(0.5018623586412515)
    assert found["CIDEr"] == pytest.approx(3.4566808735234837)
    assert found["ROUGE-L"] == pytest.approx(0.7459715209964627)
    split = [words(text) for text in SAID], [[words(text) for text in texts] for texts in WANTED]
    assert bleu(*split)[:3] == pytest.approx([0.8645582953159417, 0.8554414328405685, 0.6984090271262493])


def test_drawn_captions_score_as_in_pycocoevalcap() -> None:
    draw = random.Random(1)
    known = words("a dog cat runs on the grass red ball man with hat and sits")
    said = [" ".join(draw.choices(known, k=draw.randint(3, 12))) for _ in range(30)]
    wanted = [
        [" ".join(draw.choices(known, k=draw.randint(4, 12))) for _ in range(draw.randint(1, 5))]
        for _ in range(30)
    ]
    said[3] = wanted[3][0]
    found = caption_scores(said, wanted)
    assert found == pytest.approx(
        {"BLEU-4": 0.07144848698486224, "ROUGE-L": 0.36642451947457805, "CIDEr": 0.8541708100559445}
    )


def test_cider_by_hand() -> None:
    """One word each: its weight is log(pictures / pictures that have it), and only n = 1 counts."""
    cider = Cider([["a"], ["b"], ["a"]])  # single letters are sequences of one word
    weight = log(3 / 1)
    assert cider("b", 1) == pytest.approx(10 / 4)
    assert cider("b", 0) == 0
    # "ab" has both weights, and is one word longer than the reference.
    other = log(3 / 2)
    expected = 10 / 4 * exp(-1 / 72) * weight * weight / (sqrt(weight**2 + other**2) * weight)
    assert cider("ab", 1) == pytest.approx(expected)


def test_rouge_by_hand() -> None:
    # "a c" of "a b c": the longest common subsequence has 2 words; precision 1, recall 2/3.
    assert rouge_l(["a", "c"], [["a", "b", "c"]]) == pytest.approx(2.44 * (2 / 3) / (2 / 3 + 1.44))
    assert rouge_l([], [["a"]]) == 0
    assert rouge_l(["x"], [["a"]]) == 0


def test_what_was_written_by_people_is_best() -> None:
    perfect = caption_scores([texts[0] for texts in WANTED], WANTED)
    assert perfect["BLEU-4"] == pytest.approx(1)
    assert all(perfect[name] > value for name, value in caption_scores(SAID, WANTED).items())
    assert caption_scores(SAID[::-1], WANTED[::-1]) == pytest.approx(caption_scores(SAID, WANTED))


def test_words_leave_out_punctuation() -> None:
    assert words("Two men, one in a T-shirt, don't look .") == [
        "two", "men", "one", "in", "a", "t-shirt", "do", "n't", "look",
    ]  # fmt: skip
    assert words("The girl's café!") == ["the", "girl", "'s", "café"]


def test_captions_without_a_reference_are_refused() -> None:
    with pytest.raises(UsageError, match="1 captions cannot be compared with those of 2 pictures"):
        caption_scores(["a"], [["a"], ["b"]])
    with pytest.raises(UsageError, match="picture 1 has no caption"):
        caption_scores(["a", "b"], [["a"], []])
