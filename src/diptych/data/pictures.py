"""Where the pictures of a data set are: sequences that read and decode them only when they are looked at.

A `Pictures` knows where each picture's bytes are (a file, a member of a ZIP, a slice of a tar, bytes in
memory); reading one costs one seek. It can be pickled and used from several threads and forked processes.
What the bytes show is the matter of `diptych.media.pictures`.
"""

from __future__ import annotations

import os
import tarfile
import threading
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from diptych.errors import BadData, ImageError, MissingData
from diptych.media.pictures import is_picture, open_picture, read_file
from diptych.optional import optional

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Absent", "Pictures", "open_zip", "pictures_in", "tar_slices"]


class _Store(Protocol):
    """Where the bytes of pictures are, by key."""

    def read(self, key: str) -> bytes: ...

    def place(self, key: str) -> str: ...


@dataclass(frozen=True, slots=True)
class _Files:
    folder: Path

    def read(self, key: str) -> bytes:
        return read_file(self.folder / key)

    def place(self, key: str) -> str:
        return str(self.folder / key)


@dataclass(slots=True)
class _Zip:
    archive: Path
    _open: zipfile.ZipFile | None = field(default=None, repr=False, compare=False)
    _owner: int = field(default=-1, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def file(self) -> zipfile.ZipFile:
        """The open archive; each process opens its own, since a fork shares the file position."""
        with self._lock:
            if self._open is None or self._owner != os.getpid():
                self._open, self._owner = open_zip(self.archive), os.getpid()
            return self._open

    def read(self, key: str) -> bytes:
        try:
            return self.file().read(key)
        except KeyError:
            raise ImageError(self.place(key), "is not in the archive") from None
        except (zipfile.BadZipFile, OSError) as error:
            raise ImageError(self.place(key), f"cannot be read ({error})") from error

    def place(self, key: str) -> str:
        return f"{self.archive}/{key}"

    def __getstate__(self) -> Any:
        return self.archive

    def __setstate__(self, state: Any) -> None:
        self.archive, self._open, self._owner, self._lock = state, None, -1, threading.Lock()

    def __del__(self) -> None:
        opened = getattr(self, "_open", None)  # absent if the constructor was interrupted
        if opened is not None:
            opened.close()


@dataclass(frozen=True, slots=True)
class _Slices:
    """Pictures that lie uncompressed inside one file: offset and length in bytes of each."""

    path: Path
    slices: Mapping[str, tuple[int, int]]

    def read(self, key: str) -> bytes:
        offset, length = self.slices[key]
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def place(self, key: str) -> str:
        return f"{self.path}/{key}"


@dataclass(frozen=True, slots=True)
class _Memory:
    data: Mapping[str, bytes]

    def read(self, key: str) -> bytes:
        return self.data[key]

    def place(self, key: str) -> str:
        return key


def open_zip(archive: Path) -> zipfile.ZipFile:
    """The archive, open for reading.

    Raises:
        MissingData: if it is not there.
        BadData: if it is not a ZIP, or an unfinished download of one.
    """
    try:
        return zipfile.ZipFile(archive)
    except FileNotFoundError as error:
        raise MissingData(f"{archive} is not there") from error
    except zipfile.BadZipFile as error:
        raise BadData(f"{archive} is not a whole ZIP archive ({error}); fetch it again") from error


@dataclass(frozen=True, slots=True)
class _Reader:
    read: Callable[[str], bytes]

    def place(self, key: str) -> str:
        return key


@dataclass(slots=True)
class _Hdf5:
    """Pictures that MATLAB stored as one array (height, width, 3, n) of uint8; HDF5 shows it transposed."""

    path: Path
    dataset: str
    _open: Any = field(default=None, repr=False, compare=False)
    _owner: int = field(default=-1, repr=False, compare=False)

    def array(self) -> Any:
        if self._open is None or self._owner != os.getpid():
            self._open, self._owner = (
                optional("h5py", "reading pictures from HDF5 files", "data").File(self.path),
                os.getpid(),
            )
        return self._open[self.dataset]

    def read(self, key: str) -> bytes:
        pixels = np.asarray(self.array()[int(key)]).T.astype(np.uint8)
        height, width, _ = pixels.shape
        return f"P6 {width} {height} 255\n".encode() + pixels.tobytes()  # as a PPM file

    def place(self, key: str) -> str:
        return f"{self.path}::{self.dataset}[{key}]"

    def __getstate__(self) -> Any:
        return self.path, self.dataset

    def __setstate__(self, state: Any) -> None:
        self.path, self.dataset = state
        self._open, self._owner = None, -1


class Pictures(Sequence["Image"]):
    """Pictures decoded on access: ``pictures[3]`` is an RGB PIL picture, ``pictures[3:9]`` a `Pictures`.

    Make one with `from_paths`, `from_folder`, `from_zip`, `from_tar`, `from_hdf5`, `from_reader` or
    `from_bytes`; join two with ``+``.
    """

    def __init__(self, entries: Sequence[tuple[_Store, str]], size: int | None = None) -> None:
        self._entries, self._size = entries, size

    @classmethod
    def from_paths(cls, paths: Iterable[str | Path]) -> Pictures:
        """Files of any folders."""
        return cls.from_folder(Path(), [str(path) for path in paths])

    @classmethod
    def from_folder(cls, folder: Path, names: Iterable[str]) -> Pictures:
        """Files by their names relative to one folder."""
        store = _Files(Path(folder))
        return cls([(store, str(name)) for name in names])

    @classmethod
    def from_zip(cls, archive: Path, members: Iterable[str] | None = None) -> Pictures:
        """Members of a ZIP archive (default: every member that ends like a picture, in archive order).

        Raises:
            MissingData: the archive is not there.
            BadData: it is damaged, or a member named is not in it.
        """
        store = _Zip(Path(archive))
        inside = store.file().NameToInfo
        wanted = list(members) if members is not None else [name for name in inside if is_picture(name)]
        return cls(_entries(store, archive, wanted, inside))

    @classmethod
    def from_tar(cls, archive: Path, members: Iterable[str] | None = None) -> Pictures:
        """Members of an uncompressed tar (default: every member that ends like a picture, in order).

        Raises:
            MissingData: the archive is not there.
            BadData: it is damaged or compressed, or a member named is not in it.
        """
        slices = tar_slices(Path(archive))
        wanted = list(members) if members is not None else [name for name in slices if is_picture(name)]
        return cls(_entries(_Slices(Path(archive), slices), archive, wanted, slices))

    @classmethod
    def from_hdf5(cls, path: Path, dataset: str) -> Pictures:
        """Pictures of one MATLAB array (height, width, 3, n) in a ``.mat`` file of version 7.3."""
        store = _Hdf5(Path(path), dataset)
        return cls([(store, str(number)) for number in range(len(store.array()))])

    @classmethod
    def from_reader(cls, read: Callable[[str], bytes], names: Iterable[str]) -> Pictures:
        """Pictures whose files `read` returns by name."""
        store = _Reader(read)
        return cls([(store, name) for name in names])

    @classmethod
    def from_bytes(cls, data: Mapping[str, bytes]) -> Pictures:
        """Files already in memory, by name."""
        store = _Memory(data)
        return cls([(store, name) for name in data])

    @property
    def names(self) -> list[str]:
        """Each picture's name inside its folder or archive."""
        return [key for _, key in self._entries]

    def path(self, row: int) -> Path | None:
        """The file that holds only this picture; None if it lies in an archive or in memory."""
        store, key = self._entries[row]
        return store.folder / key if isinstance(store, _Files) else None

    def place(self, row: int) -> str:
        """What errors call a picture: its path, or the archive's and its name in there."""
        store, key = self._entries[row]
        return store.place(key)

    def read(self, row: int) -> bytes:
        """The picture's file, not decoded."""
        store, key = self._entries[row]
        return store.read(key)

    def sized(self, size: int | None) -> Pictures:
        """The same pictures, decoded with no more detail than `size` asks for (see `open_picture`)."""
        return Pictures(self._entries, size)

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, row: int) -> Image: ...

    @overload
    def __getitem__(self, row: slice | Sequence[int] | NDArray[np.integer[Any]]) -> Pictures: ...

    def __getitem__(self, row: int | slice | Sequence[int] | NDArray[np.integer[Any]]) -> Image | Pictures:
        if isinstance(row, slice):
            return Pictures(self._entries[row], self._size)
        if not isinstance(row, int | np.integer):
            return Pictures([self._entries[int(one)] for one in row], self._size)
        store, key = self._entries[int(row)]
        return open_picture(store.read(key), size=self._size, name=store.place(key))

    def __add__(self, other: Pictures) -> Pictures:
        return Pictures([*self._entries, *other._entries], self._size if self._size == other._size else None)

    def __repr__(self) -> str:
        return f"<{len(self)} pictures>"


class Absent(Sequence[Any]):
    """Stands for pictures or texts that are not there: it has their number, and says so when looked at.

    Lets labels, pairs and the other side be used all the same.

    Args:
        size: How many there would be.
        reason: The sentence to raise as `MissingData`.
    """

    def __init__(self, size: int, reason: str) -> None:
        self.size, self.reason = size, reason

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return Absent(len(range(*row.indices(self.size))), self.reason)
        if hasattr(row, "__len__"):
            return Absent(len(row), self.reason)
        if not -self.size <= row < self.size:
            raise IndexError(row)
        raise MissingData(self.reason)

    def __add__(self, other: Absent) -> Absent:
        return Absent(self.size + other.size, self.reason)

    def __repr__(self) -> str:
        return f"<{self.size} absent>"


def pictures_in(place: Path, names: Sequence[str]) -> Pictures:
    """The pictures of those names in a folder, a ZIP or an uncompressed tar, all of which must be there.

    Names of an archive may lie in a folder inside it (``images/1.jpg`` for ``1.jpg``).

    Raises:
        MissingData: the folder or archive is not there.
        BadData: some of the pictures are not in it, or in more than one place there.
    """
    if place.is_dir():
        lost = [name for name in names if not (place / name).is_file()]
        if lost:
            raise BadData(f"{place} lacks {len(lost)} of {len(names)} pictures, the first {lost[0]!r}")
        return Pictures.from_folder(place, names)
    store: _Store
    inside: Collection[str]
    if place.suffix.lower() == ".tar":
        slices = tar_slices(place)
        store, inside = _Slices(place, slices), slices
    else:
        store = archive = _Zip(place)
        inside = archive.file().NameToInfo
    members = list(names)
    if any(name not in inside for name in members):
        by_name: dict[str, list[str]] = {}
        for member in filter(is_picture, inside):
            by_name.setdefault(PurePosixPath(member).name, []).append(member)
        for name in (name for name in names if name not in inside):
            if len(found := by_name.get(name, [])) > 1:
                raise BadData(
                    f"{place} holds {name} {len(found)} times ({', '.join(found[:3])}), so which is meant is "
                    "open; keep one of them"
                )
        members = [name if name in inside else by_name.get(name, [name])[0] for name in names]
    return Pictures(_entries(store, place, members, inside))


def _entries(
    store: _Store, archive: Path, members: Sequence[str], inside: Collection[str]
) -> list[tuple[_Store, str]]:
    lost = [name for name in members if name not in inside]
    if lost:
        raise BadData(f"{archive} lacks {len(lost)} of {len(members)} pictures, the first {lost[0]!r}")
    return [(store, name) for name in members]


def tar_slices(archive: Path) -> dict[str, tuple[int, int]]:
    """Offset and length of every file in an uncompressed tar, by name, in order.

    Raises:
        MissingData: the archive is not there.
        BadData: it is damaged or compressed.
    """
    try:
        with tarfile.open(archive, "r:") as tar:
            return {member.name: (member.offset_data, member.size) for member in tar if member.isfile()}
    except FileNotFoundError as error:
        raise MissingData(f"{archive} is not there") from error
    except tarfile.TarError as error:
        raise BadData(
            f"{archive} is not an uncompressed tar archive ({error}); unpack or decompress it first"
        ) from error
