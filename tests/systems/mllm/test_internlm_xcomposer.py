"""InternLM-XComposer: the choice of the specification, both orders, and an article with pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import diptych
from diptych import catalogue
from diptych.core import Item, Run
from diptych.data.base import Split
from diptych.errors import BadParameter, UsageError
from diptych.llm import Abilities, Prompt, Unusable
from diptych.pipeline import over
from diptych.systems.mllm.internlm_xcomposer import InternLMXComposer, first_sentence, letter, spots
from diptych.testing import Colours, Scripted
from diptych.training.trainer import Trainer
from tiny_chat import save_seeing, text_config, tokenizer

COLOURS = ("red", "green", "blue", "white", "black")
GALLERY = [Item(name, image=Image.new("RGB", (8, 8), name), text=f"a {name} wall") for name in COLOURS]


def ranked(replies: Any, **settings: Any) -> Run:
    system = InternLMXComposer(Colours(), Scripted(replies, **settings.pop("model", {})), **settings)
    return over(system, GALLERY, 5)(Run([Item("q", text="red and a bit of green green")], GALLERY))


def by_encoder() -> list[int]:
    found = over(Colours(), GALLERY, 5)(Run([Item("q", text="red and a bit of green green")], GALLERY)).hits
    assert found is not None
    rows: list[int] = found.rows[0].tolist()
    return rows


@pytest.mark.parametrize(
    ("said", "place"), [("C.", 2), ("Candidate D", 3), ("b", 1), ("**A**", 0), ("(C)", 2)]
)
def test_the_letter_chooses(said: str, place: int) -> None:
    before = by_encoder()
    found = ranked(said).hits
    assert found is not None
    assert found.rows[0].tolist() == [before[place], *(row for row in before if row != before[place])]
    assert (np.diff(found.scores[0]) <= 0).all()


@pytest.mark.parametrize("said", ["I think both", "E", "A picture of a wall", "", "candidate", "AB"])
def test_no_letter_leaves_the_order(said: str) -> None:
    run = ranked(said)
    assert run.hits is not None
    assert run.hits.rows[0].tolist() == by_encoder()
    assert run.notes[0]["reason"] == "parse"
    assert "selected none" in run.notes[0]["degraded"]


def test_a_second_try_says_what_was_wrong() -> None:
    model = Scripted(["both of them", "B"])
    system = InternLMXComposer(Colours(), model)
    run = over(system, GALLERY, 5)(Run([Item("q", text="red")], GALLERY))
    assert run.hits is not None
    assert "degraded" not in run.notes[0]
    assert "one letter from A to D is wanted" in str(model.prompts[1])


def test_an_oracle_lifts_the_first_rank_to_the_recall_of_its_depth() -> None:
    draw = np.random.default_rng(0)
    gallery = [Item(str(row), text=f"thing {row}") for row in range(30)]

    class Noisy:
        similarity = "cosine"

        def encode_text(self, texts: Sequence[str]) -> Any:
            rows = [int(text.split()[1]) for text in texts]
            noise = np.random.default_rng(1 if texts[0].startswith("q") else 2).standard_normal(
                (len(rows), 30)
            )
            return (np.eye(30)[rows] + 0.35 * noise).astype(np.float32)

    def oracle(prompt: Prompt) -> str:
        # Of a second try, the first question.
        parts = [part for part in prompt.messages[1].parts if isinstance(part, str)]
        wanted = parts[1].strip("<>").split()[1]
        for name, told in zip(parts[2::2], parts[3::2], strict=False):
            if told.strip("<>") == f"thing {wanted}":
                return name.removeprefix("Candidate ").rstrip(":")
        return "none of them"

    queries = [Item(str(row), text=f"query {row}") for row in draw.permutation(30)]
    first = over(Noisy(), gallery, 4, to="text")(Run(queries, gallery)).hits
    assert first is not None
    system = InternLMXComposer(Noisy(), Scripted(oracle, abilities=Abilities(pictures=0, local=True)))
    done = over(system, gallery, 4, to="text")(Run(queries, gallery)).hits
    assert done is not None
    truth = np.array([int(query.id) for query in queries])
    recall = float((first.rows == truth[:, None]).any(axis=1).mean())
    assert float((done.rows[:, 0] == truth).mean()) == recall
    assert recall > float((first.rows[:, 0] == truth).mean())


def test_both_orders_take_the_encoders_better_one() -> None:
    before = by_encoder()
    run = ranked(["C", "A"], both_orders=True)  # turned around, A is the fourth
    assert run.hits is not None
    assert run.hits.rows[0, 0] == before[2]
    run = ranked(["D", "C"], both_orders=True)  # turned around, C is the second
    assert run.hits is not None
    assert run.hits.rows[0, 0] == before[1]


def test_a_model_that_does_not_see_reads_captions() -> None:
    model = Scripted("A", abilities=Abilities(pictures=0, local=True))
    over(InternLMXComposer(Colours(), model), GALLERY, 5)(Run([Item("q", text="red")], GALLERY))
    assert not model.prompts[0].pictures
    assert "<<<a red wall>>>" in str(model.prompts[0])
    bare = [Item(one.id, image=one.image) for one in GALLERY]
    run = over(InternLMXComposer(Colours(), model), bare, 5)(Run([Item("q", text="red")], bare))
    assert run.notes[0]["reason"] == "pictures"


ARTICLE = [
    "# Walls",
    "A red wall stands in the sun. It is old.",
    "",
    "Green things grow.",
    "Blue is the sky.",
]


def find(text: str, k: int) -> list[Item]:
    found = over(Colours(), GALLERY, k)(Run([Item("q", text=text)], GALLERY)).hits
    assert found is not None
    return [GALLERY[row] for row in found.rows[0] if row >= 0]


def test_an_article_is_illustrated() -> None:
    model = Scripted(["2, 4, 9", "a red wall", "A", "a wall that is red red", "A"])
    placed = InternLMXComposer(Colours(), model).illustrate(ARTICLE, find, model=model)
    assert [(one.after, one.caption) for one in placed] == [(1, "a red wall"), (4, "a wall that is red red")]
    assert placed[0].picture.id == "red"
    assert placed[1].picture.id != "red"  # each picture once
    assert "Blue is the sky." not in str(model.prompts[1])  # the text so far
    assert sum("Already placed" in str(part) for part in model.prompts[4].messages[-1].parts) == 1
    assert len(model.prompts[4].pictures) == 1 + 4


def test_what_goes_wrong_leaves_the_first_candidate() -> None:
    model = Scripted(["2", "", "", "both", "both"])
    placed = InternLMXComposer(Colours(), model).illustrate(ARTICLE, find, model=model)
    assert [(one.caption, one.choice) for one in placed] == [("A red wall stands in the sun.", 0)]
    assert placed[0].note["reason"] == "parse"
    silent = Scripted(["nowhere", "really nowhere"])
    assert InternLMXComposer(Colours(), silent).illustrate(ARTICLE, find, model=silent) == []


def test_without_a_model_sentences_ask() -> None:
    placed = InternLMXComposer(Colours()).illustrate(ARTICLE, find, most=2)
    assert [one.caption for one in placed] == ["Walls", "Green things grow."]
    assert all(one.note["degraded"] == "no language model is set" for one in placed)


def test_what_is_read() -> None:
    assert spots("After paragraphs 2, 1 and 9.", 3) == [0, 1]
    with pytest.raises(Unusable, match="no number from 1 to 3"):
        spots("none", 3)
    assert letter(" c ", 3) == 2
    with pytest.raises(Unusable, match="D is no candidate"):
        letter("D", 3)
    assert first_sentence("See ![a](b.png) the *lake*! Then go.") == "See a the lake!"


def test_bad_settings() -> None:
    with pytest.raises(BadParameter, match="among 1 to 8 candidates"):
        catalogue.load("internlm-xcomposer", depth=9)


WORDS = (*COLOURS, "wall", "house", "A", "B", "C", "D")
ROOM = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "max_position_embeddings": 512}
TUNING: dict[str, Any] = {"depth": 2, "epochs": 25, "batch_size": 5, "lr": 1e-2, "rank": 8}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of a model that reads, and of one that sees."""
    reads, sees = tmp_path_factory.mktemp("reads"), tmp_path_factory.mktemp("sees")
    words = tokenizer(WORDS)
    words.save_pretrained(reads)
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(text_config(len(words), **ROOM)).save_pretrained(reads)
    save_seeing(sees, WORDS, **ROOM)
    return {"reads": reads, "sees": sees}


def taught() -> Split:
    """Pictures of one colour, each with two captions."""
    pictures = [Image.new("RGB", (16, 16), name) for name in COLOURS]
    texts = [f"a {name} {what}" for name in COLOURS for what in ("wall", "house")]
    pairs = np.array([[row // 2, row] for row in range(len(texts))])
    return Split(pictures, texts, None, pairs)


@pytest.mark.parametrize("which", ["reads", "sees"])
def test_a_model_of_a_folder_learns_to_name_a_letter(
    which: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    split = taught()
    before = {path: path.read_bytes() for path in folders[which].iterdir()}
    former = {name: one.clone() for name, one in weights(f"llm:{folders[which]}").items()}
    system = InternLMXComposer(Colours(), f"llm:{folders[which]}", **TUNING)
    first = said(system, split)
    assert set(first) - {"A", "B"}  # drawn weights know nothing of letters
    assert system.fit(split, Trainer(quiet=True, device="cpu")) is system
    assert set(said(system, split)) <= {"A", "B"}
    assert {path: path.read_bytes() for path in folders[which].iterdir()} == before
    now = system._local().loaded[0].state_dict()
    changed = {name.removesuffix(".weight") for name in now if not torch.equal(now[name], former[name])}
    assert {name.rpartition(".")[2] for name in changed} == {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert not [name for name in changed if "vision" in name]
    system.hyperparameters["encoder"] = "builtin"  # the one of the test has no name
    system.save(tmp_path)
    again = diptych.load(f"internlm_xcomposer@{tmp_path}")
    again.encoder = Colours()
    assert said(again, split) == said(system, split)
    assert again.fingerprint == system.fingerprint


def weights(name: str) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = diptych.llm.named(name).loaded[0].state_dict()
    return found


def said(system: InternLMXComposer, split: Split) -> list[str]:
    """What the model replies when it should select, of the first ten pairs."""
    from diptych.systems.mllm.internlm_xcomposer import _Lessons

    model = system._local()
    lessons = _Lessons(system, split, model)
    return [model.reply(lessons(*pair, (7,))[0]).text.split(" ")[0] for pair in split.pairs.tolist()]


def test_what_cannot_be_tuned_is_refused(folders: dict[str, Path]) -> None:
    split = taught()
    with pytest.raises(UsageError, match="name one: llm=llm:FOLDER"):
        InternLMXComposer(Colours(), Scripted("A")).fit(split)
    single = Split(split.image, split.text, None, split.pairs[::2])
    with pytest.raises(UsageError, match="some have one alone"):
        InternLMXComposer(Colours(), f"llm:{folders['reads']}").fit(single)
    features = Split(np.eye(5, dtype=np.float32), np.eye(5, dtype=np.float32), None, np.array([[0, 0]]))
    with pytest.raises(UsageError, match="these data are features"):
        InternLMXComposer(Colours(), f"llm:{folders['reads']}").fit(features)
    with pytest.raises(BadParameter, match="at a positive rate"):
        InternLMXComposer(Colours(), lr=0.0)
