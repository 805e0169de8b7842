"""CLOCKS: drawn clocks and what they show in words.

Home: drawn here, from a seed
Files: none
Licence: Apache-2.0
Counts: 360 clocks to learn from, 120 to validate, 120 to ask and to find

Each picture is a dial of 48 pixels with two hands, each text says the time ("ten to four"), and the label is
the hour that is nearest. Colours and line widths are drawn by lot.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from diptych.data.base import Dataset, Protocol, Split, multi_hot, paired_in_order

__all__ = ["Clocks"]

_HOURS = ["twelve", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"]
_PAST = {0: "o'clock", 5: "five past", 10: "ten past", 15: "quarter past", 20: "twenty past", 30: "half past",
         40: "twenty to", 45: "quarter to", 50: "ten to", 55: "five to"}  # fmt: skip


class Clocks(Dataset):
    """Dials and times.

    Args:
        root: Ignored; there are no files.
        seed: Draws everything.
    """

    name = "clocks"
    splits = ("train", "val", "test")
    protocols: Mapping[str, Protocol] = {
        "hour": Protocol("test", "test", "label", validation="val"),
        "pair": Protocol("test", "test", "pair", validation="val"),
    }
    class_names = tuple(_HOURS)

    def __init__(self, root: str | Path | None = None, *, seed: int = 0) -> None:
        self.seed = seed

    def split(self, name: str) -> Split:
        """One split."""
        self.check_split(name)
        count, number = {"train": (360, 0), "val": (120, 1), "test": (120, 2)}[name]
        random = np.random.default_rng([self.seed, number])
        pictures, texts, labels = [], [], []
        for _ in range(count):
            hour, minute = int(random.integers(12)), int(random.choice(list(_PAST)))
            pictures.append(_dial(hour, minute, random))
            nearest = (hour + (minute > 30)) % 12
            said = _PAST[minute]
            texts.append(f"{_HOURS[nearest]} {said}" if minute == 0 else f"{said} {_HOURS[nearest]}")
            labels.append(nearest)
        return Split(pictures, texts, multi_hot(labels, 12), paired_in_order(count))


def _dial(hour: int, minute: int, random: np.random.Generator) -> Image.Image:
    paper, ink = random.integers(200, 256, 3), random.integers(0, 90, 3)
    picture = Image.new("RGB", (48, 48), tuple(int(part) for part in paper))
    pen, colour = ImageDraw.Draw(picture), tuple(int(part) for part in ink)
    pen.ellipse((2, 2, 45, 45), outline=colour)
    for turn, length, width in (((hour + minute / 60) / 12, 11, 4), (minute / 60, 18, 2)):
        angle = 2 * math.pi * turn
        end = (23.5 + length * math.sin(angle), 23.5 - length * math.cos(angle))
        pen.line(((23.5, 23.5), end), fill=colour, width=width)
    return picture
