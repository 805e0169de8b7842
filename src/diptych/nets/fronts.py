"""What several systems put in front of their own layers, with the hyper-parameters that go with it.

Each is a part of a learner's class: its fields become the learner's, and its method gives the networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from diptych.data.base import InputKind
from diptych.nets.clip_towers import ClipTowers, clip_towers
from diptych.nets.image_towers import PixelTower, image_tower

__all__ = ["FromClip", "FromPixels"]


@dataclass(kw_only=True, eq=False)
class FromPixels:
    """A published network on pixels in place of image features, which is fine-tuned.

    Args:
        image_tower: "cnn_f", "alexnet", or "" for features.
        tower_units: Of its sixth and seventh layer; a file decides them instead.
        image_file: Its published weights; "" starts from weights that are drawn.
    """

    start_files: ClassVar[tuple[str, ...]] = ("image_file",)

    image_tower: str = ""
    tower_units: int = 4096
    image_file: str = ""

    @property
    def reads(self) -> dict[str, InputKind]:
        """Pixels where there is a network for them."""
        return {"image": "pixels" if self.image_tower else "features", "text": "features"}

    def image_front(self, features: int) -> tuple[PixelTower | None, int]:
        """The network on pixels, and the dimensions that it gives; without one, those of the features.

        Raises:
            BadParameter: there is no such network, or a file without a network.
            MissingData, BadData: the file is not there, or holds something else.
        """
        tower = image_tower(self.image_tower, self.tower_units, self.image_file)
        if tower is None:
            return None, features
        self.tower_units = tower.units
        return tower, tower.units


@dataclass(kw_only=True, eq=False)
class FromClip:
    """Both towers of a CLIP checkpoint in place of features, which are fine-tuned.

    Args:
        clip: Folder or hub repository of the checkpoint; "" reads features.
        clip_config: Its configuration, which fills itself in.
    """

    start_files: ClassVar[tuple[str, ...]] = ("clip",)

    clip: str = ""
    clip_config: str = ""

    @property
    def reads(self) -> dict[str, InputKind]:
        """Pixels and word pieces where there are towers."""
        if self.clip_config:
            return {"image": "pixels", "text": "tokens"}
        return {"image": "features", "text": "features"}

    def clip_front(self) -> ClipTowers | None:
        """The towers; None where features are read.

        Raises:
            MissingExtra, MissingData, BadData, BadParameter: see `diptych.nets.clip_towers.clip_towers`.
        """
        towers = clip_towers(self.clip, self.clip_config)
        if towers is not None:
            self.clip_config = towers.config
        return towers
