"""The transformers that read patches and words: ViT's and BERT's, from drawn weights."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["Transformer"]


class Transformer(nn.Module):
    """Blocks one after another, each with weights of its own (torch's encoder starts them all alike).

    Their weights are drawn as torch does, whose deviations follow the width: at 768 they are the usual 0.02,
    with which a narrow network would hardly begin to learn.

    Args:
        width: Of a token.
        layers, heads: Blocks, and heads of each.
        norm_first: True normalises before attention and perceptron, and once at the end (ViT); False after
            each (BERT).
        dropout: In every block.
    """

    def __init__(
        self, width: int, layers: int, heads: int, *, norm_first: bool, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout, activation="gelu", batch_first=True, norm_first=norm_first
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width) if norm_first else nn.Identity()

    def forward(self, x: Tensor, src_key_padding_mask: Tensor | None = None) -> Tensor:
        """(b, n, width) to the same; called as torch's own encoder is.

        Args:
            x: Tokens.
            src_key_padding_mask: (b, n), True where there is none.
        """
        if len(x) == 0:  # torch cannot reshape the mask of nothing
            src_key_padding_mask = None
        for block in self.blocks:
            x = block(x, src_key_padding_mask=src_key_padding_mask)
        found: Tensor = self.norm(x)
        return found
