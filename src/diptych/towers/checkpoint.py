"""Finds and opens a pretrained checkpoint: a folder, or a repository of the Hugging Face hub."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diptych.errors import BadData, MissingData
from diptych.optional import optional

__all__ = ["WHOLE", "folder_of", "is_repository", "opened", "whole"]

WHOLE = ("*.json", "*.txt", "*.model", "*.safetensors")
"""The files of a whole checkpoint: settings, vocabularies and weights."""

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
    # Only torch runs such weights, so that the hub's package alone would not do.
    extra = "towers" if "*.safetensors" in patterns else "hub"
    huggingface_hub = optional("huggingface_hub", purpose, extra)
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


def opened(folder: Path, kinds: Sequence[str], *, network: Any) -> Any:
    """The network of a folder in single precision, with every weight from it.

    Args:
        folder: Holds ``config.json`` and safetensors.
        kinds: Types of model that will do, as transformers names them.
        network: The class of transformers that opens it, such as ``AutoModel``.

    Raises:
        BadData: it holds a model of another type, no safetensors, or not every tensor.
    """
    kind = _kind(folder, kinds)
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(path.name for path in folder.glob("*.bin")) or ["none"]
        raise BadData(
            f"{folder} holds no safetensors (other weights: {', '.join(pickles)}); pickled weights can run "
            "code when they are read, so convert them with transformers' save_pretrained first"
        )
    model, report = whole(
        folder,
        kind,
        network.from_pretrained,
        use_safetensors=True,
        output_loading_info=True,
        dtype=optional("torch", "running a tower", "towers").float32,
    )
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise BadData(f"{folder} lacks {len(missing)} tensors of its {kind} model, the first {missing[0]}")
    return model


def whole(folder: Path, kind: str, read: Any, **options: Any) -> Any:
    """What a reader of transformers makes of a folder, without asking the hub.

    Raises:
        BadData: something is missing or damaged.
    """
    damaged = optional("safetensors", "reading weights", "towers").SafetensorError
    try:
        return read(folder, local_files_only=True, **options)
    except (OSError, ValueError, KeyError, RuntimeError, damaged) as error:
        raise BadData(f"{folder} is not a whole {kind} checkpoint: {str(error).splitlines()[0]}") from error


def _kind(folder: Path, kinds: Sequence[str]) -> str:
    config = folder / "config.json"
    try:
        kind = json.loads(config.read_text(encoding="utf-8")).get("model_type")
    except FileNotFoundError:
        raise BadData(f"{folder} holds no config.json, so it is no checkpoint of transformers") from None
    except (ValueError, AttributeError) as error:
        raise BadData(f"{config} is damaged ({error}); fetch it again") from error
    if kind not in kinds:
        raise BadData(f"{folder} holds a model of type {kind!r}; what can be used here: {', '.join(kinds)}")
    return str(kind)
