"""Writes files so that, whenever the machine stops, under the name stands either the old file or the new."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

__all__ = ["replacing", "write"]


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The path of a file to write beside `path`; it takes that name when the block ends, and not if it fails.

    The new file is on the disk before it takes the name. The name beside is drawn, so that two that write
    the same file leave one whole file.

    Args:
        path: The file to write or to replace; its folder is made if it is not there.

    Raises:
        OSError: it cannot be written; `path` is then as it was.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "numbers.txt"
        >>> with replacing(path) as part:
        ...     count = part.write_text("1 2 3")
        >>> path.read_text()
        '1 2 3'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
        with part.open("r+b") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):  # what stopped the writing is the error to tell
            part.unlink(missing_ok=True)
        raise


def write(path: Path, content: str | bytes) -> None:
    """Write or replace a file as a whole, see `replacing`; text in UTF-8, its line ends as they are.

    Raises:
        OSError: it cannot be written; `path` is then as it was.
    """
    with replacing(path) as part:
        part.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
