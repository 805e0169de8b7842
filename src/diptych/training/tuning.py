"""How dual towers are trained and fine-tuned: what CLIP and ALIGN share but the loss.

A batch of pairs is larger than what goes through a tower at once, because each pair is told from all others
of its batch. Torch is imported where training begins, so that encoding does not need this.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from diptych import catalogue
from diptych.core import DECODING, Floats, Forwards, Side
from diptych.data.base import Split
from diptych.errors import BadParameter, UsageError
from diptych.media.pictures import open_picture
from diptych.provenance import commit, versions

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from diptych.training.trainer import Batch, Trainer

__all__ = ["Tuned"]

_PARTS = ("all", "last", "heads", "lora")
_KEPT = 1 << 30  # bytes of prepared pictures that are kept from epoch to epoch
_BEFORE = ("embeddings", "pre_layrnorm")  # what comes before the blocks of a tower, by the library's names
_ATTENTION = ("q_proj", "v_proj", "query", "value")  # what LoRA adapts, as its authors do
_BETAS, _EPSILON = (0.9, 0.98), 1e-6  # of Adam, as CLIP has them for transformers


class _Prepare:
    """Of an encoder: what its image tower takes of a picture. Of its class, which has no towers: the picture.

    Before a training is built, its pictures are tried with the class alone.
    """

    def __get__(self, encoder: Any, kind: type) -> Callable[[Any], NDArray[Any]]:
        if encoder is None:
            return lambda picture: np.asarray(open_picture(picture))
        found: Callable[[Any], NDArray[Any]] = encoder.towers.prepare_image
        return found


@dataclass(kw_only=True, eq=False)
class Tuned(Forwards, ABC):
    """A dual encoder that learns from captioned pictures.

    Subclasses set `towers` and define `loss` and `bound`.

    Args:
        weights: What it starts from.
        device: "auto" (CUDA, then Apple's MPS, then the processor) or a device of torch; a training moves it.
        batch_size: Pictures or texts that go through a tower at once, also in training: with more pairs in a
            batch, the towers run twice and hold no more.
        tune: What is trained: "all"; "last", the last blocks of each tower and what follows them; "heads",
            only what follows them (norm, pooling, projection); "lora", a low-rank change of all attention
            (Hu et al., ICLR 2022), which is added to the weights at the end. The scale always is.
        layers: Blocks of "last".
        rank: Of "lora".
        pairs: In a batch, each told from all others.
        crop: Least share of a picture that training sees, a square in a random place; 1 sees it whole.
        epochs: Passes over the pairs.
        lr: Peak learning rate; it falls along a cosine.
        warmup: Share of the steps in which it rises.
        weight_decay: Of AdamW, on matrices alone.

    Raises:
        BadParameter: a value that is not allowed.
    """

    similarity: ClassVar[str] = "cosine"
    start_files: ClassVar[tuple[str, ...]] = ("weights",)

    weights: str = ""
    device: str = "auto"
    batch_size: int = 32
    tune: str = "all"
    layers: int = 2
    rank: int = 8
    pairs: int = 256
    crop: float = 1.0
    epochs: int = 5
    lr: float = 1e-5
    warmup: float = 0.1
    weight_decay: float = 0.1

    prepare_image = _Prepare()

    towers: Any = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("layers", "rank", "pairs", "epochs"):
            if getattr(self, name) < 1:
                raise BadParameter(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.tune not in _PARTS:
            raise BadParameter(f"tune must be one of {', '.join(_PARTS)}, not {self.tune!r}")
        if not 0 < self.crop <= 1 or not 0 <= self.warmup <= 1:
            raise BadParameter(
                f"crop must be above 0 and at most 1, and warmup from 0 to 1, not {self.crop}, {self.warmup}"
            )

    @classmethod
    def from_weights(cls, weights: str, **parameters: Any) -> Self:
        """The encoder with given weights; those of a run with the parameters that it was trained with."""
        card = Path(weights).expanduser() / "card.json"
        if card.is_file():
            restored: Self = catalogue.restored(cls, card, **{**parameters, "weights": weights})
            return restored
        return cls(weights=weights, **parameters)

    def save(self, folder: Path | str, **facts: Any) -> None:
        """Write a checkpoint of transformers, and the card that makes it a run.

        Args:
            folder: Made if it is not there.
            facts: What else the card should hold and JSON can.
        """
        self.towers.save(Path(folder))
        catalogue.write(self, Path(folder) / "card.json", versions=versions(), commit=commit(), **facts)

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """What the constructor takes, but where it runs."""
        named = [field.name for field in dataclasses.fields(self) if field.init]
        return {name: getattr(self, name) for name in named if name != "device"}

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Both towers and the scale, as one."""
        return {"towers": self.towers.model}

    @cached_property
    def fingerprint(self) -> str:
        """Equal only for the same weights, configuration and preprocessing."""
        return f"{type(self).__name__.lower()}:{self.towers.kind}:{self.towers.digest()}"

    def offering(self, capability: str) -> Any:
        """How pictures are read is the image tower's matter."""
        return self.towers if capability in DECODING else None

    def encode_image(self, images: Sequence[Any]) -> Floats:
        """Unit vectors (n, d) float32 of pictures, or of results of `prepare_image`.

        Raises:
            ImageError: a picture cannot be read.
        """
        found: Floats = self.towers.encode_image(images)
        return found

    def encode_text(self, texts: Sequence[str]) -> Floats:
        """Unit vectors (n, d) float32 of texts; the first that is longer than the context is warned of."""
        found: Floats = self.towers.encode_text([self.worded(text) for text in texts])
        return found

    def worded(self, text: str) -> str:
        """A text as the text tower gets it."""
        return text

    @abstractmethod
    def loss(self, image: Tensor, text: Tensor, left_out: Tensor) -> dict[str, Tensor]:
        """The loss of a batch, as named summands, each one number.

        Args:
            image, text: (b, d) unit vectors of pairs.
            left_out: (b, b) bool: what is neither right nor wrong, as another caption of the same picture.
        """

    @abstractmethod
    def bound(self) -> None:
        """Keep the learned scale within its bounds; called after each step."""

    def check(self, split: Split) -> None:
        """Refuse what cannot be learned from.

        Raises:
            UsageError: features in place of pictures and texts, or no pairs.
        """
        name = type(self).__name__
        if isinstance(split.image, np.ndarray) or isinstance(split.text, np.ndarray):
            raise UsageError(
                f"{name} learns from pictures and texts, which it reads by itself, but these are features",
                argument="features",
            )
        if len(split.pairs) < 2:
            raise UsageError(f"{name} needs at least 2 captioned pictures to learn from")

    def fit(self, split: Split, trainer: Trainer | None = None) -> Self:
        """Learn from captioned pictures; returns the encoder.

        Args:
            split: Pictures and texts.
            trainer: Runs the loop; its seed draws everything. None takes ``Trainer()``.

        Raises:
            UsageError: see `check`.
            BadParameter: there is nothing to train in the way that `tune` says.
            ImageError: a picture cannot be read.
            MissingExtra: `tune` is "lora" and peft is not installed.
        """
        from diptych.training.trainer import Trainer

        self.check(split)
        trainer = trainer or Trainer()
        self.__dict__.pop("fingerprint", None)
        ready = _Ready(self.prepare_image, len(split.image))
        with self._opened(trainer.seed) as model:
            optimizer = self.optimizer(len(split.pairs))
            for _ in trainer.epochs(self.epochs, keep=(model, optimizer)):
                _rest(model)
                for batch in trainer.batches(split, self.pairs):
                    trainer.step(optimizer, self.objective(batch, ready, trainer))
                    self.bound()
        self.__dict__.pop("fingerprint", None)
        return self

    def optimizer(self, count: int) -> Optimizer:
        """AdamW over what is trained, for so many pairs; gains, biases and the scale do not decay."""
        from diptych.nets.optimizers import WarmedAdamW

        trained = [p for p in self.towers.model.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        total = self.epochs * -(-count // self.pairs)
        return WarmedAdamW(
            [group for group in groups if group["params"]],
            self.lr,
            total=total,
            warmup=round(self.warmup * total),
            betas=_BETAS,
            eps=_EPSILON,
            weight_decay=0.0,
        )

    def objective(self, batch: Batch, ready: _Ready, trainer: Trainer) -> dict[str, Tensor]:
        """The loss of a batch of pictures and texts, of all processes together, as `loss` gives it."""
        import torch

        from diptych.nets.contrastive import in_parts, others_of_the_same

        def vectors(side: Side, inputs: Sequence[Mapping[str, Tensor]]) -> Tensor:
            return in_parts(self.towers.model, lambda one: self._seen(side, one), inputs)

        pictures = ready(batch.image_row.tolist(), batch.image)
        texts = [self.worded(text) for text in batch.text]
        starts = range(0, len(batch), self.batch_size)
        image = vectors(
            "image",
            [self.towers.image_inputs(np.stack(pictures[at : at + self.batch_size])) for at in starts],
        )
        text = vectors("text", [self.towers.text_inputs(texts[at : at + self.batch_size]) for at in starts])
        # In full precision, because small differences of cosines are multiplied by up to a hundred.
        with torch.autocast(image.device.type, enabled=False):
            sides = (image.float(), text.float(), batch.image_row, batch.text_row)
            image, text, shown, said = (trainer.gathered(batch, one) for one in sides)
            return self.loss(image, text, others_of_the_same(shown) | others_of_the_same(said))

    def _seen(self, side: Side, inputs: Mapping[str, Tensor]) -> Tensor:
        pixels = inputs.get("pixel_values")
        if side == "image" and self.crop < 1 and pixels is not None and pixels.ndim == 4:
            inputs = {**inputs, "pixel_values": _cropped(pixels.to(self.towers.device), self.crop)}
        found: Tensor = self.towers.vectors(side, inputs)
        return found

    @contextlib.contextmanager
    def _opened(self, seed: int) -> Iterator[nn.Module]:
        """The model, with what is trained open to gradients; closed again at the end."""
        model: nn.Module = self.towers.model
        with contextlib.ExitStack() as stack:
            if self.tune == "lora":
                from diptych.nets.adapters import adapted

                rank = self.rank
                stack.enter_context(adapted(model, _ATTENTION, rank=rank, alpha=2 * rank, seed=seed))
            else:
                for name, parameter in model.named_parameters():
                    parameter.requires_grad = self._trained(name, model)
            for name, parameter in model.named_parameters():
                if name in ("logit_scale", "logit_bias", "temperature"):
                    parameter.requires_grad = True
            try:
                yield model
            finally:
                model.requires_grad_(False).eval()

    def _trained(self, name: str, model: nn.Module) -> bool:
        """Whether a parameter is trained where no adapters are."""
        if name.startswith("text_model.pooler"):  # ALIGN's text tower has one whose output nobody takes
            return False
        if self.tune == "all":
            return True
        if any(part in _BEFORE for part in name.split(".")):
            return False
        owner, found, rest = name.partition(".encoder.")
        if not found:
            return True
        blocks = rest.split(".")
        if self.tune == "heads" or len(blocks) < 2 or not blocks[1].isdecimal():
            return self.tune == "last"
        count = len(model.get_submodule(f"{owner}.encoder.{blocks[0]}"))  # type: ignore[arg-type]
        return int(blocks[1]) >= count - self.layers


class _Ready:
    """Prepares pictures in threads, and keeps what it prepared while all of it is small.

    Args:
        prepare: Makes an array of a picture.
        count: How many pictures there are.
    """

    def __init__(self, prepare: Any, count: int) -> None:
        self._prepare, self._count = prepare, count
        self._kept: dict[int, NDArray[Any]] = {}

    def __call__(self, rows: Sequence[int], pictures: Sequence[Any]) -> list[NDArray[Any]]:
        """The arrays of pictures; their rows say which they are."""
        new = {row: one for row, one in zip(rows, pictures, strict=True) if row not in self._kept}
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            made = dict(zip(new, threads.map(self._prepare, new.values()), strict=True))
        found = [made[row] if row in made else self._kept[row] for row in rows]
        if found[0].nbytes * self._count <= _KEPT:
            self._kept |= made
        return found


def _rest(model: nn.Module) -> None:
    """Let what is not trained run as in use: it neither drops nor counts statistics."""
    for module in model.modules():
        trained = [parameter.requires_grad for parameter in module.parameters()]
        if trained and not any(trained):
            module.eval()


def _cropped(pixels: Tensor, least: float) -> Tensor:
    """A random square of each picture, of at least that share of its area, at the size of all of it.

    Args:
        pixels: (b, channels, h, w).
        least: Share.
    """
    import torch
    from torch.nn import functional

    count, device = len(pixels), pixels.device
    side = (least + (1 - least) * torch.rand(count, device=device)).sqrt()
    middle = (1 - side)[:, None] * (2 * torch.rand(count, 2, device=device) - 1)
    scale = torch.diag_embed(side[:, None].expand(count, 2))
    grid = functional.affine_grid(torch.cat([scale, middle[:, :, None]], dim=2), list(pixels.shape), False)
    return functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
