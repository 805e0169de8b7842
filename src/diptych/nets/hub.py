"""Finds a pretrained checkpoint: a folder, or a repository of the Hugging Face hub and its local cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from diptych.errors import MissingData
from diptych.optional import optional

__all__ = ["folder_of", "is_repository"]

_TIMEOUT = 5.0  # seconds to wait for the hub before saying that it does not answer


def is_repository(name: str) -> bool:
    """Whether a repository of the hub can be called so; else it can only be a path."""
    return name.count("/") == 1 and "\\" not in name and not name.startswith((".", "~", "/"))


def folder_of(name: str, patterns: Sequence[str]) -> Path:
    """The folder with a checkpoint's files, downloaded if need be.

    Args:
        name: A folder, or OWNER/NAME of a repository.
        patterns: The files that are wanted, such as ``*.json``. Where they ask for safetensors and the
            repository has none, those that the hub's own robot proposes are taken.

    Raises:
        MissingExtra: huggingface_hub is not installed.
        MissingData: there is no such folder, and the hub does not answer or has no such repository.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if not is_repository(name):
        raise MissingData(f"there is no folder {path}; give one, or OWNER/NAME of a repository of the hub")
    purpose = f"{name} is no folder here, and fetching it from the hub"
    huggingface_hub = optional("huggingface_hub", purpose, "hub")
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    def snapshot(revision: str | None = None) -> Path:
        found = huggingface_hub.snapshot_download(
            name, revision=revision, allow_patterns=list(patterns), etag_timeout=_TIMEOUT
        )
        return Path(found)

    try:
        folder = snapshot()
        if "*.safetensors" in patterns and not any(folder.glob("*.safetensors")):
            for proposal in huggingface_hub.HfApi().get_repo_discussions(
                name, author="SFconvertbot", discussion_type="pull_request"
            ):
                return snapshot(proposal.git_reference)
        return folder
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        raise MissingData(
            f"{name} is no folder here, and the hub did not give it ({type(error).__name__}); "
            "download the repository elsewhere and give its folder"
        ) from error
