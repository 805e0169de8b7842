"""AlexNet as torchvision has it ("One weird trick", Krizhevsky 2014, arXiv 1404.5997)."""

from __future__ import annotations

from torch import nn

__all__ = ["network"]


def network(hidden: int = 4096) -> tuple[nn.Sequential, dict[str, nn.Module]]:
    """The network (n, 3, 224, 224) -> (n, hidden) to its seventh layer, and its layers with weights."""
    layers: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(3, 64, 11, stride=4, padding=2),
        "conv2": nn.Conv2d(64, 192, 5, padding=2),
        "conv3": nn.Conv2d(192, 384, 3, padding=1),
        "conv4": nn.Conv2d(384, 256, 3, padding=1),
        "conv5": nn.Conv2d(256, 256, 3, padding=1),
        "fc6": nn.Linear(256 * 6 * 6, hidden),
        "fc7": nn.Linear(hidden, hidden),
    }
    net = nn.Sequential(
        *(layers["conv1"], nn.ReLU(), nn.MaxPool2d(3, 2)),  # 27 x 27
        *(layers["conv2"], nn.ReLU(), nn.MaxPool2d(3, 2)),  # 13 x 13
        *(layers["conv3"], nn.ReLU()),
        *(layers["conv4"], nn.ReLU()),
        *(layers["conv5"], nn.ReLU(), nn.MaxPool2d(3, 2)),  # 6 x 6
        nn.Flatten(),
        *(nn.Dropout(), layers["fc6"], nn.ReLU()),
        *(nn.Dropout(), layers["fc7"], nn.ReLU()),
    )
    return net, layers
