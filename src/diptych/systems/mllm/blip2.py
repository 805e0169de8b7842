r"""BLIP-2: Bootstrapping Language-Image Pre-training with Frozen Image Encoders (Li et al., ICML 2023).

Paper: title ends "and Large Language Models"; arXiv 2301.12597
Code: salesforce/LAVIS@506965b
Tables: 1, 4
Inputs: pictures (as regions) and texts
Learns from: pairs
Structure: pipeline
Representation: real-valued; a picture is 32 vectors
Survey: Table 1: a Q-Former between a frozen image encoder and a frozen language model; retrieval picks 128
    candidates, which are then ranked anew.
Erratum: The survey has a generative model select among the candidates. Both stages are the same Q-Former; no
    language model takes part in retrieval. The Flickr30K columns of Table 4 are of the model tuned on COCO.

A Q-Former reads what a frozen image encoder sees with learned queries. The first stage compares a text's
vector with the best of a picture's query vectors (ITC), through an index; for the best 128, in both
directions, the Q-Former then reads picture and text together (ITM), and both scores are added.

It learns contrast (ITC), matching with hard negatives (ITM) and captioning (ITG) together, with a mask each;
then the same again for retrieval, where captions of one picture are no false pairs of it.

``blip2@FOLDER`` takes a checkpoint of transformers: BLIP-2 (`Blip2ForImageTextRetrieval`), or BLIP as the
light form (`BlipForImageTextRetrieval`), with the same two stages.

Equations:
- the objective: \mathcal{L} = \mathcal{L}_{\mathrm{ITC}} + \mathcal{L}_{\mathrm{ITM}}
    + \mathcal{L}_{\mathrm{ITG}}
- contrast, both directions: \mathcal{L}_{\mathrm{ITC}} = -\frac{1}{2b} \sum_{ij} q_{ij} \left(
    \log \frac{\exp(s_{ij} / \tau)}{\sum_k \exp(s_{ik} / \tau)}
    + \log \frac{\exp(s_{ji} / \tau)}{\sum_k \exp(s_{ki} / \tau)} \right)
- the best query of a picture: s_{ij} = \max_q v_{iq}^\top t_j
- matching, of a pair and two hard ones: \mathcal{L}_{\mathrm{ITM}} = -\frac{1}{3b} \sum \log p(a \mid x, y)
- captioning: \mathcal{L}_{\mathrm{ITG}} = -\frac{1}{|W|} \sum_{w \in W}
    \log p(w \mid \text{pieces before}, x)
- the score of the second stage: s(x, y) = \max_q v_q^\top t + m(x, y)
where $v_{iq}$ and $t_j$ are unit vectors, $q_{ij}$ is 0.9 on what is right for a line of the batch and 0.1
spread over all (in pre-training the pair alone is right, then all captions of a picture), and $m$ is the mean
over the queries of the logit for a match.

Differs from the paper:
- The image encoder is the packaged tower's grid of cells (regions), which stays frozen in both trainings;
  weights of the Q-Former are drawn, its word pieces learned from the training texts unless `tokens@FOLDER`
  brings BERT's.
- Entries behind the best 128 keep the order of the first stage, where the code gives all of them -100.
- Captioning runs the queries anew in place of reusing their keys and values: the numbers are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.core import Floats, Item, Run, Side, Stage
from diptych.errors import BadParameter
from diptych.index.best_token import BestToken
from diptych.nets.masking import WordGuess
from diptych.nets.qformer import QFormer
from diptych.pipeline import Rerank, contents
from diptych.training.pair_learner import States
from diptych.training.region_learner import RegionLearner
from diptych.training.trainer import Batch

__all__ = ["BLIP2"]

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "tiny": {
        "image_dim": 9 * 1284, "regions": 9, "text_length": 24, "vocabulary": 512, "queries": 8, "width": 64,
        "heads": 4, "layers": 2, "joint": 32, "dropout": 0.0, "pretrain_epochs": 10, "epochs": 10,
        "batch_size": 16, "lr": 1e-3,
    },
}  # fmt: skip
FEATURES: Mapping[str | None, str] = {
    None: "image=regions,text=tokens:32",
    "paper": "image=regions,text=tokens:32",
    "tiny": "image=regions:3,text=tokens:24",
}
RECIPES: Mapping[str, Mapping[str, Any]] = {}

_SMOOTHING = 0.1
_NEVER = -10_000.0  # similarity of pictures and texts that may not be drawn as false ones


@dataclass(kw_only=True, eq=False)
class BLIP2(RegionLearner):
    """A Q-Former that compares, matches and captions.

    Args:
        queries: Learned queries, the vectors of a picture.
        width, heads, layers: Of the Q-Former.
        joint: Dimensions in which pictures and texts are compared.
        dropout: In every layer.
        depth: First hits that are matched.
        temperature: Of the contrast, at first; it is learned.

    Raises:
        BadParameter: rows that hold no such regions, heads that do not divide the width, or a number that is
            not positive.
    """

    text_length: int = 32
    queries: int = 32
    width: int = 768
    heads: int = 12
    layers: int = 12
    joint: int = 256
    dropout: float = 0.1
    depth: int = 128
    temperature: float = 0.07
    epochs: int = 5
    batch_size: int = 64
    lr: float = 1e-4

    def __post_init__(self) -> None:
        if min(self.queries, self.joint, self.depth, self.layers) < 1 or self.temperature <= 0:
            raise BadParameter(
                "BLIP-2 needs at least one query, layer, dimension and hit to match, and a positive "
                f"temperature, not {self.queries}, {self.layers}, {self.joint}, {self.depth} and "
                f"{self.temperature}",
                argument="settings",
            )
        if self.checkpoint:
            raise BadParameter("checkpoints of BLIP-2 are read whole, by blip2@FOLDER")
        self.former = QFormer(
            seen=self.dim, pieces=self.pieces, queries=self.queries, width=self.width, layers=self.layers,
            heads=self.heads, length=self.text_length, dropout=self.dropout,
        )  # fmt: skip
        self.tops = nn.ModuleDict(
            {
                "seen": nn.LayerNorm(self.dim),
                "image": nn.Linear(self.width, self.joint),
                "text": nn.Linear(self.width, self.joint),
                "match": nn.Linear(self.width, 2),
                "word": WordGuess(self.width, self.pieces, tied=self.former.words),
            }
        )
        self.scale = _Scale(self.temperature)

    @classmethod
    def from_weights(cls, weights: str, **parameters: Any) -> Any:
        """What was trained into a folder, or a checkpoint of transformers (BLIP-2 or BLIP).

        Raises:
            MissingData, BadData: it is not there, or is neither of both.
            MissingExtra: transformers is not installed.
        """
        if (Path(weights).expanduser() / "card.json").is_file():
            return super().from_weights(weights, **parameters)
        from diptych.nets.published_blip import PublishedBLIP

        return _Published(PublishedBLIP.read(weights), depth=int(parameters.get("depth", cls.depth)))

    # What each side comes to

    def image_states(self, image: Tensor) -> States:
        """What the frozen encoder sees (b, regions, d), normalised."""
        return (self.tops["seen"](self.seen(image).features),)

    def text_states(self, text: Tensor) -> States:
        """The word pieces (b, length)."""
        return (text,)

    def image_vectors(self, seen: Tensor) -> Tensor:
        """Unit vectors (b, queries, joint) of what is seen."""
        asked, _ = self.former(seen, None)
        return functional.normalize(self.tops["image"](asked), dim=2)

    def text_vectors(self, text: Tensor) -> Tensor:
        """Unit vectors (b, joint) of texts."""
        _, words = self.former(None, text)
        return functional.normalize(self.tops["text"](words[:, 0]), dim=1)

    def pair_scores(self, image: States, text: States) -> Tensor:
        """The logit of "match", the mean over the queries."""
        return self.matching(image[0], text[0])[:, 1]

    def matching(self, seen: Tensor, text: Tensor) -> Tensor:
        """Logits (b, 2) of "no match" and "match"."""
        asked, _ = self.former(seen, text, "together")
        logits: Tensor = self.tops["match"](asked).mean(dim=1)
        return logits

    # Learning

    def pretraining(self, batch: Batch) -> dict[str, Tensor]:
        """ITC + ITM + ITG, each pair right for itself alone."""
        return self._losses(batch, torch.eye(len(batch), device=batch.text.device))

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """The same, where all captions of a picture in the batch are right for it."""
        same = (batch.image_row[:, None] == batch.image_row).float()
        return self._losses(batch, same / same.sum(dim=1, keepdim=True))

    def _losses(self, batch: Batch, right: Tensor) -> dict[str, Tensor]:
        (seen,), text = self.image_states(batch.image), batch.text
        similar = contrast(self.image_vectors(seen), self.text_vectors(text))
        logits = self.scale(similar)
        target = (1 - _SMOOTHING) * right + _SMOOTHING / len(right)
        itc = (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2
        same = batch.image_row[:, None] == batch.image_row
        hard_text, hard_image = hard(logits.detach(), same), hard(logits.detach().T, same)
        told = self.matching(
            torch.cat([seen, seen, seen[hard_image]]), torch.cat([text, text[hard_text], text])
        )
        truth = torch.zeros(len(told), dtype=torch.long, device=told.device)
        truth[: len(batch)] = 1
        return {"itc": itc, "itm": functional.cross_entropy(told, truth), "itg": self._captioning(seen, text)}

    def _captioning(self, seen: Tensor, text: Tensor) -> Tensor:
        """Cross-entropy of each next word piece, given the queries and those before it."""
        begun = text.clone()
        begun[:, 0] = self.mask  # the piece that is no word begins a caption, as [DEC] does
        _, words = self.former(seen, begun, "causal")
        wanted = text[:, 1:]
        there = wanted != 0
        return functional.cross_entropy(self.tops["word"](words[:, :-1][there]), wanted[there])

    # Retrieving

    def over(self, gallery: Sequence[Item], k: int, to: Side = "image") -> Stage:
        """First the best query vector of each picture, through an index; then matching of the best."""
        return two_stages(self, gallery, k, to, depth=self.depth)

    def vectors(self, side: Side, items: Sequence[Item]) -> Floats:
        """Unit vectors (n, queries, joint) of pictures, or (n, 1, joint) of texts."""
        inputs = self.checked_inputs(contents(items, side), side)
        if side == "image":
            return self.outputs(
                _Calls(lambda rows: self.image_vectors(*self.image_states(rows)), self), inputs, size=64
            )
        return self.outputs(_Calls(lambda rows: self.text_vectors(rows)[:, None], self), inputs)


def contrast(image: Tensor, text: Tensor) -> Tensor:
    """Similarities (b, c) of pictures (b, queries, d) and texts (c, d): each that of the best query."""
    return torch.einsum("bqd,cd->bcq", image, text).amax(dim=2)


def hard(logits: Tensor, same: Tensor) -> Tensor:
    """For each line a column drawn by similarity, none of the same picture; any, where there is no other."""
    return torch.multinomial(logits.float().masked_fill(same, _NEVER).softmax(dim=1), 1)[:, 0]


def two_stages(system: Any, gallery: Sequence[Item], k: int, to: Side, *, depth: int) -> Stage:
    """The stage of a system with `vectors` and `score_pairs`: the sum of both scores decides among the best.

    Args:
        system: Gives vectors (n, t, d) of a side, the best pair of which counts, and scores of pairs.
        gallery: What is searched.
        k: Hits to keep.
        to: The gallery's side.
        depth: First hits whose pairs are scored.
    """
    first = _First(
        system, BestToken(system.vectors(to, gallery)), min(max(k, depth), max(len(gallery), 1)), to
    )
    return first >> Rerank(system, depth, weight=0.5, k=k, to=to)


class _First(Stage):
    """The first stage.

    Args:
        system: Gives the vectors of queries.
        index: Over the gallery.
        k: Hits to keep.
        to: The gallery's side.
    """

    symmetric = True

    def __init__(self, system: Any, index: BestToken, k: int, to: Side) -> None:
        self.system, self.index, self.k, self.to = system, index, k, to

    def _asked(self, run: Run) -> Floats:
        found: Floats = self.system.vectors("text" if self.to == "image" else "image", run.queries)
        return found

    def __call__(self, run: Run) -> Run:
        """The run with the index's hits."""
        return run.with_hits(self.index.search(self._asked(run), self.k))

    def scores(self, run: Run, before: Any = None) -> Any:
        """Similarities of all."""
        return self.index.compared(self._asked(run))


class _Published:
    """A checkpoint of transformers with the same two stages.

    Args:
        net: The network and what prepares its inputs.
        depth: First hits that are matched.
    """

    def __init__(self, net: Any, *, depth: int) -> None:
        self.net, self.depth = net, depth
        self.name, self.fingerprint = "blip2", net.fingerprint
        self.image_size, self.prepare_image = net.image_size, net.prepare_image

    def over(self, gallery: Sequence[Item], k: int, to: Side = "image") -> Stage:
        """See `BLIP2.over`."""
        return two_stages(self, gallery, k, to, depth=self.depth)

    def vectors(self, side: Side, items: Sequence[Item]) -> Floats:
        """Unit vectors (n, t, d) of pictures or texts."""
        inputs = contents(items, side)
        found: Floats = self.net.image_vectors(inputs) if side == "image" else self.net.text_vectors(inputs)
        return found

    def score_pairs(self, images: Sequence[Any], texts: Sequence[Any], pairs: Any) -> Floats:
        """The logits (p,) of "match"."""
        found: Floats = self.net.matching(images, texts, np.asarray(pairs, np.int64))
        return found


class _Scale(nn.Module):
    """Divides by a learned temperature."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(temperature))

    def forward(self, similar: Tensor) -> Tensor:
        """Logits."""
        return similar / self.temperature.clamp(0.001, 0.5)


class _Calls(nn.Module):
    """A function of a learner's networks as a module, so that it can be asked in evaluation mode.

    Args:
        function: What is called.
        learner: Whose networks it uses.
    """

    def __init__(self, function: Any, learner: BLIP2) -> None:
        super().__init__()
        self.function, self.nets = function, nn.ModuleDict(learner.networks)

    def forward(self, rows: Tensor) -> Tensor:
        """What the function gives."""
        found: Tensor = self.function(rows)
        return found
