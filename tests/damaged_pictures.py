"""Pictures that promise too much, and places where to cut a file off."""

from __future__ import annotations

import struct
import zlib


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises more than it holds."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)))


def truncations(data: bytes) -> list[int]:
    return sorted({0, 1, 2, 3, 4, 10, 20, 100, *(len(data) * part // 20 for part in range(20))})
