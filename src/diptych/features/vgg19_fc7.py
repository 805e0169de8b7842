"""VGG-19 fc7: Very Deep Convolutional Networks for Large-Scale Image Recognition (Simonyan, Zisserman, ICLR 2015).

Paper: arXiv 1409.1556
Code: vlfeat/matconvnet, imagenet-vgg-verydeep-19.mat; pytorch/vision, vgg19-dcbb9e9d.pth
Inputs: pictures
Learns from: nothing (ImageNet weights come from a file)

The 4096 activations after the seventh weight group's ReLU, on which most systems of the survey's Table 2
learn: ``vgg19_fc7@vgg19-dcbb9e9d.pth`` or ``vgg19_fc7@imagenet-vgg-verydeep-19.mat``. Each file gets its own
preparation: torchvision's crops the centre and divides by the deviation, MatConvNet's squeezes and does not.
"""  # noqa: E501

from __future__ import annotations

from torch import nn

from diptych.features._network import SIZE, Classic, minus_mean
from diptych.nets.original_weights import existing, fill, fill_torchvision, matconvnet, torchvision
from diptych.towers.preprocess import IMAGENET_NORMAL, Preprocess

__all__ = ["VGG19Fc7"]

_BLOCKS = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))  # convolutions and channels before each pooling
# Shorter side 256, centre 224 x 224, 0..1, standardised: as torchvision trained it.
TORCHVISION = Preprocess(size=SIZE, fit="centre", shorter=256, filter="bilinear", normal=IMAGENET_NORMAL)


class VGG19Fc7(Classic):
    """VGG-19 to fc7.

    Args:
        weights: torchvision's ``.pth`` or MatConvNet's ``.mat``.

    Raises:
        MissingData, MissingExtra, BadData: see `diptych.nets.original_weights`.
    """

    def __init__(self, *, weights: str) -> None:
        path = existing(
            weights, "VGG-19", "torchvision's vgg19-dcbb9e9d.pth or MatConvNet's imagenet-vgg-verydeep-19.mat"
        )
        if path.suffix == ".mat":
            arrays, mean = matconvnet(path)
            net, layers = network(arrays["fc6"][1].size if "fc6" in arrays else 4096)
            fill(layers, arrays, path)
            super().__init__(path, net, minus_mean(mean))
        else:
            state = torchvision(path, "classifier.0.bias", "VGG-19")
            net, layers = network(state["classifier.0.bias"].numel())
            fill_torchvision(layers, state, path, "VGG-19")
            super().__init__(path, net, TORCHVISION)


def network(hidden: int = 4096) -> tuple[nn.Sequential, dict[str, nn.Module]]:
    """The network (n, 3, 224, 224) -> (n, hidden), and its layers with weights by MatConvNet's names."""
    layers: dict[str, nn.Module] = {}
    steps: list[nn.Module] = []
    before = 3
    for block, (count, channels) in enumerate(_BLOCKS, 1):
        for number in range(1, count + 1):
            layers[f"conv{block}_{number}"] = nn.Conv2d(before, channels, 3, padding=1)
            steps += [layers[f"conv{block}_{number}"], nn.ReLU()]
            before = channels
        steps.append(nn.MaxPool2d(2, 2))
    layers["fc6"], layers["fc7"] = nn.Linear(512 * 7 * 7, hidden), nn.Linear(hidden, hidden)
    steps += [nn.Flatten(), layers["fc6"], nn.ReLU(), layers["fc7"], nn.ReLU()]
    return nn.Sequential(*steps), layers
