"""What all learned scorers of pairs share: states of either side, false pairs, and a training in two stages.

There is no vector of one side: a picture and a text are read together, so that such a system can only rank
what something else has found (`diptych.pipeline.Rerank`), or everything, pair by pair.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from diptych import catalogue
from diptych.catalogue.extractors import make
from diptych.chain import join
from diptych.core import Floats
from diptych.data.base import InputKind, Split
from diptych.errors import TrainingError
from diptych.training.learner import Learner
from diptych.training.trainer import Batch, Trainer

__all__ = ["Others", "PairLearner", "States", "first_wins", "warmed"]

States = tuple[Tensor, ...]
"""What one side comes to before it meets the other, each tensor (n, ...)."""

_IMAGES, _TEXTS, _PAIRS = 128, 2048, 256  # whose states are kept, and pairs that are scored, at a time
_REDRAWS = 20


@dataclass(kw_only=True, eq=False)
class PairLearner(Learner):
    """A learner that scores pairs of a picture and a text.

    Subclasses give the states of each side (all that does not depend on the other, computed once for each
    picture and text), the scores of pairs of states, and the objectives of the two stages: `pretraining`, and
    `objective` for the ranking that follows.

    Args:
        pretrain_epochs: Passes with the paper's pre-training tasks, before the `epochs` of ranking; left out
            where a checkpoint brings pre-trained weights.
        checkpoint: Published weights to start from: a file, a folder, or OWNER/NAME of the hub; "" draws
            them.
    """

    start_files: ClassVar[tuple[str, ...]] = ("checkpoint",)

    pretrain_epochs: int = 10
    checkpoint: str = ""

    @classmethod
    def from_weights(cls, weights: str, **parameters: Any) -> Any:
        """What was trained into a folder; or published weights, joined with what reads pictures and texts.

        Args:
            weights: A run folder, or a checkpoint (file, folder, OWNER/NAME of the hub) that has the
                ``tokenizer.json`` of its word pieces beside it.
            parameters: Hyper-parameters that the weights leave open.

        Raises:
            MissingData, BadData: it is not there, or does not fit the system.
        """
        place = Path(weights).expanduser()
        if (place / "card.json").is_file():
            return super().from_weights(weights, **parameters)
        head = cls(**catalogue.checked(cls, {**parameters, "checkpoint": weights}))
        beside = place.parent if place.is_file() else weights
        if not head.image_reader:
            return head
        text = make(f"tokens:{head.hyperparameters['text_length']}@{beside}", side="text")
        return join(head, image=make(head.image_reader, side="image"), text=text)

    @property
    @abstractmethod
    def image_reader(self) -> str:
        """The extractor whose pictures it reads; "" where published weights need a detector of the user's."""

    @property
    def reads(self) -> Mapping[str, InputKind]:
        """Pixels and word pieces."""
        return {"image": "pixels", "text": "tokens"}

    @abstractmethod
    def image_states(self, image: Tensor) -> States:
        """Of pictures (b, ...) as the network reads them."""

    @abstractmethod
    def text_states(self, text: Tensor) -> States:
        """Of texts (b, length) int64."""

    @abstractmethod
    def pair_scores(self, image: States, text: States) -> Tensor:
        """Scores (b,) of b pictures with b texts."""

    @abstractmethod
    def pretraining(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of the first stage, as named summands."""

    def begin_ranking(self, split: Split) -> None:
        """What happens to the heads before the second stage; by default nothing."""

    def fit(self, split: Split, trainer: Trainer | None = None) -> Self:
        """Pre-train, unless a checkpoint was given; then learn to rank."""
        trainer = self.begin(split, trainer)
        self.study(split)
        self.others = Others(split)
        if self.pretrain_epochs and not self.checkpoint:
            self._minimise(self.pretraining, split, self.pretrain_epochs, trainer, validate=False)
        self.begin_ranking(split)
        self._minimise(self.objective, split, self.epochs, trainer, validate=True)
        del self.others
        return self

    def _minimise(
        self,
        objective: Callable[[Batch], dict[str, Tensor]],
        split: Split,
        epochs: int,
        trainer: Trainer,
        *,
        validate: bool,
    ) -> None:
        optimizer = self.optimizer()
        steps = epochs * ceil(len(split.pairs) / self.batch_size)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: warmed(done, steps))
        keep = (*self.networks.values(), optimizer, schedule)
        for _ in trainer.epochs(epochs, keep=keep, validate=validate):
            for batch in trainer.batches(split, self.batch_size):
                trainer.step(optimizer, objective(batch))
                schedule.step()

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW with decay 0.01, none of biases and normalisation."""
        groups: list[dict[str, Any]] = [
            {"params": [p for p in self.trainable() if p.ndim > 1]},
            {"params": [p for p in self.trainable() if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.lr, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.01)

    @property
    def encode_image(self) -> NoReturn:
        """There is none: both sides are read together."""
        raise AttributeError(f"{type(self).__name__} has no vector of one side; use score_pairs")

    @property
    def encode_text(self) -> NoReturn:
        """There is none: both sides are read together."""
        raise AttributeError(f"{type(self).__name__} has no vector of one side; use score_pairs")

    def score_pairs(self, images: Sequence[Any], texts: Sequence[Any], pairs: Any) -> Floats:
        """Scores (p,) of the pairs (p, 2), image row and text row.

        The states of a picture are computed once for every 2,048 texts that it meets.
        """
        pairs = np.asarray(pairs, np.int64)
        pictures, words = self.checked_inputs(images, "image"), self.checked_inputs(texts, "text")
        found = np.zeros(len(pairs), np.float32)
        modes = {module: module.training for net in self.networks.values() for module in net.modules()}
        for net in self.networks.values():
            net.eval()
        try:
            with torch.no_grad():
                for image_rows, text_rows, chosen in _blocks(pairs):
                    if image_rows is not None:
                        image = self.image_states(self._there(pictures[image_rows]))
                    if text_rows is not None:
                        text = self.text_states(self._there(words[text_rows]))
                    rows, at, to = chosen
                    if len(rows):
                        scores = self.pair_scores(_at(image, at), _at(text, to))
                        found[rows] = scores.float().cpu().numpy()
        finally:
            for module, mode in modes.items():
                module.training = mode
        return found

    def _there(self, rows: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.require(rows, requirements=("C", "W"))).to(self.device)


def _blocks(pairs: NDArray[np.int64]) -> Any:
    """Blocks of texts, and within each blocks of pictures, and within each at most so many pairs.

    Yields:
        The rows of pictures that now begin (or None), those of texts, and of the pairs to score: their rows,
        and the places of picture and text among the rows that began last.
    """
    nothing = (np.zeros(0, np.int64),) * 3
    texts = np.unique(pairs[:, 1])
    for first in range(0, len(texts), _TEXTS):
        block = texts[first : first + _TEXTS]
        yield None, block, nothing
        here = np.flatnonzero((pairs[:, 1] >= block[0]) & (pairs[:, 1] <= block[-1]))
        images = np.unique(pairs[here, 0])
        for start in range(0, len(images), _IMAGES):
            some = images[start : start + _IMAGES]
            yield some, None, nothing
            rows = here[(pairs[here, 0] >= some[0]) & (pairs[here, 0] <= some[-1])]
            for part in np.array_split(rows, ceil(len(rows) / _PAIRS)):
                at = np.searchsorted(some, pairs[part, 0])
                yield None, None, (part, at, np.searchsorted(block, pairs[part, 1]))


def _at(states: States, rows: NDArray[np.int64]) -> States:
    return tuple(state[torch.from_numpy(rows).to(state.device)] for state in states)


class Others:
    """Draws pairs of a split that are false for a given one: of another image, and other words.

    Args:
        split: What is learned from, of pixels or features, and word pieces.
    """

    def __init__(self, split: Split) -> None:
        self.image, self.text = split.image, split.text
        self.pairs = torch.from_numpy(np.ascontiguousarray(split.pairs))
        # Captions of several images may be the same words, which are false of neither.
        words = np.unique(np.asarray(split.text), axis=0, return_inverse=True)[1].reshape(-1)
        self.words = torch.from_numpy(words)
        self._order: Tensor | None = None

    def draw(self, batch: Batch, count: int) -> Tensor:
        """Rows (b, count) into the split's pairs, drawn evenly among those that are false for each.

        Raises:
            TrainingError: there is none.
        """
        own = batch.image_row.cpu()[:, None], self.words[batch.text_row.cpu()][:, None]
        found = torch.randint(len(self.pairs), (len(own[0]), count))
        for _ in range(_REDRAWS):
            wrong = self._same(own, found)
            if not bool(wrong.any()):
                return found
            found = torch.where(wrong, torch.randint(len(self.pairs), found.shape), found)
        for row in self._same(own, found).any(dim=1).nonzero()[:, 0].tolist():
            false = ~self._same((own[0][row], own[1][row]), torch.arange(len(self.pairs)))
            if not bool(false.any()):
                raise TrainingError(
                    "a scorer of pairs learns from false pairs, but some picture shares all captions of the "
                    "training data; learn from several pictures with captions of their own"
                )
            found[row] = torch.multinomial(false.float(), count, replacement=True)
        return found

    def false(self, batch: Batch, rows: Tensor) -> Tensor:
        """(b,), whether pairs (b,) are false for each of a batch."""
        return ~self._same((batch.image_row.cpu(), self.words[batch.text_row.cpu()]), rows)

    def _same(self, own: tuple[Tensor, Tensor], rows: Tensor) -> Tensor:
        image, text = self.pairs[rows].unbind(dim=-1)
        return (image == own[0]) | (self.words[text] == own[1])

    def siblings(self, batch: Batch) -> Tensor:
        """Rows (b,) into the split's pairs: of the same image each, with another text if there is one."""
        return self.siblings_of(batch.index.cpu())

    def siblings_of(self, own: Tensor) -> Tensor:
        """As `siblings`, of rows (b,) into the split's pairs."""
        if self._order is None:
            self._order = self.pairs[:, 0].argsort(stable=True)
            self._places = self._order.argsort()
            self._counts = torch.bincount(self.pairs[:, 0])
            self._starts = self._counts.cumsum(0) - self._counts
        image = self.pairs[own, 0]
        start, count = self._starts[image], self._counts[image]
        step = 1 + (torch.rand(len(own)) * (count - 1)).long()
        return self._order[start + (self._places[own] - start + step) % count]

    def images(self, rows: Tensor, device: torch.device) -> Tensor:
        """Those of pairs (...), as the network reads them."""
        return self._gathered(self.image, self.pairs[rows][..., 0], device)

    def texts(self, rows: Tensor, device: torch.device) -> Tensor:
        """Those of pairs (...), int64."""
        return self._gathered(self.text, self.pairs[rows][..., 1], device).long()

    def _gathered(self, content: Any, rows: Tensor, device: torch.device) -> Tensor:
        values = np.asarray(content[rows.flatten().numpy()])
        values = values.astype(np.int64) if values.dtype == np.uint32 else values
        return torch.from_numpy(values.reshape(*rows.shape, *values.shape[1:])).to(device)


def first_wins(scores: Tensor) -> Tensor:
    """Cross-entropy of the first of each row's scores (b, k)."""
    return functional.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long, device=scores.device))


def warmed(done: int, steps: int) -> float:
    """Factor of the learning rate after `done` of all steps: from 0 up in a tenth, then down to 0."""
    rising = steps // 10
    return done / rising if done < rising else (steps - done) / max(steps - rising, 1)
