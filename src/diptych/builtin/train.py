"""The recipe of the built-in model's heads, their weight against the concepts, and their calibration.

Needs the training extra. `diptych train builtin --data PICTURES` runs it on a user's own captioned pictures;
the heads that come with Diptych are its result on Flickr8k (see docs/models/builtin.md).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.builtin.encoder import FITTED_AMONG, HEADS, Builtin, compact, concepts_of
from diptych.core import Floats
from diptych.data.base import Split
from diptych.errors import UsageError
from diptych.files import replacing, write
from diptych.media.pictures import batches
from diptych.optional import optional

__all__ = ["Features", "extract", "fit", "train"]

_log = logging.getLogger(__name__)

_LEAST_IMAGES = 20
_WIDTH = 1280  # of the image tower's features; its logits follow
_COST = 0.005  # of mean recall, that a larger weight of the concepts may have
_PRIOR = 1 / FITTED_AMONG
_FACTORS = 64  # directions kept of a background covariance


@dataclass(frozen=True)
class Features:
    """What the towers give for a split.

    Args:
        views: Features and logits (n, 2280) of the images as they are, and mirrored.
        texts: Unit vectors (t, 384).
        pairs: (p, 2) image row, text row.
    """

    views: tuple[Floats, Floats]
    texts: Floats
    pairs: NDArray[np.int64]


def train(
    split: Split,
    out: Path | str,
    *,
    seed: int = 0,
    epochs: int = 7,
    batch_size: int = 1024,
    facts: Mapping[str, Any] | None = None,
    on_progress: Callable[[str], None] = _log.info,
) -> Path:
    """Train heads on captioned pictures and write them, with a card, into a folder.

    Args:
        split: Pictures and their captions.
        out: Made if it is not there; load it as ``builtin@OUT``.
        seed: Draws everything.
        epochs: Passes over the pairs.
        batch_size: Images in a batch.
        facts: What else the card should hold (data, command).
        on_progress: Told in a line what is being done.

    Raises:
        UsageError: too few captioned pictures.
        MissingExtra: torch is not installed.
    """
    features = extract(split, on_progress)
    arrays, measured = fit(features, seed=seed, epochs=epochs, batch_size=batch_size, on_progress=on_progress)
    folder = Path(out)
    with replacing(folder / HEADS) as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # names are ours
    encoder = Builtin.from_weights(str(folder))
    card = {
        "name": "builtin",
        "parameters": {"epochs": epochs, "batch_size": batch_size},
        "seed": seed,
        "images": len(split.image),
        "captions": len(split.text),
        "split": split.sha256(),
        "held_out": measured,
        "fingerprint": encoder.fingerprint,
        **(facts or {}),
    }
    write(folder / "card.json", json.dumps(card, indent=2) + "\n")
    return folder


def extract(split: Split, on_progress: Callable[[str], None] = _log.info) -> Features:
    """Run the towers over a split, each picture twice: as it is and mirrored.

    Raises:
        UsageError: too few captioned pictures, or no pictures and texts but features.
    """
    if isinstance(split.image, np.ndarray) or isinstance(split.text, np.ndarray):
        raise UsageError("the built-in model learns from pictures and captions, and these data are features")
    if len(set(split.pairs[:, 0].tolist())) < _LEAST_IMAGES:
        raise UsageError(
            f"the built-in model needs at least {_LEAST_IMAGES} captioned pictures to learn from, "
            f"and there are {len(set(split.pairs[:, 0].tolist()))}"
        )
    encoder = Builtin(heads=False)
    views: tuple[list[Floats], list[Floats]] = ([], [])
    done = 0
    for pictures in batches(split.image, encoder):
        for view, batch in zip(views, (pictures, pictures[:, :, ::-1]), strict=True):
            view.append(np.concatenate(encoder.image_tower(np.ascontiguousarray(batch)), axis=1))
        if done % (50 * encoder.batch_size) == 0:
            on_progress(f"looked at {done + len(pictures)} of {len(split.image)} pictures")
        done += len(pictures)
    texts = encoder.text_tower(list(split.text))
    return Features((np.concatenate(views[0]), np.concatenate(views[1])), texts, split.pairs)


def fit(
    features: Features,
    *,
    seed: int = 0,
    epochs: int = 7,
    batch_size: int = 1024,
    members: int = 2,
    on_progress: Callable[[str], None] = _log.info,
) -> tuple[dict[str, NDArray[Any]], dict[str, float]]:
    """The arrays of heads, weight and calibration, and recalls on the images held out of the training.

    Args:
        features: From `extract`.
        seed: Draws the held-out images and everything else.
        epochs: Passes over the images, five captions each counting as one.
        batch_size: Images in a batch.
        members: Heads side by side, alike but for their random draws.
        on_progress: Told in a line what is being done.

    Raises:
        MissingExtra: torch is not installed.
    """
    images = np.unique(features.pairs[:, 0])
    drawn = np.random.default_rng(seed).permutation(images)
    held = drawn[: max(len(images) // 20, 4)]
    learned = np.sort(drawn[len(held) :])
    arrays: dict[str, NDArray[Any]] = {"members": np.array(members)}
    arrays |= _concept_means(features, learned)
    for member in range(members):
        on_progress(f"training head {member + 1} of {members} on {len(learned)} pictures")
        arrays |= _head(features, learned, member, seed=seed + member, epochs=epochs, batch_size=batch_size)
    return _calibrated(arrays, features, held, learned)


def _concept_means(features: Features, learned: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """What both sides of the concept block are centred on."""
    concepts = Builtin(heads=False)._arrays["concepts"]
    texts = features.pairs[np.isin(features.pairs[:, 0], learned), 1]
    return {
        "concepts_image_mean": concepts_of(features.views[0][learned, _WIDTH:], concepts).mean(axis=0),
        "concepts_text_mean": features.texts[texts].mean(axis=0),
    }


def _head(
    features: Features, learned: NDArray[np.int64], member: int, *, seed: int, epochs: int, batch_size: int
) -> dict[str, NDArray[Any]]:
    """Train one head of each side with the symmetric contrastive loss of CLIP (Radford et al., fig. 3)."""
    torch = optional("torch", "training the built-in model", "train")
    functional = optional("torch.nn.functional", "training the built-in model", "train")
    from diptych.builtin._heads import Head

    random = np.random.default_rng(seed)
    pairs = features.pairs[np.isin(features.pairs[:, 0], learned)]
    captions = {image: pairs[pairs[:, 0] == image, 1] for image in learned.tolist()}
    size = min(batch_size, len(learned))
    steps = max(int(epochs * len(pairs) / size), 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        image_head = Head(features.views[0][learned, :_WIDTH], drop=0.3, inputs_drop=0.3)
        text_head = Head(features.texts[np.unique(pairs[:, 1])], drop=0.3, inputs_drop=0.1)
        scale = torch.nn.Parameter(torch.tensor(float(np.log(20))))
        weights = [*image_head.parameters(), *text_head.parameters()]
        optimizer = torch.optim.AdamW(
            [{"params": weights, "weight_decay": 1e-2}, {"params": [scale], "weight_decay": 0.0}], lr=1e-3
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps + 1, pct_start=0.1)
        views = [torch.from_numpy(view[:, :_WIDTH]) for view in features.views]
        texts = torch.from_numpy(features.texts)
        queue: list[int] = []
        for _ in range(steps):
            if len(queue) < size:
                queue = random.permutation(learned).tolist()
            batch, queue = queue[:size], queue[size:]
            chosen = [int(random.choice(captions[image])) for image in batch]
            image = image_head(views[random.integers(2)][batch])
            text = text_head(texts[chosen])
            logits = scale.exp().clamp(max=100) * image @ text.T
            target = torch.arange(len(batch))
            loss = (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return image_head.arrays(f"image{member}") | text_head.arrays(f"text{member}")


def _calibrated(
    arrays: dict[str, NDArray[Any]],
    features: Features,
    held: NDArray[np.int64],
    learned: NDArray[np.int64],
) -> tuple[dict[str, NDArray[Any]], dict[str, float]]:
    """Choose the concepts' weight on held-out pairs, and fit backgrounds and probabilities."""
    pairs = features.pairs[np.isin(features.pairs[:, 0], held)]
    means: dict[float, float] = {}
    for weight in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0):
        encoder = _encoder({**arrays, "concept_weight": np.array(weight)})
        recall = _recalls(*_joined(encoder, features, held, pairs))
        means[weight] = sum(recall.values()) / len(recall)
    # The largest weight that costs next to nothing: the concepts know more of the world than the captions do.
    within = [weight for weight, mean in means.items() if mean >= max(means.values()) - _COST]
    arrays["concept_weight"] = np.array(max(within))
    encoder = _encoder(arrays)
    rows = learned[: min(len(learned), 4000)]
    image, text, _ = _joined(encoder, features, rows, features.pairs[np.isin(features.pairs[:, 0], rows)])
    for side, vectors in (("image", image), ("text", text[:8000])):
        arrays |= _background(vectors, side)
    encoder = _encoder(arrays)
    image, text, owner = _joined(encoder, features, held, pairs)
    for side, queries, others, matches in (
        ("image", text, image, owner[:, None] == np.arange(len(image))),
        ("text", image, text, owner == np.arange(len(image))[:, None]),
    ):
        z = (queries @ others.T - encoder._expected(queries, side)) / encoder._deviation(queries, side)
        arrays[f"calibration_{side}"] = _logistic(z, matches)
    measured = _recalls(*_joined(_encoder(arrays), features, held, pairs))
    return compact(arrays), measured


def _encoder(arrays: Mapping[str, NDArray[Any]]) -> Builtin:
    encoder = Builtin(heads=False)
    encoder._arrays = {**encoder._arrays, **{k: np.asarray(v, np.float32) for k, v in arrays.items()}}
    encoder.heads = True
    return encoder


def _joined(
    encoder: Builtin, features: Features, images: NDArray[np.int64], pairs: NDArray[np.int64]
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Vectors of images and of their captions, and the position of each caption's image."""
    order = np.sort(images)
    seen = features.views[0][order]
    image = encoder.join_image(seen[:, :_WIDTH], seen[:, _WIDTH:])
    text = encoder.join_text(features.texts[pairs[:, 1]])
    return image, text, np.searchsorted(order, pairs[:, 0])


def _recalls(image: Floats, text: Floats, owner: NDArray[np.int64]) -> dict[str, float]:
    """R@1, 5, 10 of both directions; ties count against us."""
    scores = text @ image.T
    own = scores[np.arange(len(text)), owner]
    rank = (scores >= own[:, None]).sum(axis=1)
    best = np.full(len(image), -np.inf)
    np.maximum.at(best, owner, own)
    wrong = np.where(owner == np.arange(len(image))[:, None], -np.inf, scores.T)
    image_rank = 1 + (wrong >= best[:, None]).sum(axis=1)
    found = {f"TqI R@{n}": float((rank <= n).mean()) for n in (1, 5, 10)}
    return found | {f"IqT R@{n}": float((image_rank <= n).mean()) for n in (1, 5, 10)}


def _background(vectors: Floats, side: str) -> dict[str, NDArray[Any]]:
    """Mean, leading directions scaled by their deviation, and the mean variance of the rest."""
    mean = vectors.mean(axis=0)
    values, directions = np.linalg.eigh(np.cov(vectors.T.astype(np.float64)))
    kept = slice(-_FACTORS, None)
    factor = directions[:, kept] * np.sqrt(np.maximum(values[kept], 0))
    name = f"background_{side}"
    return {
        f"{name}_mean": mean,
        f"{name}_factor": factor.astype(np.float32),
        f"{name}_rest": np.array(max(float(values[:-_FACTORS].mean()), 1e-8)),
    }


def _logistic(z: Floats, matches: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Slope and offset of the chance of a match, where one entry in a hundred is one, by Newton's method."""
    right, wrong = z[matches], z[~matches]
    x = np.concatenate([right, wrong]).astype(np.float64)
    y = np.concatenate([np.ones(len(right)), np.zeros(len(wrong))])
    weight = np.where(y > 0, _PRIOR / len(right), (1 - _PRIOR) / len(wrong))
    design, beta = np.stack([x, np.ones_like(x)], axis=1), np.zeros(2)
    for _ in range(50):
        chance = 1 / (1 + np.exp(-design @ beta))
        gradient = design.T @ (weight * (y - chance)) - 1e-6 * beta
        curvature = (design * (weight * chance * (1 - chance))[:, None]).T @ design + 1e-6 * np.eye(2)
        beta += np.linalg.solve(curvature, gradient)
    return beta
