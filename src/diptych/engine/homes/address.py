"""Addresses of collections that live on servers: ``postgresql://user@host/database?collection=name``."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from diptych import catalogue
from diptych.errors import UnknownName, UsageError

__all__ = ["Address", "address_of"]

_SCHEMES = {"postgresql": "postgresql", "postgres": "postgresql"}  # of packages: the name of the entry point
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_LIKE_ONE = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_SECRET = ("password", "passfile", "sslpassword", "token", "record")
_OURS = ("collection", "folder")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a collection lives on a server.

    Args:
        scheme: "postgresql", or that of a package's home.
        url: What the server's own client is given; holds the password, and is never shown.
        collection: Which one of the collections there.
        folder: The folder on this machine that names of files are relative to, if it is said.
        shown: The address without what must not be seen.
        options: What else it says, by name.
        secrets: Texts that must not be seen.
    """

    scheme: str
    url: str
    collection: str
    folder: Path | None
    shown: str
    options: tuple[tuple[str, str], ...]
    secrets: tuple[str, ...]

    def hidden(self, text: str) -> str:
        """A text without the secrets of the address."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return " ".join(text.split())


def address_of(path: object) -> Address | None:
    """The address that a text is; None of what names a folder.

    Raises:
        UsageError: it is an address, but none of a collection.
        PluginError: its scheme is that of a package which cannot be used.

    Example:
        >>> found = address_of("postgresql://me:secret@db/photos?collection=beach")
        >>> found.collection, found.shown
        ('beach', 'postgresql://me@db/photos?collection=beach')
        >>> address_of("photos/") is None
        True
    """
    if not isinstance(path, str) or not (found := _LIKE_ONE.match(path)):
        return None
    scheme = _SCHEMES.get(found[1].lower()) or _plugged(found[1].lower())
    try:
        parts = urlsplit(path)
        given = parse_qsl(parts.query, keep_blank_values=True)
        password, host = parts.password, parts.hostname  # which look at the rest
        _ = parts.port
    except ValueError as error:
        raise UsageError(
            f"an address {found[0]} cannot be read; write one such as {scheme}://user@host/database, "
            "with signs in a password as %40 for @"
        ) from error
    own = {name: value for name, value in given if name in _OURS}
    collection = own.get("collection", "diptych")
    if not _NAME.fullmatch(collection):
        raise UsageError(
            f"the collection of an address is named by small letters, digits and _, such as photos, not "
            f"{collection!r}"
        )
    others = [(name, value) for name, value in given if name not in _OURS]
    user = "" if parts.username is None else f"{parts.username}@"
    place = "" if host is None else host if parts.port is None else f"{host}:{parts.port}"
    plain = [(name, value) for name, value in others if name not in _SECRET]
    if "collection" in own:
        plain.append(("collection", collection))
    secrets = [password or "", unquote(password or ""), *(value for name, value in others if name in _SECRET)]
    return Address(
        scheme,
        # Not urlunsplit, which makes one slash of three where there is no host.
        f"{scheme}://{parts.netloc}{parts.path}"
        + (f"?{urlencode(others, quote_via=quote)}" if others else ""),
        collection,
        Path(own["folder"]).expanduser().absolute() if "folder" in own else None,
        f"{scheme}://{user}{place}{parts.path}" + (f"?{urlencode(plain, safe='/')}" if plain else ""),
        tuple(others),
        tuple(one for one in secrets if one),
    )


def _plugged(scheme: str) -> str:
    """A scheme, if it is that of a package's home.

    Raises:
        PluginError: that package cannot be used.
        UsageError: it is nobody's.
    """
    others = [name for name, card in catalogue.cards("home").items() if card.package]
    if scheme in others:
        return scheme
    with contextlib.suppress(UnknownName):  # nobody announces it, not even in vain
        catalogue.card("home", scheme)
    known = ", ".join(f"{name}://" for name in (*_SCHEMES, *others))
    raise UsageError(
        f"a collection lives in a folder, or at an address that begins with {known}, not with {scheme}://"
    )
