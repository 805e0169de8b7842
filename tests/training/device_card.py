"""A stand-in for a graphics card: its tensors compute in main memory and refuse to meet those that are there.

Torch calls the device "meta". As on a real card, an operation may take tensors of one device only, but for
copies, numbers without dimensions, and indices in main memory; NumPy sees nothing of what is on it, and a
generator of the processor draws nothing on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CARD = torch.device("meta")
_ATEN = torch.ops.aten
_COPIES = (_ATEN.copy_, _ATEN._to_copy)
_INDEXED = (_ATEN.index, _ATEN.index_put, _ATEN.index_put_, _ATEN._index_put_impl_)


class MixedDevices(RuntimeError):
    """Tensors of two devices met."""


class OnCard(torch.Tensor):
    """A tensor on the card; `inner` holds it."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> OnCard:
        found = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=CARD,
        )
        found.inner = inner
        return found

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.inner.tolist()

    def numpy(self, **_: object) -> NoReturn:
        raise TypeError("can't convert a tensor on the card to numpy; use cpu() first")

    __array__ = numpy


class _Card(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Factory(TorchFunctionMode):
    """Makes a tensor out of numbers in main memory first, which torch does not do for the device "meta"."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") == CARD:
            return func(*args, **{**kwargs, "device": "cpu"}).to(CARD)
        if func is torch.Tensor.__getitem__ and isinstance(args[0], OnCard):
            args = (args[0], _indices(args[1]))
        return func(*args, **kwargs)


def _indices(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(_indices(part) for part in index)
    return torch.tensor(index, device="cpu") if isinstance(index, list) else index


@contextmanager
def card() -> Iterator[torch.device]:
    """The device, while the block runs."""
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)  # parameters stay the objects they are
    try:
        with _Factory(), _Card():
            yield CARD
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    there = any(isinstance(tensor, OnCard) for tensor in tensors)
    packet = func.overloadpacket
    if packet in _INDEXED and not isinstance(args[0], OnCard) and there:
        raise MixedDevices(f"{func} indexes a tensor in main memory with one that is not there")
    if there and packet not in _COPIES:
        checked = tree_leaves(args[0] if packet in _INDEXED else (args, kwargs))
        checked += tree_leaves(args[2:]) if packet in _INDEXED else []
        for one in checked:
            if isinstance(one, torch.Tensor) and one.ndim and not isinstance(one, OnCard):
                raise MixedDevices(f"{func} takes a tensor {tuple(one.shape)} in main memory and others not")
    wanted = kwargs.get("device")
    if wanted is not None:
        there = torch.device(wanted) == CARD
        kwargs = {**kwargs, "device": torch.device("cpu")}
    if packet is _ATEN.copy_:
        there = isinstance(args[0], OnCard)
    if there and isinstance(kwargs.get("generator"), torch.Generator):
        raise MixedDevices(f"{func} draws on the card with a generator of the processor")
    bare = tree_map(lambda leaf: leaf.inner if isinstance(leaf, OnCard) else leaf, (args, kwargs))
    found = func(*bare[0], **bare[1])
    if func._schema.is_mutable and args and isinstance(args[0], torch.Tensor):
        return args[0] if isinstance(found, torch.Tensor) else found
    return (
        tree_map(lambda leaf: OnCard(leaf) if isinstance(leaf, torch.Tensor) else leaf, found)
        if there
        else found
    )
