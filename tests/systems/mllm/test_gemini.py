"""Gemini: yes and no, lists and grades, and what stays where the model fails."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
from drawn_scenes import GALLERY, SCENES, Words, fences, told

from diptych.core import Hits, Item, Run
from diptych.errors import NoReply, UsageError
from diptych.llm import Abilities, Prompt, Reply, Token, Unusable
from diptych.systems.mllm.gemini import Gemini, Judge, completed, grade, windows, yes_no
from diptych.testing import Faulty, Scripted


def reply(**logprobs: float) -> Reply:
    return Reply("?", (Token("?", -9.0, {key.replace("_", " "): value for key, value in logprobs.items()}),))


def test_odds_are_those_of_the_closed_form() -> None:
    assert yes_no(reply(yes=2.0, no=0.5)) == pytest.approx(0.817574, abs=1e-6)
    assert yes_no(reply(yes=math.log(0.3), Yes=math.log(0.3), no=math.log(0.2))) == pytest.approx(0.75)
    assert yes_no(reply(_yes=-1.0, _No=-2.0)) == pytest.approx(1 / (1 + math.exp(-1)))


def test_a_word_that_is_not_told_is_at_most_as_likely_as_the_least_told() -> None:
    assert yes_no(reply(Yes=-0.5, maybe=-3.0)) == pytest.approx(1 / (1 + math.exp(-2.5)))
    assert yes_no(reply(no=-0.5, maybe=-3.0)) == pytest.approx(1 / (1 + math.exp(2.5)))
    with pytest.raises(Unusable, match="neither yes nor no"):
        yes_no(reply(maybe=-0.5))


def test_without_log_probabilities_the_word_counts() -> None:
    assert [yes_no(Reply(said)) for said in ("Yes.", " no", "**Yes**")] == [1, 0, 1]
    for said in ("not at all", "yesterday", ""):
        with pytest.raises(Unusable, match="neither"):
            yes_no(Reply(said))


def test_grades_are_read() -> None:
    assert [grade(said) for said in ("7", "10/10", "Grade: 0")] == [0.7, 1.0, 0.0]
    for said in ("eleven", "11", "-3", ""):
        with pytest.raises(Unusable, match="from 0 to 10"):
            grade(said)


def test_a_partial_order_is_completed_and_windows_slide_to_the_front() -> None:
    assert [place + 1 for place in completed([2, 0], 4)] == [3, 1, 2, 4]
    assert windows(20, 10, 5) == [10, 5, 0]
    assert windows(10, 10, 5) == [0]
    assert windows(12, 10, 5) == [2, 0]
    assert windows(3, 10, 5) == [0]


def first_stage(order: list[int]) -> Run:
    rows = np.array([order], np.int64)
    scores = np.linspace(0.9, 0.1, len(order), dtype=np.float32)[None]
    return Run([Item(text="a red dog in the snow")], GALLERY, Hits(rows, scores))


def ordering(prompt: Prompt) -> str:
    """A perfect list: scenes by how many words they share with the request."""
    shown = [told(part) if not isinstance(part, str) else "" for part in prompt.messages[-1].parts]
    wanted = set(fences(prompt)[0].split())
    scenes = [scene for scene in shown if scene]
    order = sorted(range(len(scenes)), key=lambda at: (-len(wanted & set(scenes[at].split())), at))
    return json.dumps([at + 1 for at in order])


def judging(prompt: Prompt) -> Reply:
    share = len(set(fences(prompt)[0].split()) & set(told(prompt.pictures[-1]).split())) / 6
    return Reply("yes", (Token("yes", 0.0, {"yes": math.log(share + 0.01), "no": math.log(1.01 - share)}),))


@pytest.mark.parametrize("seed", range(5))
def test_the_window_brings_the_best_of_twenty_to_the_front_from_anywhere(seed: int) -> None:
    best = SCENES.index("a red dog in the snow")
    others = [row for row in range(40) if row != best][:19]
    order = [*others, best]
    np.random.default_rng(seed).shuffle(order)
    run = first_stage(order)
    model = Scripted(ordering)
    found = Judge(Gemini(way="list", depth=20), model, "image", 20)(run)
    assert found.hits is not None
    assert len(model.prompts) == 3
    assert found.hits.rows[0, 0] == best
    wanted = set(SCENES[best].split())
    shared = [len(wanted & set(SCENES[row].split())) for row in order]
    five = sorted(shared, reverse=True)[:5]
    assert [len(wanted & set(SCENES[row].split())) for row in found.hits.rows[0, :5]] == five
    assert sorted(found.hits.rows[0].tolist()) == sorted(order)
    assert bool((np.diff(found.hits.scores[0]) <= 0).all())


def test_yes_and_no_order_the_first_hits_and_leave_the_rest() -> None:
    best = SCENES.index("a red dog in the snow")
    order = [9, 17, best, 33, 40, 41]
    found = Judge(Gemini(depth=4), Scripted(judging), "image", 6)(first_stage(order))
    assert found.hits is not None
    assert found.hits.rows[0, 0] == best
    assert set(found.hits.rows[0, :4]) == set(order[:4])
    assert found.hits.rows[0, 4:].tolist() == [40, 41]
    assert bool((np.diff(found.hits.scores[0]) <= 0).all())
    assert found.notes[0]["usage"]["calls"] == 4


def test_ties_go_by_the_first_stage() -> None:
    found = Judge(Gemini(depth=5, weight=1.0), Scripted("yes"), "image", 5)(first_stage([5, 3, 9, 1, 7]))
    assert found.hits is not None
    assert found.hits.rows[0].tolist() == [5, 3, 9, 1, 7]


def test_one_refusal_does_not_sink_a_picture() -> None:
    def refusing(prompt: Prompt) -> Reply:
        if told(prompt.pictures[-1]) == SCENES[3]:
            return Reply("", finish="refusal")
        return judging(prompt)

    found = Judge(Gemini(depth=5, weight=1.0), Scripted(refusing), "image", 5)(first_stage([0, 3, 1, 20, 21]))
    assert found.hits is not None
    assert found.hits.rows[0].tolist().index(3) in (1, 2)
    assert found.notes[0]["not judged"] == 1
    assert "degraded" not in found.notes[0]


def test_more_than_half_failing_leaves_the_first_order() -> None:
    calls = iter(range(10))

    def failing(prompt: Prompt) -> Reply:
        if next(calls) > 1:
            raise NoReply("late", reason="timeout")
        return judging(prompt)

    order = [21, 3, 1, 20, 0]
    found = Judge(Gemini(depth=5), Scripted(failing), "image", 5)(first_stage(order))
    assert found.hits is not None
    assert found.hits.rows[0].tolist() == order
    assert found.notes[0]["reason"] == "timeout"


@pytest.mark.parametrize("said", ["no list", "[]", "[99]"])
def test_no_list_leaves_the_first_order(said: str) -> None:
    order = [21, 3, 1, 20, 0]
    found = Judge(Gemini(way="list"), Scripted(said), "image", 5)(first_stage(order))
    assert found.hits is not None
    assert found.hits.rows[0].tolist() == order
    assert found.notes[0]["reason"] == "parse"


def test_recall_at_the_depth_stays() -> None:
    for way, model in (("yes_no", Scripted(judging)), ("list", Scripted(ordering)), ("grade", Scripted("5"))):
        system = Gemini(Words(), model, way=way, depth=8)
        run = Run([Item(text="a red dog in the snow")], GALLERY)
        plain = Gemini(Words(), Faulty(["timeout"]), way=way, depth=8).over(GALLERY, 8, "image")(run)
        found = system.over(GALLERY, 8, "image")(run)
        assert plain.hits is not None
        assert found.hits is not None
        assert set(found.hits.rows[0]) == set(plain.hits.rows[0])


def test_a_model_that_does_not_see_reads_captions() -> None:
    blind = Abilities(pictures=0, local=True)

    def reading(prompt: Prompt) -> str:
        wanted, shown = fences(prompt)
        return "yes" if wanted == shown else "no"

    gallery = [Item(scene, image=one.image, text=scene) for scene, one in zip(SCENES, GALLERY, strict=True)]
    run = Run(
        [Item(text="a red dog in the snow")],
        gallery,
        first_stage([5, 3, SCENES.index("a red dog in the snow")]).hits,
    )
    judge = Judge(Gemini(), Scripted(reading, abilities=blind), "image", 3)
    found = judge(run)
    assert found.hits is not None
    assert SCENES[found.hits.rows[0, 0]] == "a red dog in the snow"
    without = judge(first_stage([5, 3, 9]))
    assert re.search("sees no pictures", str(without.notes[0]["degraded"]))


def test_texts_are_judged_for_a_picture() -> None:
    def same(prompt: Prompt) -> str:
        return "yes" if told(prompt.pictures[0]) == fences(prompt)[0] else "no"

    gallery = [Item(text=scene) for scene in SCENES]
    system = Gemini(Words(), Scripted(same), depth=6)
    run = system.over(gallery, 3, "text")(Run([Item(image=GALLERY[7].image)], gallery))
    assert run.hits is not None
    assert run.hits.rows[0, 0] == 7


@pytest.mark.parametrize("wrong", [{"way": "best"}, {"depth": 0}, {"stride": 11}, {"weight": 2.0}])
def test_wrong_numbers_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=r"judged by yes_no|at least one hit is judged"):
        Gemini(**wrong)  # type: ignore[arg-type]
