"""CNN-F: Return of the Devil in the Details (Chatfield et al., BMVC 2014).

Paper: arXiv 1405.3531
Code: vlfeat/matconvnet, imagenet-vgg-f.mat
Inputs: pictures
Learns from: nothing (ImageNet weights come from a file)

The fast network of eight layers whose seventh DCMH, SSAH and Bi-CMR start from; 4096 numbers after ReLU:
``cnn_f@imagenet-vgg-f.mat``.
"""

from __future__ import annotations

from diptych.features._network import Classic, minus_mean
from diptych.nets.cnn_f import network
from diptych.nets.original_weights import existing, fill, matconvnet

__all__ = ["CnnF"]


class CnnF(Classic):
    """CNN-F to fc7.

    Args:
        weights: MatConvNet's ``imagenet-vgg-f.mat``.

    Raises:
        MissingData, MissingExtra, BadData: see `diptych.nets.original_weights`.
    """

    def __init__(self, *, weights: str) -> None:
        path = existing(weights, "CNN-F", "imagenet-vgg-f.mat from the MatConvNet model page")
        arrays, mean = matconvnet(path)
        net, layers = network(arrays["fc6"][1].size if "fc6" in arrays else 4096)
        fill(layers, arrays, path)
        super().__init__(path, net, minus_mean(mean))
