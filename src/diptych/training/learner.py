"""Base of everything that is trained: hyper-parameters, two networks, an objective, save and load.

A system is a keyword-only dataclass whose fields are its hyper-parameters::

    @dataclass(kw_only=True, eq=False)
    class DSCMR(Learner):
        image_dim: int = 4096
        lr: float = 1e-4

        def __post_init__(self) -> None:
            self.image_net, self.text_net = ...

        def objective(self, batch): return {"J1": ..., "J2": ...}

The networks exist as soon as the object does: dimensions are hyper-parameters, and whoever constructs decides
the seed (`diptych.catalogue.load` does). `fit` builds them anew where the data have other dimensions and
nothing was said of them, so that ``load("dscmr").fit(split)`` works for any split.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diptych import catalogue, similarity
from diptych.core import Floats
from diptych.data.base import InputKind, Split, input_kind
from diptych.errors import UsageError
from diptych.provenance import commit, versions
from diptych.training.parameters import dimensions
from diptych.training.trainer import Batch, Trainer

__all__ = ["Learner"]

_SIDES = ("image", "text")


@dataclass(kw_only=True, eq=False)
class Learner:
    """Two networks and an objective.

    Subclasses set `image_net` and `text_net` in `__post_init__`, and define `objective`; a paper whose
    algorithm is not "minimise the objective" overrides `fit` and writes its algorithm box there. Every
    attribute that is a module is saved.

    Args:
        epochs: Passes over the training pairs.
        batch_size: Pairs in a batch.
        lr: Learning rate.
    """

    similarity: ClassVar[str] = "cosine"
    """How the vectors compare: "cosine" (they have unit length), "dot" or "hamming" (they are +1 and -1)."""

    arrays_file: ClassVar[str] = "weights.safetensors"
    """Where `catalogue.write` keeps what was learned."""

    start_files: ClassVar[tuple[str, ...]] = ()
    """Hyper-parameters that name files with first weights; a saved learner needs them no more."""

    choices: ClassVar[Mapping[str, Sequence[Any]]] = MappingProxyType({})
    """Hyper-parameters that `diptych.training.run.train` chooses on validation data, each from these values,
    unless variant, recipe or user set them: what papers call "selected on validation from {...}"."""

    solved: ClassVar[bool] = False
    """Whether `fit` solves its problem at once instead of training epoch by epoch. No epoch is to be chosen
    then, so that all training data are learned from once the grid is settled."""

    epochs: int = 100
    batch_size: int = 100
    lr: float = 1e-4

    image_net: nn.Module = dataclasses.field(init=False, repr=False)
    text_net: nn.Module = dataclasses.field(init=False, repr=False)

    _untouched = True  # neither trained nor loaded; no hyper-parameter, as it has no annotation

    @property
    def name(self) -> str:
        """The system's name: that of its file."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The hyper-parameters by name; constructing with them gives the same architecture."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.init}

    @property
    def reads(self) -> Mapping[str, InputKind]:
        """What each side's network takes: "features", "pixels" (of pictures) or "tokens" (of texts)."""
        return {"image": "features", "text": "features"}

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Every attribute that is a module, by name, in the order of their creation."""
        return {name: value for name, value in vars(self).items() if isinstance(value, nn.Module)}

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        # Some networks are computed instead of trained, and have buffers only.
        held = (tensor for net in self.networks.values() for tensor in (*net.parameters(), *net.buffers()))
        return next((tensor.device for tensor in held), torch.device("cpu"))

    @property
    def fingerprint(self) -> str:
        """Equal only if name, hyper-parameters and weights are equal."""
        shape = {key: value for key, value in self.hyperparameters.items() if key not in self.start_files}
        digest = hashlib.sha256(json.dumps(shape, sort_keys=True, default=list).encode())
        for key, tensor in self.state().items():
            digest.update(f"{key}{tuple(tensor.shape)}{tensor.dtype}".encode())
            digest.update(tensor.flatten().view(torch.uint8).numpy().data)
        return f"{self.name}:{digest.hexdigest()[:16]}"

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """The loss on a batch, as named summands with their weights included, each one number.

        Raises:
            NotImplementedError: a system with its own `fit` may have none.
        """
        raise NotImplementedError(f"{type(self).__name__} has no single objective; see its fit")

    def optimizer(self) -> torch.optim.Optimizer:
        """What the default `fit` steps with: Adam over all networks."""
        return torch.optim.Adam(self.trainable(), lr=self.lr)

    def trainable(self, *names: str) -> list[nn.Parameter]:
        """The parameters that are trained, each once, of the networks named (all, if none is)."""
        nets = [self.networks[name] for name in names] if names else self.networks.values()
        found = [p for net in nets for p in net.parameters() if p.requires_grad]
        return list(dict.fromkeys(found))

    def study(self, split: Split) -> None:
        """Take from the training split what needs no gradients (means, neighbours); by default nothing.

        `fit` calls it first.
        """

    def fit(self, split: Split, trainer: Trainer | None = None) -> Self:
        """Learn from a split; returns the learner.

        Args:
            split: What to learn from.
            trainer: Runs the loop; None takes ``Trainer()``.

        Raises:
            UsageError: the split has other dimensions than the networks.
            TrainingError: training cannot go on.
        """
        trainer = self.begin(split, trainer)
        self.study(split)
        optimizer = self.optimizer()
        for _ in trainer.epochs(self.epochs, keep=(*self.networks.values(), optimizer)):
            for batch in trainer.batches(split, self.batch_size):
                trainer.step(optimizer, self.objective(batch))
        return self

    def begin(self, split: Split, trainer: Trainer | None) -> Trainer:
        """What every `fit` begins with: networks that suit the split, and a trainer.

        A learner that was neither trained nor loaded, and whose dimensions are still the constructor's
        defaults, takes those of the split; its first weights are then drawn from the trainer's seed.

        Raises:
            UsageError: the split does not fit the networks.
        """
        trainer = trainer or Trainer()
        if self._untouched:
            self._adapt(dimensions(split), trainer.seed)
        self.check(split)
        self._untouched = False
        return trainer

    def _adapt(self, found: Mapping[str, int], seed: int) -> None:
        defaults = {field.name: field.default for field in dataclasses.fields(self) if field.init}
        new = {
            key: value
            for key, value in found.items()
            if key in defaults and getattr(self, key) == defaults[key] != value
        }
        if not new:
            return
        for key, value in new.items():
            setattr(self, key, value)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.__post_init__()

    def __post_init__(self) -> None:
        """Build the networks; systems do."""

    def check(self, split: Split) -> None:
        """Refuse a split that does not fit the networks.

        Raises:
            UsageError: naming the dimension, what it is and what it should be.
        """
        for side, wanted in self.reads.items():
            value = getattr(split, side)
            given = input_kind(value) if isinstance(value, np.ndarray) else f"{side}s"
            # A system without a dimension for features may read pictures or texts by itself.
            if given != wanted and (wanted != "features" or f"{side}_dim" in self.hyperparameters):
                raise UsageError(
                    f"{self.name} learns from {side} {wanted}, but the training data have {given}; "
                    f"extract {wanted} first, by "
                    + (
                        f"the extractor {side}={wanted}"
                        if wanted != "features"
                        else "an extractor or encoder"
                    ),
                    argument="features",
                )
        found = dimensions(split)
        for key, value in self.hyperparameters.items():
            if (key in found or key == "classes") and found.get(key) != value:
                raise UsageError(
                    f"{self.name} was built with {key}={value}, but the training data have "
                    f"{found.get(key, 'none')}; construct it with {key}={found.get(key, '...')}"
                )

    def encode_image(self, images: Sequence[Any]) -> Floats:
        """Vectors (n, d) float32 of image features (n, image_dim).

        Raises:
            UsageError: the features have another dimension.
        """
        return self.encoded(self.image_net, self.checked_inputs(images, "image"))

    def encode_text(self, texts: Sequence[Any]) -> Floats:
        """Vectors (n, d) float32 of text features (n, text_dim).

        Raises:
            UsageError: the features have another dimension.
        """
        return self.encoded(self.text_net, self.checked_inputs(texts, "text"))

    def checked_inputs(self, values: Any, side: str) -> Any:
        """What is to be encoded, after a check: features (n, d) float32, pixels (n, 3, h, w) uint8 or tokens
        (n, length) int64.
        """
        kind = self.reads[side]
        if kind != "features":
            return self._integers(values, side, kind)
        wanted = self.hyperparameters.get(f"{side}_dim")
        try:
            rows = np.asarray(values, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"{self.name} encodes {side} features, not {side}s themselves; "
                "train it on features that an extractor makes, or join an extractor and this head with "
                "diptych.chain.Chain",
                argument="features",
            ) from error
        if rows.size == 0:
            return np.zeros((0, wanted or 0), np.float32)
        if rows.ndim != 2 or (wanted is not None and rows.shape[1] != wanted):
            raise UsageError(f"{self.name} encodes {side} features (n, {wanted or 'd'}), not {rows.shape}")
        # Arrays out of a cache may be read-only, which torch does not support.
        return np.require(rows, requirements=("C", "W"))

    def _integers(self, values: Any, side: str, kind: InputKind) -> Any:
        try:
            found = np.asarray(values)
            shaped = found.ndim == 2 if kind == "tokens" else found.ndim == 4 and found.shape[1] == 3
            fits = shaped and np.issubdtype(found.dtype, np.integer)
        except ValueError:  # pictures of different sizes
            fits = False
        if len(values) == 0:
            size, length = (
                self.hyperparameters.get("image_size", 224),
                self.hyperparameters.get("text_length", 1),
            )
            return (
                np.zeros((0, 3, size, size), np.uint8)
                if kind == "pixels"
                else np.zeros((0, length), np.int64)
            )
        if not fits:
            raise UsageError(
                f"{self.name} encodes {kind} of {side}s, not {side}s themselves; train it on what the "
                f"extractor {side}={kind} makes, or join both with diptych.chain.Chain",
                argument="features",
            )
        # Pixels stay where they are, perhaps in a file that is larger than the memory.
        return np.asarray(found, np.uint8) if kind == "pixels" else np.require(found, np.int64, ("C", "W"))

    def encoded(self, net: nn.Module, inputs: Any, *, size: int = 1024) -> Floats:
        """Vectors (n, d) of a network as `similarity` wants them; see `outputs`."""
        return self.as_vectors(self.outputs(net, inputs, size=size))

    def outputs(self, net: nn.Module, inputs: Any, *, size: int = 1024) -> Floats:
        """Outputs (n, d) of a network in evaluation mode; its mode is put back.

        Args:
            net: Takes (b, ...) and gives (b, d).
            inputs: (n, ...) float32, uint8 or int64.
            size: Rows at a time; of pixels, a thirty-second.
        """
        modes = {module: module.training for module in net.modules()}
        net.eval()
        try:
            with torch.no_grad():
                size = max(size // 32, 1) if inputs.ndim == 4 else size
                parts = []
                for start in range(0, max(len(inputs), 1), size):
                    # Part by part: pixels may be mapped from a file that is larger than the memory.
                    part = np.require(inputs[start : start + size], requirements=("C", "W"))
                    parts.append(net(torch.from_numpy(part).to(self.device)).float().cpu())
        finally:
            for module, mode in modes.items():
                module.training = mode
        found: Floats = torch.cat(parts).numpy()
        return found

    def as_vectors(self, outputs: Floats) -> Floats:
        """Network outputs as `similarity` wants them: unit rows, or signs (0 counts as -1)."""
        if self.similarity == "cosine":
            return similarity.unit(outputs)
        if self.similarity == "hamming":
            return np.where(outputs > 0, np.float32(1), np.float32(-1))
        return outputs

    def state(self) -> dict[str, Tensor]:
        """All weights and buffers in main memory, by "network.name"."""
        return {
            f"{name}.{key}": tensor.detach().cpu().contiguous()
            for name, net in self.networks.items()
            for key, tensor in net.state_dict().items()
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The state as arrays; what is saved."""
        return {name: tensor.numpy() for name, tensor in self.state().items()}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `arrays` gave; the networks are then in evaluation mode.

        Raises:
            RuntimeError: it does not fit the networks.
        """
        for name, net in self.networks.items():
            head = f"{name}."
            # Copies, because arrays out of a file may be read-only, which torch does not support.
            own = {
                k.removeprefix(head): torch.from_numpy(a.copy())
                for k, a in arrays.items()
                if k.startswith(head)
            }
            net.load_state_dict(own)
            net.eval()
        self._untouched = False

    def save(self, folder: Path | str, **facts: Any) -> None:
        """Write `card.json` and `weights.safetensors`.

        Args:
            folder: Made if it is not there.
            facts: What else the card should hold and JSON can (variant, seed, data, command).
        """
        catalogue.write(self, Path(folder) / "card.json", versions=versions(), commit=commit(), **facts)

    @classmethod
    def from_weights(cls, weights: str, **parameters: Any) -> Self:
        """The learner that was saved into a folder.

        Args:
            weights: The folder.
            parameters: Hyper-parameters over the saved ones, where the weights allow it.

        Raises:
            MissingData: there is no such folder, or it lacks a file.
            BadData: its files do not fit the system.
        """
        with torch.random.fork_rng(devices=[]):  # the first weights drawn here are not used
            learner: Self = catalogue.restored(cls, Path(weights).expanduser() / "card.json", **parameters)
        return learner
