r"""CM-GANs: Cross-modal Generative Adversarial Networks for Common Representation Learning (Peng, Qi, ACM TOMM 2019).

Paper: arXiv 1710.05106
Code: PKU-ICST-MIPL/CM-GANS_TOMM2019@567edb5 (train.lua, data/donkey_folder_pascal.lua, eval/evalMAP.m)
Tables: 2
Inputs: image features and text features, such as VGG-19 fc7 (4096) and a sentence CNN (300)
Learns from: labels
Structure: apart
Representation: real-valued
Survey: only in Table 2, neither described nor in Table 1.

Each side is an autoencoder; the upper layer of the two encoders is one. Two discriminators tell an input from
its reconstruction (within a side), two more tell which common vector belongs to a raw input of theirs (across
the sides); the generators, which also learn to classify, work against all four.

Equations:
- what the image generator minimises: \mathcal{L}_{GI} = -\frac1b \sum \left( \log CD_T(z^i, t)
    + \log D_I(\hat{i}) + \sum_c y_c \log p_c(z^i) \right)
- what the text generator minimises: \mathcal{L}_{GT} = -\frac1b \sum \left( \log CD_I(z^t, i)
    + \log D_T(\hat{t}) + \sum_c y_c \log p_c(z^t) \right)
- discriminators within a side, images and texts alike: \mathcal{L}_{D_I} = -\frac1b \sum \left(
    \log D_I(i) + \log(1 - D_I(\hat{i})) \right)
- discriminators across, images and texts alike: \mathcal{L}_{CD_T} = -\frac1b \sum \left(
    \log CD_T(z^t, t) + \frac12 \log(1 - CD_T(z^i, t)) + \frac12 \log(1 - CD_T(z^{t'}, t)) \right)
where $i$ and $t$ are the inputs of a pair, $z^i$ and $z^t$ their common vectors, a hat says what the decoder
makes of these, $t'$ is a text of another class, sums go over a batch of $b$ pairs and $y_c$ are labels as
shares.

Differs from the paper:
- The paper's figures show convolutional networks; the released code, and this file, work on features.
- A "wrong" pair is the common vector of an item of another class beside the raw input of the real item. The
  released code takes both from the other item, and so calls a matched pair fake: `wrong_pair="as_released"`.
- Real items come in a shuffled order in which each appears once an epoch, wrong ones are drawn from all training
  items of other classes; the code draws classes first, then one item of each.
- The encoders' upper layer stays shared; in the code the two copies most likely drift apart once on the card.
- With several labels the class target is their mean. The epoch is chosen on validation data.
- Vectors are compared as they are. The released evaluation (eval/evalMAP.m) standardises those of the queries'
  images, or texts, with the statistics of the test set. On the
  Wikipedia set that moves MAP by less than .02, up with its wrong pairs and rather down with ours.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from diptych.core import Rows
from diptych.data.base import Split
from diptych.errors import BadParameter, UsageError
from diptych.nets.adversary import call_fake, call_real
from diptych.nets.classes import class_loss
from diptych.nets.pairwise import pair_labels, share_a_label
from diptych.nets.scaling import Scaling, fit_scaling
from diptych.training.learner import Learner
from diptych.training.trainer import Batch, Trainer

__all__ = ["CMGANs"]

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "tiny": {
        "image_dim": 32,
        "text_dim": 24,
        "classes": 5,
        "hidden_dim": 96,
        "dim": 16,
        "judge_dim": 96,
        "epochs": 20,
        "batch_size": 16,
        "generator_steps": 1,
        "lr": 3e-3,
        "image_scaling": "standard",
        "text_scaling": "standard",
    },
}

RECIPES: Mapping[str, Mapping[str, Any]] = {
    "wikipedia": {"image_scaling": "standard", "text_scaling": "standard"},
    "pascal_sentence": {"epochs": 2000},
}


@dataclass(kw_only=True, eq=False)
class CMGANs(Learner):
    """CM-GANs.

    Args:
        image_dim, text_dim: Dimensions of the input features.
        classes: Number of classes.
        hidden_dim: Width of each encoder's and decoder's own layer.
        dim: Dimensions of the common space (e).
        judge_dim: Hidden width of the discriminators across the sides.
        generator_steps: Steps of both generators for each step of the discriminators.
        wrong_pair: "mismatched" or "as_released", see the card.
        halve_every: Before every epoch whose number, from 1, is a multiple of this, all rates are halved.
        image_scaling, text_scaling: "none", "global" or "standard", see `diptych.nets.scaling`.
    """

    image_dim: int = 4096
    text_dim: int = 300
    classes: int = 20
    hidden_dim: int = 1024
    dim: int = 1024
    judge_dim: int = 512
    generator_steps: int = 5
    wrong_pair: str = "mismatched"
    halve_every: int = 100
    image_scaling: str = "none"
    text_scaling: str = "none"
    epochs: int = 1000
    batch_size: int = 64
    lr: float = 1e-3

    def __post_init__(self) -> None:
        if self.wrong_pair not in ("mismatched", "as_released"):
            raise BadParameter(
                f"wrong_pair of CM-GANs must be mismatched or as_released, not {self.wrong_pair!r}"
            )
        if self.halve_every < 1:
            raise BadParameter(f"halve_every of CM-GANs must be at least 1, not {self.halve_every}")
        upper, affine = nn.Linear(self.hidden_dim, self.dim), ScaleAndShift(self.dim)
        self.image_net = self._encoder(self.image_dim, self.image_scaling, upper, affine)
        self.text_net = self._encoder(self.text_dim, self.text_scaling, upper, affine)
        self.image_decoder = self._decoder(self.image_dim)
        self.text_decoder = self._decoder(self.text_dim)
        self.image_labels = nn.Linear(self.dim, self.classes)
        self.text_labels = nn.Linear(self.dim, self.classes)
        self.image_judge = nn.Linear(self.image_dim, 1)  # D_I
        self.text_judge = nn.Linear(self.text_dim, 1)  # D_T
        self.image_pair_judge = PairJudge(self.dim + self.image_dim, self.judge_dim)  # CD_I
        self.text_pair_judge = PairJudge(self.dim + self.text_dim, self.judge_dim)  # CD_T

    def study(self, split: Split) -> None:
        """Take the statistics of the training features."""
        fit_scaling(self.image_net, self.checked_inputs(split.image, "image"))
        fit_scaling(self.text_net, self.checked_inputs(split.text, "text"))

    def fit(self, split: Split, trainer: Trainer | None = None) -> Self:
        """One step of each discriminator, then several of the two generators, on every batch.

        Raises:
            UsageError: there is only one class, so that no pair is wrong.
        """
        trainer = self.begin(split, trainer)
        if split.label is None or len(set(map(bytes, split.label))) < 2:
            raise UsageError("CM-GANs needs labels of at least two classes: it learns from wrong pairs too")
        self.study(split)
        judges = {
            "D_T": self._adam("text_judge"),
            "D_I": self._adam("image_judge"),
            "CD_T": self._adam("text_pair_judge"),
            "CD_I": self._adam("image_pair_judge"),
        }
        image = self._adam("image_net", "image_decoder", "image_labels")
        text = self._adam("text_net", "text_decoder", "text_labels")
        optimizers = (*judges.values(), image, text)
        schedules = [
            torch.optim.lr_scheduler.LambdaLR(one, lambda done: rate(done, self.halve_every))
            for one in optimizers
        ]
        labels = pair_labels(split, trainer.device)
        for _ in trainer.epochs(self.epochs, keep=(*self.networks.values(), *optimizers, *schedules)):
            for batch in trainer.batches(split, self.batch_size):
                if len(batch) < 2:
                    continue  # batch normalisation needs two
                wrong = split.pairs[of_another_class(batch.label, labels).cpu().numpy()]
                terms = self.judge_objective(batch, *self._features(split, wrong, trainer.device))
                for name, optimizer in judges.items():
                    trainer.step(optimizer, {name: terms[name]})
                for _ in range(self.generator_steps):
                    trainer.step(image, self.image_objective(batch))
                    trainer.step(text, self.text_objective(batch))
            for schedule in schedules:
                schedule.step()
        return self

    def judge_objective(self, batch: Batch, wrong_image: Tensor, wrong_text: Tensor) -> dict[str, Tensor]:
        """What each discriminator descends, with the generators as they are.

        Args:
            batch: Real pairs.
            wrong_image, wrong_text: (b, image_dim) and (b, text_dim), an item of another class for each. They
                pass the encoders by themselves, and so are normalised with their own statistics.
        """
        i, t = self._scaled(batch.image, batch.text)
        with torch.no_grad():
            z_i, z_t = self.image_net(batch.image), self.text_net(batch.text)
            i_made, t_made = self.image_decoder(z_i), self.text_decoder(z_t)
            z_wrong_i, z_wrong_t = self.image_net(wrong_image), self.text_net(wrong_text)
        mismatched = self.wrong_pair == "mismatched"
        i_beside, t_beside = (i, t) if mismatched else self._scaled(wrong_image, wrong_text)
        return {
            "D_T": judge_loss(self.text_judge(t), self.text_judge(t_made)),
            "D_I": judge_loss(self.image_judge(i), self.image_judge(i_made)),
            "CD_T": pair_judge_loss(
                self.text_pair_judge(z_t, t),
                self.text_pair_judge(z_i, t),
                self.text_pair_judge(z_wrong_t, t_beside),
            ),
            "CD_I": pair_judge_loss(
                self.image_pair_judge(z_i, i),
                self.image_pair_judge(z_t, i),
                self.image_pair_judge(z_wrong_i, i_beside),
            ),
        }

    def image_objective(self, batch: Batch) -> dict[str, Tensor]:
        """L_GI: its vector passes for a text's, its reconstruction for an image, its class is known."""
        z, (_, t) = self.image_net(batch.image), self._scaled(batch.image, batch.text)
        return {
            "GI_across": call_real(self.text_pair_judge(z, t)),
            "GI_within": call_real(self.image_judge(self.image_decoder(z))),
            "GI_class": class_loss(self.image_labels(z), batch.label),
        }

    def text_objective(self, batch: Batch) -> dict[str, Tensor]:
        """L_GT, with the sides swapped."""
        z, (i, _) = self.text_net(batch.text), self._scaled(batch.image, batch.text)
        return {
            "GT_across": call_real(self.image_pair_judge(z, i)),
            "GT_within": call_real(self.text_judge(self.text_decoder(z))),
            "GT_class": class_loss(self.text_labels(z), batch.label),
        }

    def _scaled(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """The raw inputs (n, image_dim) and (n, text_dim) as the networks see them."""
        return self.image_net[0](image), self.text_net[0](text)  # type: ignore[index]

    def _features(self, split: Split, pairs: Rows, device: torch.device) -> tuple[Tensor, Tensor]:
        """Image and text features of pairs (n, 2) of a split."""
        image, text = self.checked_inputs(split.image, "image"), self.checked_inputs(split.text, "text")
        return (
            torch.from_numpy(image[pairs[:, 0]]).to(device),
            torch.from_numpy(text[pairs[:, 1]]).to(device),
        )

    def _adam(self, *names: str) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.trainable(*names), lr=self.lr, betas=(0.5, 0.999))

    def _encoder(self, dim: int, scaling: str, upper: nn.Linear, affine: ScaleAndShift) -> nn.Sequential:
        return nn.Sequential(
            Scaling(dim, scaling),
            nn.Linear(dim, self.hidden_dim),
            _norm(self.hidden_dim),
            nn.LeakyReLU(0.2),
            upper,
            nn.BatchNorm1d(self.dim, affine=False),  # statistics of each side's own
            affine,
            nn.LeakyReLU(0.2),
        )

    def _decoder(self, dim: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Linear(self.dim, self.hidden_dim),
            _norm(self.hidden_dim),
            nn.LeakyReLU(0.2),
            nn.Linear(self.hidden_dim, dim),
        )


class ScaleAndShift(nn.Module):
    """The learned part of a batch normalisation, so that it can be shared without the statistics."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(1 + 0.02 * torch.randn(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """(b, dim) to (b, dim)."""
        return x * self.weight + self.bias


class PairJudge(nn.Module):
    """Says whether a common vector belongs to the raw input beside it."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(dim, hidden_dim), _norm(hidden_dim), nn.LeakyReLU(0.2), nn.Linear(hidden_dim, 1)
        )

    def forward(self, z: Tensor, raw: Tensor) -> Tensor:
        """Logits (b, 1) of common vectors (b, e) beside raw inputs (b, d)."""
        logits: Tensor = self.layers(torch.cat((z, raw), dim=1))
        return logits


def judge_loss(real: Tensor, made: Tensor) -> Tensor:
    """L_D within a side: logits (b, 1) of inputs should say real, those of reconstructions fake."""
    return call_fake(made) + call_real(real)


def pair_judge_loss(own: Tensor, across: Tensor, wrong: Tensor) -> Tensor:
    """L_CD: a raw input's own vector is real; the other side's, and a wrong one, are fake at half weight."""
    return 0.5 * call_fake(across) + call_real(own) + 0.5 * call_fake(wrong)


def of_another_class(label: Tensor, pool: Tensor) -> Tensor:
    """For each of the labels (n, C) a random row (n,) of `pool` (m, C) that shares none, or any."""
    different = 1 - share_a_label(label, pool)
    alone = different.sum(dim=1, keepdim=True) == 0
    return torch.multinomial(different + alone, 1)[:, 0]


def rate(done: int, halve_every: int) -> float:
    """Factor of the rates after `done` epochs: the first halving comes before epoch `halve_every`."""
    return 0.5 ** ((done + 1) // halve_every)


def _norm(dim: int) -> nn.BatchNorm1d:
    norm = nn.BatchNorm1d(dim)
    nn.init.normal_(norm.weight, 1.0, 0.02)
    return norm
