"""Brings a home up to date with folders and files: what is new, changed, moved or gone."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from diptych.cluster import Cluster
from diptych.core import offered
from diptych.engine import scan, storage
from diptych.engine.calibration import keep_calibration
from diptych.engine.captioning import caption_pictures, captioner_of
from diptych.engine.columns import fill_all
from diptych.engine.homes.base import Home
from diptych.engine.homes.names import is_own
from diptych.engine.ignoring import Rules, Unclear, kept
from diptych.engine.ingest import Ingest
from diptych.engine.inscriptions import read_inscriptions
from diptych.engine.lending import Lent
from diptych.engine.looking import Eyes
from diptych.engine.model import Model, adopt
from diptych.engine.objects import Objects
from diptych.engine.opening import Opened
from diptych.engine.place import absolute
from diptych.engine.plan import LOOSE, Plan, Work
from diptych.engine.presence import Presence
from diptych.engine.results import Progress, Skipped, Summary
from diptych.errors import DiptychError
from diptych.media.links import real
from diptych.media.ocr import needs_ocr
from diptych.media.tables import is_list

__all__ = ["How", "remove", "update"]

_CHECKED = 1_000  # files that are looked for at a time


@dataclass(frozen=True, slots=True)
class How:
    """How an update goes about its work.

    Args:
        recursive: Also the folders below those given.
        texts: Also loose texts in the folders.
        follow_links: Also links that lead out of the folders given.
        check: Look into every file, even if its size and time are the same.
        forget_missing: Also forget the files whose folder is away.
        max_pixels: Largest picture that is decoded; None for what is safe.
        ocr: Read the text inside pictures, too, once they can be searched.
        cluster: Read and encode on the machines of a Ray cluster; None does so here.
        caption: The captioner, or its name, that describes pictures which none has described; None for none.
        vectors_of: A database of rclip, whose vectors are taken where the model made them; None for none.
    """

    recursive: bool = True
    texts: bool = False
    follow_links: bool = False
    check: bool = False
    forget_missing: bool = False
    max_pixels: int | None = None
    ocr: bool = False
    cluster: Cluster | None = None
    caption: Any = None
    vectors_of: str | Path | None = None


def update(
    opened: Opened,
    paths: Sequence[str | Path],
    how: How,
    *,
    batch_size: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Bring an opened collection, with its codes, up to date with paths; see `Collection.add`."""
    opened = opened.default
    addresses = [path for path in paths if isinstance(path, str) and storage.is_address(path)]
    files = [path for path in paths if path not in addresses]
    given = scan.expand(files if paths else (opened.folder,))
    if how.ocr:
        needs_ocr()
    captioner = _captioner(opened, how.caption)
    started = time.perf_counter()
    with opened.writing():
        opened.home.tidy()
        model, column = opened.loaded(), opened.home.column
        if column is None or not column.fingerprint:
            adopt(opened.home, model)
        batch_size = batch_size or int(offered(model.encoder, "batch_size", 16))
        summary, told = Summary(), _Told(on_progress)
        with _eyes(model, how) as eyes, _lent(model, how) as lent:
            if given:
                _updated(
                    opened.home, model, given, summary, how=how, batch_size=batch_size, eyes=eyes, lent=lent,
                    told=told,
                )  # fmt: skip
            if addresses:
                objects = Objects(opened.home, model, summary, max_pixels=how.max_pixels, eyes=eyes)
                for count, last in objects.run(
                    addresses, batch_size=batch_size, check=how.check, forget_missing=how.forget_missing
                ):
                    told.of(summary, count, last, None)
        if captioner is not None:
            summary.captioned = caption_pictures(
                opened.home, model, captioner, max_pixels=how.max_pixels, on_progress=on_progress
            )
        opened.home.keep_codes(model.encode_texts)
        keep_calibration(opened.home, model)
        summary.models = fill_all(
            opened, batch_size=batch_size, max_pixels=how.max_pixels, on_progress=on_progress
        )
        if how.ocr:
            summary.inscriptions = read_inscriptions(
                opened.home, max_pixels=how.max_pixels, on_progress=on_progress
            )
        opened.home.compact()
    summary.seconds = time.perf_counter() - started
    return summary


def _captioner(opened: Opened, given: Any) -> Any:
    """Who describes pictures; None if nobody is asked to."""
    if given is None:
        return None
    if not isinstance(given, str) or not given.startswith("llm:"):
        return captioner_of(given)
    from diptych.engine.assisted import allowed_hosts, host_of

    return captioner_of(given, sends=host_of(given) in allowed_hosts(opened))


class _Told:
    """Tells whoever wants to know how far an update is."""

    def __init__(self, on_progress: Callable[[Progress], None] | None) -> None:
        self.wanted, self._on_progress = on_progress is not None, on_progress
        self._started, self._done = time.perf_counter(), 0

    def of(self, summary: Summary, count: int, last: Path | str, total: int | None) -> None:
        """So many more are done, of so many if that is known."""
        self._done += count
        if self._on_progress is not None:
            seconds = time.perf_counter() - self._started
            self._on_progress(Progress(self._done, total, len(summary.skipped), last, seconds))


@contextlib.contextmanager
def _eyes(model: Model, how: How) -> Iterator[Eyes | None]:
    """What looks into files: the workers of a cluster, if one is to be used."""
    if how.cluster is None:
        yield None
        return
    from diptych.engine.workers import Workers

    with Workers(model, how.cluster, max_pixels=how.max_pixels) as workers:
        yield workers


@contextlib.contextmanager
def _lent(model: Model, how: How) -> Iterator[Lent | None]:
    """Vectors that need not be made."""
    if how.vectors_of is None:
        yield None
        return
    from diptych.engine.homes.rclip import Rclip

    with Rclip(Path(how.vectors_of).expanduser()) as kept:
        yield Lent(kept, model)


def _updated(
    home: Home,
    model: Model,
    given: Sequence[Path],
    summary: Summary,
    *,
    how: How,
    batch_size: int,
    eyes: Eyes | None,
    lent: Lent | None,
    told: _Told,
) -> None:
    """Take in what is new, and forget what is gone.

    Args:
        home: What to fill; the caller may write to it.
        model: Encodes.
        given: Absolute folders and files that exist.
        summary: Counts what is done.
        how: How to go about it.
        batch_size: Files encoded and stored at a time.
        eyes: Look into files; threads of this process if None.
        lent: Vectors that are taken and not made.
        told: Of every batch.
    """
    _take_again(home, given)
    plan = _plan(home, summary, given, how)
    ingest = Ingest(home, model, summary, max_pixels=how.max_pixels, eyes=eyes, lent=lent)
    with _Ahead(home, given, how, wanted=told.wanted) as ahead:
        work = ahead.through(_work(home, plan, given, how))
        with contextlib.closing(ingest.run(work, batch_size=batch_size)) as batches:
            for count, last in batches:
                told.of(summary, count, last, ahead.total)
    folders = [path for path in given if path.is_dir()]
    _keep_problems(home, plan.problems | dict.fromkeys(plan.loose, LOOSE))
    _forget_gone(home, summary, plan, folders, how)
    _tell_captions(home, summary, ingest.told, folders)
    _forget_entered(home, plan.problems, folders, how.recursive)


def remove(home: Home, paths: Iterable[str | Path]) -> int:
    """Forget files, and all files of folders, and keep them out; returns how many were known.

    Args:
        home: The caller may write to it.
        paths: Files and folders, which need not exist.
    """
    gone, out = array("q"), set()
    for path in map(absolute, paths):
        key = home.key(path)
        file = home.file(key)
        known = [] if file is None else [file.id]
        known.extend(file.id for file in home.files(path))
        gone.extend(known)
        if known or os.path.lexists(path):
            out.add(key)
    gone = array("q", dict.fromkeys(gone))
    if gone or out:
        with home.batch(changes=bool(gone)):
            home.remove_files(gone)
            home.keep_out(out)
    home.compact()
    return len(gone)


class _Ahead:
    """How much work there is, counted on a walk of its own beside the one that does it.

    Args:
        home, given, how: As for `update`.
        wanted: Whether anybody asks.

    Attributes:
        total: None until it is known.
    """

    def __init__(self, home: Home, given: Sequence[Path], how: How, *, wanted: bool) -> None:
        self.total: int | None = None
        self._home, self._given, self._how = home, given, how
        self._begun, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._count, name="count", daemon=True) if wanted else None

    def __enter__(self) -> Self:
        if self._thread is not None:
            self._thread.start()
            self._begun.wait()
        return self

    def __exit__(self, *reason: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def through(self, work: Iterator[Work]) -> Iterator[Work]:
        """The work itself, whose end tells the total as well."""
        count = 0
        for one in work:
            yield one
            count += 1
        self._over.set()
        self.total = count

    def _count(self) -> None:
        try:
            with self._home.snapshot():  # as it was before anything was stored
                self._begun.set()
                count = 0
                plan = _plan(self._home, Summary(), self._given, self._how)
                for _ in _work(self._home, plan, self._given, self._how):
                    if self._over.is_set():
                        return
                    count += 1
            if not self._over.is_set():
                self.total = count
        except (OSError, DiptychError):
            return  # whoever does the work meets the same and says so
        finally:
            self._begun.set()


def _take_again(home: Home, given: Iterable[Path]) -> None:
    """What was removed and is named now is no longer kept out."""
    named = home.removed() & {home.key(path) for path in given}
    if named:
        with home.batch(changes=False):
            home.take_again(named)


def _plan(home: Home, summary: Summary, given: Sequence[Path], how: How) -> Plan:
    root, folders = home.path(b""), [path for path in given if path.is_dir()]
    return Plan(
        home,
        summary,
        texts=how.texts,
        given=given,
        check=how.check,
        larger=how.max_pixels is not None,
        follow_links=how.follow_links,
        rules=Rules(
            root,
            kept(home),
            given=folders,
            inside=None if how.follow_links else real([root, *folders]),
        ),
    )


def _work(home: Home, plan: Plan, given: Sequence[Path], how: How) -> Iterator[Work]:
    """The work in each folder given, and then in the single files."""
    root = home.path(b"")
    walks = scan.walks(
        given, recursive=how.recursive, follow_links=how.follow_links, inside=[root], rules=plan.rules
    )
    for folder, found in walks:
        ours = (one for one in found if home.place not in one.path.parents)
        yield from plan.work(ours, under=folder)


def _keep_problems(home: Home, problems: Mapping[bytes, str]) -> None:
    """Remember what the walk could not read or did not take, to be looked at anew each time."""
    if problems:
        with home.batch(changes=False):
            for key, reason in problems.items():
                home.put_skipped(key, reason, -1, -1)


def _tell_captions(home: Home, summary: Summary, told: set[bytes], folders: Sequence[Path]) -> None:
    """Name again the caption files that could not be used in an earlier run and have not changed."""
    told = told | {home.key(one.path) for one in summary.skipped if isinstance(one.path, Path)}
    for key, reason, *state in _skipped_files(home):
        path = home.path(key)
        if key in told or not _below(path, folders, recursive=True) or not scan.may_caption(path):
            continue
        try:
            status = path.stat()
        except OSError:
            continue
        if [status.st_size, status.st_mtime_ns] == state:
            summary.skipped.append(Skipped(path, reason, known=True))


def _forget_gone(
    home: Home,
    summary: Summary,
    plan: Plan,
    folders: Sequence[Path],
    how: How,
) -> None:
    """Forget known files of the given folders that are gone or now left out, but not those that are away."""
    gone, presence = array("q"), Presence()
    for start in range(0, len(plan.unseen), _CHECKED):
        for number, key in home.file_names(plan.unseen[start : start + _CHECKED]):
            path = home.path(key)  # which a file that moved has meanwhile changed
            if not _below(path, folders, how.recursive):
                continue
            found = presence.of(path)
            if found == "away" and not how.forget_missing:
                summary.away += 1
            elif found != "here" or plan.rules.leaves_out(path) or _is_unwanted(path, plan.rules):
                gone.append(number)
    failed = [
        key
        for key, *_ in _skipped_files(home)
        if not os.path.lexists(path := home.path(key)) or plan.rules.leaves_out(path)
    ]
    if gone or failed:
        with home.batch(changes=bool(gone)):
            home.remove_files(gone)
            home.remove_skipped(failed)
    summary.removed = len(gone)


def _forget_entered(
    home: Home, problems: Mapping[bytes, str], folders: Sequence[Path], recursive: bool
) -> None:
    """Forget of folders below the given ones that they could not be entered, if now they were."""
    entered = [
        key
        for key, *_ in _skipped_files(home)
        if key not in problems and _below(path := home.path(key), folders, recursive) and path.is_dir()
    ]
    if entered:
        with home.batch(changes=False):
            home.remove_skipped(entered)


def _skipped_files(home: Home) -> Iterator[tuple[bytes, str, int, int]]:
    """As `Home.skipped`, without what lies in a storage."""
    return (one for one in home.skipped() if not is_own(one[0]))


def _below(path: Path, folders: Sequence[Path], recursive: bool) -> bool:
    return any(path.parent == folder or (recursive and folder in path.parents) for folder in folders)


def _is_unwanted(path: Path, rules: Rules) -> bool:
    """Whether a file is not to be taken: what a system made, texts that caption pictures, raws of them."""
    with contextlib.suppress(Unclear):
        if scan.is_made_by_systems(path) or scan.is_raw_beside_picture(path, rules):
            return True
    return path.suffix.lower() == ".txt" and (is_list(path) or scan.is_beside_picture(path))
