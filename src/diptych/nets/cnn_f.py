"""CNN-F of "Return of the Devil in the Details" (Chatfield et al., BMVC 2014, arXiv 1405.3531, Table 1)."""

from __future__ import annotations

from torch import nn

__all__ = ["network"]


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
