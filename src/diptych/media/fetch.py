"""Fetches pictures from the web, for those who ask for it: bounded, and never from private networks.

An address is looked up once, and the connection goes to the very address that was judged, so that a name that
changes its mind between the two reaches nothing. Every redirection is judged anew.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import threading
import time
from typing import TypeGuard
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from diptych.errors import ImageError, UsageError

__all__ = ["LARGEST", "fetch", "is_address"]

LARGEST = 64 * 2**20
"""Bytes of a picture that is fetched."""

_SCHEMES = ("http", "https")
_REDIRECTIONS = 5
_MOVED = (301, 302, 303, 307, 308)
_PIECE = 64 * 2**10  # bytes read between two looks at the clock


def is_address(value: object) -> TypeGuard[str]:
    """Whether a value is the address of something on the web."""
    return isinstance(value, str) and value.partition("://")[0].lower() in _SCHEMES and "://" in value


def fetch(address: str, *, largest: int = LARGEST, seconds: float = 30.0, private: bool = False) -> bytes:
    """What lies at an address of the web.

    Args:
        address: With the scheme http or https; without a user's name.
        largest: Bytes at most.
        seconds: For everything together, from looking up the name on.
        private: Whether hosts of private networks, and this machine, may be asked, too.

    Raises:
        UsageError: it is no such address, or its host is private.
        ImageError: nothing comes of it: no answer, an error, too much or too late.
    """
    until = time.monotonic() + seconds
    here = address
    for _ in range(_REDIRECTIONS + 1):
        parts = _parts(here)
        connection = _connection(parts, address, until, private=private)
        # A host that says a letter now and then keeps every single wait short.
        watch = threading.Timer(_left(until), _cut, [connection.sock])
        watch.daemon = True
        watch.start()
        try:
            content, moved = _answer(connection, parts, address, largest)
        except (OSError, http.client.HTTPException) as error:
            late = time.monotonic() >= until
            said = "it takes too long" if late else _said(error)
            raise ImageError(address, f"cannot be fetched ({said})") from error
        finally:
            watch.cancel()
            connection.close()
        if moved is None:
            return content
        here = urljoin(here, moved)
    raise ImageError(address, f"leads on more than {_REDIRECTIONS} times")


def _parts(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018  # looked at for what it raises
    except ValueError as error:
        raise UsageError(f"{address} is no address of the web ({error})") from error
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise UsageError(
            f"{address} is no address of the web, which begins with http:// or https:// and a host"
        )
    if parts.username or parts.password:
        raise UsageError("an address that is fetched holds no user's name or password")
    return parts


def _connection(parts: SplitResult, asked: str, until: float, *, private: bool) -> http.client.HTTPConnection:
    """A connection to a host, at an address that was judged."""
    host, port = str(parts.hostname), parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ImageError(asked, f"its host is not found ({_said(error)})") from error
    addresses = [str(one[4][0]) for one in found]
    if not private and any(not _is_public(one) for one in addresses):
        raise UsageError(f"{host} is a host of a private network, or this machine, and is not asked")
    try:
        plain = socket.create_connection((addresses[0], port), timeout=_left(until))
    except OSError as error:
        raise ImageError(asked, f"its host does not answer ({_said(error)})") from error
    connection = http.client.HTTPConnection(host, port, timeout=_left(until))
    connection.sock = plain
    if parts.scheme == "https":
        import ssl

        try:
            connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
        except OSError as error:
            plain.close()
            raise ImageError(asked, f"its host cannot be trusted ({_said(error)})") from error
        connection.default_port = 443  # what is said to the host has no port where it is the usual one
    return connection


def _answer(
    connection: http.client.HTTPConnection, parts: SplitResult, asked: str, largest: int
) -> tuple[bytes, str | None]:
    """What a host answers: a content, or where it lies now."""
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~") + (f"?{parts.query}" if parts.query else "")
    connection.request("GET", quote(path, safe="/%:@!$&'()*+,;=~?#[]"), headers={"Accept": "image/*"})
    response = connection.getresponse()
    moved = response.getheader("Location")
    if response.status in _MOVED and moved:
        return b"", moved
    if response.status != http.client.OK:
        raise ImageError(asked, f"its host answers {response.status} {response.reason}".rstrip())
    content = bytearray()
    while piece := response.read1(_PIECE):
        content += piece
        if len(content) > largest:
            raise ImageError(
                asked, f"has more than {largest / 2**20:.0f} MB, which is the most that is fetched"
            )
    if response.length:
        raise http.client.IncompleteRead(bytes(content), response.length)
    return bytes(content), None


def _left(until: float) -> float:
    """Seconds left, and a moment where there are none: what waits then ends at once."""
    return max(until - time.monotonic(), 1e-3)


def _cut(connected: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed meanwhile
        connected.shutdown(socket.SHUT_RDWR)


def _is_public(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or found.sixtofour or found
    return found.is_global and not found.is_multicast


def _said(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it takes too long"
    if isinstance(error, http.client.IncompleteRead):
        return "it ends before it should"
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
