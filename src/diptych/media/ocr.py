"""Text inside pictures, read by RapidOCR's models (PP-OCRv4; package rapidocr-onnxruntime, models inside it).

A detector looks at the picture at small size first, which costs a few hundredths of a second; only where it
finds lines is the picture looked at in full and read. The recogniser knows English and Chinese: umlauts and
accents come out wrong or not at all. All of it runs in a process of its own with one thread, which may take
only so much time and memory; a picture that ends it is an `ImageError` here.
"""

from __future__ import annotations

import atexit
import json
import struct
import sys
from typing import IO, TYPE_CHECKING, Any

from diptych.errors import ImageError
from diptych.media.worker import Ended, Worker, exactly, limit_memory
from diptych.optional import optional

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = ["GATE", "LARGEST", "OCR_MEMORY", "OCR_SECONDS", "needs_ocr", "read_text"]

GATE = 640
"""Pixels of the longer side at which the detector looks first."""
LARGEST = 2000
"""Pixels of the longer side beyond which no more detail is looked at."""
OCR_SECONDS = 120.0
"""Longest time that one picture may take."""
OCR_MEMORY = 4 << 30
"""Memory in bytes that the process may take, where the system can limit it."""

_ENLARGED = 4.0  # times, at most, that a small picture is enlarged for the detector
_SURE = 0.6  # score of a line, in [0, 1], below which it is a guess
_LETTERS = 2  # of a line: single ones are mostly no text
_ASKED = struct.Struct("!BII")  # whether the detector looks first; width, height; pixels follow
_ANSWER = struct.Struct("!BI")  # whether it went well; bytes of JSON, or of the reason
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def needs_ocr() -> None:
    """See that the package is there.

    Raises:
        MissingExtra: it is not.
    """
    optional("rapidocr_onnxruntime", "reading the text in pictures", "ocr")


def read_text(picture: Image, *, name: str = "picture", gate: bool = True) -> list[str]:
    """The lines of text in a picture, from above; none if there is none, or none that is legible.

    Args:
        picture: RGB and upright. Of more than `LARGEST` pixels a side a smaller copy is read.
        name: What errors call it.
        gate: Whether the detector looks at small size first, and nothing is read where it finds nothing.

    Raises:
        ImageError: it is more work than is allowed, or ends the process.
    """
    if max(picture.size) > LARGEST:
        picture = picture.copy()
        picture.thumbnail((LARGEST, LARGEST))
    try:
        read, told = _worker.ask(
            _ASKED.pack(gate, *picture.size) + picture.tobytes(), _answer, seconds=OCR_SECONDS
        )
    except Ended as ended:
        why = f"takes longer than {OCR_SECONDS:.0f} s" if ended.late else "ends the program that reads it"
        raise ImageError(name, f"its text {why}, so it is passed over") from None
    if not read:
        raise ImageError(name, f"its text cannot be read ({told.decode('utf-8', 'replace')})")
    return [str(line) for line in json.loads(told)]


_worker = Worker("diptych.media.ocr", "serve", environment=_ONE_THREAD)
atexit.register(_worker.end)


def _answer(stream: IO[bytes]) -> tuple[int, bytes]:
    read, length = _ANSWER.unpack(exactly(stream, _ANSWER.size))
    return read, exactly(stream, length)


# What runs in the process of its own


def serve() -> None:
    """Read the pictures that come on standard input until it ends; answers on standard output."""
    import numpy as np

    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # the package may speak, and the answers must stay whole
    limit_memory(OCR_MEMORY)
    engine = _Engine()
    while header := asked.read(_ASKED.size):
        gate, width, height = _ASKED.unpack(header)
        pixels = np.frombuffer(exactly(asked, 3 * width * height), np.uint8).reshape(height, width, 3)
        try:
            read, told = 1, json.dumps(engine.lines(pixels, gate)).encode()
        except Exception as error:  # noqa: BLE001 -- whatever the package raises is told, not swallowed
            read, told = 0, f"{type(error).__name__}: {error}".encode("utf-8", "replace")
        answers.write(_ANSWER.pack(read, len(told)) + told)
        answers.flush()


class _Engine:
    """RapidOCR, and its detector by itself."""

    def __init__(self) -> None:
        import cv2
        from rapidocr_onnxruntime import RapidOCR

        cv2.setNumThreads(1)
        threads = {"intra_op_num_threads": 1, "inter_op_num_threads": 1}
        # "max": what is small stays so, where the other enlarges it before it looks.
        self._first: Any = RapidOCR(det_limit_type="max", **threads)
        self._whole: Any = RapidOCR(**threads)

    def lines(self, pixels: NDArray[np.uint8], gate: bool) -> list[str]:
        """The lines of a picture (h, w, 3)."""
        import cv2

        turned = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        if gate and not self._has_text(turned):
            return []
        found, _ = self._whole(turned)
        lines = ((str(text).strip(), float(score)) for _, text, score in found or ())
        return [text for text, score in lines if score >= _SURE and _letters(text) >= _LETTERS]

    def _has_text(self, pixels: NDArray[Any]) -> bool:
        import cv2

        height, width = pixels.shape[:2]
        scale = min(_ENLARGED, GATE / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        boxes, _ = self._first.auto_text_det(cv2.resize(pixels, size, interpolation=how))
        return boxes is not None


def _letters(text: str) -> int:
    return sum(one.isalnum() for one in text)
