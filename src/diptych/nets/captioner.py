"""The captioner's network: an encoder of the cells of a picture, and a decoder of word pieces."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from math import sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.errors import BadParameter
from diptych.optional import optional

__all__ = ["BEGIN", "END", "PAD", "UNKNOWN", "CaptionNet", "exported"]

PAD, BEGIN, END, UNKNOWN = range(4)
"""Numbers of what is no word: filling, what a caption begins and ends with, and a rare word."""


class CaptionNet(nn.Module):
    """Says what a picture shows, piece by piece, each from the picture and the pieces before.

    What a picture comes to for the decoder (`look`) is computed once; its captions, w of them side by side,
    ask it. A caption's own past is kept in the same way, so that a further piece (`step`) costs one position.

    Args:
        pieces: Word pieces, the four that are no word included.
        features: Numbers of a cell.
        cells: Of a picture.
        width, layers, heads: Of the decoder; one block of the same width lets the cells see each other first.
        length: Pieces of a caption, at most.
        dropout: In every block.

    Raises:
        BadParameter: heads that do not divide the width.
    """

    def __init__(
        self,
        *,
        pieces: int,
        features: int = 1280,
        cells: int = 49,
        width: int = 256,
        layers: int = 4,
        heads: int = 4,
        length: int = 24,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if width % heads:
            raise BadParameter(
                f"heads of the captioner must divide its width, {heads} does not {width}", argument="settings"
            )
        self.layers, self.heads, self.length = layers, heads, length
        self.cell, self.cell_norm = nn.Linear(features, width), nn.LayerNorm(width)
        self.cell_place = nn.Parameter(0.02 * torch.randn(cells, width))
        self.see, self.seen_norm = _See(width, heads, dropout), nn.LayerNorm(width)
        self.memory = nn.Linear(width, 2 * layers * width)
        self.piece, self.place = nn.Embedding(pieces, width), nn.Embedding(length, width)
        nn.init.normal_(self.piece.weight, std=1 / sqrt(width))
        nn.init.normal_(self.place.weight, std=0.02)
        self.blocks = nn.ModuleList(_Block(width, heads, dropout) for _ in range(layers))
        self.last_norm, self.drop = nn.LayerNorm(width), nn.Dropout(dropout)
        self.bias = nn.Parameter(torch.zeros(pieces))

    def look(self, grid: Tensor) -> Tensor:
        """Keys and values (2 layers, b, heads, cells, d) of pictures (b, cells, features)."""
        cells = self.drop(self.cell_norm(self.cell(grid)) + self.cell_place)
        told: Tensor = self.memory(self.seen_norm(self.see(cells)))
        told = told.reshape(told.size(0), told.size(1), 2 * self.layers, self.heads, -1)
        return told.permute(2, 0, 3, 1, 4)

    def states(self, pieces: Tensor, memory: Tensor) -> Tensor:
        """States (b, w, t, width) after each of the pieces (b, w, t), none of which sees a later one."""
        past = memory.new_zeros(0)
        x = self.drop(
            self.piece(pieces) * sqrt(self.piece.embedding_dim) + self.place.weight[: pieces.shape[2]]
        )
        for at, block in enumerate(self.blocks):
            x, _ = block(x, past, past, memory[2 * at], memory[2 * at + 1])
        found: Tensor = self.last_norm(x)
        return found

    def logits(self, states: Tensor) -> Tensor:
        """Of the next piece (..., pieces)."""
        return functional.linear(states, self.piece.weight, self.bias)

    def step(self, piece: Tensor, place: Tensor, past: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (b, w, pieces) after one more piece, and the past with it.

        Args:
            piece: (b, w).
            place: (1,), how many pieces came before.
            past: (2 layers, b, w, heads, t, width/heads), with t = 0 at the beginning.
            memory: See `look`.
        """
        x = self.piece(piece[:, :, None]) * sqrt(self.piece.embedding_dim) + self.place(place)
        kept = []
        for at, block in enumerate(self.blocks):
            x, pair = block(x, past[2 * at], past[2 * at + 1], memory[2 * at], memory[2 * at + 1])
            kept += pair
        return self.logits(self.last_norm(x[:, :, 0])), torch.stack(kept)

    def loss(self, captions: Tensor, memory: Tensor, *, smoothing: float = 0.1) -> Tensor:
        """Mean cross-entropy of the pieces of captions (b, w, t); filling and rare words do not count."""
        states, wanted = self.states(captions[..., :-1], memory), captions[..., 1:]
        told = (wanted != PAD) & (wanted != UNKNOWN)
        return functional.cross_entropy(self.logits(states[told]), wanted[told], label_smoothing=smoothing)

    def log_probabilities(self, captions: Tensor, memory: Tensor) -> Tensor:
        """Of the pieces of captions (b, w, t) after the first, (b, w, t - 1); 0 where there is none."""
        states, wanted = self.states(captions[..., :-1], memory), captions[..., 1:]
        told = wanted != PAD
        found = functional.log_softmax(self.logits(states[told]).float(), dim=-1)
        chosen = found.gather(1, wanted[told][:, None])[:, 0]
        return chosen.new_zeros(wanted.shape).masked_scatter(told, chosen)

    @torch.no_grad()
    def sample(self, memory: Tensor, count: int) -> Tensor:
        """Captions (b, count, length + 1) drawn piece by piece, which begin with `BEGIN`."""
        shown, heads, each = memory.shape[1], self.heads, memory.shape[4]
        past = memory.new_zeros(2 * self.layers, shown, count, heads, 0, each)
        found = torch.full((shown, count, self.length + 1), PAD, device=memory.device)
        found[..., 0] = BEGIN
        over = torch.zeros(shown, count, dtype=torch.bool, device=memory.device)
        for at in range(self.length):
            place = torch.tensor([at], device=memory.device)
            logits, past = self.step(found[..., at], place, past, memory)
            logits[..., [PAD, BEGIN, UNKNOWN]] = -torch.inf
            drawn = torch.multinomial(logits.float().softmax(-1).flatten(0, 1), 1).view(shown, count)
            found[..., at + 1] = drawn.masked_fill(over, PAD)
            over |= drawn == END
            if bool(over.all()):
                break
        return found


class _See(nn.Module):
    """A block in which the cells of a picture see each other (torch's own cannot be exported)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.all, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(b, cells, width) to the same."""
        every = self.all(self.norms[0](x)).reshape(x.size(0), x.size(1), self.heads, -1)
        told = functional.scaled_dot_product_attention(*every.transpose(1, 2).chunk(3, dim=-1))
        x = x + self.drop(self.out(told.transpose(1, 2).flatten(2)))
        found: Tensor = x + self.drop(self.outer(functional.gelu(self.inner(self.norms[1](x)))))
        return found


class _Block(nn.Module):
    """A block of the decoder: the caption so far, the picture, and a perceptron; all normalised first."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.own, self.own_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.ask, self.ask_out = nn.Linear(width, width), nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, past_keys: Tensor, past_values: Tensor, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """States (b, w, t, width), and keys and values of the caption, (b, w, heads, t, width/heads) each.

        Args:
            x: (b, w, t, width); with a past, t is 1.
            past_keys, past_values: Of the pieces before; empty of no dimension where x is the whole caption.
            keys, values: Of the picture, (b, heads, cells, width/heads).
        """
        b, w, t = (
            x.size(0),
            x.size(1),
            x.size(2),
        )  # sizes, and not numbers, so that what is exported takes any
        mine = self.own(self.norms[0](x)).reshape(b, w, t, self.heads, -1)
        query, key, value = mine.transpose(2, 3).chunk(3, dim=-1)
        whole = past_keys.dim() == 1
        if not whole:
            key, value = torch.cat([past_keys, key], dim=3), torch.cat([past_values, value], dim=3)
        told = functional.scaled_dot_product_attention(query, key, value, is_causal=whole)
        x = x + self.drop(self.own_out(told.transpose(2, 3).flatten(3)))
        asked = self.ask(self.norms[1](x)).reshape(b, w * t, self.heads, -1).transpose(1, 2)
        told = functional.scaled_dot_product_attention(asked, keys, values)
        told = told.transpose(1, 2).reshape(b, w, t, -1)
        x = x + self.drop(self.ask_out(told))
        x = x + self.drop(self.outer(functional.gelu(self.inner(self.norms[2](x)))))
        return x, [key, value]


def exported(net: CaptionNet, facts: Mapping[str, str]) -> dict[str, bytes]:
    """The network as two ONNX graphs, ``look`` and ``say``, whose matrices are stored in 8 bits.

    They are computed with in single precision, as 8-bit arithmetic would make a caption depend on others.

    Args:
        net: What to export.
        facts: Written into ``say``, for whoever runs it.

    Raises:
        MissingExtra: the package onnx is not installed.
    """
    optional("onnx", "writing a captioner", "train")
    net = net.eval()
    grid = torch.zeros(2, *net.cell_place.shape[:1], net.cell.in_features)
    with torch.no_grad():
        memory = net.look(grid)
        past = memory.new_zeros(2 * net.layers, 2, 3, net.heads, 1, memory.shape[4])
        inputs = torch.zeros(2, 3, dtype=torch.long), torch.zeros(1, dtype=torch.long), past, memory
        look = _graph(_Call(net, "look"), (grid,), {"grid": {0: "b"}, "memory": {1: "b"}}, outputs=1)
        says = {
            "piece": {0: "b", 1: "w"},
            "place": {},
            "past": {1: "b", 2: "w", 4: "t"},
            "memory": {1: "b"},
            "logits": {0: "b", 1: "w"},
            "kept": {1: "b", 2: "w", 4: "t1"},
        }
        say = _graph(_Call(net, "step"), inputs, says, outputs=2)
    return {"look": _compact(look, {}), "say": _compact(say, facts)}


class _Call(nn.Module):
    """One method of a network as a module, which is what can be exported."""

    def __init__(self, net: CaptionNet, method: str) -> None:
        super().__init__()
        self.net, self.method = net, method

    def forward(self, *inputs: Tensor) -> Any:
        return getattr(self.net, self.method)(*inputs)


def _graph(module: nn.Module, inputs: tuple[Tensor, ...], sides: Mapping[str, Any], *, outputs: int) -> bytes:
    names, content = list(sides), io.BytesIO()
    with warnings.catch_warnings():
        # That the exporter is the older one; see below.
        warnings.simplefilter("ignore", DeprecationWarning)
        export: Any = torch.onnx.export  # which takes an open file, too
        export(
            module.eval(),
            inputs,
            content,
            input_names=names[:-outputs],
            output_names=names[-outputs:],
            dynamic_axes=dict(sides),
            opset_version=17,
            dynamo=False,  # the other exporter needs a further package and a file for weights
            do_constant_folding=False,  # which would store the table of pieces twice, once turned around
        )
    return content.getvalue()


def _compact(graph: bytes, facts: Mapping[str, str]) -> bytes:
    """Matrices in 8 bits, with nodes that bring them back, which the runtime folds when it loads."""
    onnx = optional("onnx", "writing a captioner", "train")
    model = onnx.load_from_string(graph)
    nodes = []
    for weight in list(model.graph.initializer):  # which grows
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.ndim != 2:
            continue
        scale = np.abs(values).max(axis=1, keepdims=True) / 127
        scale[scale == 0] = 1
        small, name = np.round(values / scale).astype(np.int8), weight.name
        weight.CopyFrom(onnx.numpy_helper.from_array(small, f"{name}:8"))
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(scale.astype(np.float32), f"{name}:scale")
        )
        nodes += [
            onnx.helper.make_node("Cast", [f"{name}:8"], [f"{name}:whole"], to=onnx.TensorProto.FLOAT),
            onnx.helper.make_node("Mul", [f"{name}:whole", f"{name}:scale"], [name]),
        ]
    after = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes + after)
    onnx.helper.set_model_props(model, dict(facts))
    model.producer_name = "diptych"
    onnx.checker.check_model(model)
    found: bytes = model.SerializeToString()
    return found
