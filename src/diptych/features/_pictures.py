"""Opens what an extractor of pictures is given."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from diptych.data.pictures import decode
from diptych.errors import ImageError

__all__ = ["opened"]


def opened(picture: Any) -> Any:
    """The RGB PIL picture of a path or a PIL picture.

    Raises:
        ImageError: it cannot be read.
    """
    if not isinstance(picture, str | os.PathLike):
        return picture.convert("RGB")
    try:
        data = Path(picture).read_bytes()
    except OSError as error:
        raise ImageError(str(picture), f"cannot be read ({error.strerror})") from error
    return decode(data, str(picture))
