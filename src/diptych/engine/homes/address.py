"""Addresses of collections that live on servers.

``postgresql://user@host/database?collection=name``; or searched in Milvus with a record that lives elsewhere,
``milvus://user@host:19530/database?record=photos&collection=name``.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from diptych import catalogue
from diptych.errors import UnknownName, UsageError

__all__ = ["Address", "address_of"]

_SCHEMES = {
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "milvus": "milvus",
}  # else an entry point's name
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_LIKE_ONE = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_SECRET = ("password", "passfile", "sslpassword", "token")
_OURS = ("collection", "folder")
_MILVUS_PORT = 19530


@dataclass(frozen=True, slots=True)
class Address:
    """Where a collection lives on a server.

    Args:
        scheme: "postgresql", "milvus", or that of a package's home.
        url: What the server's own client is given; holds the password but for Milvus, and is never shown.
        collection: Which one of the collections there.
        folder: The folder on this machine that names of files are relative to, if it is said.
        shown: The address without what must not be seen.
        options: What else it says, by name.
        secrets: Texts that must not be seen.
        user, password, database: What Milvus' client is given besides.
        record: Where the record of a collection in Milvus lives: a folder, or an address.
    """

    scheme: str
    url: str
    collection: str
    folder: Path | None
    shown: str
    options: tuple[tuple[str, str], ...]
    secrets: tuple[str, ...]
    user: str = ""
    password: str = ""
    database: str = ""
    record: str = ""

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
    if scheme == "milvus":
        return _in_milvus(parts, collection, dict(others), "collection" in own, own.get("folder"))
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


def _in_milvus(
    parts: SplitResult, collection: str, options: dict[str, str], named: bool, folder: str | None
) -> Address:
    """The address of a collection whose record is elsewhere.

    Raises:
        UsageError: it says not where, or says what is not known.
    """
    record = options.pop("record", "")
    if not record:
        raise UsageError(
            "Milvus only searches, so an address there says where the record lives, in a folder or in "
            "PostgreSQL: milvus://host:19530/?record=photos, or ?record=postgresql://user@host/database"
        )
    if record.lower().startswith("milvus:"):
        raise UsageError("the record of a collection in Milvus lives in a folder or in PostgreSQL, not there")
    within = address_of(record)
    unknown = sorted(options.keys() - {"token", "tls"})
    if unknown:
        raise UsageError(
            f"an address of Milvus says nothing of {unknown[0]}; it may say record, collection, folder, "
            "tls=yes and token"
        )
    if not parts.hostname:
        raise UsageError("an address of Milvus names its machine: milvus://host:19530/?record=photos")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port, database = parts.port or _MILVUS_PORT, parts.path.strip("/")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    shown = [("record", record if within is None else within.shown)]
    if named:
        shown.append(("collection", collection))
    secrets = (parts.password or "", password, options.get("token", ""), *(within.secrets if within else ()))
    return Address(
        "milvus",
        f"{'https' if options.get('tls') == 'yes' else 'http'}://{host}:{port}",
        collection,
        None if folder is None else Path(folder).expanduser().absolute(),
        f"milvus://{f'{parts.username}@' if parts.username else ''}{host}:{port}/{database}"
        f"?{urlencode(shown, safe='/:@?=')}",
        tuple(options.items()),
        tuple(one for one in secrets if one),
        user,
        password,
        database,
        record,
    )
