r"""CAPTIONER: a small captioner on the packaged image tower (the Diptych maintainers, 2026).

Paper: none; the decoder is Vaswani et al.'s (NeurIPS 2017), the reward that of Rennie et al. (CVPR 2017)
Code: here
Tables: none of the survey's
Inputs: pictures and English texts
Learns from: pairs
Structure: apart
Representation: real-valued

A small decoder says what a picture shows, from the cells of the packaged image tower, in pieces of the
packaged tokeniser. Two graphs in ONNX Runtime and a beam search: no torch, and no network. One comes with
Diptych; ``captioner@FOLDER`` is one that was trained elsewhere.

`fit` learns on captioned photographs: first to say each next piece (cross-entropy), then to please CIDEr-D
(self-critical, five captions drawn of a picture, each judged against the mean of the others). As a retrieval
system it is a picture's caption, read by the packaged text tower.

Equations:
- first, to say each next piece: \mathcal{L} = -\frac{1}{|W|} \sum_{w \in W} \left(
    0.9 \log p(w) + \frac{0.1}{K} \sum_k \log p(k) \right)
- then, to please CIDEr-D: \mathcal{L} = -\frac{1}{5b} \sum_i \sum_{k=1}^5
    (r_{ik} - \bar{r}_{ik}) \log p(c_{ik} \mid x_i)
- which caption the beam search returns: c(x) = \operatorname{argmax}_c \frac{\log p(c \mid x)}{|c|^\alpha}
- the score, as a retrieval system: s(x, y) = \cos(g(c(x)), g(y))
where $p(w)$ is the probability of a piece after those before it, $K$ counts the pieces, $r_{ik}$ is CIDEr-D
of the caption $c_{ik}$ that was drawn, $\bar{r}_{ik}$ the mean of the other four of its picture, $|c|$ counts
pieces and $g$ is the packaged text tower.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import re
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from math import ceil
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from diptych import catalogue, files
from diptych.core import Floats
from diptych.errors import BadParameter, MissingData, NoReply, UsageError
from diptych.llm import Abilities, Prompt, Reply, Usage
from diptych.media.pictures import batches
from diptych.metrics.captions import Cider
from diptych.optional import optional
from diptych.printable import type_of
from diptych.provenance import commit, versions
from diptych.towers.onnx import GRID_MOST, IMAGE_SIZE, WEIGHTS, GridTower, TextTower, prepare_image
from diptych.towers.speaker import FACTS, Said, Speaker

if TYPE_CHECKING:  # captioning needs neither data sets nor torch
    from torch import Tensor

    from diptych.data.base import Split
    from diptych.nets.captioner import CaptionNet
    from diptych.training.trainer import Batch, Trainer

__all__ = ["Captioner"]

VARIANTS: Mapping[str, Mapping[str, Any]] = {"default": {}}
RECIPES: Mapping[str, Mapping[str, Any]] = {}

_WEIGHTS = Path(__file__).parent / "weights"
_GRAPHS = ("look", "say")
_VERSION = 1  # of everything that is not in a file: preparation, search, wording

_EACH = 5  # captions of a picture that are learned from at a time
_LEAST_IMAGES = 20  # to learn from
_STEP = 255 / GRID_MOST  # cells are kept in 8 bits while it learns
_CELLS = (1280, 7, 7)

_log = logging.getLogger(__name__)


class Captioner:
    """Says in an English sentence what a picture shows.

    Args:
        beam: Captions that are followed at a time.
        length_power: Log-probabilities are divided by the number of pieces to this power; 0 prefers short
            captions.
        threads: Threads of one run; None for every core.
        width, layers, heads: Of the decoder that `fit` trains.
        length: Word pieces of a caption of `fit`, its end included.
        least: Captions a word piece must occur in, to be learned.
        dropout: Of `fit`.
        epochs: Passes of `fit` over the pictures with cross-entropy.
        reward_epochs: Passes after these with CIDEr-D as reward.
        batch_size: Pictures in a batch of `fit`, each with up to five captions.
        lr, reward_lr: Learning rates of both, at their highest.

    Raises:
        BadParameter: a number that is not positive.
    """

    similarity = "cosine"
    image_size = IMAGE_SIZE
    name = "captioner"
    abilities = Abilities(pictures=1, chat=False, local=True)

    def __init__(
        self,
        *,
        beam: int = 3,
        length_power: float = 0.7,
        threads: int | None = None,
        width: int = 256,
        layers: int = 3,
        heads: int = 4,
        length: int = 18,
        least: int = 4,
        dropout: float = 0.1,
        epochs: int = 6,
        reward_epochs: int = 1,
        batch_size: int = 32,
        lr: float = 6e-4,
        reward_lr: float = 5e-5,
    ) -> None:
        for name, value in {
            "beam": beam, "width": width, "layers": layers, "heads": heads, "length": length, "least": least,
            "epochs": epochs, "batch_size": batch_size,
        }.items():  # fmt: skip
            if value < 1:
                raise BadParameter(f"{name} of captioner must be at least 1, not {value}")
        self.hyperparameters: dict[str, Any] = {
            "beam": beam, "length_power": length_power, "width": width, "layers": layers, "heads": heads,
            "length": length, "least": least, "dropout": dropout, "epochs": epochs,
            "reward_epochs": reward_epochs, "batch_size": batch_size, "lr": lr, "reward_lr": reward_lr,
        }  # fmt: skip
        self.beam, self.length_power, self.threads = beam, length_power, threads
        self.batch_size = 16  # pictures that go through the tower at once
        self._learned: Mapping[str, bytes] = {}
        self._facts: dict[str, Any] = {}

    @classmethod
    def from_weights(cls, weights: str, **parameters: Any) -> Self:
        """The captioner that `save` wrote into a folder.

        Raises:
            MissingData: it is not there.
            BadData: its files are damaged.
        """
        folder = Path(weights).expanduser()
        found: Self = catalogue.restored(cls, folder / "card.json", **parameters)
        found._learned = _graphs(folder)
        return found

    def save(self, folder: Path | str, **facts: Any) -> None:
        """Write both graphs and their card.

        Args:
            folder: Made if it is not there.
            facts: What else the card should hold and JSON can (data, command).
        """
        for name, graph in self._bytes().items():
            files.write(Path(folder) / f"{name}.onnx", graph)
        card = Path(folder) / "card.json"
        catalogue.write(self, card, versions=versions(), commit=commit(), **self._facts, **facts)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Changes whenever captions would."""
        digest = hashlib.sha256(f"{_VERSION} {self.beam} {self.length_power}".encode())
        for graph in self._bytes().values():
            digest.update(graph)
        return f"captioner:{digest.hexdigest()[:12]}"

    @staticmethod
    def prepare_image(picture: Any) -> NDArray[np.uint8]:
        """A picture as `captions` takes it; may run in other threads."""
        return prepare_image(picture)

    def captions(self, images: Sequence[Any]) -> list[str]:
        """A caption of each of n pictures, each as `open_picture` takes it or what `prepare_image` gave.

        Raises:
            UsageError: a single picture and no sequence of them.
            ImageError: one cannot be read.
        """
        return [said[0].text for said in self.said(images)]

    def said(self, images: Sequence[Any], count: int = 1) -> list[list[Said]]:
        """The likeliest captions of each picture, best first, with their log-probabilities.

        Args:
            images: As for `captions`.
            count: Captions of each, at most `beam`.

        Raises:
            UsageError, ImageError: as `captions`; or a number of captions that is not followed.
        """
        if isinstance(images, str | bytes | PathLike) or not hasattr(images, "__len__"):
            raise UsageError(
                f"pictures are given as a list, such as [Path('cat.jpg')], not as {type_of(images)}"
            )
        if not 1 <= count <= self.beam:
            raise UsageError(
                f"a picture gets 1 to {self.beam} captions, as many as are followed, not {count}"
            )
        found: list[list[Said]] = []
        for pictures in batches(images, self):
            found += self._speaker(
                self._tower(pictures), beam=self.beam, count=count, alpha=self.length_power
            )
        return found

    def reply(self, prompt: Prompt) -> Reply:
        """What the last picture of a prompt shows, whatever its words ask.

        Raises:
            NoReply: there is no picture.
        """
        if not prompt.pictures:
            raise NoReply(
                "the captioner describes pictures, and there is none in the prompt", reason="pictures"
            )
        started = time.monotonic()
        text = self.captions(prompt.pictures[-1:])[0]
        return Reply(text, usage=Usage(1, 0, len(text.split()), time.monotonic() - started))

    def encode_image(self, images: Sequence[Any]) -> Floats:
        """Unit vectors (n, 384) of the captions of pictures."""
        return self.encode_text(self.captions(images))

    def encode_text(self, texts: Sequence[str]) -> Floats:
        """Unit vectors (n, 384) of texts."""
        return self._text_tower(texts)

    @functools.cached_property
    def _tower(self) -> GridTower:
        return GridTower(self.threads)

    @functools.cached_property
    def _text_tower(self) -> TextTower:
        return TextTower(self.threads)

    @functools.cached_property
    def _speaker(self) -> Speaker:
        return Speaker(**self._bytes(), threads=self.threads)

    def _bytes(self) -> Mapping[str, bytes]:
        return self._learned or _graphs(_WEIGHTS)

    def check(self, split: Split) -> None:
        """Refuse what cannot be learned from.

        Raises:
            UsageError: features in place of pictures and texts, or too few captioned pictures.
        """
        if isinstance(split.image, np.ndarray) or isinstance(split.text, np.ndarray):
            raise UsageError(
                "the captioner learns from pictures and captions, which it reads by itself, and these data "
                "are features"
            )
        images = len(set(split.pairs[:, 0].tolist()))
        if images < _LEAST_IMAGES:
            raise UsageError(
                f"the captioner needs at least {_LEAST_IMAGES} captioned pictures to learn from, and there "
                f"are {images}"
            )

    def fit(self, split: Split, trainer: Trainer | None = None) -> Self:
        """Learn to say what pictures show.

        No epoch is chosen, as the learning rate falls to 0 in those that there are.

        Args:
            split: Pictures and their captions.
            trainer: Runs the loop; its seed draws everything. None takes ``Trainer()``.

        Raises:
            UsageError: see `check`.
            ImageError: a picture cannot be read; `diptych.train` leaves such out.
            MissingExtra: torch is not installed.
        """
        self.check(split)
        optional("torch", "training the captioner", "train")
        from diptych.training.trainer import Trainer

        with tempfile.TemporaryFile() as file:
            lesson = _Lesson.of(split, self._grids(split.image, file), self.hyperparameters)
            net = self._trained(lesson, trainer or Trainer())
        self._restore(net, lesson)
        self._facts = {"images": len(split.image), "captions": len(split.text), "pieces": len(lesson.pieces)}
        return self

    def _restore(self, net: CaptionNet, lesson: _Lesson) -> None:
        from diptych.nets.captioner import exported

        facts = {FACTS: " ".join(map(str, lesson.pieces)), "length": str(net.length)}
        self._learned = exported(net.cpu(), facts)
        for known in ("_speaker", "fingerprint"):
            self.__dict__.pop(known, None)

    def _trained(self, lesson: _Lesson, trainer: Trainer) -> CaptionNet:
        """The two stages, on cells that are there already."""
        import torch

        from diptych.nets.captioner import CaptionNet

        given = self.hyperparameters
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(trainer.seed)
            net = CaptionNet(
                pieces=len(lesson.pieces),
                features=_CELLS[0],
                cells=_CELLS[1] * _CELLS[2],
                **{key: given[key] for key in ("width", "layers", "heads", "length", "dropout")},
            )
        cider = lesson.cider()

        def likely(batch: Batch, memory: Tensor) -> dict[str, Tensor]:
            longest = int((batch.text.view(len(batch) * _EACH, -1) > 0).sum(dim=1).max())
            return {"words": net.loss(batch.text.view(len(batch), _EACH, -1)[..., :longest], memory)}

        def pleasing(batch: Batch, memory: Tensor) -> dict[str, Tensor]:
            drawn = net.sample(memory.detach(), _EACH)
            rewards = np.array(
                [
                    [cider([piece for piece in one if piece > 1], row) for one in some]
                    for some, row in zip(drawn.tolist(), batch.image_row.tolist(), strict=True)
                ]
            )
            # Each is judged against the mean of the others of its picture.
            better = (rewards - rewards.mean(axis=1, keepdims=True)) * _EACH / (_EACH - 1)
            chances = net.log_probabilities(drawn, memory).sum(dim=2)
            gain = torch.from_numpy(better).to(chances) * chances
            return {"reward": -gain.mean()}

        stages = [
            (likely, given["epochs"], given["lr"], 0.1),
            (pleasing, given["reward_epochs"], given["reward_lr"], 0.01),
        ]
        for objective, epochs, rate, warm in stages:
            if not epochs:
                continue
            optimizer = torch.optim.AdamW(net.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=1e-2)
            steps = epochs * ceil(len(lesson.split.pairs) / given["batch_size"])
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimizer, rate, total_steps=steps + 1, pct_start=warm
            )
            for _ in trainer.epochs(epochs, keep=(net, optimizer, schedule), validate=False):
                for batch in trainer.batches(lesson.split, given["batch_size"]):
                    trainer.step(optimizer, objective(batch, net.look(_cells(batch.image))))
                    schedule.step()
        return net

    def _grids(self, images: Any, file: Any) -> NDArray[np.uint8]:
        """The cells (n, 1280, 7, 7) of pictures, in 8 bits, kept in a file."""
        found = np.memmap(file, np.uint8, "w+", shape=(len(images), *_CELLS))
        done = 0
        for pictures in batches(images, self):
            found[done : done + len(pictures)] = np.round(self._tower(pictures) * _STEP)
            done += len(pictures)
            if done % (50 * self.batch_size) == 0:
                _log.info("looked at %d of %d pictures", done, len(images))
        return found


class _Lesson:
    """What is learned from: the cells of pictures, each with up to five captions at a time.

    Args:
        split: Cells, and rows of captions one after another; a picture of more captions has several rows.
        pieces: Number of each word piece in the packaged tokeniser.
    """

    def __init__(self, split: Split, pieces: Sequence[int]) -> None:
        self.split, self.pieces = split, pieces

    @classmethod
    def of(cls, split: Split, grids: NDArray[Any], given: Mapping[str, Any]) -> Self:
        """Of a split whose pictures' cells are there."""
        from tokenizers import Tokenizer

        from diptych.data.base import Split
        from diptych.nets.captioner import BEGIN, END, PAD, UNKNOWN

        tokenizer, length = Tokenizer.from_file(str(WEIGHTS / "tokenizer.json")), given["length"]
        tokenizer.no_padding()
        tokenizer.no_truncation()
        coded = [
            one.ids for one in tokenizer.encode_batch(list(map(_plain, split.text)), add_special_tokens=False)
        ]
        counts = Counter(piece for ids in coded for piece in set(ids))
        special = [int(tokenizer.token_to_id(name) or 0) for name in ("[PAD]", "[CLS]", "[SEP]", "[UNK]")]
        known = [piece for piece, count in counts.items() if count >= given["least"] and piece not in special]
        pieces = [*special, *sorted(known, key=lambda piece: (-counts[piece], piece))]
        number = {piece: at for at, piece in enumerate(pieces)}
        captions: dict[int, list[list[int]]] = {}
        for image, text in split.pairs.tolist():
            ids = [BEGIN, *(number.get(piece, UNKNOWN) for piece in coded[text]), END][: length + 1]
            captions.setdefault(image, []).append(ids + [PAD] * (length + 1 - len(ids)))
        rows = [
            (image, some[start : start + _EACH])
            for image, some in sorted(captions.items())
            for start in range(0, len(some), _EACH)
        ]
        text = np.full((len(rows), _EACH, length + 1), PAD, np.uint32)
        for row, (_, some) in enumerate(rows):
            text[row, : len(some)] = some
        pairs = np.stack([[image for image, _ in rows], np.arange(len(rows))], axis=1)
        return cls(Split(grids, text.reshape(len(rows), -1), None, pairs), pieces)

    def cider(self) -> Cider:
        """The reward: CIDEr-D over pieces, among which the end counts, so that no caption is left without."""
        told: list[list[list[int]]] = [[] for _ in self.split.image]
        for image, row in self.split.pairs.tolist():
            for one in self.split.text[row].reshape(_EACH, -1).tolist():
                if pieces := [piece for piece in one if piece > 1]:
                    told[image].append(pieces)
        return Cider(told)


def _cells(grids: Tensor) -> Tensor:
    """Cells (b, 49, 1280) of grids (b, 1280, 7, 7) in 8 bits, half of which are turned around."""
    import torch

    turned = torch.rand(len(grids), 1, 1, 1, device=grids.device) < 0.5
    return torch.where(turned, grids.flip(3), grids).flatten(2).transpose(1, 2).float() / _STEP


def _plain(caption: str) -> str:
    """A caption without quotation marks and its last full stop."""
    return re.sub(r'["`]|\s*\.\s*$', "", caption)


def _graphs(folder: Path) -> dict[str, bytes]:
    paths = {name: folder / f"{name}.onnx" for name in _GRAPHS}
    lost = next((path for path in paths.values() if not path.is_file()), None)
    if lost is not None:
        raise MissingData(
            f"{lost} is missing; train a captioner with `diptych train captioner` on captioned pictures, and "
            "name its folder: captioner@FOLDER",
            argument="captioner",
        )
    return {name: path.read_bytes() for name, path in paths.items()}
