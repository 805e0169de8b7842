"""Optimisers that several systems need and torch does not have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import cos, pi
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["BertAdam", "Together", "WarmedAdamW"]


class BertAdam(Optimizer):
    """Adam without bias correction, with decoupled decay, per-tensor clipping and warm-up to a cosine.

    The optimiser of the CLIP hashing line (kalenforn/DCHMT@79bd5e6: model/optimization.py). With x the share
    of `total` steps done, the rate is lr * x / warmup below `warmup` and lr * (1 + cos(pi x)) / 2 above it;
    the cosine is not restarted after the warm-up.

    Args:
        parameters: What to optimise.
        lr: Peak learning rate.
        total: Steps of the whole training.
        warmup: Share of them that warms up.
        betas, eps, decay: As in Adam; decay applies to every parameter.
        clip: Largest gradient norm of each tensor on its own.
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float,
        *,
        total: int,
        warmup: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-6,
        decay: float = 0.2,
        clip: float = 1.0,
    ) -> None:
        super().__init__(
            parameters,
            {
                "lr": lr, "total": total, "warmup": warmup, "betas": betas,
                "eps": eps, "decay": decay, "clip": clip,
            },
        )  # fmt: skip

    @staticmethod
    def schedule(progress: float, warmup: float) -> float:
        """Factor of the learning rate at a share of the training in [0, 1]."""
        return progress / warmup if progress < warmup else (1 + cos(pi * progress)) / 2

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update from the gradients at hand."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        torch.nn.utils.clip_grad_norm_(parameter, group["clip"])
        low, high = group["betas"]
        state["mean"].mul_(low).add_(gradient, alpha=1 - low)
        state["square"].mul_(high).addcmul_(gradient, gradient, value=1 - high)
        update = state["mean"] / (state["square"].sqrt() + group["eps"]) + group["decay"] * parameter
        rate = group["lr"] * self.schedule(state["step"] / group["total"], group["warmup"])
        parameter.add_(update, alpha=-rate)
        state["step"] += 1


class WarmedAdamW(torch.optim.AdamW):
    """AdamW whose rate rises in equal steps to its peak and then falls along half a cosine to 0.

    Step t, counted from 0, is made at lr (t + 1) / warmup below `warmup`, and from there on at
    lr (1 + cos(pi x)) / 2 with x the share of the remaining steps that is done, as open_clip's training does.

    Args:
        parameters: What to optimise; a group may have its own ``lr`` and ``weight_decay``.
        lr: Peak learning rate.
        total: Steps of the whole training.
        warmup: Steps that warm up.
        betas, eps, weight_decay: As in AdamW.
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float,
        *,
        total: int,
        warmup: int,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
    ) -> None:
        super().__init__(parameters, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        for group in self.param_groups:
            group |= {"peak": group["lr"], "done": 0, "total": total, "warmup": warmup}

    @staticmethod
    def schedule(done: int, total: int, warmup: int) -> float:
        """Factor of the learning rate after `done` steps."""
        if done < warmup:
            return (done + 1) / warmup
        return (1 + cos(pi * (done - warmup) / max(total - warmup, 1))) / 2

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update from the gradients at hand."""
        for group in self.param_groups:
            group["lr"] = group["peak"] * self.schedule(group["done"], group["total"], group["warmup"])
            group["done"] += 1
        found: float | None = super().step(closure)
        return found


class Together(Optimizer):
    """Several optimisers of different parameters that step on one backward pass."""

    def __init__(self, *optimizers: Optimizer) -> None:
        self.optimizers = optimizers
        super().__init__([p for o in optimizers for group in o.param_groups for p in group["params"]], {})
        self.param_groups = [group for optimizer in optimizers for group in optimizer.param_groups]

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of each."""
        loss = None if closure is None else closure()
        for optimizer in self.optimizers:
            optimizer.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The state of each, in order."""
        return {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        for optimizer, state in zip(self.optimizers, state_dict["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.param_groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
