"""CNN-F: Return of the Devil in the Details (Chatfield et al., BMVC 2014).

Paper: arXiv 1405.3531
Code: vlfeat/matconvnet, imagenet-vgg-f.mat
Inputs: pictures
Learns from: nothing (ImageNet weights come from a file)

The fast network of eight layers whose seventh DCMH, SSAH and Bi-CMR start from; 4096 numbers after ReLU:
``cnn_f@imagenet-vgg-f.mat``.
"""

from __future__ import annotations

from torch import nn

from diptych.features._network import Classic, existing, fill, matconvnet, minus_mean

__all__ = ["CnnF"]


class CnnF(Classic):
    """CNN-F to fc7.

    Args:
        weights: MatConvNet's ``imagenet-vgg-f.mat``.

    Raises:
        MissingData, MissingExtra, BadData: see `diptych.features._network`.
    """

    def __init__(self, *, weights: str) -> None:
        path = existing(weights, "CNN-F", "imagenet-vgg-f.mat from the MatConvNet model page")
        arrays, mean = matconvnet(path)
        net, layers = network(arrays["fc6"][1].size if "fc6" in arrays else 4096)
        fill(layers, arrays, path)
        super().__init__(path, net, minus_mean(mean))


def network(hidden: int = 4096) -> tuple[nn.Sequential, dict[str, nn.Module]]:
    """The network (n, 3, 224, 224) -> (n, hidden), and its layers with weights by MatConvNet's names."""
    layers: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(3, 64, 11, stride=4),
        "conv2": nn.Conv2d(64, 256, 5, padding=2),
        "conv3": nn.Conv2d(256, 256, 3, padding=1),
        "conv4": nn.Conv2d(256, 256, 3, padding=1),
        "conv5": nn.Conv2d(256, 256, 3, padding=1),
        "fc6": nn.Linear(256 * 6 * 6, hidden),
        "fc7": nn.Linear(hidden, hidden),
    }

    def normalised() -> nn.Module:
        # a / (2 + 1e-4 * sum of squares over 5 channels)^.75; torch divides alpha by the size.
        return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)

    net = nn.Sequential(
        *(layers["conv1"], nn.ReLU(), normalised()),  # 54 x 54
        nn.MaxPool2d(3, 2, ceil_mode=True),  # 27 x 27: padded by one below and right
        *(layers["conv2"], nn.ReLU(), normalised(), nn.MaxPool2d(3, 2)),  # 13 x 13
        *(layers["conv3"], nn.ReLU()),
        *(layers["conv4"], nn.ReLU()),
        *(layers["conv5"], nn.ReLU(), nn.MaxPool2d(3, 2)),  # 6 x 6
        nn.Flatten(),
        *(layers["fc6"], nn.ReLU()),
        *(layers["fc7"], nn.ReLU()),
    )
    return net, layers
