"""Patches, words and pieces of features: their order, their places, and what is padding."""

from __future__ import annotations

import pytest
import torch

from diptych.errors import BadParameter
from diptych.nets.tokens import FeatureTokens, Patches, Words
from diptych.nets.transformer import Transformer

TEXTS = torch.tensor([[1, 7, 8, 2, 0, 0], [1, 9, 2, 0, 0, 0], [1, 5, 6, 7, 8, 2], [1, 2, 0, 0, 0, 0]])


def test_patches_go_row_by_row_from_above() -> None:
    pixels = torch.zeros(1, 3, 4, 6, dtype=torch.uint8)
    with pytest.raises(BadParameter, match="sees 3 x 4 x 4 pixels"):
        Patches(4, 2, 8).pieces(pixels)
    pixels = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    pixels[1, :, :2, 2:] = 255  # above, on the right
    pixels[1, 0, 2, 0] = 51  # one red point below, on the left
    found = Patches(4, 2, 8).pieces(pixels)
    assert found.shape == (2, 4, 12)
    assert (found[0] == -1).all()
    assert (found[1, 1] == 1).all()
    # Channel by channel, each row by row.
    assert found[1, 2].tolist() == pytest.approx([51 / 127.5 - 1] + [-1] * 11)


def test_literal_patches() -> None:
    pixels = torch.randint(0, 256, (2, 3, 6, 6), dtype=torch.uint8)
    found = Patches(6, 3, 8).pieces(pixels)
    for number in range(4):
        row, column = divmod(number, 2)
        part = pixels[:, :, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3].float() / 127.5 - 1
        assert torch.equal(found[:, number], part.flatten(1))


def test_a_picture_has_a_first_token_and_places() -> None:
    torch.manual_seed(0)
    net = Patches(4, 2, 8)
    grey = torch.full((1, 3, 4, 4), 90, dtype=torch.uint8)
    found = net(grey)
    assert found.shape == (1, 5, 8)
    assert torch.allclose(found[0, 0], net.place[0])
    # Four equal patches differ by their places.
    bare = found[0, 1:] - net.place[1:]
    assert torch.allclose(bare, bare[:1].expand(4, 8), atol=1e-6)
    assert not torch.allclose(found[0, 1], found[0, 2])
    assert net.padding(grey) is None
    assert net(grey[:0]).shape == (0, 5, 8)


@pytest.mark.parametrize(("size", "patch"), [(32, 5), (32, 0), (0, 1)])
def test_patches_must_fill_the_picture(size: int, patch: int) -> None:
    with pytest.raises(BadParameter, match="cannot be cut into patches"):
        Patches(size, patch, 8)


def test_padding_and_what_lies_between_the_special_pieces() -> None:
    net = Words(10, 6, 8)
    padding = net.padding(TEXTS)
    assert padding is not None
    assert (~padding).sum(dim=1).tolist() == [4, 3, 6, 2]
    inner = net.inner(TEXTS)
    assert [TEXTS[row][inner[row]].tolist() for row in range(4)] == [[7, 8], [9], [5, 6, 7, 8], []]
    # A tokenizer whose first piece has the number of padding.
    zero = net.padding(torch.tensor([[0, 3, 2, 0, 0, 0]]))
    assert zero is not None
    assert zero[0].tolist() == [False, False, False, True, True, True]


def test_words_have_places() -> None:
    torch.manual_seed(0)
    net = Words(10, 6, 8)
    same = net(torch.full((1, 6), 4))
    assert not torch.allclose(same[0, 1], same[0, 2])
    assert torch.allclose(same, net.norm(net.embed.weight[4] + net.place)[None], atol=1e-6)


def test_words_of_another_kind_are_refused() -> None:
    net = Words(10, 6, 8)
    with pytest.raises(BadParameter, match="reads 6 word pieces a text, not 5"):
        net(TEXTS[:, :5])
    with pytest.raises(BadParameter, match="knows 10 word pieces, but a text has number 10"):
        net(TEXTS + 1 + (TEXTS == 8) * 1)
    with pytest.raises(BadParameter, match="at least 1"):
        Words(0, 6, 8)


def test_features_become_tokens_by_one_linear_map() -> None:
    torch.manual_seed(0)
    net, rows = FeatureTokens(5, 3, 4), torch.randn(2, 5)
    found = net(rows)
    expected = rows @ net.split.weight.T + net.split.bias
    assert torch.allclose(found[1, 2], expected[1, 8:], atol=1e-6)
    assert net.padding(rows) is None


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_a_transformer_does_not_see_padding(norm_first: bool, training: bool) -> None:
    torch.manual_seed(0)
    net = Transformer(16, 2, 2, norm_first=norm_first).train(training)
    x = torch.randn(2, 5, 16)
    padding = torch.tensor([[False] * 3 + [True] * 2, [False] * 5])
    other = x.clone()
    other[0, 3:] = 7
    with torch.no_grad():
        found, again = net(x, padding), net(other, padding)
    assert torch.allclose(found[0, :3], again[0, :3], atol=1e-5)
    assert not torch.allclose(net(x)[0, :3], found[0, :3], atol=1e-3)
    assert net(x[:0], padding[:0]).shape == (0, 5, 16)


def test_the_blocks_start_with_weights_of_their_own() -> None:
    first, second = Transformer(16, 2, 2, norm_first=True).blocks
    assert not torch.equal(next(first.parameters()), next(second.parameters()))
