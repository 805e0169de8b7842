from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from diptych.errors import BadParameter
from diptych.nets.scaling import Scaling, fit_scaling

X = np.array([[1.0, 10, 5], [3, 30, 5]], np.float32)


def test_standard_gives_every_feature_mean_zero_and_deviation_one() -> None:
    layer = Scaling(3, "standard")
    layer.fit(X)
    assert layer(torch.from_numpy(X)).tolist() == [[-1, -1, 0], [1, 1, 0]]


def test_global_keeps_the_ratios() -> None:
    layer = Scaling(3, "global")
    layer.fit(X)
    assert np.allclose(layer(torch.from_numpy(X)).numpy(), X / X.std(), atol=1e-6)


def test_none_and_what_was_not_fitted_change_nothing() -> None:
    x = torch.from_numpy(X)
    plain = Scaling(3)
    plain.fit(X)
    assert torch.equal(plain(x), x)
    assert torch.equal(Scaling(3, "standard")(x), x)


def test_statistics_travel_with_the_weights() -> None:
    net, other = (nn.Sequential(Scaling(3, "standard"), nn.Linear(3, 2)) for _ in range(2))
    fit_scaling(net, X)
    other.load_state_dict(net.state_dict())
    assert torch.equal(other[0](torch.from_numpy(X)), net[0](torch.from_numpy(X)))
    assert not list(net[0].parameters())


def test_another_kind_is_refused() -> None:
    with pytest.raises(BadParameter, match="none, global or standard, not 'minmax'"):
        Scaling(3, "minmax")
