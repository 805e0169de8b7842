"""The parts of an index on the machines of a Ray cluster, each in a process of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.cluster import Cluster, connected
from diptych.core import Hits, Rows, Searchable
from diptych.errors import DiptychError, Unreachable
from diptych.index.flat import Flat
from diptych.index.sharded import Sharded, shard_files

__all__ = ["on_cluster"]


@contextlib.contextmanager
def on_cluster(
    folder: Path,
    cluster: Cluster | None = None,
    *,
    opens: Callable[[Path], Searchable] = Flat.open,
    seconds: float = 10.0,
) -> Iterator[Sharded]:
    """A block with a saved index, each part held by a process somewhere on a cluster.

    A part whose machine is gone is opened again on another that has a free processor. Until then searches
    leave it out and say so, see `Sharded.answered`.

    Args:
        folder: Where `Sharded.save` wrote it; every machine must see it under that path.
        cluster: Where; of this machine if None. Of `Cluster.workers` no use is made: there is one a part.
        opens: Opens a part.
        seconds: That a part may take to answer; longer counts as gone.

    Raises:
        BadData: a part is missing or damaged.
        MissingExtra: Ray is not installed.
        Unreachable: no cluster answers, or it has too few free processors.
    """
    cluster = cluster or Cluster()
    files = shard_files(folder.absolute())
    with connected(cluster.address) as ray:
        kind = ray.remote(_Part).options(
            num_cpus=1, num_gpus=cluster.cards, max_restarts=-1, scheduling_strategy="SPREAD"
        )
        actors = [kind.remote(opens, file) for file in files]
        try:
            parts = [_Remote(ray, *one, seconds) for one in zip(actors, files, strict=True)]
            for part in parts:
                part.wait()
            yield Sharded(parts)
        finally:
            for actor in actors:
                ray.kill(actor)


class _Part:
    """What runs on a machine of the cluster."""

    def __init__(self, opens: Callable[[Path], Searchable], file: Path) -> None:
        self._index: Searchable | DiptychError
        try:
            self._index = opens(file)
        except DiptychError as error:  # told when it is asked: an actor that fails to begin has no words
            self._index = error

    def wrong(self) -> DiptychError | None:
        """Why it is not open."""
        return self._index if isinstance(self._index, DiptychError) else None

    def search(self, vectors: NDArray[Any], k: int, within: Rows | None) -> tuple[Rows, NDArray[Any]]:
        """Rows and scores of `Searchable.search`."""
        if isinstance(self._index, DiptychError):
            raise self._index
        hits = self._index.search(vectors, k, within)
        return hits.rows, hits.scores


class _Remote:
    """A `_Part` as seen from here."""

    def __init__(self, ray: Any, actor: Any, file: Path, seconds: float) -> None:
        self._ray, self._actor, self._name, self.seconds = ray, actor, file.name, seconds

    def wait(self) -> None:
        """Until it is open."""
        wrong = self._asked(self._actor.wrong.remote(), max(self.seconds, 60.0))
        if wrong is not None:
            raise wrong

    def search(self, vectors: NDArray[Any], k: int, within: Rows | None = None) -> Hits:
        """As `Searchable.search`.

        Raises:
            Unreachable: its machine is gone, or it takes too long.
        """
        asked = self._actor.search.remote(np.asarray(vectors), k, within)
        return Hits(*self._asked(asked, self.seconds))

    def _asked(self, answer: Any, seconds: float) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(answer, timeout=seconds)
        except errors.GetTimeoutError:
            raise Unreachable(f"{self._name} took longer than {seconds:.0f} s") from None
        except (errors.RayActorError, errors.ObjectLostError) as error:
            raise Unreachable(f"the machine with {self._name} is gone") from error
        except errors.RayTaskError as error:
            raise error.as_instanceof_cause() from None
