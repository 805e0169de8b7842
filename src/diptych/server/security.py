"""Who may ask: the name by which the server was called, the page that asks, the token, and how much is sent.

All of it is decided before anything else looks at a request. A browser on this machine may show pages of
anybody; such a page must neither reach the server under a name of its own (DNS rebinding), nor send it
requests (cross-site requests), nor show its answers in a frame. Answers carry headers that let the page run
nothing but its own files.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from diptych.server.errors import Refused
from diptych.server.settings import Settings

__all__ = ["COOKIE", "Guard", "content_policy", "is_local", "is_loopback"]

COOKIE = "diptych-session"

_LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})
_OPEN = frozenset({"/api/v1/health", "/api/v1/session"})  # for those who have yet to show a token
_PREFIXES = ("/api/", "/metrics")  # what a token guards; the page itself tells nothing
_SESSION_SECONDS = 30 * 24 * 3600.0
_JSON_BYTES = 1 << 20
_ATTEMPTS, _ATTEMPT_SECONDS = 20, 60.0  # wrong tokens that are answered within a time

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]


def is_loopback(host: str) -> bool:
    """Whether a host, by name or number, is this machine talking to itself."""
    name = host.strip("[]").partition("%")[0].lower()
    if name in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_local(scope: Scope) -> bool:
    """Whether a request comes from this machine, and not through a proxy that runs here."""
    client = scope.get("client")
    headers = {name for name, _ in scope["headers"]}
    forwarded = headers & {b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via"}
    return client is not None and is_loopback(client[0]) and not forwarded


def content_policy(scripts: Iterable[bytes] = ()) -> str:
    """The content policy of the page: its own files, and nothing else.

    Args:
        scripts: Contents of the import maps that stand in the page itself, which only their hashes admit.
    """
    import base64

    hashes = "".join(
        f" 'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'" for script in scripts
    )
    return (
        f"default-src 'none'; script-src 'self'{hashes}; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; font-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )


class Guard:
    """An ASGI application in front of another one.

    Args:
        app: The other.
        settings: Token, names of hosts, and how much may be sent.
        keys: Further secrets that are as good as the token, such as that of the command line of this user.
        policy: The content policy of answers that set none.
        respond: Gives the application that answers with an error.
    """

    def __init__(
        self,
        app: Any,
        *,
        settings: Settings,
        keys: Iterable[str] = (),
        policy: str,
        respond: Callable[[Refused, Scope], Any],
    ) -> None:
        self._app, self._settings, self._respond = app, settings, respond
        self._keys = tuple(keys)
        self._secret = secrets.token_bytes(32)  # of this run, so that sessions end with it
        self._failed: list[float] = []
        self._headers = {
            b"content-security-policy": policy.encode(),
            b"x-content-type-options": b"nosniff",
            b"x-frame-options": b"DENY",
            b"referrer-policy": b"no-referrer",
            b"cross-origin-opener-policy": b"same-origin",
            b"cross-origin-resource-policy": b"same-origin",
            b"permissions-policy": b"camera=(), geolocation=(), microphone=()",
        }

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Hand a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *((name, value) for name, value in self._headers.items() if name not in there),
                ]
            await send(message)

        try:
            received = self._admitted(scope, receive)
        except Refused as error:
            await self._respond(error, scope)(scope, receive, headed)
            return
        await self._app(scope, received, headed)

    def _admitted(self, scope: Scope, receive: Any) -> Any:
        """What gives the request's body, if it may be asked at all."""
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = self._check_host(headers.get(b"host", ""))
        _check_site(headers, host)
        state = scope.setdefault("state", {})
        state["local"] = is_local(scope)
        if self._settings.token is None and not state["local"]:
            raise Refused(
                "Forbidden", "this server has no token, so it answers callers of its own machine only"
            )
        state["authorized"] = self._authorized(headers)
        path = scope["path"]
        if path.startswith(_PREFIXES) and path not in _OPEN and not state["authorized"]:
            said = "that token is not this server's" if _shown(headers) else "this server needs a token"
            raise Refused(
                "Unauthorized",
                f"{said}; show it as header Authorization: Bearer TOKEN, or sign in on the page",
            )
        return _Body(receive, self._most(path, headers), self._settings.deadline, headers)

    def _most(self, path: str, headers: Mapping[bytes, str]) -> int:
        """Bytes of a request's body at most."""
        largest = self._settings.max_upload
        if path == "/api/v1/uploads":
            return largest + _JSON_BYTES  # of its form
        with_pictures = path in ("/api/v1/search", "/api/v1/items") or path.endswith("/why")
        return largest * 4 // 3 + _JSON_BYTES if with_pictures else _JSON_BYTES

    # The token

    def _authorized(self, headers: Mapping[bytes, str]) -> bool:
        if self._settings.token is None:
            return True
        if (shown := _shown(headers)) and self.knows(shown):
            return True
        cookies = re.split(r";\s*", headers.get(b"cookie", ""))
        return any(
            self._is_session(one.partition("=")[2]) for one in cookies if one.partition("=")[0] == COOKIE
        )

    def knows(self, token: str) -> bool:
        """Whether a token is one that opens this server, compared in constant time.

        Raises:
            Refused: too many wrong ones were shown within a minute.
        """
        now = time.monotonic()
        self._failed = [one for one in self._failed if one > now - _ATTEMPT_SECONDS]
        right = [one for one in (self._settings.token, *self._keys) if one is not None]
        # All are compared, as digests of one length, so that the time tells nothing.
        shown = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = sum(hmac.compare_digest(shown, hashlib.sha256(one.encode()).digest()) for one in right)
        if known:
            return True
        if len(self._failed) >= _ATTEMPTS:
            raise Refused("Busy", "too many wrong tokens were shown; wait a minute", after=60)
        self._failed.append(now)
        return False

    def session(self) -> tuple[str, int]:
        """The value of a cookie that stands for the token until the server stops, and its seconds."""
        until = f"{time.time() + _SESSION_SECONDS:.0f}"
        return f"{until}.{self._sign(until)}", int(_SESSION_SECONDS)

    def _is_session(self, value: str) -> bool:
        until, _, signature = value.partition(".")
        right = hmac.compare_digest(signature.encode(), self._sign(until).encode())
        return right and until.isdigit() and float(until) > time.time()

    def _sign(self, text: str) -> str:
        return hmac.new(self._secret, text.encode("latin-1", "replace"), hashlib.sha256).hexdigest()

    # The name

    def _check_host(self, header: str) -> str:
        """The host that was called, in small letters.

        Raises:
            Refused: it is a name that is not this server's, as of a page that had its own point here.
        """
        try:
            host = urlsplit(f"//{header}").hostname or ""
        except ValueError:
            host = ""
        if not host:
            raise Refused("BadRequest", "the request names no host")
        numeric = re.fullmatch(r"[0-9.]+|[0-9a-f:.%]*:[0-9a-f:.%]*", host) is not None
        if not (numeric or is_loopback(host) or host in self._settings.hosts):
            raise Refused(
                "Misdirected",
                f"this server is not called {host[:100]}; start it with that name allowed, or call it by its "
                "address",
            )
        return host


def _check_site(headers: Mapping[bytes, str], host: str) -> None:
    """See that no page of another site asks.

    Raises:
        Refused: one does.
    """
    site, mode = headers.get(b"sec-fetch-site", "none"), headers.get(b"sec-fetch-mode", "")
    foreign = site not in ("same-origin", "none") and mode != "navigate"
    origin = headers.get(b"origin")
    if origin is not None:
        try:
            parts = urlsplit(origin)
            foreign = foreign or parts.netloc.lower() != headers.get(b"host", "").lower()
        except ValueError:
            foreign = True
    if foreign:
        raise Refused("Forbidden", "pages of other sites may not ask this server")


def _shown(headers: Mapping[bytes, str]) -> str:
    kind, _, token = headers.get(b"authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


class _Body:
    """The body of a request, which ends with an error when it is too long or comes too slowly."""

    def __init__(self, receive: Any, most: int, seconds: float, headers: Mapping[bytes, str]) -> None:
        self._receive, self._most, self._left = receive, most, most
        self._until = time.monotonic() + seconds
        self._whole = False
        said = headers.get(b"content-length", "0")
        if not said.isdigit() or int(said) > most:
            raise self._too_large()

    async def __call__(self) -> Any:
        if self._whole:  # what comes now is only that the caller has gone
            return await self._receive()
        left = self._until - time.monotonic()
        try:
            message = await asyncio.wait_for(self._receive(), max(left, 0.001))
        except TimeoutError:
            raise Refused("Late", "the request took too long to arrive") from None
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise self._too_large()
            self._whole = not message.get("more_body", False)
        return message

    def _too_large(self) -> Refused:
        return Refused("TooLarge", f"a request like this has at most {self._most / 2**20:.0f} MiB")
