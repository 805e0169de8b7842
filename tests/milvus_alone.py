"""Runs Milvus in a network of its own: ``unshare --net python milvus_alone.py FOLDER DOOR``.

The server listens on all interfaces, of which a new network namespace has only the loopback. Whoever is
outside reaches it through one socket that was opened there and handed in: what comes in by it is passed on.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import signal
import socket
import struct
import sys
from pathlib import Path

_PORT = 19530  # in here, where nobody else is
_SIOCSIFFLAGS, _UP = 0x8914, 0x1


def bring_up_loopback() -> None:
    """A new namespace has it, but down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _UP))


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """All that is read, until there is no more."""
    with contextlib.suppress(OSError):  # either side may end it
        while some := await reader.read(1 << 16):
            writer.write(some)
            await writer.drain()
    writer.close()


async def let_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection from outside."""
    try:
        inner, outer = await asyncio.open_connection("127.0.0.1", _PORT)
    except OSError:  # as if nobody listened
        writer.close()
        return
    await asyncio.gather(pass_on(reader, outer), pass_on(inner, writer))


async def keep_door(door: socket.socket) -> None:
    """Pass on what comes in, until the process is told to end."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, told.set)
    loop.add_reader(sys.stdin.fileno(), told.set)  # which ends with whoever has started this
    server = await asyncio.start_server(let_in, sock=door)
    print("ready", flush=True)
    await told.wait()
    server.close()


def main(folder: Path, door: int) -> None:
    from milvus import MilvusServer

    bring_up_loopback()
    server = MilvusServer()
    server.set_base_dir(str(folder))
    server.listen_port = _PORT
    try:
        server.start()
        asyncio.run(keep_door(socket.socket(fileno=door)))
    finally:
        server.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
