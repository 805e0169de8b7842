"""Pictures in object storage, by their addresses: ``s3://bucket/photos``, and whatever else fsspec knows."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from diptych.errors import ImageError, MissingExtra, Unreachable, UsageError
from diptych.media.pictures import MAX_BYTES, Unread
from diptych.optional import optional

__all__ = ["Stored", "is_address", "listed", "normal", "read"]

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*)://.", re.ASCII | re.IGNORECASE)
_WEB = ("http", "https")
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "created")  # as storages call them
_STATES = ("ETag", "etag", "md5Hash", "content_md5", "VersionId", "generation")


@dataclass(frozen=True, slots=True)
class Stored:
    """A file of a storage.

    Args:
        address: Of the file.
        size: Bytes.
        mtime_ns: Time of the last change, in nanoseconds since 1970; 0 if the storage does not say.
        state: Differs wherever the storage knows that the content does; may be empty.
    """

    address: str
    size: int
    mtime_ns: int
    state: str


def is_address(name: object) -> bool:
    """Whether a name is the address of something in a storage, and no path."""
    return isinstance(name, str) and _ADDRESS.match(name) is not None


def listed(address: str) -> Iterator[list[Stored]]:
    """The files of each folder at an address and below, or the one file that it is of, by name.

    Raises:
        UsageError: nothing is there, or nothing of the kind can be listed.
        MissingExtra: the package for such a storage is not installed.
        Unreachable: the storage does not answer, or not to us.
    """
    system, path = _opened(address)
    with _told(address):
        system.invalidate_cache()
        try:
            info = system.info(path)  # what asks whether something exists takes a storage that is down for no
        except FileNotFoundError:
            raise UsageError(
                f"{address} does not exist, or holds nothing; give what is before its pictures"
            ) from None
        if info["type"] == "file":
            yield [_stored(system, path, info)]
            return
        for _, folders, files in system.walk(path, detail=True, on_error="raise"):
            for name in [name for name in folders if name.startswith(".")]:
                del folders[name]
            shown = {name: info for name, info in files.items() if name and not name.startswith(".")}
            yield [_stored(system, info["name"], info) for _, info in sorted(shown.items())]


def normal(address: str) -> str:
    """An address as `listed` writes those of its files, without a slash at the end.

    Raises:
        UsageError, MissingExtra: as for `listed`.
    """
    system, path = _opened(address)
    return str(system.unstrip_protocol(path)).rstrip("/")


def read(address: str) -> bytes:
    """The bytes of a file.

    Raises:
        Unread: it cannot be read now.
        ImageError: it is larger than what is read of a picture.
    """
    try:
        system, path = _opened(address)
        with _told(address):
            size = system.info(path).get("size") or 0
            if size > MAX_BYTES:
                raise ImageError(address, f"larger than {MAX_BYTES >> 30} GiB")
            found: bytes = system.cat_file(path)
            return found
    except Unreachable as error:
        raise Unread(address, str(error).removeprefix(f"{address} ")) from error


def _opened(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it."""
    scheme = address.partition("://")[0].lower()
    if scheme in _WEB:
        raise UsageError(
            f"{address} is a page of the web, which cannot be listed; give items with addresses from Python "
            "(Collection.add_items), or the address of a storage such as s3://BUCKET/FOLDER"
        )
    fsspec = optional("fsspec", "reading from object storage", "objects")
    if scheme not in fsspec.available_protocols():
        raise UsageError(f"{address}: no storage is known by {scheme}://; there are s3, gs, az and others")
    if scheme in ("s3", "s3a"):
        optional("s3fs", "reading from S3", "objects")
    try:
        system, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise MissingExtra(f"{scheme}:// ({error})", "objects") from None
    return system, path


@contextlib.contextmanager
def _told(address: str) -> Iterator[None]:
    """A block that asks a storage; what that raises, which may be anything, leaves it as a sentence."""
    try:
        yield
    except (UsageError, ImageError):
        raise
    except FileNotFoundError as error:
        raise Unreachable(f"{address} vanished while it was being read") from error
    except Exception as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise Unreachable(
            f"{address} cannot be read ({said}); see that the storage is up and that its credentials are set"
        ) from error


def _stored(system: Any, path: str, info: Mapping[str, Any]) -> Stored:
    time = next((info[name] for name in _TIMES if info.get(name)), 0)
    if isinstance(time, str):
        with contextlib.suppress(ValueError):
            time = datetime.datetime.fromisoformat(time)
    if isinstance(time, datetime.datetime):
        time = time.timestamp()
    state = "".join(str(info.get(name, "")) for name in _STATES)
    return Stored(
        system.unstrip_protocol(path),
        int(info.get("size") or 0),
        int(time * 1e9) if isinstance(time, int | float) else 0,
        hashlib.blake2b(state.encode(), digest_size=8).hexdigest() if state else "",
    )
