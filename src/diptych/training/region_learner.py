"""What scorers of pairs share that read a picture as regions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from diptych.data.base import InputKind, Split
from diptych.nets.regions import Regions, region_dim, unpacked
from diptych.training.pair_learner import PairLearner

__all__ = ["RegionLearner"]

_GRID = 49 * (1280 + 4)


@dataclass(kw_only=True, eq=False)
class RegionLearner(PairLearner):
    """A learner that scores pairs of a picture, as regions with boxes, and a text.

    Args:
        image_dim: Numbers of a picture, see `diptych.nets.regions`.
        regions: Regions of a picture, at most.
        text_length, vocabulary: Word pieces of a text, and how many different ones there are.
        mask_piece: Number of the piece that hides others (BERT's is 103); below 0 makes one more.
        words_hidden: Share of the word pieces that are to be guessed.
    """

    image_dim: int = _GRID
    regions: int = 49
    text_length: int = 40
    vocabulary: int = 30522
    mask_piece: int = -1
    words_hidden: float = 0.15

    @property
    def reads(self) -> Mapping[str, InputKind]:
        """Rows of regions, and word pieces."""
        return {"image": "features", "text": "tokens"}

    @property
    def image_reader(self) -> str:
        """The grid, if its cells are what is read."""
        return "regions" if self.image_dim == _GRID else ""

    @property
    def told(self) -> int:
        """Classes whose probabilities a detector gives with each region."""
        return 0

    @property
    def dim(self) -> int:
        """Features of a region.

        Raises:
            BadParameter: see `diptych.nets.regions.region_dim`.
        """
        return region_dim(self.image_dim, self.regions, self.told)

    @property
    def pieces(self) -> int:
        """Rows that the embedding of words needs."""
        return self.vocabulary + (self.mask_piece < 0)

    @property
    def mask(self) -> int:
        """Number of the piece that hides others."""
        return self.vocabulary if self.mask_piece < 0 else self.mask_piece

    def seen(self, image: Tensor) -> Regions:
        """The regions of pictures (b, image_dim)."""
        return unpacked(image, self.regions, self.told)

    def check(self, split: Split) -> None:
        """Refuse a split that does not fit the networks."""
        _ = self.dim
        super().check(split)
