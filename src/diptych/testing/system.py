"""Chooses the checks that apply to a system, and runs them.

Which checks there are follows from the protocols that its class has. Third parties run them on their own
systems as we do: all at once with `check_system`, or each as a test of its own::

    @pytest.mark.parametrize(("name", "check"), system_checks("mine"))
    def test_conformance(name, check):
        check()
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product
from typing import Any

from diptych.core import SIDES, encodes, scores_pairs
from diptych.data.base import Split
from diptych.testing import checks
from diptych.testing.running import Check, run_checks
from diptych.testing.subject import Subject
from diptych.testing.talking import TALKING, Talks
from diptych.training.learner import Learner
from diptych.training.tuning import Tuned

__all__ = ["check_system", "system_checks"]


def check_system(name: str, **options: Any) -> None:
    """Run every check that applies to a system, print a line for each, and say at the end which failed.

    Args:
        name: As in `diptych.catalogue.load`, without weights; the variant is `tiny` if none is given.
        options: See `system_checks`.

    Raises:
        AssertionError: naming every check that failed, and why.
    """
    run_checks(name, system_checks(name, **options))


def system_checks(
    name: str,
    *,
    parameters: Mapping[str, Any] | None = None,
    data: Callable[[], tuple[Split, Split]] | None = None,
    margin: float = 0.15,
    seconds: float = 60.0,
    reaches: Mapping[str, set[str]] | None = None,
    talks: Talks | None = None,
) -> Iterator[Check]:
    """Every check that applies to a system, in the order in which failures are best understood.

    Args:
        name: As in `diptych.catalogue.load`, without weights; the variant is `tiny` if none is given.
        parameters: Over those of the variant.
        data: Makes the split to learn from and the one to retrieve in; by default planted features for
            systems with an `image_dim`, and drawn pictures with captions for the others.
        margin: How far MAP must exceed chance in both directions after training.
        seconds: Processor time that training may take.
        reaches: For each loss term, the networks that it must train; it may train no other. Terms that are
            not named must train some network of their own optimiser.
        talks: How a system is tried that asks a language model.

    Yields:
        Name of the check, and a function without arguments that raises AssertionError if it fails.
    """
    subject = Subject(name, dict(parameters or {}), data, talks)
    chosen: list[Callable[..., None]] = [
        checks.card,
        checks.class_and_name,
        checks.variants,
        checks.listed_without_torch,
    ]
    kind = subject.type
    if kind is None:
        yield from ((check.__name__, partial(check, subject)) for check in chosen)
        return
    chosen += [checks.place_in_the_survey, checks.builds_in_seconds, checks.same_seed_same_system]
    # A scorer of pairs may hide what its base class would encode.
    sides = [side for side in SIDES if encodes(kind, side)]
    if sides:
        chosen += [
            checks.vectors,
            checks.one_by_one_equals_batch,
            checks.order_does_not_matter,
            checks.encoding_leaves_no_trace,
        ]
        if "bits" in subject.signature:
            chosen.append(checks.number_of_bits)
        if len(sides) == 2:
            chosen += [checks.sides_share_a_space, checks.index_equals_brute_force]
    if scores_pairs(kind):
        chosen += [checks.scores, checks.permuting_permutes_scores, checks.pair_equals_matrix_entry]
    if hasattr(kind, "over"):
        chosen += [checks.ranks_the_gallery, checks.ranks_the_same_twice]
        if subject.asks:
            chosen += TALKING
    if subject.trains:
        chosen += [
            checks.saved_and_loaded,
            partial(checks.learns, margin=margin, seconds=seconds),
            partial(checks.gradients, reaches=reaches or {}),
            checks.input_unchanged,
            checks.repeats,
        ]
        if not getattr(kind, "solved", False):
            chosen += [checks.goes_through_the_trainer, checks.resumes]
        if getattr(kind, "fit", None) in (Learner.fit, Tuned.fit):
            chosen.append(checks.loss_falls)
        if not subject.learns_from_labels:
            chosen.append(checks.poisoned_labels_change_nothing)
    for check in chosen:
        label = check.func.__name__ if isinstance(check, partial) else check.__name__
        yield label, partial(check, subject)
    if subject.trains and subject.reads_features:
        for on, bits in product(checks.EASY, subject.lengths):
            label = f"above_chance_on_{on}" + (f"_with_{bits}_bits" if bits else "")
            yield label, partial(checks.above_chance, subject, data=on, bits=bits)
