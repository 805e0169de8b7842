"""Runs one ONNX graph, whatever its shapes and types, and says in one sentence why it cannot."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats
from diptych.errors import BadData

__all__ = ["Graph", "externals"]

_TYPES: Mapping[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
}
_NEAR = 1e-4  # between unit vectors that are the same but for rounding
_SOURCE = re.compile(r"^/\S+:\d+ [^)]*\) ")  # where in its source an error was raised
# An entry of a tensor's `external_data`: the key (field 1) "location" and its value (field 2).
_LOCATION = re.compile(rb"\x0a\x08location\x12([\x01-\x7f])", re.DOTALL)


class Graph:
    """An ONNX graph on the processor, opened when it is first asked.

    Args:
        path: The file; weights that it keeps in others must lie beside it.
        threads: Of one run; None leaves it to ONNX Runtime (every core).

    Raises:
        BadData: weights that it keeps in other files are not there.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self.path, self.threads = path, threads
        self.beside = externals(path)
        self._alone: bool | None = None

    @cached_property
    def session(self) -> Any:
        """The session of ONNX Runtime.

        Raises:
            BadData: the file is damaged, or holds what this ONNX Runtime cannot run.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        if self.threads is not None:
            options.intra_op_num_threads = self.threads
        try:
            return onnxruntime.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no base of their own
            reason = _line(error)
            damaged = reason.startswith(("Protobuf parsing failed", "No graph was found"))
            raise BadData(
                f"{self.path} is damaged or cut off; fetch it again"
                if damaged
                else f"{self.path} cannot be run by ONNX Runtime {onnxruntime.__version__} ({reason}); "
                "export it with operators that it knows, or fetch it again"
            ) from error

    @cached_property
    def inputs(self) -> Mapping[str, tuple[Any, tuple[int | None, ...]]]:
        """Type and shape of each input by name; None for a side that may be anything.

        Raises:
            BadData: an input is of a type that no tower takes.
        """
        found = {}
        for one in self.session.get_inputs():
            if one.type not in _TYPES:
                raise BadData(f"{self.path} takes {one.type} as {one.name}; known are {', '.join(_TYPES)}")
            found[one.name] = (_TYPES[one.type], _sides(one.shape))
        return found

    @cached_property
    def outputs(self) -> Mapping[str, tuple[int | None, ...]]:
        """Shape of each output by name."""
        return {one.name: _sides(one.shape) for one in self.session.get_outputs()}

    def vectors(
        self, output: str, feed: Mapping[str, NDArray[Any]], fixed: Mapping[str, NDArray[Any]] | None = None
    ) -> Floats:
        """Unit vectors (n, d) of an output.

        A graph whose batch is fixed at one, or which gives an item other numbers beside others (as 8-bit
        arithmetic does, whose scale is that of the whole batch), is run item by item.

        Args:
            output: Its name.
            feed: Inputs (n, ...) by name, in any type.
            fixed: Inputs that are the same for all, such as the other side of a joint graph.

        Raises:
            BadData: the graph fails, or gives no vector an item.
        """
        count = len(next(iter(feed.values())))
        if self._one_by_one(feed) or count < 2:
            rows = [self._run(output, _part(feed, row), fixed) for row in range(count)]
            return np.concatenate(rows)
        together = self._run(output, feed, fixed)
        if self._alone is None:
            first = self._run(output, _part(feed, 0), fixed)
            self._alone = bool(np.abs(first - together[:1]).max() > _NEAR)
            if self._alone:
                return self.vectors(output, feed, fixed)
        return together

    def digest(self) -> str:
        """SHA-256 in hex digits of the graph and of the files in which it keeps weights."""
        whole = hashlib.sha256()
        for path in (self.path, *self.beside):
            with path.open("rb") as file:
                whole.update(hashlib.file_digest(file, "sha256").digest())
        return whole.hexdigest()

    def _one_by_one(self, feed: Mapping[str, NDArray[Any]]) -> bool:
        batch = {self.inputs[name][1][0] for name in feed}
        if batch - {1, None}:
            raise BadData(f"{self.path} takes a fixed number of items at a time; export it for any number")
        return 1 in batch or bool(self._alone)

    def _run(
        self, output: str, feed: Mapping[str, NDArray[Any]], fixed: Mapping[str, NDArray[Any]] | None
    ) -> Floats:
        given = {
            name: value.astype(self.inputs[name][0]) for name, value in {**(fixed or {}), **feed}.items()
        }
        count = len(next(iter(feed.values())))
        try:
            found = np.asarray(self.session.run([output], given)[0], np.float32)
        except Exception as error:  # its errors have no base of their own
            shapes = ", ".join(f"{name} {value.shape}" for name, value in given.items())
            raise BadData(f"{self.path} fails on {shapes}: {_line(error)}") from error
        if found.ndim != 2 or len(found) != count:
            raise BadData(
                f"{self.path} gives {output} of shape {found.shape} for {count} items, not one vector each"
            )
        length = np.linalg.norm(found, axis=1, keepdims=True)
        return np.asarray(found / np.maximum(length, 1e-12), np.float32)


def externals(path: Path) -> list[Path]:
    """The files beside a graph in which it keeps weights, sorted.

    Raises:
        BadData: one is not there, or lies in another folder.
        MissingData: the graph itself cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadData(f"{path} cannot be read ({error.strerror or error})") from error
    names = {
        content[found.end() : found.end() + found.group(1)[0]].decode("utf-8", "replace")
        for found in _LOCATION.finditer(content)
    }
    for name in sorted(names):
        if name != Path(name).name:
            raise BadData(f"{path} keeps weights in {name!r}; they must lie beside it")
        if not path.with_name(name).is_file():
            raise BadData(f"{path} keeps its weights in {name}, which is not beside it; fetch that file, too")
    return [path.with_name(name) for name in sorted(names)]


def _part(feed: Mapping[str, NDArray[Any]], row: int) -> dict[str, NDArray[Any]]:
    return {name: value[row : row + 1] for name, value in feed.items()}


def _sides(shape: Any) -> tuple[int | None, ...]:
    return tuple(side if isinstance(side, int) else None for side in shape)


def _line(error: Exception) -> str:
    """The first line of an error of ONNX Runtime without code, paths and places in its own source."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0].rpartition(" : ")[2]
    return _SOURCE.sub("", line.partition(" failed:")[2] or line)[:300]
