r"""BUILTIN: the encoder that comes with Diptych (the Diptych maintainers, 2026).

Paper: none; the concepts follow ConSE (Norouzi et al., ICLR 2014), the heads CLIP (Radford et al., ICML 2021)
Code: here
Tables: none of the survey's; measured in docs/models/builtin.md
Inputs: pictures and English texts
Learns from: pairs
Structure: apart
Representation: real-valued

Two packaged towers (EfficientNet-Lite0 and MiniLM) run in ONNX Runtime. Their outputs meet in two blocks side
by side, so that one inner product is a weighted sum: a picture's likely ImageNet concepts as a mean of their
names' vectors, and two small contrastive heads trained on captioned photographs. `fit` trains such heads, and
what goes with them, on captioned pictures of anybody's; the heads that come with Diptych are its result on
Flickr8k. The variant `languages` gives the same vectors of pictures and reads texts of other languages, too.

Equations:
- the objective of a pair of heads, both directions: \mathcal{L} = -\frac{1}{2b} \sum_i \left(
    \log \frac{\exp(s_{ii})}{\sum_{j \notin O_i} \exp(s_{ij})}
    + \log \frac{\exp(s_{ii})}{\sum_{j \notin O_i} \exp(s_{ji})} \right), \quad
    s_{ij} = e^t h(x_i)^\top h'(y_j)
- a head: h(z) = u\left( A \tilde{z} + B \operatorname{GELU}(C \tilde{z} + c) + a \right)
- a picture's likely concepts: c(x) = \sum_k p_k e_k, \quad p = \operatorname{softmax}(l(x) / 2)
- vectors of both sides: f(x) = u\left( u(c(x) - \mu_x), h_1(x), h_2(x) \right), \quad
    g(y) = u\left( w(y) u(y - \mu_y), h'_1(y), h'_2(y) \right)
- weight of the concepts, more for a text that names one: w(y) = w_0 + (8 - w_0) \,
    \sigma\left( \frac{\max_k \cos(y - e_0, e_k) - 0.8}{0.05} \right)
where $u$ makes unit vectors, $x$ stands for the image tower's features and $y$ for the text tower's vector, a
tilde standardises, $l(x)$ are the image tower's logits of ImageNet's classes, $e_k$ the vectors of their
names, and $O_i$ other captions of the same picture; $w_0$ is chosen on pictures that are held out.
"""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from diptych import catalogue
from diptych.core import Floats, Rows, Side
from diptych.errors import BadData, BadParameter, MissingData, UsageError
from diptych.media.pictures import batches
from diptych.optional import optional
from diptych.printable import type_of
from diptych.provenance import commit, versions
from diptych.towers.calibrating import Captioned, calibrated
from diptych.towers.calibration import Relevance
from diptych.towers.concepts import ConceptSpace, likely_concepts
from diptych.towers.heads import compact, expanded
from diptych.towers.languages import LanguageTower, of_english, of_many_languages
from diptych.towers.late import Late, pooled_cells
from diptych.towers.onnx import IMAGE_SIZE, CellTower, ImageTower, TextTower, prepare_image
from diptych.towers.second_look import SecondLine
from diptych.towers.vocabulary import unknown_words

if TYPE_CHECKING:  # encoding needs neither data sets nor metrics
    from diptych.data.base import Split
    from diptych.training.trainer import Trainer

__all__ = ["Builtin"]

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    # For those who may not use weights that were trained on data given out for research only.
    "concepts": {"heads": False},
    # Reads texts of many languages; pictures have the vectors that they have without it.
    "languages": {"languages": True},
}

RECIPES: Mapping[str, Mapping[str, Any]] = {}

_WEIGHTS = Path(__file__).parent / "weights"
_RELEVANCE = "relevance.npz"  # beside the heads that come with Diptych, made from other pictures
_RERANKER = "rerank.npz"
_LANGUAGES, _LANGUAGES_RELEVANCE = "languages.npz", "relevance_languages.npz"
_VERSION = 1  # of everything that is not in a file: preparation, tokens, arithmetic

_LEAST_IMAGES = 20  # to learn from
_RATE = 1e-3  # of learning, at its highest
_FEATURES = 1280  # of the image tower; its logits follow
_CANDIDATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)  # weights of the concepts that are tried
_COST = 0.005  # of mean recall, that a larger weight of the concepts may have

_log = logging.getLogger(__name__)


class Builtin:
    """Encodes pictures and English texts into one space of unit vectors.

    Args:
        heads: Whether to use trained heads beside the concepts.
        threads: Threads of one run of a tower; None for every core.
        epochs: Passes of `fit` over the pairs.
        batch_size: Pairs in a batch of `fit`.
        languages: Whether to read texts of other languages than English.
        reader: What then reads them; see `diptych.towers.languages.LanguageTower`.

    Raises:
        BadParameter: a number that is not positive.
    """

    similarity = "cosine"
    arrays_file = "heads.npz"
    members = 2  # heads side by side, alike but for their random draws
    image_size = IMAGE_SIZE
    batch_size = 16  # pictures that go through the tower at once; that of training is a hyper-parameter

    def __init__(
        self,
        *,
        heads: bool = True,
        threads: int | None = None,
        epochs: int = 7,
        batch_size: int = 1024,
        languages: bool = False,
        reader: str = "",
    ) -> None:
        for name, value in (("epochs", epochs), ("batch_size", batch_size)):
            if value < 1:
                raise BadParameter(f"{name} of builtin must be at least 1, not {value}")
        self.heads, self.threads = heads, threads
        self.languages, self.reader = languages, reader
        self.hyperparameters: dict[str, Any] = {"heads": heads, "epochs": epochs, "batch_size": batch_size}
        if languages:
            self.hyperparameters |= {"languages": True, "reader": reader}
        self._learned: Mapping[str, NDArray[Any]] = {}
        self._facts: dict[str, Any] = {}
        self._image_tower: ImageTower | None = None
        self._text_tower: TextTower | LanguageTower | None = None

    @classmethod
    def from_weights(cls, weights: str, **parameters: Any) -> Self:
        """The encoder whose heads `save` wrote into a folder; of the variant `languages` also its reader.

        Raises:
            MissingData: there are none.
            BadData: they are damaged.
        """
        folder = Path(weights).expanduser()
        if (folder / "card.json").is_file():
            restored: Self = catalogue.restored(cls, folder / "card.json", **parameters)
            return restored
        encoder = cls(**parameters)
        if encoder.languages and not (folder / cls.arrays_file).is_file():
            return cls(**{**parameters, "reader": weights})
        encoder.restore(_read(folder / cls.arrays_file))
        return encoder

    def save(self, folder: Path | str, **facts: Any) -> None:
        """Write the heads and their card.

        Args:
            folder: Made if it is not there.
            facts: What else the card should hold and JSON can (data, command).
        """
        card = Path(folder) / "card.json"
        catalogue.write(self, card, versions=versions(), commit=commit(), **self._facts, **facts)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """The heads and their calibration, as they are stored."""
        if not self.heads:
            return {}
        return self._learned or {**_read(_WEIGHTS / self.arrays_file), **_read(_WEIGHTS / _RELEVANCE)}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `arrays` gave."""
        self._learned = dict(arrays)
        for known in ("_space", "calibrate", "fingerprint", "space", "_late"):
            self.__dict__.pop(known, None)

    @property
    def image_tower(self) -> ImageTower:
        """The image tower, loaded when first needed."""
        if self._image_tower is None:
            self._image_tower = ImageTower(self.threads)
        return self._image_tower

    @property
    def text_tower(self) -> TextTower | LanguageTower:
        """The text tower, loaded when first needed."""
        if self._text_tower is None:
            self._text_tower = self._language_tower if self.languages else TextTower(self.threads)
        return self._text_tower

    @functools.cached_property
    def _language_tower(self) -> LanguageTower:
        return LanguageTower(expanded(_read(_WEIGHTS / _LANGUAGES)), self.reader, self.threads)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Changes whenever vectors would."""
        if not self.languages:
            return self.space
        kind, _, digest = self.space.rpartition(":")
        return f"{kind}:languages:{digest}:{self._language_tower.identity}"

    @functools.cached_property
    def space(self) -> str:
        """Changes whenever vectors of pictures would; they compare with those of texts in any language."""
        digest = hashlib.sha256(f"{_VERSION} {self.heads}".encode())
        for name, array in sorted(self._space.arrays.items()):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return f"builtin{'' if self.heads else ':concepts'}:{digest.hexdigest()[:12]}"

    @staticmethod
    def prepare_image(picture: Any) -> NDArray[np.uint8]:
        """A picture as `encode_image` takes it; may run in other threads."""
        return prepare_image(picture)

    def encode_image(self, images: Sequence[Any]) -> Floats:
        """Unit vectors (n, d) of pictures, each as `open_picture` takes it or what `prepare_image` gave.

        Raises:
            UsageError: a single picture and no sequence of them.
            ImageError: one cannot be read.
        """
        if isinstance(images, str | bytes | PathLike) or not hasattr(images, "__len__"):
            raise UsageError(
                f"pictures are given as a list, such as [Path('cat.jpg')], not as {type_of(images)}"
            )
        parts = [self._space.image(*self.image_tower(batch)) for batch in batches(images, self)]
        return np.concatenate(parts) if parts else np.zeros((0, self.dim), np.float32)

    def encode_text(self, texts: Sequence[str]) -> Floats:
        """Unit vectors (n, d) of texts.

        Raises:
            UsageError: a single text and no sequence of them, or something that is no text.
        """
        if isinstance(texts, str | bytes) or not hasattr(texts, "__len__"):
            raise UsageError(f"texts are given as a list, such as ['a cat'], not as {type_of(texts)}")
        strange = next((row for row, text in enumerate(texts) if not isinstance(text, str)), None)
        if strange is not None:
            raise UsageError(
                f"text {strange} is {type_of(texts[strange])}; give texts as strings, such as ['a cat']"
            )
        if len(texts) == 0:
            return np.zeros((0, self.dim), np.float32)
        return self._space.text(self.text_tower(texts))

    def picture_states(self, images: Sequence[Any]) -> Floats:
        """What `score_pairs` needs of pictures, (n, s) in half precision; see `diptych.towers.late`.

        Args:
            images: As for `encode_image`.

        Raises:
            UsageError: this is builtin:concepts, which has no re-ranker.
        """
        parts = []
        for batch in batches(images, self):
            maps, features, logits = self._cell_tower(batch)
            parts.append(self._late.pictures(pooled_cells(maps), features, logits))
        return np.concatenate(parts) if parts else np.zeros((0, 1), np.float16)

    def score_pairs(self, images: Sequence[Any], texts: Sequence[str], pairs: Rows) -> Floats:
        """Scores (p,) of the pairs (p, 2): the cosine, and what cells and words say beside it.

        Args:
            images: As for `encode_image`, or rows of `picture_states`.
            texts: As for `encode_text`.
            pairs: Image row and text row.

        Raises:
            UsageError: this is builtin:concepts, which has no re-ranker.
        """
        states: Any = images
        if not all(isinstance(one, np.ndarray) and one.ndim == 1 for one in images):
            states = self.picture_states(images)
        tower = self.text_tower
        if isinstance(tower, LanguageTower):
            raise UsageError(
                "the built-in re-ranker reads words of English texts; search with builtin for it"
            )
        return self._late.scores(np.stack(list(states)), tower.states(texts), pairs)

    @property
    def rerank_weights(self) -> Mapping[Side, float]:
        """Of `score_pairs` behind its own search."""
        return self._late.weights if self.heads else {}

    @property
    def rerank_lines(self) -> Mapping[Side, SecondLine]:
        """How relevant its hits are when ranked anew; only of the heads that come with Diptych."""
        return self._late.lines if self.heads and not self._learned else {}

    @functools.cached_property
    def _cell_tower(self) -> CellTower:
        return CellTower(self.threads)

    @functools.cached_property
    def _late(self) -> Late:
        if not self.heads:
            raise UsageError("builtin:concepts has no re-ranker, whose weights were learned; use builtin")
        return Late(expanded(_read(_WEIGHTS / _RERANKER)), self._space.image, self._space.text)

    def unknown_words(self, text: str) -> tuple[str, ...]:
        """Words of a text that it cannot know, as those of another language; see `towers.vocabulary`."""
        return () if self.languages else unknown_words(text)

    def remark(self, text: str) -> str:
        """What is to be known of a text's language, in a sentence; "" for nothing."""
        if self.languages:
            return of_many_languages(text)
        more = "; builtin:languages reads other languages, with the same vectors of pictures"
        told = of_english(text)
        return told + more if told and self.heads else told

    @property
    def dim(self) -> int:
        """Dimensions d of a vector."""
        return self._space.dim

    @functools.cached_property
    def calibrate(self) -> Relevance | None:
        """Tells how relevant hits are; None for the concepts alone and for heads that came without.

        See `diptych.core.Capabilities` and `diptych.towers.calibration`.
        """
        if not self.heads:
            return None
        packaged = _WEIGHTS / (_LANGUAGES_RELEVANCE if self.languages else _RELEVANCE)
        return Relevance.of_arrays(expanded(self._learned or _read(packaged)))

    @functools.cached_property
    def _space(self) -> ConceptSpace:
        if not self.heads:
            return ConceptSpace(_concepts())
        kept = self._learned or _read(_WEIGHTS / self.arrays_file)
        told = Relevance.names(kept)  # of scores, not of vectors
        heads = {name: array for name, array in kept.items() if name not in told}
        return ConceptSpace({**_concepts(), **expanded(heads)})

    def check(self, split: Split) -> None:
        """Refuse what cannot be learned from.

        Raises:
            UsageError: no pictures and texts but features, too few captioned pictures, or no heads to learn.
        """
        if not self.heads:
            raise UsageError("builtin:concepts has nothing to learn; train builtin")
        if self.languages:
            raise UsageError(
                "builtin:languages learns nothing by itself; train builtin, and the run reads other "
                "languages as builtin:languages@RUN"
            )
        if isinstance(split.image, np.ndarray) or isinstance(split.text, np.ndarray):
            raise UsageError(
                "the built-in model learns from pictures and captions, which it reads by itself, and these "
                "data are features"
            )
        images = len(set(split.pairs[:, 0].tolist()))
        if images < _LEAST_IMAGES:
            raise UsageError(
                f"the built-in model needs at least {_LEAST_IMAGES} captioned pictures to learn from, "
                f"and there are {images}"
            )

    def fit(self, split: Split, trainer: Trainer | None = None) -> Self:
        """Learn heads from captioned pictures, their weight against the concepts, and their calibration.

        One picture in twenty, with its captions, is held out to choose the weight by and to calibrate on, if
        they are enough for that. No epoch is chosen: validation would run the towers again each time.

        Args:
            split: Pictures and their captions.
            trainer: Runs the loop; its seed draws everything. None takes ``Trainer()``.

        Raises:
            UsageError: see `check`.
            ImageError: a picture cannot be read; `diptych.train` leaves such out.
            MissingExtra: torch is not installed.
        """
        self.check(split)
        torch = optional("torch", "training the built-in model", "train")
        from diptych.nets.joint_head import JointHeads
        from diptych.training.trainer import Trainer

        trainer = trainer or Trainer()
        seen = self.seen(split)
        drawn = np.random.default_rng(trainer.seed).permutation(np.unique(split.pairs[:, 0]))
        count = max(len(drawn) // 20, 4)
        held, learned = np.sort(drawn[:count]), np.sort(drawn[count:])
        lesson = seen.lesson(learned)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(trainer.seed)
            used = seen.plain[learned, :_FEATURES], seen.texts[np.unique(lesson.pairs[:, 1])]
            nets = torch.nn.ModuleList(JointHeads(*used) for _ in range(self.members))
        epochs = self.hyperparameters["epochs"]
        size = min(self.hyperparameters["batch_size"], len(lesson.pairs))
        steps = epochs * -(-len(lesson.pairs) // size)
        groups = [group for net in nets for group in net.groups()]
        optimizer = torch.optim.AdamW(groups, lr=_RATE, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps + 1, pct_start=0.1)
        for _ in trainer.epochs(epochs, keep=(nets, optimizer, schedule), validate=False):
            for batch in trainer.batches(lesson, size):
                sides = [batch.image.chunk(2, dim=1)[torch.randint(2, ()).item()] for _ in nets]
                terms = {
                    f"head {number}": net.loss(side, batch.text, batch.image_row)
                    for number, (net, side) in enumerate(zip(nets, sides, strict=True))
                }
                trainer.step(optimizer, terms)
                schedule.step()
        arrays = {**seen.means(learned), "members": np.array(self.members)}
        for number, net in enumerate(nets):
            arrays |= net.arrays(number)
        arrays, recalls = _chosen(arrays, seen, held)
        self.restore(compact(arrays))
        captioned = seen.captioned(self._space, held, list(split.text))
        relevance = calibrated(captioned, self.encode_text, seed=trainer.seed)
        if relevance is not None:
            self.restore({**self.arrays(), **compact(relevance.arrays())})
        self._facts = {"images": len(split.image), "captions": len(split.text), "recalls": recalls}
        return self

    def seen(self, split: Split) -> Seen:
        """What the towers give for a split, for each picture as it is and mirrored."""
        plain, mirrored = [], []
        images: Any = split.image  # no array, says `check`
        for pictures in batches(images, self):
            plain.append(np.concatenate(self.image_tower(pictures), axis=1))
            flipped = np.ascontiguousarray(pictures[:, :, ::-1])
            mirrored.append(np.concatenate(self.image_tower(flipped), axis=1))
            if len(plain) % 50 == 1:
                _log.info("looked at %d of %d pictures", sum(map(len, plain)), len(split.image))
        texts = self.text_tower(list(split.text))
        return Seen(np.concatenate(plain), np.concatenate(mirrored), texts, split.pairs)


@dataclass(frozen=True)
class Seen:
    """What the towers give for a split.

    Args:
        plain, mirrored: Features and logits (n, 2280) of the pictures.
        texts: Unit vectors (t, 384).
        pairs: (p, 2) image row, text row.
    """

    plain: Floats
    mirrored: Floats
    texts: Floats
    pairs: NDArray[np.int64]

    def lesson(self, learned: NDArray[np.int64]) -> Split:
        """The pairs of the images that are learned from.

        Beside the features of a picture stand those of its mirror image, (n, 2560); a batch sees one of them.
        """
        from diptych.data.base import Split

        views = np.concatenate([self.plain[:, :_FEATURES], self.mirrored[:, :_FEATURES]], axis=1)
        return Split(views, self.texts, None, self.pairs[np.isin(self.pairs[:, 0], learned)])

    def means(self, learned: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """What both sides of the concept block are centred on."""
        texts = self.pairs[np.isin(self.pairs[:, 0], learned), 1]
        concepts = likely_concepts(self.plain[learned, _FEATURES:], _concepts()["concepts"])
        return {
            "concepts_image_mean": concepts.mean(axis=0),
            "concepts_text_mean": self.texts[texts].mean(axis=0),
        }

    def joined(
        self, space: ConceptSpace, images: NDArray[np.int64]
    ) -> tuple[Floats, Floats, NDArray[np.int64]]:
        """Vectors of images, in ascending order, and of their captions; each caption's image among them."""
        pairs = self.pairs[np.isin(self.pairs[:, 0], images)]
        image = space.image(self.plain[images, :_FEATURES], self.plain[images, _FEATURES:])
        return image, space.text(self.texts[pairs[:, 1]]), np.searchsorted(images, pairs[:, 0])

    def captioned(self, space: ConceptSpace, images: NDArray[np.int64], captions: Sequence[str]) -> Captioned:
        """Images, in ascending order, with their captions, of those given for all texts."""
        rows = self.pairs[np.isin(self.pairs[:, 0], images), 1]
        image, text, owner = self.joined(space, images)
        return Captioned(image, text, [captions[row] for row in rows.tolist()], owner)


def _chosen(
    arrays: dict[str, NDArray[Any]], seen: Seen, held: NDArray[np.int64]
) -> tuple[dict[str, NDArray[Any]], dict[str, float]]:
    """The arrays with the weight of the concepts, and the recalls of held-out pairs."""

    def space(more: Mapping[str, NDArray[Any]]) -> ConceptSpace:
        own = {name: np.asarray(array, np.float32) for name, array in {**arrays, **more}.items()}
        return ConceptSpace({**_concepts(), **own})

    means = {}
    for weight in _CANDIDATES:
        recalls = _recalls(*seen.joined(space({"concept_weight": np.array(weight)}), held))
        means[weight] = sum(recalls.values()) / len(recalls)
    # The largest weight that costs next to nothing: the concepts know more of the world than the captions do.
    within = [weight for weight, mean in means.items() if mean >= max(means.values()) - _COST]
    arrays = {**arrays, "concept_weight": np.array(max(within))}
    return arrays, _recalls(*seen.joined(space({}), held))


def _recalls(image: Floats, text: Floats, owner: NDArray[np.int64]) -> dict[str, float]:
    """R@1, 5, 10 of both directions; ties count against us."""
    from diptych.metrics import ByPairs, first_ranks_both_ways

    pairs = np.stack([owner, np.arange(len(text))], axis=1)
    both = first_ranks_both_ways(image @ text.T, ByPairs(pairs, (len(image), len(text))))
    named = zip(("IqT", "TqI"), both, strict=True)
    return {f"{name} R@{n}": ranks.recall(n) for name, ranks in named for n in (1, 5, 10)}


@functools.cache
def _concepts() -> dict[str, NDArray[Any]]:
    return expanded(_read(_WEIGHTS / "concepts.npz"))


def _read(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise MissingData(f"{path} is missing; give a folder that holds a trained built-in model")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            return dict(saved)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise BadData(f"{path} is damaged ({error}); train again or install Diptych again") from error
