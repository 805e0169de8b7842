"""The captioner: its network, what is exported of it, the search for captions, and how it learns."""

from __future__ import annotations

import json
import re
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diptych import catalogue
from diptych.data.base import Split
from diptych.errors import BadData, BadParameter, MissingData, UsageError
from diptych.llm import asked
from diptych.metrics.captions import caption_scores
from diptych.nets.captioner import BEGIN, END, PAD, UNKNOWN, CaptionNet, exported
from diptych.systems.mllm import captioner
from diptych.systems.mllm.captioner import Captioner
from diptych.testing.materials import drawn
from diptych.towers.speaker import Speaker
from diptych.training.trainer import Trainer

PHOTOGRAPHS = Path(__file__).parents[2] / "photographs"

# Numbers of "a", "red", "dog", "cat" and "##s" in the packaged tokeniser, behind the four that are no word.
PIECES = (0, 101, 102, 100, 1037, 2417, 3899, 4937, 2015)


def small(**settings: Any) -> CaptionNet:
    torch.manual_seed(0)
    given = {"pieces": 9, "features": 6, "cells": 4, "width": 16, "layers": 2, "heads": 2, "length": 4}
    return CaptionNet(**{**given, "dropout": 0.0, **settings}).eval()


def speaker(net: CaptionNet) -> Speaker:
    graphs = exported(net, {"pieces": " ".join(map(str, PIECES)), "length": str(net.length)})
    return Speaker(**graphs, threads=1)


def test_a_step_is_what_the_whole_is() -> None:
    net, grid = small(), torch.randn(3, 4, 6)
    pieces = torch.randint(4, 9, (3, 2, 4))
    with torch.no_grad():
        memory = net.look(grid)
        whole = net.logits(net.states(pieces, memory))
        past = memory.new_zeros(4, 3, 2, 2, 0, 8)
        for at in range(4):
            logits, past = net.step(pieces[..., at], torch.tensor([at]), past, memory)
            assert torch.allclose(logits, whole[:, :, at], atol=1e-5)


def test_no_piece_sees_a_later_one() -> None:
    net, memory = small(), small().look(torch.randn(1, 4, 6))
    first, second = torch.tensor([[[1, 5, 6, 7]]]), torch.tensor([[[1, 5, 8, 4]]])
    with torch.no_grad():
        ours, theirs = net.states(first, memory), net.states(second, memory)
    assert torch.equal(ours[..., :2, :], theirs[..., :2, :])
    assert not torch.equal(ours[..., 2:, :], theirs[..., 2:, :])


def test_the_loss_leaves_out_filling_and_rare_words() -> None:
    net, memory = small(), small().look(torch.randn(1, 4, 6))
    told = torch.tensor([[[BEGIN, 5, UNKNOWN, END, PAD]]])
    with torch.no_grad():
        log = net.logits(net.states(told[..., :-1], memory)).log_softmax(-1)[0, 0]
        by_hand = -(log[0, 5] + log[2, END]) / 2
        assert net.loss(told, memory, smoothing=0.0).item() == pytest.approx(by_hand.item(), abs=1e-5)
        chances = net.log_probabilities(told, memory)[0, 0]
        assert chances.numpy() == pytest.approx(
            np.array([float(log[0, 5]), float(log[1, UNKNOWN]), float(log[2, END]), 0]), abs=1e-5
        )


def test_samples_begin_end_and_hold_words_only() -> None:
    net = small()
    drawn_ones = net.sample(net.look(torch.randn(5, 4, 6)), 6)
    assert drawn_ones.shape == (5, 6, 5)
    assert (drawn_ones[..., 0] == BEGIN).all()
    for one in drawn_ones.flatten(0, 1).tolist():
        said = one[1 : one.index(END)] if END in one else one[1:]
        assert all(piece > UNKNOWN for piece in said)
        assert END not in one or not any(one[one.index(END) + 1 :])


def test_the_search_finds_the_likeliest_captions() -> None:
    """Beams that are wide enough find what trying everything finds."""
    net = small(length=3)
    grids = np.random.default_rng(0).standard_normal((3, 6, 2, 2)).astype(np.float32)
    says = speaker(net)
    found = says(grids, beam=40, count=5, alpha=0.7)
    cells = torch.from_numpy(grids).flatten(2).transpose(1, 2)
    for row, ours in enumerate(found):
        with torch.no_grad():
            memory = net.look(cells[row : row + 1])
            scored = sorted(
                (_of(net, memory, said) for n in (1, 2, 3) for said in product(range(4, 9), repeat=n)),
                reverse=True,
            )[:5]
        assert [one.log_probability for one in ours] == pytest.approx(
            [total for _, total, _ in scored], abs=0.02
        )
        assert [one.text for one in ours] == [says._text(list(said)) for _, _, said in scored]


def _of(net: CaptionNet, memory: Any, said: tuple[int, ...]) -> tuple[float, float, tuple[int, ...]]:
    """Score and log-probability of one caption; one of full length is not followed by its end."""
    whole = [*said, END] if len(said) < net.length else list(said)
    logits = net.logits(net.states(torch.tensor([[[BEGIN, *whole[:-1]]]]), memory))[0, 0]
    logits[:, [PAD, BEGIN, UNKNOWN]] = -torch.inf
    logits[0, END] = -torch.inf
    total = float(logits.log_softmax(-1).gather(1, torch.tensor(whole)[:, None]).sum())
    return total / len(whole) ** 0.7, total, said


def test_a_caption_does_not_depend_on_its_neighbours() -> None:
    grids = np.random.default_rng(1).standard_normal((6, 6, 2, 2)).astype(np.float32)
    says = speaker(small(length=6))
    together = says(grids, beam=3, count=2)
    alone = [says(grids[row : row + 1], beam=3, count=2)[0] for row in range(6)]
    assert [[one.text for one in some] for some in together] == [[one.text for one in some] for some in alone]
    assert says(grids[:0], beam=3) == []


def test_texts_read_as_people_write_them() -> None:
    says = speaker(small())
    assert says._text([4, 5, 6, 8]) == "a red dogs"


@pytest.fixture(scope="module")
def learned() -> Captioner:
    split = drawn(48, 2, size=64)[0]
    settings = {"width": 64, "layers": 1, "heads": 2, "length": 10, "least": 2, "dropout": 0.0, "lr": 1e-3}
    captioner: Captioner = catalogue.load("captioner", epochs=60, reward_epochs=1, batch_size=12, **settings)
    return captioner.fit(split, Trainer(seed=0, quiet=True, device="cpu"))


def test_it_learns_what_pictures_show(learned: Captioner) -> None:
    ask = drawn(2, 24, size=64)[1]
    said = learned.captions(ask.image)
    assert all(text.startswith("a ") and " on the " in text for text in said)
    colours = [text.split()[1] == told.split()[1] for text, told in zip(said, ask.text, strict=True)]
    assert np.mean(colours) >= 0.9
    assert caption_scores(said, [[text] for text in ask.text])["CIDEr"] > 3


def test_the_likeliest_come_first(learned: Captioner) -> None:
    said = learned.said(drawn(2, 2)[0].image, 3)
    for one in said:
        assert len({each.text for each in one}) == len(one) == 3
    with pytest.raises(UsageError, match="1 to 3 captions"):
        learned.said(drawn(2, 2)[0].image, 4)


def test_saved_and_loaded(learned: Captioner, tmp_path: Path) -> None:
    pictures = drawn(4, 2, size=64)[0].image
    learned.save(tmp_path)
    again = catalogue.load(f"captioner@{tmp_path}")
    assert again.captions(pictures) == learned.captions(pictures)
    assert again.fingerprint == learned.fingerprint
    (tmp_path / "say.onnx").write_bytes(b"nothing")
    with pytest.raises(BadData, match="no graphs of a captioner"):
        catalogue.load(f"captioner@{tmp_path}").captions(pictures)
    (tmp_path / "say.onnx").unlink()
    with pytest.raises(MissingData, match=r"say\.onnx is missing"):
        catalogue.load(f"captioner@{tmp_path}")


def test_the_same_seed_gives_the_same_captioner() -> None:
    split = drawn(24, 2, size=64)[0]
    settings = {"width": 16, "layers": 1, "heads": 2, "length": 10, "least": 2, "epochs": 2, "batch_size": 8}
    twice = [
        catalogue.load("captioner", **settings).fit(split, Trainer(seed=3, quiet=True, device="cpu"))
        for _ in "12"
    ]
    assert twice[0].fingerprint == twice[1].fingerprint


def test_it_is_a_language_model_that_describes(learned: Captioner) -> None:
    pictures = drawn(4, 2, size=64)[0].image
    reply = learned.reply(asked("What is this?", pictures[0], pictures[1]))
    assert reply.text == learned.captions(pictures[1:2])[0]
    assert learned.abilities.pictures == 1
    assert not learned.abilities.chat
    assert learned.abilities.local


def test_the_packaged_one_speaks_english() -> None:
    packaged = catalogue.load("captioner")
    said = packaged.captions([PHOTOGRAPHS / "cat.jpg", PHOTOGRAPHS / "grass.jpg"])
    assert all(re.fullmatch(r"[a-z][a-z' -]+", text) and len(text.split()) >= 4 for text in said)
    assert said[0] != said[1]
    card = json.loads((Path(captioner.__file__).parent / "weights" / "card.json").read_text())
    assert card["fingerprint"] == packaged.fingerprint


def test_what_cannot_be_is_refused(learned: Captioner) -> None:
    with pytest.raises(UsageError, match="given as a list"):
        learned.captions("cat.jpg")
    with pytest.raises(UsageError, match="at least 20 captioned pictures"):
        catalogue.load("captioner").fit(drawn(8, 2)[0])
    features = Split(np.zeros((30, 4), np.float32), ["a"] * 30, None, np.stack([np.arange(30)] * 2, axis=1))
    with pytest.raises(UsageError, match="these data are features"):
        catalogue.load("captioner").fit(features)
    with pytest.raises(BadParameter, match="beam of captioner must be at least 1"):
        catalogue.load("captioner", beam=0)
    with pytest.raises(BadParameter, match="heads of the captioner must divide its width"):
        CaptionNet(pieces=9, width=10, heads=3)
