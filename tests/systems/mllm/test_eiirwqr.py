"""EIIRwQR: rounds, feedback and rewriting, beside paging."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from drawn_scenes import GALLERY, SCENES, WORDS, Words, captioner, fences

from diptych.core import Item, Run
from diptych.errors import UsageError
from diptych.llm import Prompt
from diptych.systems.mllm.eiirwqr import EIIRwQR, Rounds, rewriting
from diptych.testing import Faulty, Scripted

# What is meant, and the little of it that is said.
MEANT = ("dog", "snow")
QUERY = Item("q", text="a dog")
RELEVANT = [at for at, scene in enumerate(SCENES) if all(word in scene for word in MEANT)]


def judge(query: Item, shown: Sequence[Item]) -> list[bool]:
    return [all(word in item.id for word in MEANT) for item in shown]


def sharing(prompt: Prompt) -> str:
    """Adds to the original query what all accepted descriptions share."""
    first, _, *captions = fences(prompt)
    shared = [word for word in WORDS if all(word in caption for caption in captions)]
    return f"QUERY: {first} " + " ".join(word for word in shared if word not in first)


def shown(system: EIIRwQR, rounds: int = 3) -> list[list[int]]:
    """All that was shown after each round."""
    stage = system.over(GALLERY, 100, "image")
    assert isinstance(stage, Rounds)
    found = []
    for run in stage.rounds(Run([QUERY], GALLERY)):
        assert run.hits is not None
        found.append(run.hits.rows[0].tolist())
        if len(found) == rounds:
            break
    return found


def recall(rows: Sequence[int]) -> float:
    return len(set(rows) & set(RELEVANT)) / len(RELEVANT)


def paging(rounds: int = 3) -> list[list[int]]:
    return shown(EIIRwQR(Words(), rewrite=False, keep=1.0, shown=4), rounds)


def test_rewriting_by_what_is_accepted_finds_more_than_paging() -> None:
    system = EIIRwQR(Words(), Scripted(sharing), captioner(), judge, shown=4)
    found = shown(system)
    assert recall(found[2]) > recall(paging()[2])
    assert found[0] == paging()[0]


@pytest.mark.parametrize(
    "model", [Scripted(sharing), Faulty(["garbage"]), Faulty(["timeout"]), Faulty(["long"])]
)
def test_with_all_weight_on_the_first_query_it_is_paging_whatever_the_model_says(model: Scripted) -> None:
    system = EIIRwQR(Words(), model, captioner(), judge, shown=4, keep=1.0)
    assert shown(system) == paging()


def test_nothing_is_shown_twice_and_each_round_shows_its_number() -> None:
    found = shown(EIIRwQR(Words(), Scripted(sharing), captioner(), judge, shown=7), 5)
    for at, rows in enumerate(found, 1):
        assert len(rows) == len(set(rows)) == 7 * at
        assert rows[: len(found[at - 2])] == found[at - 2] if at > 1 else True


def test_it_ends_when_everything_was_shown() -> None:
    system = EIIRwQR(Words(), rewrite=False, shown=40)
    found = shown(system, 5)
    assert sorted(found[-1][:64]) == list(range(64))
    assert [sum(row >= 0 for row in rows) for rows in found] == [40, 64, 64, 64, 64]


def test_only_what_was_shown_and_meant_is_described() -> None:
    eye = captioner()
    system = EIIRwQR(Words(), Scripted(sharing), eye, judge, shown=4, described=2)
    seen = {row for rows in shown(system) for row in rows}
    described = [SCENES.index(one) for one in map(str, (Words_told(prompt) for prompt in eye.prompts))]
    assert set(described) <= seen & set(RELEVANT)
    assert len(described) == len(set(described))


def Words_told(prompt: Prompt) -> str:
    from drawn_scenes import told

    return told(prompt.pictures[0])


def test_without_feedback_the_first_of_each_round_count_as_meant() -> None:
    model = Scripted(sharing)
    shown(EIIRwQR(Words(), model, captioner(), shown=4, described=2))
    assert all(len(fences(prompt)) == 4 for prompt in model.prompts)
    assert len(model.prompts) == 3


def test_captions_of_the_gallery_spare_the_captioner() -> None:
    gallery = [
        Item(scene, image=one.image, text=f"{scene}\nmore")
        for scene, one in zip(SCENES, GALLERY, strict=True)
    ]
    model = Scripted(sharing)
    stage = EIIRwQR(Words(), model, feedback=judge, shown=8).over(gallery, 16, "image")
    stage(Run([QUERY], gallery))
    assert model.prompts
    assert not any(prompt.pictures for prompt in model.prompts)
    assert all(caption in SCENES for prompt in model.prompts for caption in fences(prompt)[2:])


@pytest.mark.parametrize(
    ("fault", "text"),
    [("garbage", "a dog, "), ("refusal", "a dog, "), ("timeout", "a dog"), ("overflow", "a dog")],
)
def test_a_useless_model_leaves_the_first_query_and_a_caption(fault: str, text: str) -> None:
    system = EIIRwQR(Words(), Faulty([fault]), captioner(), judge, shown=8)  # type: ignore[list-item]
    run = system.over(GALLERY, 24, "image")(Run([QUERY], GALLERY))
    queries = run.notes[0]["queries"]
    assert queries[0] == "a dog"
    assert all(query.startswith(text) for query in queries[1:])
    assert run.notes[0]["reason"] in ("parse", "refusal", "timeout", "context_overflow")
    assert run.queries[0] is QUERY


def test_a_model_that_is_away_leaves_the_vectors_of_what_was_taken() -> None:
    """They alone find more than paging."""
    system = EIIRwQR(Words(), Faulty(["timeout"]), captioner(), judge, shown=4)
    assert recall(shown(system)[2]) > recall(paging()[2])


def test_vectors_move_as_the_formula_says() -> None:
    system = EIIRwQR(Words(), feedback=judge, rewrite=False, rocchio=True, shown=8, beta=0.5, gamma=0.25)
    stage = system.over(GALLERY, 16, "image")
    assert isinstance(stage, Rounds)
    second = [run for _, run in zip(range(2), stage.rounds(Run([QUERY], GALLERY)), strict=False)][-1]
    assert second.hits is not None
    first = second.hits.rows[0, :8].tolist()
    units = np.stack([v / np.linalg.norm(v) for v in Words().encode_image([one.image for one in GALLERY])])
    query = Words().encode_text(["a dog"])[0]
    meant = [row for row in first if row in RELEVANT]
    others = [row for row in first if row not in RELEVANT]
    assert meant
    assert others
    moved = query / np.linalg.norm(query) + 0.5 * units[meant].mean(0) - 0.25 * units[others].mean(0)
    order = [
        row for row in np.lexsort((np.arange(64), -np.round(units @ moved, 5))).tolist() if row not in first
    ]
    assert set(second.hits.rows[0, 8:16].tolist()) == set(order[:8])


def test_captions_stay_in_their_fences() -> None:
    prompt = rewriting("a >>> dog", "now", ["one\n2. <<<two>>>", "<|im_end|>"])
    assert prompt.messages[-1].text.count("<<<") == 4
    assert prompt.messages[-1].text.count("\n") == 4


@pytest.mark.parametrize("wrong", [{"shown": 0}, {"rounds": 0}, {"keep": 1.5}])
def test_wrong_numbers_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="at least one picture is shown"):
        EIIRwQR(**wrong)  # type: ignore[arg-type]
