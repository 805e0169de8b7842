"""PLANTED: synthetic two-view data whose structure is known, for checks.

Home: made here, from a seed
Files: none
Licence: Apache-2.0, as the rest of Diptych
Counts: as asked for; `SYN` has 200 queries, 1,000 database items and 800 of them to train on

`Planted` draws a latent vector around each item's classes and shows it through two linear views with noise:
what a system must find is there, and how well it can be found is set by `noise`. `Syn` is the benchmark of
multi-label hashing statistics on which the reference figures of the hashing systems were measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from diptych.data.base import Dataset, Labels, Protocol, Split, paired_in_order
from diptych.errors import UnknownName, UsageError

__all__ = ["Planted", "Syn"]


class Planted(Dataset):
    """Two linear views of one class-structured latent space.

    Args:
        root: Ignored; there are no files.
        classes: How many classes there are; each is a random direction of the latent space.
        train, val, test: Images in each split.
        image_dim, text_dim: Dimensions of the two views.
        latent_dim: Dimensions of the latent space.
        noise: Standard deviation of the noise of each view; the signal's is about 1.
        spread: How far items of one class lie from each other in the latent space (this part is shared by
            both views, so pairs can be told apart within a class).
        multi_label: Give each item one or two classes instead of exactly one.
        captions: Texts for each image, each with noise of its own.
        seed: Draws everything.

    Example:
        >>> train = Planted(train=100, seed=1).split("train")
        >>> train.image.shape, train.text.shape, train.label.shape
        ((100, 32), (100, 24), (100, 5))
    """

    name = "planted"
    splits = ("train", "val", "test")
    protocols: Mapping[str, Protocol] = {
        "label": Protocol("test", "test", "label", validation="val"),
        "pair": Protocol("test", "test", "pair", validation="val"),
    }

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        classes: int = 5,
        train: int = 200,
        val: int = 50,
        test: int = 100,
        image_dim: int = 32,
        text_dim: int = 24,
        latent_dim: int = 16,
        noise: float = 0.3,
        spread: float = 0.5,
        multi_label: bool = False,
        captions: int = 1,
        seed: int = 0,
    ) -> None:
        if min(classes, image_dim, text_dim, latent_dim, captions) < 1 or min(train, val, test) < 0:
            raise UsageError("classes, dimensions and captions of planted data must be at least 1")
        self.class_names = tuple(f"class {number}" for number in range(classes))
        random = np.random.default_rng(seed)
        total = train + val + test
        label = _labels(random, total, classes, multi_label)
        centres = random.standard_normal((classes, latent_dim))
        mean = label @ centres / label.sum(axis=1, keepdims=True)
        latent = mean + spread * random.standard_normal((total, latent_dim))
        scale = 1 / np.sqrt(latent_dim)
        to_image = random.standard_normal((latent_dim, image_dim)) * scale
        to_text = random.standard_normal((latent_dim, text_dim)) * scale
        image = latent @ to_image + noise * random.standard_normal((total, image_dim))
        text = np.repeat(latent @ to_text, captions, axis=0)
        text += noise * random.standard_normal(text.shape)
        whole = Split(
            image.astype(np.float32), text.astype(np.float32), label, paired_in_order(total, captions)
        )
        ends = np.cumsum([train, val, test])
        self._parts = dict(zip(self.splits, np.split(np.arange(total), ends[:-1]), strict=True))
        self._whole = whole

    @classmethod
    def open(cls, root: str | Path | None = None, variant: str | None = None) -> Dataset:
        """The two views, or `Syn` as the variant "syn".

        Raises:
            UnknownName: if there is no such variant.
        """
        if variant == "syn":
            return Syn()
        if variant is not None:
            raise UnknownName("variant of planted", variant, ["syn"])
        return cls()

    def split(self, name: str) -> Split:
        """One split."""
        self.check_split(name)
        return self._whole.take(self._parts[name])


class Syn(Dataset):
    """The synthetic hashing benchmark: 1,200 items, 24 skewed labels, 64-d images, 120 tag words, seed 0.

    Images are standardised and texts centred with the statistics of the database rows. Relevant means
    sharing a label, which 0.325725 of the query-database pairs do.

    Args:
        root: Ignored; there are no files.
    """

    name = "syn"
    splits = ("train", "query", "database")
    protocols: Mapping[str, Protocol] = {"label": Protocol("query", "database", "label")}

    def __init__(self, root: str | Path | None = None) -> None:
        random = np.random.default_rng(0)
        items, classes, words = 1200, 24, 120
        likely = 0.3 / (1 + 0.3 * np.arange(classes))
        label = (random.random((items, classes)) < likely).astype(np.uint8)
        label[label.sum(axis=1) == 0, 0] = 1
        mixing = random.standard_normal((classes, 64))
        image = label @ mixing + 1.5 * random.standard_normal((items, 64))
        tagged = 1 - 0.97 * (1 - 0.4 * np.repeat(label, words // classes, axis=1))
        tags = (random.random((items, words)) < tagged).astype(np.float64)
        self.tags: Labels = tags.astype(np.uint8)
        """The tag words (1200, 120) before centring."""
        self.class_names = tuple(f"label {number}" for number in range(classes))
        database = slice(200, items)
        image = (image - image[database].mean(axis=0)) / image[database].std(axis=0)
        text = tags - tags[database].mean(axis=0)
        self._whole = Split(image.astype(np.float32), text.astype(np.float32), label, paired_in_order(items))
        self._parts = {"query": (0, 200), "database": (200, 1200), "train": (200, 1000)}

    def split(self, name: str) -> Split:
        """One split; "train" is the first 800 rows of "database"."""
        self.check_split(name)
        return self._whole.take(np.arange(*self._parts[name]))


def _labels(random: np.random.Generator, items: int, classes: int, multi_label: bool) -> Labels:
    """(items, classes): balanced first classes, and a random second one for half the items if asked."""
    label = np.zeros((items, classes), np.uint8)
    first = random.permutation(items) % classes
    label[np.arange(items), first] = 1
    if multi_label:
        second = random.integers(0, classes, items)
        more = random.random(items) < 0.5
        label[np.arange(items)[more], second[more]] = 1
    return label
