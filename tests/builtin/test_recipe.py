"""The recipe of the heads, on pictures that are drawn here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from diptych import catalogue
from diptych.data.base import Split, paired_in_order
from diptych.errors import UsageError

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
    pytest.importorskip("torch", reason="training is not installed")
    from diptych.builtin.train import train

    split = captioned(80)
    folder = train(split, tmp_path / "run", epochs=40, batch_size=24, facts={"command": "this test"})
    card = json.loads((folder / "card.json").read_text())
    assert card["name"] == "builtin"
    assert card["command"] == "this test"
    encoder = catalogue.load(f"builtin@{folder}")
    assert encoder.fingerprint == card["fingerprint"] == catalogue.load(str(folder)).fingerprint
    queries = [f"a {colour} {shape}" for colour in COLOURS for shape in SHAPES]
    found = (encoder.encode_text(queries) @ encoder.encode_image(list(split.image)).T).argmax(axis=1)
    right = [split.text[2 * row] == query for row, query in zip(found, queries, strict=True)]
    assert np.mean(right) > 0.5  # chance is about 1 in 12


def test_the_same_seed_gives_the_same_heads() -> None:
    pytest.importorskip("torch", reason="training is not installed")
    from diptych.builtin.train import extract, fit

    features = extract(captioned(24))
    first, second = (fit(features, epochs=2, batch_size=8)[0] for _ in range(2))
    assert first.keys() == second.keys()
    for name, array in first.items():
        assert np.array_equal(array, second[name]), name


def test_too_little_and_the_wrong_kind_of_data_are_refused() -> None:
    from diptych.builtin.train import extract

    with pytest.raises(UsageError, match="at least 20 captioned pictures"):
        extract(captioned(5))
    with pytest.raises(UsageError, match="these data are features"):
        extract(Split(np.ones((30, 3)), np.ones((30, 3)), None, paired_in_order(30, 1)))
