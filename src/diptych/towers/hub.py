"""A repository of the Hugging Face hub: what it holds, and its files, downloaded once and kept as they are.

At first contact the commit is noted in the hub's own cache, with what the repository holds. From then on that
commit is used, without a network, until another revision is named; and a file counts as here only if it has
the size that the hub said.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from diptych.errors import BadData, MissingData
from diptych.files import write
from diptych.optional import optional

__all__ = ["Repository"]

_TIMEOUT = 5.0  # seconds to wait for the hub before saying that it does not answer
_T = TypeVar("_T")


class Repository:
    """One repository at one revision.

    Args:
        name: OWNER/NAME, or OWNER/NAME@REVISION with a branch, tag or commit; the default is "main".

    Raises:
        MissingExtra: huggingface_hub is not installed.
    """

    def __init__(self, name: str) -> None:
        self.name, _, revision = name.partition("@")
        self.revision = revision or "main"
        purpose = f"{name} is no folder here, and fetching it from the hub"
        self._hub = optional("huggingface_hub", purpose, "hub")
        root = optional("huggingface_hub.constants", purpose, "hub").HF_HUB_CACHE
        cache = Path(root) / f"models--{self.name.replace('/', '--')}"
        self._note = cache / "diptych" / f"{self.revision.replace('/', '--')}.json"
        self._snapshots = cache / "snapshots"
        self._known = self._read()

    @property
    def here(self) -> bool:
        """Whether it was asked for before, so that what it holds is known without a network."""
        return bool(self._known)

    @property
    def commit(self) -> str:
        """The commit that the revision was at first contact."""
        return str(self._asked()["commit"])

    @property
    def names(self) -> list[str]:
        """The files that it holds, as paths.

        Raises:
            MissingData: it was never asked for, and the hub does not answer or has no such repository.
        """
        return list(self._asked()["sizes"])

    def fetched(self, patterns: Sequence[str]) -> Path:
        """The folder with the files that patterns stand for, downloaded if need be.

        A download shows its progress; one that breaks off is taken up again where it was, and by a later
        process with the file that was not whole.

        Raises:
            MissingData: they are not here, and the hub does not answer or breaks off.
        """
        wanted = [name for name in self.names if any(fnmatch.fnmatchcase(name, one) for one in patterns)]
        if self._lacking(wanted):
            self._asking(
                lambda: self._hub.snapshot_download(
                    self.name, revision=self.commit, allow_patterns=wanted, etag_timeout=_TIMEOUT
                )
            )
        if lacking := self._lacking(wanted):
            raise MissingData(
                f"{self._folder / lacking[0]} is not whole; delete {self._note.parents[1]}, and it is "
                "fetched anew"
            )
        return self._folder

    def _lacking(self, names: Sequence[str]) -> list[str]:
        """Those of some files that are not here, or not whole."""
        sizes = self._asked()["sizes"]
        return [name for name in names if not _is_whole(self._folder / name, sizes[name])]

    @property
    def _folder(self) -> Path:
        return self._snapshots / self.commit

    def _asked(self) -> dict[str, Any]:
        if not self._known:
            found = self._asking(
                lambda: self._hub.HfApi().model_info(
                    self.name, revision=self.revision, timeout=_TIMEOUT, files_metadata=True
                )
            )
            sizes = {one.rfilename: one.size for one in found.siblings or []}
            self._write({"commit": found.sha, "sizes": dict(sorted(sizes.items()))})
        return self._known

    def conversion(self) -> Repository | None:
        """The proposal of the hub's own robot that holds the weights as safetensors; None if there is none.

        Raises:
            MissingData: as for `names`.
        """
        known = self._asked()
        if "conversion" not in known:
            found = self._asking(
                lambda: [
                    one.git_reference
                    for one in self._hub.HfApi().get_repo_discussions(
                        self.name, author="SFconvertbot", discussion_type="pull_request"
                    )
                ]
            )
            self._write({**known, "conversion": next(iter(found), "")})
        reference = self._known["conversion"]
        return Repository(f"{self.name}@{reference}") if reference else None

    def _asking(self, ask: Callable[[], _T]) -> _T:
        try:
            return ask()
        except Exception as error:  # its own errors, those of the client below, and those of the disk
            raise MissingData(
                f"{self.name} is no folder here, and the hub did not give it ({type(error).__name__}); "
                "try again with a network, or download the repository elsewhere and give its folder"
            ) from error

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self._note.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise BadData(f"{self._note} is damaged ({error}); delete it, and it is made anew") from error
        whole = isinstance(found, dict) and {"commit", "sizes"} <= set(found)
        return found if whole else {}

    def _write(self, known: dict[str, Any]) -> None:
        self._known = known
        write(self._note, json.dumps(known, indent=1))


def _is_whole(path: Path, size: int | None) -> bool:
    """Whether a file has its size; the hub may not say one."""
    try:
        return size in (None, path.stat().st_size)
    except OSError:
        return False
