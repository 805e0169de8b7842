"""The three verbs of a training loop: `Trainer.epochs`, `Trainer.batches`, `Trainer.step`.

A system writes its paper's algorithm box with them and any PyTorch in between; device, precision, several
processes, progress, log, validation, early stopping and restart happen inside the verbs.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diptych.data.base import Split
from diptych.errors import BadParameter, TrainingError
from diptych.training import checkpoint
from diptych.training.passes import Passes
from diptych.training.processes import Precision, Processes
from diptych.training.view import Log, Progress, TensorBoard, draw_curves

__all__ = ["Batch", "Precision", "Trainer"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Batch:
    """Pairs of the training split.

    Args:
        index: (b,) int64 rows into the split's pairs.
        image_row, text_row: (b,) int64 rows into the split's images and texts.
        image: (b, d) float32 features, (b, 3, h, w) uint8 pixels, or a list of b pictures.
        text: (b, d) float32 features, (b, length) int64 tokens, or a list of b strings.
        label: (b, C) float32, 1 where the pair shows the class; (b, 0) without classes.
        share: What the mean over these pairs counts in the mean over all processes.
        whole: How many pairs the batch has in all processes together.
    """

    index: Tensor
    image_row: Tensor
    text_row: Tensor
    image: Any
    text: Any
    label: Tensor
    share: float = 1.0
    whole: int = 0

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.index)


class Trainer:
    """Runs a training and remembers everything that is needed to go on with it.

    Args:
        run: Run folder for log, checkpoints and curves; None keeps nothing. A folder that holds the
            checkpoints of the same training goes on where they end, bit for bit as if it had never stopped.
        seed: Decides order, dropout and every other draw.
        validate: Called after an epoch; returns a number, larger is better. The state of the best epoch is
            put back when the epochs are over. May be set later, as an attribute.
        patience: Stop after so many validations without a new best; None never stops early.
        validate_every: Epochs from one validation to the next.
        clip: Largest norm of all gradients of one step together; None does not clip.
        device: Where to train ("cpu", "cuda", "cuda:1", "mps"); None takes a graphics card if there is one.
        precision: "fp32", or "bf16" or "fp16" for mixed precision.
        processes: That share each batch. More than one must have been started by a launcher, as ``torchrun``
            does, on this machine or on several.
        identity: Says what is trained (system, parameters, data). A folder with checkpoints of another
            identity is refused.
        checkpoint_seconds: Least time from one checkpoint to the next; the last epoch always gets one.
        quiet: Show no progress bar even on a terminal.
        tensorboard: Write event files into the run folder too.

    Raises:
        BadParameter: a value that is not allowed.
        MissingExtra: mixed precision, several processes or TensorBoard without their packages.

    Example:
        >>> import torch
        >>> from diptych.data.sets.planted import Planted
        >>> net, split = torch.nn.Linear(32, 24), Planted().split("train")
        >>> optimizer, trainer = torch.optim.SGD(net.parameters(), lr=0.1), Trainer(quiet=True)
        >>> for _ in trainer.epochs(2, keep=(net, optimizer)):
        ...     for batch in trainer.batches(split, 50):
        ...         trainer.step(optimizer, {"fit": (net(batch.image) - batch.text).square().mean()})
        >>> trainer.steps
        8
    """

    def __init__(
        self,
        run: Path | None = None,
        *,
        seed: int = 0,
        validate: Callable[[], float] | None = None,
        patience: int | None = None,
        validate_every: int = 1,
        clip: float | None = None,
        device: str | torch.device | None = None,
        precision: Precision = "fp32",
        processes: int = 1,
        identity: str = "",
        checkpoint_seconds: float = 30.0,
        quiet: bool = False,
        tensorboard: bool = False,
    ) -> None:
        if precision not in ("fp32", "bf16", "fp16"):
            raise BadParameter(f"precision must be fp32, bf16 or fp16, not {precision!r}")
        if validate_every < 1 or (patience is not None and patience < 1):
            raise BadParameter("patience and validate_every must be at least 1")
        self.run, self.seed, self.identity = run, seed, identity
        self.validate, self.patience, self.validate_every = validate, patience, validate_every
        self.clip, self.checkpoint_seconds, self.quiet = clip, checkpoint_seconds, quiet
        self._processes = Processes.of(precision, processes, device)
        self.device: torch.device = self._processes.device
        self.generator = torch.Generator().manual_seed(seed)
        """For draws outside the epochs (inside them, torch itself is seeded)."""
        self.steps = 0
        """Optimiser steps so far."""
        self.best: float | None = None
        """Best validation of the last stage that was validated."""
        self._stage, self._epoch = -1, 0
        self._kept: tuple[Any, ...] = ()
        self._begun = 0
        self._passes = Passes(self._processes.autocast)
        self._sums: dict[str, list[float]] = {}
        self._progress: Progress | None = None
        main_run = run if self._processes.main else None
        self._record_log = Log(main_run / "log.jsonl" if main_run else None)
        self._board = TensorBoard(main_run / "tensorboard") if tensorboard and main_run else None

    @property
    def main(self) -> bool:
        """Whether this process writes the files: one of several does."""
        return self._processes.main

    @property
    def history(self) -> Sequence[Mapping[str, Any]]:
        """One entry an epoch: stage, epoch, seconds, steps, the mean of each term, validation."""
        return self._record_log.entries

    def epochs(self, n: int, *, keep: Sequence[Any] = (), validate: bool = True) -> Iterator[int]:
        """Count n epochs; between them validate, log, checkpoint, and stop early.

        A training may call this several times, once a stage.

        Args:
            n: Epochs of this stage.
            keep: Everything that must survive a restart: modules, optimisers, schedules, random generators,
                and tensors or arrays that are changed in place. Modules are moved to the device and are in
                training mode inside the loop, in evaluation mode after it.
            validate: False for a stage that the validation does not concern (a teacher's).

        Yields:
            The number of the epoch, from 0.

        Raises:
            TrainingError: a checkpoint of another training, or a validation that is not finite.
        """
        self._stage += 1
        self._kept = tuple(keep)
        modules = [thing for thing in keep if isinstance(thing, nn.Module)]
        for module in modules:
            module.to(self.device).train()
        self._processes.agree(modules)
        checks = self.validate if validate else None
        outside = self._random_state()
        torch.manual_seed(_mixed(self.seed, self._stage, self._processes.rank))
        stage = self._resume() or _Stage()
        progress = Progress(n, done=stage.done, shown=self._processes.main and Progress.wanted(self.quiet))
        self._progress, written = progress, time.monotonic()
        try:
            while stage.done < n and not stage.over:
                self._epoch, self._begun, self._sums = stage.done, 0, {}
                started = time.perf_counter()
                yield stage.done
                self._passes.rest()
                entry = self._entry(stage.done, time.perf_counter() - started)
                stage.done += 1
                if checks is not None and (stage.done % self.validate_every == 0 or stage.done == n):
                    entry["validation"] = self._validated(checks, stage)
                self._publish(entry)
                if time.monotonic() - written >= self.checkpoint_seconds and stage.done < n:
                    self._write(stage)
                    written = time.monotonic()
        finally:
            progress.close()
            self._progress = None
        if stage.best_state is not None:
            checkpoint.restore(self._kept, stage.best_state)
            stage.best_state = None
            self.best = stage.best
        stage.over = True
        self._write(stage)
        # Not in a finally: a loop that was left by an exception is closed whenever its frame is collected,
        # which may be in the middle of another training.
        self._set_random_state(outside)
        for module in modules:
            module.eval()

    def batches(
        self, split: Split, size: int, *, shuffle: bool = True, drop_last: bool = False, anew: bool = False
    ) -> Iterator[Batch]:
        """Every pair of the split once, in a seeded order that differs from pass to pass.

        Args:
            split: What to learn from.
            size: Pairs in a batch, over all processes together.
            shuffle: False keeps the order of the split.
            drop_last: Leave out a last batch that is not full.
            anew: Draw each batch from all pairs, as some papers' code does: a pass has as many full batches
                as fit, at least one, and may see a pair in several of them or in none.

        Raises:
            BadParameter: `size` is not positive.
            TrainingError: there is no pair to learn from.
        """
        if size < 1:
            raise BadParameter(f"the batch size must be at least 1, not {size}")
        count = len(split.pairs)
        if count == 0 or (drop_last and count < size):
            raise TrainingError(f"{split!r} has no batch of {size} pairs to learn from")
        order = np.arange(count)
        draw = np.random.default_rng((self.seed, max(self._stage, 0), self._epoch, self._begun))
        if anew:
            size = min(size, count)
            draws = [draw.choice(count, size, replace=False) for _ in range(count // size)]
            order = np.concatenate(draws)
            count = len(order)
        elif shuffle:
            draw.shuffle(order)
        self._begun += 1
        tensors = [thing for thing in self._kept if isinstance(thing, Tensor)]
        with self._processes.rows_shared(tensors), self._passes.one() as at:
            for start in range(0, count - size + 1 if drop_last else count, size):
                rows = order[start : start + size]
                batch = self._batch(split, *self._processes.part(rows), len(rows))
                at(batch.share)
                yield batch

    def gathered(self, batch: Batch, rows: Tensor) -> Tensor:
        """Rows (b, ...) of this process's pairs together with those of all other processes: (whole, ...).

        For losses in which each pair is told from all others. Gradients flow to this process's own rows, so
        scaled that a loss of all rows, as every process then has it, trains as it would in one process. All
        processes must call it alike; the order is the same in all, and the same for all that is gathered.

        Args:
            batch: What the rows are of.
            rows: Vectors of its pairs, or their numbers.
        """
        return self._processes.gathered(rows, batch.whole, batch.share)

    def step(
        self, optimizer: torch.optim.Optimizer, terms: Mapping[str, Tensor], *, batch: Batch | None = None
    ) -> None:
        """One step of an optimiser down the sum of the terms.

        Only the parameters of this optimiser receive gradients; those it held before are forgotten.

        Args:
            optimizer: Updates its own parameters.
            terms: Named summands of the loss, each a tensor of one number, weights included.
            batch: What the terms are of. None takes the batch that the loop over `batches` is at; only loops
                over several `batches` at a time, in several processes, must say it.

        Raises:
            TrainingError: a term is not finite, none depends on a parameter that is trained, or it is open
                which batch the terms are of.
        """
        self.record(terms)
        total = torch.stack([term.float() for term in terms.values()]).sum()
        if not total.requires_grad:
            raise TrainingError(f"none of the terms {', '.join(terms)} depends on what is trained")
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
        share = self._passes.share() if batch is None else batch.share
        optimizer.zero_grad(set_to_none=True)
        self._processes.descend(optimizer, total, parameters, share=share, clip=self.clip)
        self.steps += 1

    def record(self, terms: Mapping[str, Tensor]) -> None:
        """Put the terms into the log, without a step.

        Raises:
            TrainingError: a term is not finite.
        """
        if not terms:
            raise TrainingError("there are no loss terms")
        values = dict(
            zip(terms, torch.stack([t.detach().float() for t in terms.values()]).tolist(), strict=True)
        )
        for name, value in values.items():
            if not math.isfinite(value):
                raise TrainingError(
                    f"loss term {name!r} became {value} in epoch {self._epoch}, step {self.steps}; "
                    "a smaller learning rate (the parameter lr) or clipping may help"
                )
            self._sums.setdefault(name, []).append(value)
        if self._progress is not None:
            self._progress.terms(values)

    def draw(self) -> Path | None:
        """Draw the curves into the run folder; None without one."""
        if self.run is None or not self._processes.main or not self.history:
            return None
        path = self.run / "curves.png"
        draw_curves(self.history, path)
        return path

    def _random_state(self) -> dict[str, Any]:
        return {
            "torch": torch.get_rng_state(),
            "cuda": [torch.cuda.get_rng_state(card) for card in self._processes.cards],
        }

    def _set_random_state(self, state: Mapping[str, Any]) -> None:
        torch.set_rng_state(state["torch"])
        for card, one in zip(self._processes.cards, state["cuda"], strict=True):
            torch.cuda.set_rng_state(one, card)

    def _batch(self, split: Split, rows: np.ndarray[Any, Any], share: float, whole: int) -> Batch:
        pairs = split.pairs[rows]
        label = np.zeros((len(rows), 0), np.float32) if split.label is None else split.label[pairs[:, 0]]
        return Batch(
            index=torch.from_numpy(rows).to(self.device),
            image_row=torch.from_numpy(pairs[:, 0].copy()).to(self.device),
            text_row=torch.from_numpy(pairs[:, 1].copy()).to(self.device),
            image=_gathered(split.image, pairs[:, 0], self.device),
            text=_gathered(split.text, pairs[:, 1], self.device),
            label=torch.from_numpy(label.astype(np.float32)).to(self.device),
            share=share,
            whole=whole,
        )

    def _entry(self, epoch: int, seconds: float) -> dict[str, Any]:
        terms = {name: sum(values) / len(values) for name, values in self._sums.items()}
        return {
            "stage": self._stage,
            "epoch": epoch,
            "seconds": round(seconds, 3),
            "steps": self.steps,
            "terms": terms,
        }

    def _validated(self, check: Callable[[], float], stage: _Stage) -> float:
        with torch.random.fork_rng(devices=self._processes.cards):
            value = self._processes.told(float(check()))
        if not math.isfinite(value):
            raise TrainingError(f"the validation gave {value} after epoch {stage.done - 1}")
        if stage.best is None or value > stage.best:
            stage.best, stage.since = value, 0
            stage.best_state = checkpoint.capture(self._kept)
        else:
            stage.since += 1
        stage.over = self.patience is not None and stage.since >= self.patience
        return value

    def _publish(self, entry: dict[str, Any]) -> None:
        self._record_log.add(entry)
        if self._board is not None:
            self._board.add(entry)
        shown = {**entry["terms"], **({"validation": entry["validation"]} if "validation" in entry else {})}
        if self._progress is not None:
            self._progress.epoch(entry["epoch"], shown)
        _log.info("stage %d epoch %d: %s", entry["stage"], entry["epoch"], shown)

    def _checkpoint_path(self) -> Path | None:
        return self.run / "checkpoints" / f"stage{self._stage}.pt" if self.run else None

    def _write(self, stage: _Stage) -> None:
        path = self._checkpoint_path()
        if path is None:
            return
        random = self._processes.all_of({**self._random_state(), "own": self.generator.get_state()})
        if self._processes.main:
            checkpoint.write(
                path,
                {
                    "seed": self.seed,
                    "identity": self.identity,
                    "steps": self.steps,
                    "log_bytes": self._record_log.bytes,
                    "random": random,
                    "kept": checkpoint.capture(self._kept),
                    **vars(stage),
                },
            )
        self._processes.wait()

    def _resume(self) -> _Stage | None:
        """Put everything back as the checkpoint of this stage says; None if there is none."""
        path = self._checkpoint_path()
        if path is None or not path.is_file():
            if self._stage == 0 and self._processes.main:
                self._record_log.cut(0)
            return None
        saved = checkpoint.read(path)
        if (saved["seed"], saved["identity"]) != (self.seed, self.identity):
            theirs, ours = saved["identity"] or "unnamed", self.identity or "unnamed"
            raise TrainingError(
                f"{self.run} holds another training ({theirs}, seed {saved['seed']}), "
                f"not {ours}, seed {self.seed}; choose another folder or remove it"
            )
        random = saved["random"]
        if len(random) != self._processes.count:
            raise TrainingError(
                f"{self.run} was trained by {len(random)} processes, not {self._processes.count}; "
                "go on with as many"
            )
        checkpoint.restore(self._kept, saved["kept"])
        mine = random[self._processes.rank]
        self._set_random_state(mine)
        self.generator.set_state(mine["own"])
        self.steps = saved["steps"]
        if not path.with_name(f"stage{self._stage + 1}.pt").is_file():
            self._record_log.cut(saved["log_bytes"])
        stage = _Stage(**{name: saved[name] for name in vars(_Stage())})
        if stage.over:
            self.best = stage.best
        return stage


@dataclass
class _Stage:
    """Where one stage stands."""

    done: int = 0
    best: float | None = None
    best_state: list[Any] | None = None
    since: int = 0
    over: bool = False


def _mixed(*numbers: int) -> int:
    """One seed of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _gathered(values: Any, rows: np.ndarray[Any, Any], device: torch.device) -> Any:
    if isinstance(values, np.ndarray):
        found = values[rows]
        # torch computes nothing with uint32, as tokens are.
        return torch.from_numpy(found.astype(np.int64) if found.dtype == np.uint32 else found).to(device)
    return [values[row] for row in rows.tolist()]
