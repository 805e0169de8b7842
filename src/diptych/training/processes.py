"""Where a training runs: one process in full precision, or mixed precision and several processes.

What the trainer needs of Accelerate and torch.distributed is here, so that no system has a line of it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from diptych.errors import BadParameter
from diptych.optional import optional

__all__ = ["Accelerated", "Precision", "Processes"]

Precision = Literal["fp32", "bf16", "fp16"]


class Processes:
    """One process in full precision; the base of the one that shares work through Accelerate."""

    rank, count, main = 0, 1, True

    @staticmethod
    def of(precision: Precision, processes: int, device: str | torch.device | None) -> Processes:
        """The processes that fit; see `Trainer` for the arguments.

        Raises:
            BadParameter: fewer than one, more than were started, or a device that is not here.
            MissingExtra: Accelerate is not installed.
        """
        if processes < 1:
            raise BadParameter(f"processes must be at least 1, not {processes}")
        started = int(os.environ.get("WORLD_SIZE", "1"))
        if processes not in (1, started):
            raise BadParameter(
                f"{processes} processes were asked for, but {started} were started; "
                f"start {processes} of them, with torchrun, or ask for as many as there are",
                argument="processes",
            )
        if precision == "fp32" and started == 1:
            return Processes(_here(device or _fastest()))
        return Accelerated(precision, device)

    def __init__(self, device: torch.device) -> None:
        self.device = device
        index = device.index if device.index is not None else 0
        self.cards = [index] if device.type == "cuda" else []

    def agree(self, modules: Sequence[nn.Module]) -> None:
        """Give every process the weights of the first."""

    def part(self, rows: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], float]:
        """This process's rows of a batch, and what its mean counts in the mean of all."""
        return rows, 1.0

    def gathered(self, rows: Tensor, whole: int, share: float) -> Tensor:
        """The rows (whole, ...) of all processes; see `diptych.training.trainer.Trainer.gathered`."""
        return rows

    def autocast(self) -> AbstractContextManager[Any]:
        """Where the forward pass runs."""
        return nullcontext()

    def rows_shared(self, tensors: Sequence[Tensor]) -> AbstractContextManager[Any]:
        """Where rows of tensors are written by whoever had them in its batch."""
        return nullcontext()

    def descend(
        self,
        optimizer: torch.optim.Optimizer,
        total: Tensor,
        parameters: Sequence[Tensor],
        *,
        share: float,
        clip: float | None,
    ) -> None:
        """Backward, clip, step."""
        total.backward(inputs=list(parameters))  # type: ignore[no-untyped-call]
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()

    def told(self, value: float) -> float:
        """The first process's value."""
        return value

    def all_of(self, value: Any) -> list[Any]:
        """Every process's value, by rank."""
        return [value]

    def wait(self) -> None:
        """Until all are here."""


class Accelerated(Processes):
    """Mixed precision and several processes, through Accelerate."""

    def __init__(self, precision: Precision, device: str | torch.device | None) -> None:
        accelerate = optional("accelerate", "mixed precision or training on several devices", "train")
        on_cpu = str(_here(device or _fastest())) == "cpu"
        mode = "no" if precision == "fp32" else precision
        self._accelerator = accelerate.Accelerator(mixed_precision=mode, cpu=on_cpu)
        super().__init__(self._accelerator.device)
        self.rank, self.count = self._accelerator.process_index, self._accelerator.num_processes
        self.main = self._accelerator.is_main_process
        self._optimizers: dict[int, Any] = {}

    def agree(self, modules: Sequence[nn.Module]) -> None:
        """Give every process the weights of the first."""
        if self.count > 1:
            for module in modules:
                for tensor in module.state_dict().values():
                    torch.distributed.broadcast(tensor, 0)

    def part(self, rows: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], float]:
        """This process's rows of a batch, and what its mean counts in the mean of all."""
        if len(rows) < self.count:
            return rows, 1.0
        mine = rows[self.rank :: self.count]
        return mine, len(mine) * self.count / len(rows)

    def gathered(self, rows: Tensor, whole: int, share: float) -> Tensor:
        """The rows (whole, ...) of all processes, gradients flowing to this one's, scaled for their mean."""
        if len(rows) == whole:  # fewer pairs than processes went to all of them
            return rows
        counts = [len(range(rank, whole, self.count)) for rank in range(self.count)]
        padded = torch.zeros((max(counts), *rows.shape[1:]), dtype=rows.dtype, device=rows.device)
        padded[: len(rows)] = rows.detach()
        found = [torch.empty_like(padded) for _ in counts]
        torch.distributed.all_gather(found, padded)
        parts = [one[:count] for one, count in zip(found, counts, strict=True)]
        if rows.requires_grad:
            # The mean over processes, of which this one counts `share`, must be the sum over all rows.
            parts[self.rank] = _scaled(rows, self.count / share)
        return torch.cat(parts)

    def autocast(self) -> AbstractContextManager[Any]:
        """Where the forward pass runs, in the precision asked for."""
        context: AbstractContextManager[Any] = self._accelerator.autocast()
        return context

    def rows_shared(self, tensors: Sequence[Tensor]) -> AbstractContextManager[Any]:
        """Where rows of tensors are written by whoever had them in its batch."""
        return _RowsShared(tensors) if self.count > 1 else nullcontext()

    def descend(
        self,
        optimizer: torch.optim.Optimizer,
        total: Tensor,
        parameters: Sequence[Tensor],
        *,
        share: float,
        clip: float | None,
    ) -> None:
        """Backward, the mean of all processes' gradients, clip, step."""
        wrapped = self._optimizers.get(id(optimizer))
        if wrapped is None:
            wrapped = self._optimizers[id(optimizer)] = self._accelerator.prepare_optimizer(optimizer)
        with torch.autocast(self.device.type, enabled=False):
            self._accelerator.backward(total * share, inputs=list(parameters))
            if self.count > 1:
                for parameter in parameters:
                    # A process whose terms do not reach a parameter still takes part in the mean.
                    if parameter.grad is None:
                        parameter.grad = torch.zeros_like(parameter)
                    parameter.grad = self._accelerator.reduce(parameter.grad, "mean")
            if clip is not None:
                self._accelerator.unscale_gradients(wrapped)
                torch.nn.utils.clip_grad_norm_(parameters, clip)
            wrapped.step()

    def told(self, value: float) -> float:
        """The first process's value."""
        return float(self.all_of(value)[0])

    def all_of(self, value: Any) -> list[Any]:
        """Every process's value, by rank."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Until all are here."""
        self._accelerator.wait_for_everyone()


def _scaled(rows: Tensor, factor: float) -> Tensor:
    """The same rows, whose gradient is multiplied by a factor."""
    kept = rows.detach()
    return kept + factor * (rows - kept)


class _RowsShared:
    """Gives every process what the others changed in the tensors, which are rows of other pairs."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors = tensors

    def __enter__(self) -> None:
        self._before = [tensor.detach().clone() for tensor in self._tensors]

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            return
        for tensor, before in zip(self._tensors, self._before, strict=True):
            change = tensor.detach() - before
            # A batch with fewer pairs than processes went to all of them: they changed the same entries.
            changed = (change != 0).to(change.dtype)
            torch.distributed.all_reduce(change)
            torch.distributed.all_reduce(changed)
            with torch.no_grad():
                tensor.copy_(before + change / changed.clamp(min=1))


def _here(device: str | torch.device) -> torch.device:
    """A device that torch can compute on here.

    Raises:
        BadParameter: it cannot, or knows none of that name.
    """
    try:
        found = torch.device(device)
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise BadParameter(
            f"torch cannot compute on the device {str(device)!r} here ({str(error).splitlines()[0]}); "
            "take cpu, or name none for the fastest there is",
            argument="device",
        ) from error
    return found


def _fastest() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
