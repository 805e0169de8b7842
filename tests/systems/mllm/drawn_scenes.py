"""Scenes of three attributes, an encoder that counts their words, and models that read them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from diptych.core import Floats, Item
from diptych.llm import Abilities, Prompt, Reply, Usage
from diptych.testing import Scripted

COLOURS = ("red", "green", "blue", "black")
THINGS = ("dog", "car", "house", "boat")
PLACES = ("snow", "beach", "street", "forest")
WORDS = (*COLOURS, *THINGS, *PLACES)

SCENES = [f"a {c} {t} in the {p}" for c, t, p in itertools.product(COLOURS, THINGS, PLACES)]


class Words:
    """Vectors (n, 12): which of the attributes a picture shows or a text names."""

    name = "words"
    similarity = "cosine"
    fingerprint = "words:1"

    def encode_text(self, texts: Sequence[str]) -> Floats:
        found = [[float(word in re.findall(r"\w+", text.lower())) for word in WORDS] for text in texts]
        return np.array(found, np.float32).reshape(-1, len(WORDS)) + np.float32(1e-3)

    def encode_image(self, images: Sequence[Any]) -> Floats:
        return self.encode_text([told(image) for image in images])


def picture(scene: str) -> np.ndarray[Any, Any]:
    """A picture that holds its own description, so that whoever looks at it can read what it shows."""
    return np.frombuffer(scene.encode().ljust(48), np.uint8).reshape(4, 4, 3)


def told(image: Any) -> str:
    return bytes(np.asarray(image, np.uint8)).decode().strip()


GALLERY = [Item(scene, image=picture(scene)) for scene in SCENES]


def truthful(prompt: Prompt) -> Reply:
    """Describes a picture that it is shown."""
    return Reply(told(prompt.pictures[-1]), usage=Usage(1, 1, 1))


def captioner() -> Scripted:
    return Scripted(truthful, abilities=Abilities(pictures=1, local=True))


def fences(prompt: Prompt) -> list[str]:
    """The data of the last message that has any."""
    found = (re.findall(r"<<<(.*?)>>>", message.text) for message in reversed(prompt.messages))
    return next(filter(None, found))
