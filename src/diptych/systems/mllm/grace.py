r"""GRACE: Generative Cross-Modal Retrieval: Memorizing Images (Li et al., ACL 2024).

Paper: title ends "in Multimodal Language Models for Retrieval and Beyond"; arXiv 2402.10805
Code: liyongqi67/GRACE@3bcccd3
Tables: 1, 4
Inputs: pictures and texts; a text finds pictures
Learns from: pairs, and pictures without texts
Structure: pipeline
Representation: none; the parameters are the index
Survey: Table 1: retrieval by generating the identifier of a picture.
Erratum: Table 4 lists the values of GRACE under IqT; they are those of its atomic variant for TqI.

Every picture has an identifier. The model first memorises (picture to identifier), then learns to retrieve
(text to identifier); asked with a text, it generates an identifier, and a beam search over a trie of the
identifiers that are searched sees to it that each stands for a picture. Five kinds: a running number as
`string` or `numeric` (digit by digit), a caption (`semantic`), a path through nested clusters (`structured`),
or a class of its own (`atomic`, a single softmax over picture vectors: a dual tower with the model as its
text tower).

What was not memorised (new pictures) is found by the dual tower that GRACE hangs on, which also ranks what
the beam leaves out, and texts for a picture.

Equations:
- what memorising minimises: \mathcal{L}_1 = -\frac{1}{|I|} \sum_i \sum_k \log p(z_{ik} \mid z_{i, <k}, v_i)
- what retrieving minimises: \mathcal{L}_2 = \mathcal{L}_1
    - \frac{1}{|I|} \sum_i \sum_k \log p(z_{ik} \mid z_{i, <k}, t_i)
- the score of an identifier on the trie: s(z) = \frac{1}{|z|^\alpha} \sum_k \log p(z_k \mid z_{<k}, t)
- atomic identifiers instead: p(i \mid t) = \operatorname{softmax}_i\left( 20 \cos(h(t), v_i) \right)
where $z_i$ is the identifier of picture $i$, its end included, $v_i$ and $t_i$ are the tower's vectors of
picture and text, $|I|$ counts the tokens of a batch, $h(t)$ is what the transformer gives, and $\alpha$ is
`length_power`, 0 by default; with `renormalise` the tokens that may follow on the trie have a sum of 1.

Differs from the paper:
- The language model is a small transformer from drawn weights, in place of OpenFlamingo-3B; it sees pictures
  and texts as the vectors of the dual tower `tower`, as a prefix of a few tokens.
- Retrieving is learned after memorising, as in the paper; meanwhile memorising goes on, as in the code.
- Pictures without texts get pseudo-queries of `captioner`, if one is named; it is not fine-tuned for it.
- The length penalty is 0 (the code's -2 prefers short identifiers); a query that finds nothing counts as a
  miss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import ceil
from typing import Any, NoReturn, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych import catalogue
from diptych.core import Floats, Item, Run, Side, Stage
from diptych.data.base import Split
from diptych.errors import BadParameter, UsageError
from diptych.index.flat import Flat
from diptych.nets.scaling import Scaling
from diptych.pipeline import Indexed, Search, encode, hits_of, stacked
from diptych.similarity import unit
from diptych.training.learner import Learner
from diptych.training.trainer import Batch, Trainer

__all__ = ["GRACE"]

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "tiny": {
        "clusters": 4, "leaf": 4, "width": 64, "layers": 2, "heads": 4, "memorise_epochs": 40, "epochs": 20,
        "batch_size": 16, "lr": 2e-3, "captioner": "",
    },
}  # fmt: skip
RECIPES: Mapping[str, Mapping[str, Any]] = {}

_KINDS = ("structured", "atomic", "numeric", "string", "semantic")
_END = 0  # of every identifier; its tokens follow
_DEEPEST = 8  # nested clusters; what is then left together is numbered, as copies would nest for ever
_SAME = 0.9995  # cosine of a picture's vector with that which was memorised of it, in half precision or not
_SHARP = 20.0  # of the atomic softmax


@dataclass(kw_only=True, eq=False)
class GRACE(Learner):
    """Memorises pictures, and generates the identifier of the one that a text asks for.

    Args:
        tower: Dual tower by name: gives the vectors of pictures and texts, and finds what was not memorised.
        captioner: By name: says what pictures without texts show; "" leaves them without pseudo-queries.
        identifier: "structured", "atomic", "numeric", "string" or "semantic".
        clusters, leaf: Of structured identifiers: k, and pictures from which on a cluster is not parted (c).
        width, layers, heads: Of the transformer.
        prefix: Tokens that a vector becomes.
        dropout: In every block.
        beam: Identifiers that are followed, and returned.
        length_power: The log-probability is divided by the number of tokens to this power.
        renormalise: Whether the probabilities of the tokens that can follow are made to sum to 1.
        memorise_epochs: Passes over the pictures, before the `epochs` over the texts.

    Raises:
        BadParameter: another kind of identifier, or a number that is not positive.
    """

    tower: str = "builtin"
    captioner: str = ""
    identifier: str = "structured"
    clusters: int = 30
    leaf: int = 30
    width: int = 256
    layers: int = 4
    heads: int = 4
    prefix: int = 4
    dropout: float = 0.1
    beam: int = 10
    length_power: float = 0.0
    renormalise: bool = False
    memorise_epochs: int = 40
    epochs: int = 20
    batch_size: int = 48
    lr: float = 5e-4
    memorised: int = 0
    tokens: int = 1
    longest: int = 1
    dims: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        if self.identifier not in _KINDS:
            raise BadParameter(
                f"identifier of GRACE must be one of {', '.join(_KINDS)}, not {self.identifier!r}"
            )
        if min(self.beam, self.clusters - 1, self.leaf, self.prefix) < 1 or self.width % self.heads:
            raise BadParameter(
                "GRACE needs at least one beam, prefix token and picture a leaf, two clusters, and "
                f"heads that divide the width, not {self.beam}, {self.prefix}, {self.leaf}, {self.clusters}, "
                f"and {self.heads} of {self.width}",
                argument="settings",
            )
        self.dims = (int(self.dims[0]), int(self.dims[1]))
        self.model = _Model(self)

    @property
    def encode_image(self) -> NoReturn:
        """There is none: pictures are kept in the parameters."""
        raise AttributeError("GRACE has no vectors; it generates identifiers")

    @property
    def encode_text(self) -> NoReturn:
        """There is none: texts generate identifiers."""
        raise AttributeError("GRACE has no vectors; it generates identifiers")

    @cached_property
    def _dual(self) -> Any:
        return catalogue.load(self.tower)

    def prepare_image(self, picture: Any) -> Any:
        """A picture as the tower takes it."""
        prepare = getattr(self._dual, "prepare_image", None)
        return picture if prepare is None else prepare(picture)

    # Learning

    def fit(self, split: Split, trainer: Trainer | None = None) -> Self:
        """Memorise the pictures of a split, with texts or without; then learn to retrieve them.

        Raises:
            UsageError: the split holds features in place of pictures and texts, or no picture.
        """
        for side in ("image", "text"):
            if isinstance(getattr(split, side), np.ndarray):
                raise UsageError(
                    "GRACE learns from pictures and texts themselves, and these data are features"
                )
        trainer = self.begin(split, trainer)
        vectors, texts, asks = self._seen(split)
        identifiers = self._identifiers(split, vectors)
        names = sorted({name for one in identifiers for name in one})
        number = {name: at for at, name in enumerate(names, start=_END + 1)}
        codes = np.zeros((len(identifiers), max(map(len, identifiers)) + 1), np.int64)
        for row, one in enumerate(identifiers):
            codes[row, : len(one)] = [number[name] for name in one]
        self.memorised, self.tokens, self.longest = len(codes), len(names) + 1, codes.shape[1]
        self.dims = (vectors.shape[1], texts.shape[1])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(trainer.seed)
            self.__post_init__()
        self.model.codes.copy_(torch.from_numpy(codes))
        self.model.vectors.copy_(torch.from_numpy(vectors))
        self.model.image_scale.fit(vectors)
        if len(texts):
            self.model.text_scale.fit(texts)
        own = np.repeat(np.arange(len(codes))[:, None], 2, axis=1)
        self._stage(trainer, Split(vectors, vectors, None, own), self.memorise_epochs, self._memorise)
        self._stage(trainer, Split(vectors, texts, None, asks), self.epochs, self._retrieve)
        return self

    def _stage(
        self, trainer: Trainer, lesson: Split, epochs: int, objective: Callable[[Batch], dict[str, Tensor]]
    ) -> None:
        if not epochs or not len(lesson.pairs):
            return
        optimizer = torch.optim.AdamW(self.trainable(), lr=self.lr, weight_decay=0.01)
        steps = epochs * ceil(len(lesson.pairs) / self.batch_size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.lr, total_steps=steps + 1, pct_start=0.1
        )
        for _ in trainer.epochs(epochs, keep=(self.model, optimizer, schedule), validate=False):
            for batch in trainer.batches(lesson, self.batch_size):
                trainer.step(optimizer, objective(batch))
                schedule.step()

    def _memorise(self, batch: Batch) -> dict[str, Tensor]:
        return {"memorise": self.model.loss(batch.image, "image", batch.image_row)}

    def _retrieve(self, batch: Batch) -> dict[str, Tensor]:
        return {**self._memorise(batch), "retrieve": self.model.loss(batch.text, "text", batch.image_row)}

    def _seen(self, split: Split) -> tuple[Floats, Floats, np.ndarray[Any, Any]]:
        """Vectors of the pictures, of what asks for them, and the pairs (p, 2) of both."""
        if not len(split.image):
            raise UsageError("GRACE has no picture to memorise")
        vectors = unit(np.asarray(self._dual.encode_image(split.image), np.float32))
        texts, pairs = list(split.text), split.pairs
        silent = np.setdiff1d(np.arange(len(split.image)), pairs[:, 0])
        if len(silent) and self.captioner:
            said = self._said([split.image[int(row)] for row in silent])
            more = np.stack([silent, len(texts) + np.arange(len(silent))], axis=1)
            texts, pairs = [*texts, *said], np.concatenate([pairs, more])
        told = (
            np.asarray(self._dual.encode_text(texts), np.float32)
            if texts
            else np.zeros((0, vectors.shape[1]))
        )
        return vectors, unit(told.astype(np.float32)), pairs

    def _said(self, pictures: Sequence[Any]) -> list[str]:
        """What the captioner says of pictures."""
        captioner: Any = catalogue.load(self.captioner)
        return [str(text) for text in captioner.captions(pictures)]

    def _identifiers(self, split: Split, vectors: Floats) -> list[tuple[str, ...]]:
        """The identifier of each picture, as names of tokens; no two alike."""
        count = len(vectors)
        if self.identifier == "structured":
            found: list[tuple[str, ...]] = [()] * count
            for row, path in _clustered(vectors, np.arange(count), self.clusters, self.leaf):
                found[row] = tuple(f"{level}_{index}" for level, index in enumerate(path))
            return found
        if self.identifier == "atomic":
            return [(str(row),) for row in range(count)]
        if self.identifier == "numeric":
            return [tuple(str(row)) for row in range(count)]
        if self.identifier == "string":
            return _apart(_pieces([str(row) for row in range(count)]))
        first = {int(image): split.text[int(text)] for image, text in split.pairs[::-1].tolist()}
        silent = [row for row in range(count) if row not in first]
        if silent:
            if not self.captioner:
                raise UsageError(
                    f"semantic identifiers are captions, and {len(silent)} pictures have none; "
                    "name a captioner"
                )
            told = self._said([split.image[row] for row in silent])
            first |= dict(zip(silent, told, strict=True))
        return _apart(_pieces([first[row] for row in range(count)]))

    # Retrieving

    def over(self, gallery: Sequence[Item], k: int, to: Side = "image") -> Stage:
        """The stage that generates identifiers of the gallery's pictures; the tower finds the rest."""
        index = gallery.searchable(self._dual) if isinstance(gallery, Indexed) else None
        if index is None:
            vectors = encode(self._dual, gallery, side=to)
            index = Flat.of(vectors, self._dual.similarity)
        if to == "text" or not self.memorised:
            return Search(self._dual, index, k)
        search = Search(self._dual, index, min(max(k, self.beam), max(len(gallery), 1)))
        known = _kept(gallery, index) if isinstance(gallery, Indexed) else vectors
        return _Generate(self, search, self._places(unit(known)), k)

    def _places(self, vectors: Floats) -> dict[int, int]:
        """Row of each memorised picture in a gallery (n, d): the entry whose vector is its own."""
        if not len(vectors):
            return {}
        mine = self.model.vectors.cpu().numpy()
        hits = Flat.of(vectors, "cosine").search(mine, 1)
        return {
            row: int(place)
            for row, (place, score) in enumerate(zip(hits.rows[:, 0], hits.scores[:, 0], strict=True))
            if place >= 0 and score > _SAME
        }

    def generate(
        self, vectors: Floats, side: Side, within: Sequence[int] | None = None
    ) -> list[list[tuple[int, float]]]:
        """The pictures whose identifiers are generated for each vector (n, d), best first.

        Args:
            vectors: Of texts, or of pictures, which should give themselves.
            side: Which of both.
            within: Memorised pictures that may be found; all, if None.

        Returns:
            For each vector, number and score of at most `beam` pictures.
        """
        rows = list(range(self.memorised)) if within is None else list(within)
        self.model.eval()
        with torch.no_grad():
            asked = torch.from_numpy(np.ascontiguousarray(unit(vectors), np.float32)).to(self.device)
            if self.identifier == "atomic":
                scores = self.model.classes(asked, side).log_softmax(dim=1)[:, rows]
                best = scores.topk(min(self.beam, len(rows)), dim=1)
                return [
                    [(rows[at], score) for at, score in zip(places, values, strict=True)]
                    for places, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
                ]
            trie = Trie({tuple(self._code(row)): row for row in rows})
            how: dict[str, Any] = {"renormalise": self.renormalise, "length_power": self.length_power}
            return [
                beam_search(partial(self.model.next_tokens, one, side), trie, beam=self.beam, **how)
                for one in asked
            ]

    def _code(self, row: int) -> list[int]:
        code: list[int] = self.model.codes[row].tolist()
        return code[: code.index(_END)]


class Trie:
    """Identifiers as paths; each ends behind its last token.

    Args:
        rows: What each identifier stands for.

    Raises:
        UsageError: there is none.
    """

    def __init__(self, rows: Mapping[tuple[int, ...], int]) -> None:
        if not rows:
            raise UsageError("there are no identifiers to generate")
        self.rows = dict(rows)
        self._next: dict[tuple[int, ...], set[int]] = {}
        for identifier in rows:
            for at, token in enumerate((*identifier, _END)):
                self._next.setdefault(identifier[:at], set()).add(token)

    def children(self, prefix: tuple[int, ...]) -> list[int]:
        """The tokens that may follow, ascending; `_END` behind a whole identifier."""
        return sorted(self._next.get(prefix, ()))


def beam_search(
    step: Callable[[Sequence[tuple[int, ...]]], Any],
    trie: Trie,
    *,
    beam: int,
    renormalise: bool,
    length_power: float = 0.0,
) -> list[tuple[int, float]]:
    """The likeliest identifiers of a trie, best first: what each stands for, and its score.

    Without renormalising, the mass that goes to tokens which cannot follow makes a branch less likely. The
    score is the log-probability divided by the number of tokens, the end included, to a power.

    Args:
        step: Log-probabilities (b, tokens) of what follows each of b prefixes.
        trie: What may be generated.
        beam: Prefixes that are followed at a time, and identifiers that are returned at most.
        renormalise: Whether the probabilities of the children of each prefix are made to sum to 1.
        length_power: See above.
    """
    alive: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    done: list[tuple[float, int]] = []
    while alive:
        following = np.asarray(step([prefix for _, prefix in alive]), np.float64)
        grown: list[tuple[float, tuple[int, ...], int]] = []
        for (total, prefix), logs in zip(alive, following, strict=True):
            children = trie.children(prefix)
            found = logs[children]
            if renormalise:
                found = found - np.logaddexp.reduce(found)
            grown += [(total + float(log), prefix, child) for child, log in zip(children, found, strict=True)]
        grown.sort(key=lambda one: (-one[0], one[1], one[2]))
        alive = []
        for total, prefix, token in grown[: 2 * beam]:
            if token == _END:
                done.append((total / (len(prefix) + 1) ** length_power, trie.rows[prefix]))
            elif len(alive) < beam:
                alive.append((total, (*prefix, token)))
        done = sorted(done, key=lambda one: (-one[0], one[1]))[:beam]
        if (
            len(done) == beam
            and length_power <= 0
            and alive
            and alive[0][0] <= min(total for total, _ in done)
        ):
            break  # no score rises any more
    return [(row, score) for score, row in done]


class _Generate(Stage):
    """Generates identifiers; new pictures, and what the beam leaves out, follow the tower.

    Args:
        grace: Generates.
        search: The tower's own search of the gallery.
        places: Row in the gallery of each memorised picture that is in it.
        k: Hits to keep.
    """

    def __init__(self, grace: GRACE, search: Search, places: Mapping[int, int], k: int) -> None:
        self.grace, self.search, self.places, self.k = grace, search, places, k

    def __call__(self, run: Run) -> Run:
        """The run with the pictures that were generated, new ones where the tower sees them, and the rest."""
        by_tower = hits_of(self.search(run))
        memorised = set(self.places.values())
        vectors = encode(self.search.encoder, run.queries)
        ranked, notes = [], []
        generated: list[list[tuple[int, float]]] = [[] for _ in run.queries]
        if self.places:
            generated = self.grace.generate(vectors, "text", sorted(self.places))
        for one, rows, scores in zip(
            generated, by_tower.rows.tolist(), by_tower.scores.tolist(), strict=True
        ):
            tower = {row: score for row, score in zip(rows, scores, strict=True) if row >= 0}
            told = [self.places[number] for number, _ in one]
            new = [row for row in tower if row not in memorised]
            order = list(_merged(told, new, tower))
            order += [row for row in tower if row not in set(order)]
            # Generated and new pictures have no common score but an order.
            ranked.append((np.array(order, np.int64), -np.arange(len(order), dtype=np.float32)))
            notes.append({"generated": len(told)})
        return run.with_hits(stacked(ranked, self.k)).noted(notes)


def _merged(told: Sequence[int], new: Sequence[int], tower: Mapping[int, float]) -> Iterator[int]:
    """Two rankings as one: each keeps its order, and the next is the one that the tower likes better."""
    lowest = min(tower.values(), default=0.0)
    told, new = list(told), list(new)
    while told and new:
        ahead = tower.get(told[0], lowest) >= tower[new[0]]
        yield (told if ahead else new).pop(0)
    yield from told or new


class _Model(nn.Module):
    """A causal transformer that reads a vector as a few tokens, and writes an identifier.

    Args:
        given: Its sizes.
    """

    codes: Tensor
    vectors: Tensor

    def __init__(self, given: GRACE) -> None:
        super().__init__()
        width, (image, text) = given.width, given.dims
        self.prefix, self.width = given.prefix, width
        self.image, self.text = nn.Linear(image, given.prefix * width), nn.Linear(text, given.prefix * width)
        self.image_scale, self.text_scale = Scaling(image, "standard"), Scaling(text, "standard")
        self.atomic = given.identifier == "atomic"
        self.register_buffer("codes", torch.zeros(given.memorised, given.longest, dtype=torch.long))
        self.register_buffer("vectors", torch.zeros(given.memorised, image))
        self.place = nn.Parameter(0.02 * torch.randn(given.prefix + given.longest, width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, given.heads, 4 * width, given.dropout, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(given.layers)
        )
        self.norm = nn.LayerNorm(width)
        if self.atomic:
            self.out: nn.Module = nn.Linear(width, image)
        else:
            self.token, self.out = nn.Embedding(given.tokens, width), nn.Linear(width, given.tokens)

    def states(self, vectors: Tensor, side: Side, ids: Tensor) -> Tensor:
        """States (b, t + 1, width) after the prefix of each vector (b, d), and after its tokens (b, t)."""
        scaled, read = (self.image_scale, self.image) if side == "image" else (self.text_scale, self.text)
        start = read(scaled(vectors)).view(len(vectors), self.prefix, self.width)
        x = start if self.atomic else torch.cat([start, self.token(ids)], dim=1)
        x = x + self.place[: x.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], device=x.device)
        for block in self.blocks:
            x = block(x, src_mask=mask, is_causal=True)
        found: Tensor = self.norm(x[:, self.prefix - 1 :])
        return found

    def classes(self, vectors: Tensor, side: Side) -> Tensor:
        """Logits (b, memorised) of atomic identifiers: similarities with the pictures' vectors."""
        none = self.codes.new_zeros(len(vectors), 0)
        told = functional.normalize(self.out(self.states(vectors, side, none)[:, -1]), dim=1)
        return _SHARP * told @ self.vectors.T

    def loss(self, vectors: Tensor, side: Side, rows: Tensor) -> Tensor:
        """Cross-entropy of the identifiers of pictures (b,), given vectors (b, d) of one side."""
        if self.atomic:
            return functional.cross_entropy(self.classes(vectors, side), rows)
        codes = self.codes[rows]
        logits = self.out(self.states(vectors, side, codes[:, :-1]))
        # One end counts; what fills shorter identifiers up does not.
        told = torch.cat([torch.ones_like(codes[:, :1]), codes[:, :-1]], dim=1) != _END
        return functional.cross_entropy(logits[told], codes[told])

    def next_tokens(self, vector: Tensor, side: Side, prefixes: Sequence[tuple[int, ...]]) -> Any:
        """Log-probabilities (b, tokens) of what follows prefixes of one length, given a vector (d,)."""
        ids = torch.tensor([list(prefix) for prefix in prefixes], dtype=torch.long, device=vector.device)
        ids = ids.view(len(prefixes), -1)
        states = self.states(vector.expand(len(prefixes), -1), side, ids)
        return self.out(states[:, -1]).float().log_softmax(dim=1).cpu().numpy()


def _clustered(
    vectors: Floats, rows: np.ndarray[Any, Any], k: int, leaf: int, path: tuple[int, ...] = ()
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Row and path of each picture through nested clusters.

    A cluster of more than `leaf` is parted again, one of several is numbered, and one of one ends.
    """
    if len(rows) == 1 and path:
        yield int(rows[0]), path
        return
    if len(rows) <= leaf or len(path) >= _DEEPEST:
        yield from ((int(row), (*path, at)) for at, row in enumerate(rows))
        return
    import faiss

    kmeans = faiss.Kmeans(
        vectors.shape[1], min(k, len(rows)), niter=25, nredo=5, seed=7, min_points_per_centroid=1,
        max_points_per_centroid=1 << 20,
    )  # fmt: skip
    some = np.ascontiguousarray(vectors[rows])
    kmeans.train(some)
    nearest = kmeans.index.search(some, 1)[1][:, 0]
    used = [int(one) for one in np.unique(nearest)]
    for at, cluster in enumerate(used):
        yield from _clustered(vectors, rows[nearest == cluster], k, leaf, (*path, at))


def _pieces(texts: Sequence[str]) -> list[tuple[str, ...]]:
    """Texts as pieces of the packaged tokeniser."""
    from tokenizers import Tokenizer

    from diptych.towers.onnx import WEIGHTS

    tokenizer = Tokenizer.from_file(str(WEIGHTS / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return [
        tuple(one.tokens) or ("-",) for one in tokenizer.encode_batch(list(texts), add_special_tokens=False)
    ]


def _apart(identifiers: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The same, those that were met before with a number behind."""
    seen: dict[tuple[str, ...], int] = {}
    taken, found = set(identifiers), []
    for one in identifiers:
        seen[one] = seen.get(one, 0) + 1
        new = one
        while seen[one] > 1 and new in taken:
            new = (*one, f"#{seen[one]}")
            seen[one] += new in taken
        taken.add(new)
        found.append(new)
    return found


def _kept(gallery: Any, index: Any) -> Floats:
    """The vectors (n, d) that a collection keeps of its entries."""
    found: Floats = np.asarray(gallery.vectors(np.arange(len(gallery))), np.float32)
    return found
