"""Searches with the help of a language model, and without it when it fails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import diptych
from diptych.catalogue import load
from diptych.engine.assisted import Assistant, Guarded, allowed_hosts
from diptych.engine.chat import Conversation
from diptych.engine.collection import Collection
from diptych.engine.sessions import session_of
from diptych.errors import NoReply, UsageError
from diptych.llm import Abilities, Prompt, asked
from diptych.testing import Colours, Faulty, Scripted


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[Collection]:
    for name in ("red", "green", "blue", "purple"):
        Image.new("RGB", (32, 24), name).save(tmp_path / f"{name}.png")
    with diptych.open(tmp_path, model=Colours()) as opened:
        opened.add()
        yield opened


def names(results: object) -> list[str]:
    return [one.path.stem for one in results]  # type: ignore[attr-defined]


def test_words_are_expanded_and_searched_beside_what_was_said(collection: Collection) -> None:
    model = Scripted("Caption: a green field")
    found = Assistant(collection, model).search("meadow", expand=True, k=1)
    assert names(found) == ["green"]
    assert found.notes["rewritten"] == "a green field"
    assert found.notes["usage"]["calls"] == 1
    assert "<<<meadow>>>" in str(model.prompts[0])
    assert found.as_dict()["notes"]["model"] == "scripted"


@pytest.mark.parametrize("fault", ["timeout", "refusal", "garbage", "empty", "long"])
def test_without_help_the_plain_results_come_with_a_note(collection: Collection, fault: str) -> None:
    plain = collection.search("blue")
    helper = Assistant(collection, Faulty([fault]))  # type: ignore[list-item]
    for how in ({"expand": True}, {"rerank": "list"}, {"rerank": "yes_no"}):
        found = helper.search("blue", **how)  # type: ignore[arg-type]
        assert names(found) == names(plain)
        assert [one.rank for one in found] == [1, 2, 3, 4]
        assert found.notes["degraded"]
        assert found.notes["reason"]


def test_a_picture_is_searched_after_its_change(collection: Collection, tmp_path: Path) -> None:
    def both(prompt: Prompt) -> str:
        return "a red wall" if prompt.pictures else "Edited description: a blue wall"

    found = Assistant(collection, Scripted(both)).search(
        "but blue", image=tmp_path / "red.png", compose=True, k=1
    )
    assert names(found) == ["blue"]
    assert (found.notes["caption"], found.notes["rewritten"]) == ("a red wall", "a blue wall")


def test_a_caption_that_somebody_wrote_stands_for_the_captioner(tmp_path: Path) -> None:
    Image.new("RGB", (32, 24), "red").save(tmp_path / "red.png")
    (tmp_path / "red.txt").write_text("a red wall of mine\n")
    with diptych.open(tmp_path, model=Colours()) as opened:
        opened.add()
        model = Scripted("Edited description: a blue wall")
        found = Assistant(opened, model).search("blue", image=str(tmp_path / "red.png"), compose=True)
    assert found.notes["caption"] == "a red wall of mine"
    assert len(model.prompts) == 1


def test_the_first_hits_are_judged(collection: Collection) -> None:
    found = Assistant(collection, Scripted("[4, 3, 2, 1]")).search("red", rerank="list", k=2)
    plain = collection.search("red")
    assert names(found) == names(plain)[::-1][:2]
    assert [one.rank for one in found] == [1, 2]


def test_pages_of_what_was_judged_follow_each_other(collection: Collection) -> None:
    helper = Assistant(collection, Scripted("[4, 3, 2, 1]"))
    pages = [names(helper.search("red", rerank="list", k=2, offset=offset)) for offset in (0, 2)]
    assert pages[0] + pages[1] == names(collection.search("red"))[::-1]


def test_what_cannot_be_helped_is_refused(collection: Collection, tmp_path: Path) -> None:
    helper = Assistant(collection, Scripted("x"))
    with pytest.raises(UsageError, match="words alone are expanded"):
        helper.search("x", image=tmp_path / "red.png", expand=True)
    for parts in (
        {"text": "x"},
        {"image": tmp_path / "red.png"},
        {"text": " ", "image": tmp_path / "red.png"},
    ):
        with pytest.raises(UsageError, match="give one of each"):
            helper.search(compose=True, **parts)


def test_no_picture_leaves_the_machine_until_it_is_recorded(collection: Collection, tmp_path: Path) -> None:
    far = Abilities(pictures=8, logprobs=True)
    model = Scripted("yes", abilities=far, name="llm:https://api.example/v1#m")
    helper = Assistant(collection, model)
    assert isinstance(helper.model, Guarded)
    with pytest.raises(NoReply, match=r"are not sent to api\.example, as nobody has allowed it"):
        helper.model.reply(asked("?", Image.new("RGB", (8, 8))))
    found = helper.search("blue", image=tmp_path / "red.png", compose=True)
    assert found.notes["rewritten"] == "yes"  # when it was told in words what the picture shows
    assert "<<<a" in model.prompts[-1].messages[-1].text
    helper.search("red", rerank="yes_no")
    assert not any(prompt.pictures for prompt in model.prompts)
    collection.allow_pictures("api.example")
    assert allowed_hosts(collection) == ["api.example"]
    with diptych.open(tmp_path, model=Colours()) as again:
        Assistant(again, model).search("red", rerank="yes_no")
    assert any(prompt.pictures for prompt in model.prompts)
    collection.allow_pictures("api.example", allow=False)
    assert isinstance(Assistant(collection, model).model, Guarded)
    with pytest.raises(UsageError, match="asked on this machine"):
        collection.allow_pictures("")


def test_a_model_that_does_not_see_composes_from_what_the_packaged_captioner_says(
    collection: Collection, tmp_path: Path
) -> None:
    blind = Scripted("Description: something blue", abilities=Abilities(pictures=0, local=True))
    helper = Assistant(collection, blind)
    picture = tmp_path / "elsewhere.png"
    Image.new("RGB", (64, 64), "red").save(picture)
    found = helper.search("in blue", image=Image.open(picture), compose=True)
    assert "degraded" not in found.notes
    (prompt,) = blind.prompts
    assert load("captioner").captions([picture])[0] in prompt.messages[-1].text
    assert not prompt.pictures
    # The picture counts beside the words, as that captioner is often wrong.
    scores = {Path(one.path).stem: one.score for one in found}
    assert min(scores["red"], scores["blue"]) > scores["green"]


ASKED = "Is it red, green or blue?", "Is it as red as a rose?"


def replying(prompt: Prompt) -> str:
    if "new short question" in prompt.messages[0].text:
        # Two that the encoder tells apart.
        return ASKED[0] if ASKED[0] not in prompt.messages[-1].text else ASKED[1]
    return "Description: a wall, " + ", ".join(re.findall(r"Answer: <<<(.*?)>>>", prompt.messages[-1].text))


def test_a_dialogue_narrows_what_is_found_and_is_resumed(collection: Collection) -> None:
    log = session_of(collection.place, "mine")
    talk = Conversation(collection, Scripted(replying), log, k=2)
    first = talk.say("a wall")
    assert first.ask == ASKED[0] == talk.question
    second = talk.say("green")
    assert second.question == ASKED[0]
    assert second.found[0][0].endswith("green.png")
    assert names(talk.results)[0] == "green"
    assert talk.spent.calls == 3
    again = Conversation(
        collection, Scripted(replying), session_of(collection.place, "mine", resume=True), k=2
    )
    assert again.question == ASKED[1]
    assert [turn.said for turn in again.session.turns] == ["a wall", "green"]
    assert again.undo().said == "green"
    assert again.question == ASKED[0]
    assert again.say("blue").found[0][0].endswith("blue.png")
    again.restart()
    assert again.question == ""


def test_what_is_pointed_at_pulls_and_pushes(collection: Collection) -> None:
    talk = Conversation(collection, None, session_of(collection.place, "mine"), k=4)
    first = talk.say("something red and green")
    place = [one[0].rsplit("/", 1)[-1] for one in first.found].index("blue.png") + 1
    more = talk.like([place])
    assert more.liked == (first.found[place - 1][0],)
    assert more.ask == first.ask
    assert "blue" not in names(talk.results)  # as it is known already
    assert names(talk.results).index("purple") < names(collection.search(first.searched)).index("purple")
    rank = names(talk.results).index("red") + 1
    before = talk.results[rank - 1].score
    talk.like([rank], less=True)
    assert next(one.score for one in talk.results if one.path.stem == "red") < before
    for wrong in ([], [0], [99]):
        with pytest.raises(UsageError, match="by their ranks from 1 to 3"):
            talk.like(wrong)
    with pytest.raises(UsageError, match="nothing was said"):
        talk.say("  ")


@pytest.mark.parametrize("fault", ["timeout", "garbage", "refusal"])
def test_a_dialogue_goes_on_without_its_model(collection: Collection, fault: str) -> None:
    talk = Conversation(collection, Faulty([fault]), session_of(collection.place, fault), k=1)  # type: ignore[list-item]
    talk.say("a wall")
    turn = talk.say("blue")
    assert turn.found[0][0].endswith("blue.png")
    assert turn.degraded
    assert turn.ask


def test_nothing_can_be_pointed_at_before_something_was_found(collection: Collection) -> None:
    talk = Conversation(collection, None, session_of(collection.place, "mine"))
    with pytest.raises(UsageError, match="nothing was found yet"):
        talk.like([1])
