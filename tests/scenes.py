"""Pictures of our own making, with captions and classes, for what must also be right on a fresh checkout.

A scene is a thing of one shape and one colour on a ground of another colour, with noise over all of it.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

COLOURS = {
    "red": (215, 35, 35), "green": (35, 150, 50), "blue": (40, 70, 215), "yellow": (240, 215, 40),
    "black": (15, 15, 15), "white": (250, 250, 250),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "cross", "ring", "stripes")


@dataclass(frozen=True)
class Scene:
    """One picture: what is on it, where, and how large."""

    shape: str
    colour: str
    ground: str
    x: float
    y: float
    size: float

    @property
    def caption(self) -> str:
        what = f"{self.colour} stripes" if self.shape == "stripes" else f"a {self.colour} {self.shape}"
        return f"{what} on {self.ground} ground"


def scenes(count: int, *, seed: int = 0) -> list[Scene]:
    """That many, each shape as often as the others."""
    random = np.random.default_rng(seed)
    made = []
    for number in range(count):
        colour, ground = random.choice(list(COLOURS), 2, replace=False)
        x, y = random.uniform(0.35, 0.65, 2)
        made.append(
            Scene(SHAPES[number % len(SHAPES)], str(colour), str(ground), x, y, random.uniform(0.2, 0.33))
        )
    return made


def draw(scene: Scene, *, side: int = 96, seed: int = 0) -> Image.Image:
    """The picture of a scene, `side` pixels wide and high."""
    picture = Image.new("RGB", (side, side), COLOURS[scene.ground])
    pen, fill = ImageDraw.Draw(picture), COLOURS[scene.colour]
    x, y, r = scene.x * side, scene.y * side, scene.size * side
    box = (x - r, y - r, x + r, y + r)
    if scene.shape == "circle":
        pen.ellipse(box, fill=fill)
    elif scene.shape == "square":
        pen.rectangle(box, fill=fill)
    elif scene.shape == "triangle":
        pen.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=fill)
    elif scene.shape == "cross":
        pen.rectangle((x - r, y - r / 3, x + r, y + r / 3), fill=fill)
        pen.rectangle((x - r / 3, y - r, x + r / 3, y + r), fill=fill)
    elif scene.shape == "ring":
        pen.ellipse(box, outline=fill, width=max(round(r / 3), 2))
    else:
        width = r / 2
        for number in range(0, int(side / width) + 1, 2):
            pen.rectangle((number * width, 0, (number + 1) * width, side), fill=fill)
    noise = np.random.default_rng(seed).normal(0, 12, (side, side, 3))
    return Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8))


def table(folder: Path, *, train: int = 120, test: int = 60) -> Path:
    """Write scenes into a folder; returns the table of their pictures, captions, classes and splits."""
    (folder / "images").mkdir(parents=True)
    path = folder / "scenes.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("image", "caption", "label", "split"))
        for number, scene in enumerate(scenes(train + test)):
            name = f"{number:03}.png"
            draw(scene, seed=number).save(folder / "images" / name)
            rows.writerow((name, scene.caption, scene.shape, "train" if number < train else "test"))
    return path
