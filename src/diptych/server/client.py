"""A collection that a server has, searched and filled from elsewhere as if it were here.

Only the standard library is needed, so that a machine that asks needs no extra, and a command starts at once.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlencode, urlsplit

from diptych import errors
from diptych.engine.results import By, ModelFacts, Progress, Results, Summary, Word
from diptych.engine.weights import Parts, weighted
from diptych.errors import DiptychError, ImageError, ServerError, UsageError

if TYPE_CHECKING:
    from diptych.core import Floats, Item, Side
    from diptych.engine.conditions import Condition
    from diptych.engine.hubness import Hubness
    from diptych.engine.items import NewItem
    from diptych.engine.listing import Fold
    from diptych.media.metadata import Value
    from diptych.media.pictures import Source

__all__ = ["Client"]

_TOGETHER = 8  # queries of `search_many` that are asked at a time
_TRIES = 5  # of a request for which the server is too busy, or the collection is being written to
_WAITED_FOR = (http.HTTPStatus.TOO_MANY_REQUESTS, http.HTTPStatus.CONFLICT)
_ITEMS = 64  # that one request takes in
_AGAIN = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)


class Client:
    """A collection of a server; its methods are those of `Collection` of the same names.

    It may be used by many threads, each of which keeps a connection.

    Args:
        address: Of the server, as it prints it.
        token: What the server asks for; by default DIPTYCH_TOKEN of the environment.
        collection: Name of the collection there; the first if None.
        timeout: Seconds that an answer may take.

    Raises:
        UsageError: it is no address.
    """

    def __init__(
        self,
        address: str = "http://127.0.0.1:8765",
        *,
        token: str | None = None,
        collection: str | None = None,
        timeout: float = 60.0,
    ) -> None:
        parts = urlsplit(address if "//" in address else f"http://{address}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"{address} is no address of a server, such as http://127.0.0.1:8765")
        self.address = f"{parts.scheme}://{parts.netloc}"
        self.collection = collection
        self._parts, self._timeout = parts, timeout
        self._token = token if token is not None else os.environ.get("DIPTYCH_TOKEN")
        self._mine = threading.local()
        self._pool: ThreadPoolExecutor | None = None
        self._all: list[http.client.HTTPConnection] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self.count("image") + self.count("text")

    def __repr__(self) -> str:
        return f"<Client of {self.collection or 'the first collection'} at {self.address}>"

    def close(self) -> None:
        """Let go of the connections."""
        if self._pool is not None:
            self._pool.shutdown()
        for connection in self._all:
            connection.close()

    # Searching

    def search(
        self,
        query: Source | Item | None = None,
        *,
        text: Parts[str] = (),
        image: Parts[Source] = (),
        like: Parts[str | Path | int] = (),
        negative: Parts[str] = (),
        text_weight: float = 1.0,
        image_weight: float = 1.0,
        negative_weight: float = 0.5,
        to: Side = "image",
        k: int = 10,
        min_score: float | Word | None = None,
        exact: bool = False,
        recall: float | None = None,
        model: str | None = None,
        where: str | Condition | None = None,
        by: By = "both",
        offset: int = 0,
        fold: Fold | None = "exact",
        itself: bool = False,
        diverse: float | None = None,
        hubness: Hubness | None = None,
        rerank: bool = False,
        folder: str | None = None,
    ) -> Results:
        """The k best matches, best first; see `Collection.search`.

        Pictures are read here and sent. What they are in the collection the server does not know, so that
        one of the collection's own is found, too.

        Args:
            like: By `id` in results, or by `item`.
            model: Its name.
            rerank: Whether the first hits are ranked anew, by what the server has for it.
            folder: Search only what lies in it, by its path in the collection.

        Raises:
            UsageError, ImageError: as for `Collection.search`.
            ServerError: the server does not answer, or refuses.
        """
        asked = question(
            query,
            text=text,
            image=image,
            like=like,
            negative=negative,
            text_weight=text_weight,
            image_weight=image_weight,
            negative_weight=negative_weight,
        )
        if not (asked["text"] or asked["image"] or asked["like"]):
            raise UsageError("nothing was asked; give words or a picture")
        options = self._options(to, k, where, offset, fold)
        options |= {"min_score": min_score, "exact": exact, "recall": recall, "model": model, "by": by}
        options |= {"itself": itself, "diverse": diverse, "hubness": hubness, "folder": folder}
        options |= {"rerank": rerank}
        return Results.from_dict(self.ask("POST", "search", asked | options))

    def search_many(self, queries: Sequence[Source | Item], **options: Any) -> list[Results]:
        """The k best matches of each query, each as the first argument of `search`; see there."""
        if isinstance(queries, str | bytes):
            raise UsageError("search_many takes a list of queries; a single one goes to search")
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_TOGETHER, thread_name_prefix="diptych-client")
        return list(self._pool.map(lambda query: self.search(query, **options), queries))

    def newest(
        self,
        *,
        where: str | Condition | None = None,
        to: Side = "image",
        k: int = 10,
        offset: int = 0,
        fold: Fold | None = "exact",
    ) -> Results:
        """The newest; see `Collection.newest`."""
        return Results.from_dict(self.ask("POST", "search", self._options(to, k, where, offset, fold)))

    def why(self, name: str | Path | int, query: Source | Item | None = None, **parts: Any) -> dict[str, Any]:
        """Why an item matches, as `Why.as_dict` tells it; see `Collection.why`.

        Args:
            name: Its `id` in results, or its `item`.
            query, parts: As for `search`.
        """
        found: dict[str, Any] = self.ask("POST", f"items/{self._item(name)}/why", question(query, **parts))
        return found

    # What it holds

    def count(self, side: Side = "image", *, where: str | Condition | None = None) -> int:
        """How many pictures or texts there are; see `Collection.count`."""
        return int(self.ask("GET", "count", side=side, where=_said(where))["count"])

    def facets(
        self, name: str, *, where: str | Condition | None = None, side: Side = "image"
    ) -> dict[Value | None, int]:
        """How many have each value of a field, the thousand most frequent; see `Collection.facets`."""
        told = self.ask("GET", "facets", field=name, where=_said(where), side=side, limit=1000)
        return {one["value"]: one["count"] for one in told["facets"][0]["values"]}

    def get(self, name: str | Path | int) -> Item | None:
        """The item of a file, or of a number; None if unknown. Its picture is not fetched; see `picture`.

        Args:
            name: Its `id` in results, or its `item`.
        """
        try:
            told = self.ask("GET", f"items/{self._item(name)}")
        except ServerError as error:
            if error.kind == "NotFound":
                return None
            raise
        from diptych.core import Item

        path = None if told["path"] is None else Path(told["path"])
        image = path if told["side"] == "image" else None
        return Item(told["id"], image=image, text=told["text"], meta=told["meta"] | {"item": told["item"]})

    def picture(self, name: str | Path | int, *, size: int | None = None) -> bytes:
        """The file of an item's picture, or a JPEG of it.

        Args:
            name: Its `id` in results, or its `item`.
            size: Pixels of the longer side of the JPEG, which is a little larger or one of the largest.
        """
        row = self._item(name)
        if size is None:
            return self._answer("GET", f"items/{row}/original", None, {"collection": self.collection})
        asked = {"size": size, "collection": self.collection}
        return self._answer("GET", f"items/{row}/thumbnail", None, asked)

    def vectors(self, side: Side) -> tuple[list[str], Floats]:
        """The `id` of every item of a side that has a vector, and these (n, d); see `Collection.vectors`.

        They come a thousand at a time: what changes meanwhile may be missing.
        """
        import numpy as np

        ids: list[str] = []
        pages: list[Floats] = []
        after: int | None = -1
        while after is not None:
            page = self.ask("GET", "vectors", side=side, after=after)
            ids += page["ids"]
            found = np.frombuffer(base64.b64decode(page["data"]), "<f4")
            pages.append(found.reshape(len(page["ids"]), page["dimensions"]).astype(np.float32, copy=False))
            after = page["next"]
        return ids, np.concatenate(pages)

    @property
    def excludes(self) -> tuple[str, ...]:
        """The patterns of files and folders that are left out; see `exclude`."""
        return tuple(self.info()["excludes"])

    def duplicates(self, *, threshold: float | None = None) -> dict[str, Any]:
        """Groups of copies among the pictures, "exact" and "near", by `item` and `id`.

        Args:
            threshold: As for `Collection.duplicates`, whose default it has if None.
        """
        found: dict[str, Any] = self.ask("GET", "duplicates", threshold=threshold)
        return found

    def models(self) -> list[ModelFacts]:
        """The models that it has vectors of, the default first."""
        return [ModelFacts(**one) for one in self.info()["models"]]

    def info(self) -> Mapping[str, Any]:
        """What it holds, as the server tells it; "skipped" are the files that could not be taken, and why."""
        every = self.ask("GET", "collections")["collections"]
        found = next((one for one in every if self.collection in (None, one["name"])), None)
        if found is None:
            raise ServerError(f"{self.address} has no collection {self.collection!r}", kind="NotFound")
        skipped = self.ask("GET", f"collections/{quote(found['name'], safe='')}/skipped")["skipped"]
        return {**found, "skipped": {one["path"]: one["reason"] for one in skipped}}

    # Filling

    def add(
        self,
        *folders: str,
        texts: bool = False,
        check: bool = False,
        forget_missing: bool = False,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Summary:
        """Bring the collection up to date with its folder, and wait for it; see `Collection.add`.

        Args:
            folders: By their paths in the collection; none for all of it.
            texts, check, forget_missing, on_progress: As there.

        Raises:
            ServerError: the server only reads, or the job failed.
        """
        asked = {"folders": list(folders), "texts": texts, "check": check, "forget_missing": forget_missing}
        return Summary.from_dict(self._done(asked, on_progress)["summary"])

    def make_codes(self, by: int) -> Mapping[str, Any]:
        """Give the pictures binary codes, and wait for them; see `Collection.make_codes`.

        Args:
            by: Code length, a multiple of 8.

        Raises:
            ServerError: the server only reads, or the job failed.
        """
        self._done({"kind": "codes", "bits": by})
        codes: Mapping[str, Any] = self.info()["codes"]
        return codes

    def exclude(self, *patterns: str) -> None:
        """Leave out what fits a pattern, from the next `add` on; see `Collection.exclude`."""
        self.ask("POST", "excludes", {"more": list(patterns)})

    def exclude_no_longer(self, *patterns: str) -> None:
        """Take back patterns; see `Collection.exclude_no_longer`."""
        self.ask("POST", "excludes", {"no_longer": list(patterns)})

    def add_items(self, items: Iterable[NewItem]) -> Summary:
        """Take in pictures, texts and ready vectors; see `Collection.add_items`.

        Each 64 of them are a request: when it is answered, they are stored, all of them.
        """
        waiting, whole = iter(items), Summary()
        while some := list(itertools.islice(waiting, _ITEMS)):
            done = Summary.from_dict(self.ask("POST", "items", {"items": list(map(_new, some))}))
            for name in ("added", "changed", "encoded", "seconds"):
                setattr(whole, name, getattr(whole, name) + getattr(done, name))
        return whole

    def remove_items(self, ids: Iterable[str]) -> int:
        """Forget items that a program gave; see `Collection.remove_items`."""
        return int(self.ask("POST", "remove", {"ids": list(ids)})["removed"])

    def remove(self, *paths: str) -> int:
        """Forget files and folders, by their paths in the collection; see `Collection.remove`."""
        return int(self.ask("POST", "remove", {"files": list(paths)})["removed"])

    def _done(
        self, asked: Mapping[str, Any], on_progress: Callable[[Progress], None] | None = None
    ) -> Mapping[str, Any]:
        """A job of the server when it is done."""
        job: Mapping[str, Any] = self.ask("POST", "jobs", asked)
        while job["state"] in ("waiting", "running"):
            time.sleep(0.1)
            job = self.ask("GET", f"jobs/{job['job']}")
            if on_progress is not None:
                path = None if job["current"] is None else Path(job["current"])
                on_progress(Progress(job["done"], job["total"], job["skipped"], path, job["seconds"]))
        if job["state"] != "done":
            raise ServerError(job["error"] or "the job was stopped", kind="Failed")
        return job

    # Asking

    def health(self) -> Mapping[str, Any]:
        """Whether the server answers, and what may be asked of it."""
        found: Mapping[str, Any] = self.ask("GET", "health")
        return found

    def ask(self, method: str, endpoint: str, body: Mapping[str, Any] | None = None, **query: Any) -> Any:
        """What an endpoint answers, for whatever has no method of its own here.

        Args:
            method: "GET", "POST" or "DELETE".
            endpoint: What follows ``/api/v1/``.
            body: What is sent as JSON, beside the collection's name.
            query: What is sent in the address, beside the collection's name.

        Raises:
            DiptychError: what the server says of it.
            ServerError: it does not answer, or refuses.
        """
        if body is not None:
            body = {**body, "collection": self.collection}
        else:
            query = {**query, "collection": self.collection}
        return json.loads(self._answer(method, endpoint, body, query) or b"null")

    def _answer(
        self, method: str, endpoint: str, body: Mapping[str, Any] | None, query: Mapping[str, Any]
    ) -> bytes:
        known = {name: value for name, value in query.items() if value is not None}
        target = f"/api/v1/{endpoint}" + (f"?{urlencode(known, doseq=True)}" if known else "")
        headers = {"Accept": "application/json"}
        content = None
        if body is not None:
            content, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        for tried in range(1, _TRIES + 1):
            status, told, again = self._sent(method, target, content, headers)
            if status not in _WAITED_FOR or not again or tried == _TRIES or again > self._timeout:
                break
            time.sleep(again * tried)
        if status >= 400:
            raise _error(status, told)
        return told

    def _sent(
        self, method: str, target: str, content: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes, float]:
        """Status and content of an answer, and seconds after which to ask again."""
        for fresh in (False, True):
            connection = self._connection(fresh=fresh)
            try:
                connection.request(method, target, content, dict(headers))
                answer = connection.getresponse()
                told = answer.read()
            except _AGAIN as error:  # a connection that lay idle, and that the server has closed
                connection.close()
                if fresh or method not in ("GET", "POST") or not target.startswith("/api/v1/search"):
                    raise self._away(error) from error
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                raise self._away(error) from error
            else:
                seconds = answer.getheader("Retry-After") or "0"
                return answer.status, told, float(seconds) if seconds.isdigit() else 0.0
        raise AssertionError("a fresh connection answers or fails")

    def _connection(self, *, fresh: bool) -> http.client.HTTPConnection:
        found: http.client.HTTPConnection | None = getattr(self._mine, "connection", None)
        if found is None or fresh:
            kind = (
                http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
            )
            found = kind(str(self._parts.hostname), self._parts.port, timeout=self._timeout)
            self._mine.connection = found
            self._all.append(found)
        return found

    def _away(self, error: Exception) -> ServerError:
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return ServerError(
            f"the server at {self.address} does not answer ({said}); see that it runs, and that the address "
            "is the one that it prints",
            kind="Away",
        )

    def _options(
        self, to: Side, k: int, where: str | Condition | None, offset: int, fold: Fold | None
    ) -> dict[str, Any]:
        return {"to": to, "k": k, "where": _said(where), "offset": offset, "fold": fold or "none"}

    def _item(self, name: str | Path | int) -> int:
        if isinstance(name, int):
            return name
        return int(self.ask("GET", "lookup", id=_id(name))["item"])


def question(
    query: Any,
    *,
    text: Any = (),
    image: Any = (),
    like: Any = (),
    negative: Any = (),
    text_weight: float = 1.0,
    image_weight: float = 1.0,
    negative_weight: float = 0.5,
    known: Callable[[Path], int | None] = lambda path: None,
) -> dict[str, Any]:
    """The parts of a query as the server takes them.

    Args:
        query, text, image, like, negative, text_weight, image_weight, negative_weight: As for
            `Collection.search`.
        known: The number of a picture's file in the collection, if it is one of it.

    Raises:
        UsageError: something is of no kind that can be asked.
        ImageError: a picture cannot be read.
    """
    texts: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    if isinstance(query, str) and not query.strip():
        query = None
    for weight, item in () if query is None else _parts(query, text_weight, image_weight):
        if item.text is not None:
            texts.append({"text": item.text, "weight": weight})
        if item.image is not None:
            images.append(_image(item.image, weight, known))
    for weight, words in weighted(text, text_weight, "text"):
        if not isinstance(words, str) or not words.strip():
            raise UsageError(f"a text to look for is words, not {words!r}")
        texts.append({"text": words, "weight": weight})
    for weight, one in weighted(image, image_weight, "image"):
        from diptych.engine.query import picture_of

        images.append(_image(picture_of(one, paths=(str, os.PathLike)), weight, known))
    likes = [
        {"item" if isinstance(name, int) else "id": _id(name), "weight": weight}
        for weight, name in weighted(like, image_weight, "image")
    ]
    several = isinstance(negative, Iterable) and not isinstance(negative, str | tuple)
    parts = weighted(list(negative) if several else negative, negative_weight, "negative")
    away = [{"text": words, "weight": weight} for weight, words in parts if str(words).strip()]
    return {"text": texts, "image": images, "like": likes, "negative": away}


def _parts(query: Any, text_weight: float, image_weight: float) -> Iterator[tuple[float, Item]]:
    """Weights and parts of a query of one level."""
    from diptych.engine.query import as_item

    item = as_item(query)
    if not item.terms:
        yield (text_weight if item.image is None else image_weight), item
    for weight, term in item.terms:
        if term.terms:
            raise UsageError("a query of queries cannot be sent; give its parts by themselves")
        yield weight, term


def _id(name: str | Path | int) -> str | int:
    return name.as_posix() if isinstance(name, Path) else name


def _said(where: str | Condition | None) -> str | None:
    return None if where is None else str(where)


def _new(item: NewItem) -> dict[str, Any]:
    """An item as the server takes it in."""
    import numpy as np

    image = None if item.image is None else _file(item.image)[1]
    vector = None if item.vector is None else np.asarray(item.vector, float).tolist()
    return {
        "id": item.id, "data": image, "vector": vector, "texts": list(item.texts), "meta": dict(item.meta)
    }  # fmt: skip


def _image(picture: Any, weight: float, known: Callable[[Path], int | None]) -> dict[str, Any]:
    name, data = _file(picture)
    row = known(Path(picture)) if isinstance(picture, str | os.PathLike) else None
    return {"data": data, "weight": weight, "name": name, "item": row}


def _file(picture: Any) -> tuple[str, str]:
    """Name and file of a picture, the latter in base64; what has no file becomes a PNG."""
    from diptych.media.pictures import open_picture, read_file

    if isinstance(picture, str | os.PathLike):
        name, content = os.path.basename(picture), read_file(picture)
    elif isinstance(picture, bytes):
        name, content = "the picture", picture
    else:
        out = io.BytesIO()
        open_picture(picture).save(out, "PNG")
        name, content = "the picture", out.getvalue()
    return str(name), base64.b64encode(content).decode("ascii")


def _error(status: int, content: bytes) -> DiptychError:
    """The error that a server tells of."""
    kind, message, part = "", "", ""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        told = json.loads(content)["error"]
        kind, message, part = str(told["kind"]), str(told["message"]), str(told["argument"])
    if kind == "ImageError":
        return ImageError(*(message.split(": ", 1) if ": " in message else (message, "cannot be read")))
    for known in (errors.CollectionError, errors.CollectionBusy, errors.WrongModel, errors.MissingData):
        if kind == known.__name__:
            return known(message, argument=part)
    if kind in errors.__all__ and issubclass(getattr(errors, kind), UsageError):
        return UsageError(message, argument=part)
    said = message or f"the server answers with status {status}, and is none of Diptych's or behind another"
    return ServerError(said, kind=kind or "Foreign")
