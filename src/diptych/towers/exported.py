"""Runs a published ONNX dual encoder, without torch: CLIP, SigLIP, SigLIP 2 and what open_clip exports.

Everything that the towers take is read from the checkpoint's files; where those leave open whether something
matters (whether padding changes a text, whether pictures of one batch change each other), it is tried.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats
from diptych.errors import BadData, BadParameter
from diptych.media.pictures import batches, open_picture
from diptych.towers import described, wording
from diptych.towers.described import Patches, Preparation
from diptych.towers.graphs import Graph
from diptych.towers.layouts import Layout, files_in, layout
from diptych.towers.wording import Words

__all__ = ["ExportedTowers"]

_KINDS = ("clip", "siglip", "siglip2")
_PREPROCESSING = 1  # raise it when the same picture or text would give other numbers
_NEAR = 1e-4  # between unit vectors that are the same but for rounding
_TRIAL = "a photo of two dogs"
_PICTURES = ("pixel_values", "image", "input")
_TEXTS = ("input_ids", "text", "input")
_MASK, _PATCH_MASK, _SHAPES = "attention_mask", "pixel_attention_mask", "spatial_shapes"

Feed: TypeAlias = Mapping[str, NDArray[Any]]

_log = logging.getLogger(__name__)


class ExportedTowers:
    """An image tower and a text tower.

    Args:
        folder: A checkpoint; see `diptych.towers.layouts`.
        form: One of `diptych.towers.layouts.FORMS`, or "" for the first that is there.
        device: "auto" or "cpu".
        batch_size: Pictures or texts that go through a tower at once.
        threads: Of one run; None leaves it to ONNX Runtime (every core).

    Raises:
        BadData: it is no dual encoder, not whole, its files contradict each other, or this ONNX Runtime
            cannot run it.
        MissingData: a file is not there that says how pictures or texts are prepared.
        BadParameter: a value that is not allowed.
    """

    def __init__(
        self, folder: Path, *, form: str = "", device: str, batch_size: int, threads: int | None = None
    ) -> None:
        if batch_size < 1:
            raise BadParameter(f"batch_size must be at least 1, not {batch_size}")
        if device not in ("auto", "cpu"):
            raise BadParameter(f"ONNX checkpoints run on the processor; use auto or cpu, not {device!r}")
        self.batch_size, self.folder = batch_size, folder
        place = layout(files_in(folder), form, str(folder))
        self.kind, words, preparation = _described(folder, place)
        graph = Graph(folder / place.image, threads)
        self._tokenizer, self._beside = folder / place.tokenizer, place.beside
        if place.joint:
            self._pictures = _ImageSide(graph, preparation, self.kind, lambda: self._texts.trial)
            self._texts = _TextSide(graph, words, self.kind, lambda: self._pictures.blank)
        else:
            self._pictures = _ImageSide(graph, preparation, self.kind)
            self._texts = _TextSide(Graph(folder / place.text, threads), words, self.kind)
        self._warned = False

    @property
    def context(self) -> int:
        """Tokens of a text at most."""
        return self._texts.words.context

    @property
    def image_size(self) -> int:
        """Pixels of the shorter side below which a decoder must not scale pictures down."""
        return self._pictures.preparation.image_size

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return self._texts.dim

    def digest(self, **settings: Any) -> str:
        """24 hex digits over both graphs and their weights, tokenizer, preparation and what else is given."""
        graphs = dict.fromkeys((self._pictures.graph, self._texts.graph))
        own = {
            "graphs": [graph.digest() for graph in graphs],
            "tokenizer": hashlib.sha256(self._tokenizer.read_bytes()).hexdigest(),
            "image": self._pictures.said.meaning(),
            "text": self._texts.words.meaning(),
            "preprocessing": _PREPROCESSING,
        }
        said = json.dumps({**own, **settings}, sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:24]

    def save(self, folder: Path) -> None:
        """Copy the checkpoint's files; the folder is made if it is not there."""
        graphs = dict.fromkeys((self._pictures.graph, self._texts.graph))
        weights = [path for graph in graphs for path in (graph.path, *graph.beside)]
        for path in (*(self.folder / name for name in self._beside), *weights):
            place = folder / path.relative_to(self.folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)

    def prepare_image(self, picture: Any) -> NDArray[Any]:
        """What the image tower takes of one picture.

        (3, h, w) float32; (h, w, 3) uint8 where the graph scales values itself; (patches + 1, d) float32 for
        SigLIP 2 of flexible resolution, as `diptych.towers.described.Patches` has it.

        Raises:
            ImageError: the picture cannot be read.
        """
        return self._pictures.preparation(open_picture(picture, size=self.image_size))

    def encode_image(self, images: Sequence[Any]) -> Floats:
        """Unit vectors (n, d) float32 of pictures, or of results of `prepare_image`.

        Raises:
            ImageError: a picture cannot be read.
            BadData: the image tower cannot be run, or its vectors have other dimensions than those of texts.
        """
        found = [np.empty((0, self.dim), np.float32)]
        for ready in batches(images, self):
            vectors = self._pictures.vectors(ready)
            if vectors.shape[1] != self.dim:
                raise BadData(
                    f"{self.folder} is no dual encoder: its picture tower gives {vectors.shape[1]} "
                    f"dimensions, its text tower {self.dim}; both must end in one space"
                )
            found.append(vectors)
        return np.concatenate(found)

    def encode_text(self, texts: Sequence[str]) -> Floats:
        """Unit vectors (n, d) float32 of texts; the first that is longer than the context is warned of.

        Texts of equal length share a batch, so that none is filled up unless the tower was trained so.
        """
        ids, lengths = self._texts.words.ids(texts)
        self._warn_of_cuts(ids, lengths)
        found = np.empty((len(texts), self.dim), np.float32)
        by_length: dict[int, list[int]] = {}
        for row, one in enumerate(ids):
            by_length.setdefault(self._texts.length(one), []).append(row)
        for length, rows in by_length.items():
            for start in range(0, len(rows), self.batch_size):
                part = rows[start : start + self.batch_size]
                found[part] = self._texts.vectors([ids[row] for row in part], length)
        return found

    def _warn_of_cuts(self, ids: list[list[int]], lengths: list[int]) -> None:
        longest = next((row for row, length in enumerate(lengths) if length > self.context), None)
        if self._warned or longest is None:
            return
        self._warned = True
        _log.warning(
            "a text of %d tokens is cut to %d, after %r; further ones are cut without a word",
            lengths[longest],
            self.context,
            self._texts.words.shown(ids[longest])[-40:],
        )


class _ImageSide:
    """The image tower.

    Args:
        graph: Holds it.
        said: How the files say that pictures are prepared.
        kind: Of the model.
        fixed: Gives what the graph wants beside pictures, where it holds both towers.
    """

    def __init__(
        self, graph: Graph, said: Preparation | Patches, kind: str, fixed: Callable[[], Feed] = dict
    ) -> None:
        self.graph, self.said, self.kind, self._fixed = graph, said, kind, fixed

    @cached_property
    def preparation(self) -> Preparation | Patches:
        """Of pictures; a graph that takes uint8 scales values itself."""
        if isinstance(self.said, Patches):
            return self.said
        kind, shape = self.graph.inputs[self._input]
        raw = kind is np.uint8
        sides = shape[1:3] if raw else shape[2:4]
        own = self.said.shape
        if any(side not in (None, known) for side, known in zip(sides, own, strict=False)):
            raise BadData(
                f"{self.graph.path} takes pictures of {' x '.join(map(str, sides))} pixels, but the file "
                f"that says how to prepare them makes them {own[0]} x {own[1]}; fetch both from one place"
            )
        return replace(self.said, scale=None) if raw else self.said

    def vectors(self, ready: NDArray[Any]) -> Floats:
        """Unit vectors (n, d) of prepared pictures."""
        feed: Feed = {self._input: ready}
        if isinstance(self.preparation, Patches):
            shapes = ready[:, -1, :2]
            mask = np.arange(ready.shape[1] - 1)[None] < shapes.prod(axis=1, keepdims=True)
            feed = {self._input: ready[:, :-1], _PATCH_MASK: mask, _SHAPES: shapes}
        feed = {name: value for name, value in feed.items() if name in self.graph.inputs}
        return self.graph.vectors(self._output, feed, self._fixed())

    @cached_property
    def blank(self) -> Feed:
        """A black picture, for a graph that wants one with each batch of texts."""
        from PIL import Image

        return {self._input: self.preparation(Image.new("RGB", (64, 64)))[None]}

    @cached_property
    def _input(self) -> str:
        return _input(self.graph, _PICTURES, "pictures")

    @cached_property
    def _output(self) -> str:
        return _output(self.graph, "image_embeds", self.kind)


class _TextSide:
    """The text tower.

    Args:
        graph: Holds it.
        words: Makes numbers of texts.
        kind: Of the model.
        fixed: Gives what the graph wants beside texts, where it holds both towers.

    Raises:
        BadData: the graph cannot be run, or does not know all numbers that `words` makes.
    """

    def __init__(self, graph: Graph, words: Words, kind: str, fixed: Callable[[], Feed] = dict) -> None:
        self.graph, self.words, self.kind, self._fixed = graph, words, kind, fixed
        self._input = _input(graph, _TEXTS, "texts")
        self._output = _output(graph, "text_embeds", kind)
        side = graph.inputs[self._input][1][1:2]
        if side and side[0] not in (None, words.context):
            raise BadData(
                f"{graph.path} takes texts of {side[0]} tokens, but the files beside it say {words.context}; "
                "fetch all from one place"
            )
        self._filled = words.padded or side[0] is not None
        trial = words.ids([_TRIAL])[0][0]
        whole = self.vectors([trial], words.context)
        self.dim = int(whole.shape[1])
        if not self._filled:
            # A tower that looks ahead, or whose padding is no end token, was trained with its padding.
            short = self.vectors([trial], len(trial))
            self._filled = bool(np.abs(whole - short).max() > _NEAR)
        self._check_vocabulary(trial)

    def length(self, ids: list[int]) -> int:
        """Tokens that a text is given the tower with."""
        return self.words.context if self._filled else len(ids)

    def vectors(self, ids: list[list[int]], length: int) -> Floats:
        """Unit vectors (n, d) of texts, filled up to so many tokens."""
        return self.graph.vectors(self._output, self._feed(ids, length), self._fixed())

    @cached_property
    def trial(self) -> Feed:
        """A text, for a graph that wants one with each batch of pictures."""
        ids = self.words.ids([_TRIAL])[0][0]
        return self._feed([ids], self.length(ids))

    def _feed(self, ids: list[list[int]], length: int) -> Feed:
        both = np.array([self.words.filled(one, length) for one in ids])
        # SigLIP was trained without a mask; where the graph wants one nevertheless, it must hide nothing.
        mask = np.ones_like(both[:, 1]) if self.kind.startswith("siglip") else both[:, 1]
        feed = {self._input: both[:, 0], _MASK: mask}
        return {name: value for name, value in feed.items() if name in self.graph.inputs}

    def _check_vocabulary(self, trial: list[int]) -> None:
        """The tower looks up the largest number that the tokenizer makes, or fails."""
        largest = self.words.largest
        try:
            self.vectors([[*trial[:-1], largest]], self.length(trial))
        except BadData as error:
            raise BadData(
                f"the tokenizer beside {self.graph.path} is not this model's: the text tower does not know "
                f"its token {largest}; fetch both from one place"
            ) from error


def _described(folder: Path, place: Layout) -> tuple[str, Words, Preparation | Patches]:
    """Kind of model, and how its texts and pictures are prepared."""
    config = described.settings(folder / "config.json", "what the model is")
    if place.immich:
        words = wording.of_open_clip(folder / "textual", config)
        return "open_clip", words, described.of_open_clip(folder / "visual" / "preprocess_cfg.json")
    kind = config.get("model_type")
    if kind not in _KINDS:
        raise BadData(
            f"{folder} holds a model of type {kind!r}; dual encoders that run from ONNX here: "
            f"{', '.join(_KINDS)}"
        )
    words = wording.of_transformers(folder, config)
    return str(kind), words, described.of_transformers(folder / "preprocessor_config.json")


def _input(graph: Graph, names: Sequence[str], what: str) -> str:
    """The name under which a graph takes pictures or texts."""
    unknown = sorted(set(graph.inputs) - {*_PICTURES, *_TEXTS, _MASK, _PATCH_MASK, _SHAPES})
    found = next((name for name in names if name in graph.inputs), None)
    if found is None or unknown:
        raise BadData(
            f"{graph.path} is no tower of {what}: it takes {', '.join(graph.inputs)}; known are "
            f"{', '.join(dict.fromkeys((*names, _MASK, _PATCH_MASK, _SHAPES)))}"
        )
    return found


def _output(graph: Graph, named: str, kind: str) -> str:
    """The name of a graph's vectors in the space of both sides."""
    names = [named, "embedding", *(["pooler_output"] if kind.startswith("siglip") else [])]
    if kind == "open_clip" and len(graph.outputs) == 1:
        return next(iter(graph.outputs))
    found = next((name for name in names if name in graph.outputs), None)
    if found is None:
        raise BadData(
            f"{graph.path} is no tower of a dual encoder: it gives {', '.join(graph.outputs)}, but not "
            f"{' or '.join(names)}; export it with its projection"
        )
    return found
