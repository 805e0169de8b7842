"""Finds the two towers among the files of a published ONNX checkpoint, and what must be read beside them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from diptych.errors import BadData, UnknownName

__all__ = ["FORMS", "Layout", "files_in", "has_onnx", "layout"]

FORMS = ("fp32", "fp16", "quantized", "int8", "uint8", "q4f16", "q4", "bnb4")
"""Number formats of published graphs, in the order in which they are taken; fp32 has no suffix."""

_BESIDE = ("config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class Layout:
    """Where things are in a checkpoint, as paths from its folder.

    Args:
        image, text: The graphs of both towers; equal for a joint one.
        beside: What describes them.
        immich: Whether it was exported by open_clip for Immich; else it is laid out for transformers.js.
    """

    image: str
    text: str
    beside: tuple[str, ...]
    immich: bool = False

    @property
    def tokenizer(self) -> str:
        """The file that makes tokens of texts."""
        return next(name for name in self.beside if name.endswith("tokenizer.json"))

    @property
    def joint(self) -> bool:
        """Whether one graph holds both towers."""
        return self.image == self.text

    @property
    def patterns(self) -> tuple[str, ...]:
        """The files to fetch: what describes the graphs, the graphs, and the weights that lie beside them."""
        graphs = dict.fromkeys((self.image, self.text))
        return (*self.beside, *(f"{graph}*" for graph in graphs))


_IMMICH = Layout(
    "visual/model.onnx",
    "textual/model.onnx",
    (
        *("config.json", "visual/preprocess_cfg.json"),
        *("textual/tokenizer.json", "textual/tokenizer_config.json"),
    ),
    immich=True,
)


def files_in(folder: Path) -> list[str]:
    """The files of a checkpoint's folder, as paths from it: its own and those one folder below."""
    found = (path for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in found)


def has_onnx(names: Collection[str]) -> bool:
    """Whether files of these names have a graph among them."""
    return any(name.endswith(".onnx") for name in names)


def layout(names: Collection[str], form: str, where: str) -> Layout:
    """The two towers among files of these names.

    Args:
        names: Paths from the checkpoint's folder.
        form: One of `FORMS`; "" takes the first that both towers are there in.
        where: What errors call the checkpoint.

    Raises:
        UnknownName: there is no such form.
        BadData: one tower is not there, or not in that form, or no layout is known that has such files.
    """
    if form and form not in FORMS:
        raise UnknownName("form of an ONNX graph", form, FORMS)
    if {_IMMICH.image, _IMMICH.text} & set(names) and form in ("", "fp32"):
        return _whole(_IMMICH, names, where)
    forms = [form] if form else FORMS
    pairs = [Layout(_graph("vision_model", one), _graph("text_model", one), _BESIDE) for one in forms]
    joints = [Layout(_graph("model", one), _graph("model", one), _BESIDE) for one in forms]
    for one in (*pairs, *joints):
        if {one.image, one.text} <= set(names):
            return one
    for one in pairs:
        if {one.image, one.text} & set(names):
            return _whole(one, names, where)
    graphs = sorted(name for name in names if name.endswith(".onnx"))
    raise BadData(
        f"{where} holds no dual encoder{f' in {form}' if form else ''}: of its {len(graphs)} ONNX graphs "
        f"({', '.join(graphs[:4]) or 'none'}) none are onnx/vision_model.onnx and onnx/text_model.onnx, "
        "onnx/model.onnx, or visual/model.onnx and textual/model.onnx"
    )


def _graph(name: str, form: str) -> str:
    return f"onnx/{name}{'' if form == 'fp32' else f'_{form}'}.onnx"


def _whole(found: Layout, names: Collection[str], where: str) -> Layout:
    towers: Mapping[str, str] = {"picture": found.image, "text": found.text}
    for side, path in towers.items():
        if path not in names:
            other = next(one for one in towers.values() if one != path)
            raise BadData(f"{where} holds {other} but no {side} tower beside it; fetch {path}, too")
    return found
