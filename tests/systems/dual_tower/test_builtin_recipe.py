"""The recipe of the heads, on pictures that are drawn here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from diptych import catalogue
from diptych.data.base import Loaded, Split, paired_in_order
from diptych.errors import UsageError
from diptych.systems.dual_tower.builtin import Builtin

pytestmark = pytest.mark.slow

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 60), "blue": (40, 60, 220), "yellow": (240, 220, 40)}
SHAPES = ("circle", "square", "stripe")


def captioned(count: int) -> Split:
    random = np.random.default_rng(0)
    pictures, texts = [], []
    for _ in range(count):
        name = list(COLOURS)[random.integers(len(COLOURS))]
        shape = SHAPES[random.integers(len(SHAPES))]
        picture = Image.new("RGB", (96, 96), "white")
        x, y, size = random.integers(5, 40, 3).tolist()
        box = (x, y, x + size + 12, y + size + 12)
        draw = ImageDraw.Draw(picture)
        if shape == "circle":
            draw.ellipse(box, fill=COLOURS[name])
        elif shape == "square":
            draw.rectangle(box, fill=COLOURS[name])
        else:
            draw.line((0, y, 96, y + size), fill=COLOURS[name], width=9)
        pictures.append(picture)
        texts += [f"a {name} {shape}", f"one {shape} that is {name}"]
    return Split(pictures, texts, None, paired_in_order(count, 2))


def test_it_learns_writes_a_folder_and_is_loaded_by_its_path(tmp_path: Path) -> None:
    from diptych.training.trainer import Trainer

    split, trainer = captioned(80), Trainer(seed=0, quiet=True, device="cpu")
    encoder = Builtin(epochs=40, batch_size=24).fit(split, trainer)
    assert len(trainer.history) == 40
    assert set(trainer.history[0]["terms"]) == {"head 0", "head 1"}
    encoder.save(tmp_path / "run", command="this test")
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert card["name"] == "builtin"
    assert card["parameters"] == {"heads": True, "epochs": 40, "batch_size": 24}
    assert card["command"] == "this test"
    assert (card["images"], card["captions"]) == (80, 160)
    assert set(card["recalls"]) == {f"{way} R@{n}" for way in ("IqT", "TqI") for n in (1, 5, 10)}
    again = catalogue.load(f"builtin@{tmp_path / 'run'}")
    assert again.fingerprint == card["fingerprint"] == catalogue.load(str(tmp_path / "run")).fingerprint
    assert again.fingerprint == encoder.fingerprint != Builtin().fingerprint
    queries = [f"a {colour} {shape}" for colour in COLOURS for shape in SHAPES]
    found = (again.encode_text(queries) @ again.encode_image(list(split.image)).T).argmax(axis=1)
    right = [split.text[2 * row] == query for row, query in zip(found, queries, strict=True)]
    assert np.mean(right) > 0.5  # chance is about 1 in 12


def test_a_run_reports_the_epochs_that_were_run(tmp_path: Path) -> None:
    from diptych.training.run import train

    data = Loaded("drawn", {"train": captioned(24), "test": captioned(6)})
    done = train("builtin", data, tmp_path / "usual", quiet=True, device="cpu")
    assert done.epochs == len((tmp_path / "usual" / "log.jsonl").read_text().splitlines()) == 7
    done = train("builtin", data, tmp_path / "run", settings={"epochs": 3}, quiet=True, device="cpu")
    assert done.epochs == 3
    assert json.loads((tmp_path / "run" / "card.json").read_text())["parameters"]["epochs"] == 3
    assert catalogue.load(str(tmp_path / "run")).fingerprint == done.learner.fingerprint


def test_the_same_seed_gives_the_same_heads() -> None:
    from diptych.training.trainer import Trainer

    split = captioned(24)
    first, second, other = (
        Builtin(epochs=2, batch_size=8).fit(split, Trainer(seed=seed, quiet=True, device="cpu")).arrays()
        for seed in (0, 0, 1)
    )
    assert first.keys() == second.keys()
    for name, array in first.items():
        assert np.array_equal(array, second[name]), name
    assert not np.array_equal(first["image0.linear"], other["image0.linear"])


def test_captions_of_the_same_picture_are_no_wrong_ones() -> None:
    import torch

    from diptych.nets.joint_head import JointHeads

    random = np.random.default_rng(0)
    images, texts = (random.standard_normal((4, 5)).astype(np.float32) for _ in range(2))
    images[1] = images[0]
    heads = JointHeads(images, texts).eval()
    rows = [0, 0, 2, 3]
    with torch.no_grad():
        found = heads.loss(torch.from_numpy(images), torch.from_numpy(texts), torch.tensor(rows)).item()
        logits = (20 * heads.image(torch.from_numpy(images)) @ heads.text(torch.from_numpy(texts)).T).double()
    expected = 0.0
    for one in range(4):
        others = [two for two in range(4) if two == one or rows[two] != rows[one]]
        for line in (logits[one], logits[:, one]):
            expected -= float(line[one] - torch.logsumexp(line[others], 0)) / 8
    assert found == pytest.approx(expected, rel=1e-4)


def test_too_little_and_the_wrong_kind_of_data_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 20 captioned pictures"):
        Builtin().fit(captioned(5))
    with pytest.raises(UsageError, match="these data are features"):
        Builtin().fit(Split(np.ones((30, 3)), np.ones((30, 3)), None, paired_in_order(30, 1)))
    with pytest.raises(UsageError, match="has nothing to learn"):
        catalogue.load("builtin:concepts").fit(captioned(24))
