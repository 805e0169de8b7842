r"""CLIP: Learning Transferable Visual Models From Natural Language Supervision (Radford et al., ICML 2021).

Paper: arXiv 2103.00020
Code: openai/CLIP@d05afc4; run by ONNX Runtime or by transformers
Tables: none
Inputs: pictures, texts
Learns from: pairs
Structure: apart
Representation: real-valued
Survey: Table 1, dual towers; no numbers of its own, though several systems of its language-model tables
    stand on it.

An image tower and a text tower, trained to agree on 400 million captioned pictures from the web. Runs any
pretrained dual encoder that is published in ONNX for transformers.js or Immich (CLIP, SigLIP, SigLIP 2,
MobileCLIP, several languages), without torch, or that transformers knows (those and ALIGN), from a hub or
from a folder: ``clip:vit-b-32``, ``clip:vit-b-32@onnx``, ``clip:vit-b-32@onnx-fp16``, ``clip@FOLDER``,
``clip@onnx-community/siglip2-base-patch16-224-ONNX``, ``clip@OWNER/NAME@REVISION``. What transformers runs,
`diptych train` trains from the start or fine-tunes: all of it, its last layers, its heads, or low-rank
adapters; SigLIP by its own loss.

Equations:
- the objective, both directions (figure 3): \mathcal{L} = -\frac{1}{2b} \sum_i \left(
    \log \frac{\exp(s_{ii})}{\sum_{j \notin O_i} \exp(s_{ij})}
    + \log \frac{\exp(s_{ii})}{\sum_{j \notin O_i} \exp(s_{ji})} \right)
- scaled cosines: s_{ij} = e^t \cos(f(x_i), g(y_j)), \quad e^t \le 100
- SigLIP's objective instead (Zhai et al., eq. 1): \mathcal{L} = -\frac1b \sum_i \sum_{j \notin O_i}
    \log \sigma\left( z_{ij} (s_{ij} + \beta) \right), \quad
    z_{ij} = \begin{cases} 1 & \text{if } i = j \\ -1 & \text{else} \end{cases}
where $f$ and $g$ are image and text tower, $t$ and $\beta$ are learned, and $O_i$ are other captions of the
same picture and other pictures of the same caption, which do not count.

Differs from the paper:
- Texts are encoded as they are; the paper's prompt "a photo of a {}" is the option `prompt`.
- Text beyond the context is cut with a warning; the code of the paper refuses it.
- Towers come ready trained, or with drawn weights (`@drawn`, and the size `small`), whose tokens are BERT's
  uncased word pieces.
- `packaged` trains small heads on the two backbones that come with Diptych, which stay as they are.
- Other captions of the same picture in a batch are left out of both sums, being neither right nor wrong.
- Training sees pictures whole; `crop` gives the paper's random square. Its defaults are for fine-tuning on
  thousands of pictures.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.data.base import Split
from diptych.errors import BadData, BadParameter, MissingData, UnknownName, UsageError
from diptych.optional import optional
from diptych.towers.checkpoint import WHOLE, is_repository
from diptych.towers.drawn import ClipShape, drawn_clip
from diptych.towers.exported import ExportedTowers
from diptych.towers.hub import Repository
from diptych.towers.layouts import files_in, has_onnx, layout
from diptych.training.tuning import Tuned

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CLIP"]

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "vit-b-32": {"architecture": "vit-b-32"},
    "vit-b-16": {"architecture": "vit-b-16"},
    "vit-l-14": {"architecture": "vit-l-14"},
    "vit-l-14-336": {"architecture": "vit-l-14-336"},
    "vit-h-14": {"architecture": "vit-h-14"},
    "siglip-b-16": {"architecture": "siglip-b-16"},
    "siglip2-b-16": {"architecture": "siglip2-b-16"},
    "mobileclip-s2": {"architecture": "mobileclip-s2"},
    "xlm-roberta-b-32": {"architecture": "xlm-roberta-b-32"},
    "paper": {"architecture": "vit-l-14-336"},
    "small": {"architecture": "small", "lr": 1e-3, "epochs": 30, "crop": 0.6},
    "packaged": {"architecture": "packaged", "pairs": 1024, "batch_size": 1024, "lr": 1e-3, "epochs": 8},
    "tiny": {"architecture": "tiny", "lr": 3e-3, "epochs": 20, "pairs": 32},
}

RECIPES: Mapping[str, Mapping[str, Any]] = {}

# What drawn weights are drawn for.
_SHAPES: Mapping[str, ClipShape] = {
    "small": ClipShape(64, 8, (192, 6, 3), (192, 4, 3), 128),
    "vit-b-32": ClipShape(224, 32, (768, 12, 12), (512, 12, 8), 512),
    "vit-b-16": ClipShape(224, 16, (768, 12, 12), (512, 12, 8), 512),
    "vit-l-14": ClipShape(224, 14, (1024, 24, 16), (768, 12, 12), 768),
    "vit-l-14-336": ClipShape(336, 14, (1024, 24, 16), (768, 12, 12), 768),
}

_RUNTIMES = ("auto", "onnx", "transformers")
_ONNX = "onnx"  # as a tag: the first of the architecture that is published so; "onnx-FORM" names the form

# Architecture -> tag -> repositories with the same weights, for transformers and in ONNX; "" where there is
# none. The first tag is the default.
_HUB: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "vit-b-32": {
        "openai": ("openai/clip-vit-base-patch32", "Xenova/clip-vit-base-patch32"),
        "laion2b": ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "immich-app/ViT-B-32__laion2b-s34b-b79k"),
    },
    "vit-b-16": {
        "openai": ("openai/clip-vit-base-patch16", "Xenova/clip-vit-base-patch16"),
        "laion2b": ("laion/CLIP-ViT-B-16-laion2B-s34B-b88K", ""),
    },
    "vit-l-14": {
        "openai": ("openai/clip-vit-large-patch14", "Xenova/clip-vit-large-patch14"),
        "laion2b": ("laion/CLIP-ViT-L-14-laion2B-s32B-b82K", "immich-app/ViT-L-14__laion2b-s32b-b82k"),
    },
    "vit-l-14-336": {"openai": ("openai/clip-vit-large-patch14-336", "Xenova/clip-vit-large-patch14-336")},
    "vit-h-14": {
        "laion2b": ("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", "immich-app/ViT-H-14__laion2b-s32b-b79k")
    },
    "siglip-b-16": {"webli": ("google/siglip-base-patch16-224", "Xenova/siglip-base-patch16-224")},
    "siglip2-b-16": {
        "webli": ("google/siglip2-base-patch16-224", "onnx-community/siglip2-base-patch16-224-ONNX")
    },
    "mobileclip-s2": {"datacompdr": ("", "Xenova/mobileclip_s2")},
    "xlm-roberta-b-32": {"laion5b": ("", "immich-app/XLM-Roberta-Base-ViT-B-32__laion5b_s13b_b90k")},
}


@dataclass(kw_only=True, eq=False)
class CLIP(Tuned):
    """An encoder of pictures and texts into one space of unit vectors.

    Args:
        architecture: A key of `VARIANTS`; "tiny" has random weights and is for checks only. Not looked at
            where `weights` is a folder or a repository.
        weights: A folder, a tag of the architecture, "onnx" or "onnx-FORM" for its export, or OWNER/NAME or
            OWNER/NAME@REVISION of a repository of the hub, searched for in this order; "" takes the
            architecture's first tag, and "drawn" weights that are drawn.
        runtime: "onnx" (ONNX Runtime, no torch needed) or "transformers"; "auto" takes what the weights are
            there for, and of both transformers where it is installed. Of a tag whose weights are here for
            one runtime only, that one goes on.
        form: Number format of the ONNX graphs, such as "fp16" or "quantized"; "" takes the most exact one
            that is there.
        prompt: What each text is put into, such as "a photo of {}"; "{}" leaves it as it is.
        device, batch_size, tune, layers, rank, pairs, crop, epochs, lr, warmup, weight_decay: See
            `diptych.training.tuning.Tuned`. ONNX runs on the processor.

    Raises:
        UnknownName: a tag that the architecture does not have, or a form that there is not.
        MissingExtra: huggingface_hub is not installed for weights of the hub, or transformers for weights
            that only it can run.
        MissingData: the weights are in no local cache and the hub does not answer or does not have them.
        BadData: a folder that is no dual encoder, is not whole, or holds neither ONNX graphs nor safetensors.
        BadParameter: a value that is not allowed.
    """

    architecture: str = "vit-b-32"
    runtime: str = "auto"
    form: str = ""
    prompt: str = "{}"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prompt.count("{}") != 1:
            raise BadParameter(f"prompt must hold {{}} once, where the text goes, not {self.prompt!r}")
        if self.runtime not in _RUNTIMES:
            raise BadParameter(f"runtime must be one of {', '.join(_RUNTIMES)}, not {self.runtime!r}")
        options: dict[str, Any] = {"device": self.device, "batch_size": self.batch_size}
        if self.architecture == "packaged":
            self.towers = _packaged(self.weights, options)
            return
        if self.architecture == "tiny" and not self.weights:
            self.towers = _transformers().tiny(**options)
            return
        if self.weights == "drawn" or (self.architecture == "small" and not self.weights):
            self.towers = _transformers()(*drawn_clip(_shape(self.architecture)), **options)
            return
        folder, runtime, form = _located(self.architecture, self.weights, self.runtime, self.form)
        if runtime == _ONNX:
            self.towers = ExportedTowers(folder, form=form, **options)
        elif form:
            raise BadParameter(f"form is of ONNX graphs, but {folder} is run by transformers; leave it out")
        else:
            self.towers = _transformers().of(folder, **options)

    @cached_property
    def fingerprint(self) -> str:
        """Equal only for the same files, prompt and preprocessing, run by the same runtime."""
        kind = self.towers.kind
        kind = f"onnx:{kind}" if isinstance(self.towers, ExportedTowers) else kind
        return f"clip:{kind}:{self.towers.digest(prompt=self.prompt)}"

    def check(self, split: Split) -> None:
        """Refuse what cannot be learned from; see `Tuned.check`.

        Raises:
            UsageError: the towers are ALIGN's, which has a system and a loss of its own, or run in ONNX.
        """
        super().check(split)
        if isinstance(self.towers, ExportedTowers):
            raise UsageError(
                "CLIP is run by ONNX Runtime here, which does not train; take weights for transformers"
            )
        if self.towers.kind == "align":
            raise UsageError("these towers are ALIGN's; train them as align@FOLDER")

    def worded(self, text: str) -> str:
        """A text in the prompt."""
        return self.prompt.format(text)

    def loss(self, image: Tensor, text: Tensor, left_out: Tensor) -> dict[str, Tensor]:
        """Figure 3: each picture must tell its text from the others of the batch, and each text its picture.

        SigLIP asks of each pair by itself whether it belongs together (Zhai et al., ICCV 2023, eq. 1).
        """
        from diptych.nets.contrastive import info_nce, pairwise_sigmoid

        model = self.towers.model
        logits = model.logit_scale.exp() * image @ text.T
        if self.towers.kind.startswith("siglip"):
            return {"sigmoid": pairwise_sigmoid(logits + model.logit_bias, left_out)}
        there, back = info_nce(logits, left_out)
        return {"contrast": (there + back) / 2}

    def bound(self) -> None:
        """Section 2.5: the scale is clipped so that logits are multiplied by a hundred at most."""
        from diptych.nets.contrastive import keep_within

        keep_within(self.towers.model.logit_scale)


def _packaged(weights: str, options: Mapping[str, Any]) -> Any:
    """Towers on the backbones that come with Diptych, with drawn heads or those of a run."""
    optional("torch", "training heads on the built-in backbones", "train")
    from diptych.nets.packaged_towers import PackagedTowers

    return PackagedTowers.of(Path(weights).expanduser(), **options) if weights else PackagedTowers(**options)


def _shape(architecture: str) -> ClipShape:
    """The numbers of an architecture whose weights are drawn."""
    if architecture not in _SHAPES:
        raise UnknownName("architecture whose weights can be drawn", architecture, _SHAPES)
    return _SHAPES[architecture]


def _located(architecture: str, weights: str, runtime: str, form: str) -> tuple[Path, str, str]:
    """The folder with the weights, downloaded if need be; what runs them; and the form of the graphs."""
    path = Path(weights).expanduser()
    if weights and path.is_dir():
        return path, _runtime(files_in(path), runtime), form
    if "/" in weights or "\\" in weights or weights.startswith((".", "~")):
        if not is_repository(weights):
            raise MissingData(f"there is no folder {path}; give one, or OWNER/NAME of a hub's repository")
        repository = Repository(weights)
        runtime = _runtime(repository.names, runtime)
    else:
        if weights == _ONNX or weights.startswith(f"{_ONNX}-"):
            form = weights.removeprefix(_ONNX).removeprefix("-") or form
            weights, runtime = _exported_tag(architecture), _ONNX
        repository, runtime = _tagged(architecture, weights, runtime)
    if runtime == _ONNX:
        return repository.fetched(layout(repository.names, form, repository.name).patterns), runtime, form
    if not any(name.endswith(".safetensors") for name in repository.names):
        repository = repository.conversion() or repository
    return repository.fetched(WHOLE), runtime, form


def _tagged(architecture: str, tag: str, runtime: str) -> tuple[Repository, str]:
    """The repository of a tag, "" for the first, and what runs it."""
    whole, exported = _repositories(architecture, tag)
    if runtime == "auto":
        runtime = _ONNX if not whole or (exported and not _installed()) else "transformers"
        if whole and exported and _installed() and not Repository(whole).here and Repository(exported).here:
            runtime = _ONNX
    name = exported if runtime == _ONNX else whole
    if not name:
        raise BadData(
            f"clip:{architecture} is published {'for transformers' if whole else 'in ONNX'} only; "
            f"leave the runtime to be chosen, or take another architecture"
        )
    return Repository(name), runtime


def _repositories(architecture: str, tag: str) -> tuple[str, str]:
    tags = _tags(architecture, tag)
    if tag and tag not in tags:
        raise UnknownName(f"folder, repository or tag of clip:{architecture}", tag, [*tags, _ONNX])
    return tags[tag or next(iter(tags))]


def _exported_tag(architecture: str) -> str:
    tags = _tags(architecture, _ONNX)
    return next((tag for tag, (_, exported) in tags.items() if exported), next(iter(tags)))


def _tags(architecture: str, tag: str) -> Mapping[str, tuple[str, str]]:
    if architecture in ("tiny", "small"):
        raise UsageError(f"clip:{architecture} has drawn weights and no tag {tag!r}")
    if architecture not in _HUB:
        raise UnknownName("architecture with pretrained weights", architecture, _HUB)
    return _HUB[architecture]


def _runtime(names: Sequence[str], runtime: str) -> str:
    """What runs weights in files of these names."""
    if runtime != "auto":
        return runtime
    whole = any(name.endswith(".safetensors") for name in names)
    if whole and (_installed() or not has_onnx(names)):
        return "transformers"
    return _ONNX if has_onnx(names) or not _installed() else "transformers"


def _installed() -> bool:
    """Whether transformers can be used here."""
    return all(importlib.util.find_spec(package) for package in ("torch", "transformers"))


def _transformers() -> Any:
    """The class of towers that transformers runs.

    Raises:
        MissingExtra: it is not installed.
    """
    for package in ("torch", "transformers"):
        optional(package, "running a dual encoder's safetensors", "towers")
    from diptych.towers.transformers import DualTowers

    return DualTowers
