"""The image networks that the hashing papers fine-tune, from pixels to their seventh layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from diptych.errors import BadData, BadParameter
from diptych.nets import alexnet, cnn_f
from diptych.nets.original_weights import existing, fill, fill_torchvision, matconvnet, torchvision

__all__ = ["PixelTower", "image_tower"]

SIZE = 224
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_NETWORKS: dict[str, Callable[[int], tuple[nn.Sequential, dict[str, nn.Module]]]] = {
    "cnn_f": cnn_f.network,
    "alexnet": alexnet.network,
}


class PixelTower(nn.Module):
    """A convolutional network that takes pixels as they are.

    Args:
        kind: "cnn_f", which sees 0..255 minus its stored mean image, or "alexnet", which sees 0..1
            standardised.
        units: Of its sixth and seventh layer; a file decides them instead.
        file: Its published weights (MatConvNet's ``imagenet-vgg-f.mat``, torchvision's
            ``alexnet-owt-7be5be79.pth``); "" starts from weights that are drawn.

    Raises:
        BadParameter: there is no such network.
        MissingData, BadData: the file is not there, or holds something else.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, kind: str, *, units: int = 4096, file: str = "") -> None:
        super().__init__()
        if kind not in _NETWORKS:
            raise BadParameter(f"image_tower must be '' (features), cnn_f or alexnet, not {kind!r}")
        mean, deviation = torch.full((3, 1, 1), 117.0), torch.ones(3, 1, 1)
        if kind == "alexnet":
            mean, deviation = (255 * torch.tensor(part).view(3, 1, 1) for part in (_MEAN, _DEVIATION))
        state: Any = None
        if file and kind == "cnn_f":
            path = existing(file, "CNN-F", "imagenet-vgg-f.mat from the MatConvNet model page")
            state, image = matconvnet(path)
            if image.shape not in ((1, 1, 3), (SIZE, SIZE, 3)):
                raise BadData(
                    f"{path} is not CNN-F: its mean image is {image.shape}, not ({SIZE}, {SIZE}, 3)"
                )
            units = state["fc6"][1].size if "fc6" in state else units
            mean = torch.from_numpy(image).permute(2, 0, 1)
        elif file:
            path = existing(file, "AlexNet", "torchvision's alexnet-owt-7be5be79.pth")
            state = torchvision(path, "classifier.1.bias", "AlexNet")
            units = state["classifier.1.bias"].numel()
        self.units = units
        self.net, layers = _NETWORKS[kind](units)
        # As large as the mean image of a file, so that saved towers load without it.
        self.register_buffer("mean", mean.expand(3, SIZE, SIZE).clone())
        self.register_buffer("deviation", deviation)
        if state is not None and kind == "cnn_f":
            fill(layers, state, path)
        elif state is not None:
            fill_torchvision(layers, state, path, "AlexNet")

    def forward(self, pixels: Tensor) -> Tensor:
        """(b, 3, 224, 224) uint8 to (b, units).

        Raises:
            BadParameter: another size.
        """
        if tuple(pixels.shape[1:]) != (3, SIZE, SIZE):
            given = " x ".join(map(str, pixels.shape[1:]))
            raise BadParameter(
                f"this network sees 3 x {SIZE} x {SIZE} pixels, not {given}; "
                "read pictures with the extractor image=pixels",
                argument="features",
            )
        found: Tensor = self.net((pixels.float() - self.mean) / self.deviation)
        return found


def image_tower(kind: str, units: int, file: str) -> PixelTower | None:
    """The network on pixels that stands before a head; None for the kind "", whose input is features.

    Args:
        kind, units, file: See `PixelTower`.

    Raises:
        BadParameter: a file without a network.
    """
    if not kind and file:
        raise BadParameter(f"image_file {file} needs an image_tower, cnn_f or alexnet, that reads it")
    return PixelTower(kind, units=units, file=file) if kind else None
