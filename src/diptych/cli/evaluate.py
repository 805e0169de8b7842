"""``diptych evaluate``: measure a system, vectors, scores, or a saved ranking, in both directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diptych.cli._options import AsJson
from diptych.cli._terminal import say, say_json, shown

if TYPE_CHECKING:
    from diptych.data.base import Dataset
    from diptych.evaluation import Evaluation

__all__ = ["command"]


def command(
    system: Annotated[
        str | None,
        typer.Argument(
            help="SYSTEM, SYSTEM@WEIGHTS or a run folder of `diptych train`; after --embeddings IMAGES the "
            "file of the texts' vectors.",
            show_default=False,
        ),
    ] = None,
    other: Annotated[
        str | None,
        typer.Argument(
            help="After the folder of one evaluation that of another: how much better the first is, with a "
            "95 % interval and a p value over the same queries. Or a result of CLIP_benchmark (.json, .csv), "
            "to have beside it.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="NAME or NAME:VARIANT of a data set, or the path of your own.", show_default=False),
    ] = None,
    embeddings: Annotated[
        list[Path] | None,
        typer.Option(
            help="Measure vectors: --embeddings image.npy text.npy, or one .npz, .mat or .h5 of both.",
            show_default=False,
        ),
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(help="Measure a matrix of scores, images by texts.", show_default=False),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            help="Image row and text row of each pair, or the image row of each text; default: in order, "
            "where there are as many texts as images or five times as many.",
            show_default=False,
        ),
    ] = None,
    captions: Annotated[
        int | None,
        typer.Option(
            help="Texts of each image, in its order, instead of --pairs.", min=1, show_default=False
        ),
    ] = None,
    labels: Annotated[
        list[Path] | None,
        typer.Option(
            help="Classes of the images, to measure MAP; again for those of the texts.", show_default=False
        ),
    ] = None,
    similarity: Annotated[
        str | None,
        typer.Option(
            help="Of --embeddings: cosine, dot or hamming; default: hamming for codes of -1/1, else cosine.",
            show_default=False,
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(help="Score a saved ranking again, without system and data.", show_default=False),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="How to split and evaluate; default: the data set's.", show_default=False),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(help="Folder of a named data set, if not under DIPTYCH_DATA.", show_default=False),
    ] = None,
    cut: Annotated[
        list[int] | None,
        typer.Option(help="K of MAP@K with --run; may be repeated.", min=1, show_default="50"),
    ] = None,
    matches: Annotated[
        list[Path] | None,
        typer.Option(
            help="With --run: a file of other matches (ECCV-Caption, CxC); one for each direction.",
            show_default=False,
        ),
    ] = None,
    rerank: Annotated[
        str | None,
        typer.Option(
            help="A system that ranks the first hits anew, as scorers of pairs do: SYSTEM@WEIGHTS or a run.",
            show_default=False,
        ),
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option(
            help="First hits that --rerank ranks anew, or --index finds; default 128.",
            min=1,
            show_default=False,
        ),
    ] = None,
    index: Annotated[
        str | None,
        typer.Option(
            help="Search vectors through this kind of index; see diptych list indexes.", show_default=False
        ),
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option(help="Ranks to save of each query; default: all, or 1,000 of very many.", min=1),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Refuse a picture that cannot be read, and do not leave it out."),
    ] = False,
    plots: Annotated[bool, typer.Option("--plots", help="Write report.html with charts too.")] = False,
    clip_benchmark: Annotated[
        bool,
        typer.Option("--clip-benchmark", help="Write clip_benchmark.json and .csv, as that tool does, too."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the results; default evaluations/SYSTEM-DATA.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV, a row for each direction and measure.")
    ] = False,
) -> None:
    """Measure a system, vectors or scores in both directions; save numbers and rankings."""
    from diptych.errors import UsageError

    if as_json and as_csv:
        raise UsageError("results are printed as JSON or as CSV, so give one of --json and --csv")
    kind = (
        "--run" if run else "--embeddings" if embeddings else "--scores" if scores else "a system and --data"
    )
    if other and kind == "a system and --data":
        kind = "two evaluations"
    _refuse(
        kind,
        {
            "--data": data, "--root": root, "--embeddings": embeddings, "--scores": scores, "--pairs": pairs,
            "--captions": captions, "--labels": labels, "--similarity": similarity, "--run": run,
            "--protocol": protocol, "--cut": cut, "--matches": matches, "--rerank": rerank, "--depth": depth,
            "--index": index, "--keep": keep, "--strict": strict, "--clip-benchmark": clip_benchmark,
        },
    )  # fmt: skip
    if depth is not None and rerank is None and index is None:
        raise UsageError(
            "--depth is how many hits --rerank ranks anew, or --index finds; give one of these, too"
        )
    if kind == "two evaluations":
        from diptych.cli._comparing import compare_saved

        compare_saved(Path(str(system)), Path(str(other)), out, plots=plots, as_json=as_json, as_csv=as_csv)
        return
    if other:
        raise UsageError(
            f"{other!r} has no place after {kind}; two evaluations are compared by their folders"
        )
    dataset: Dataset | None = None
    folder = out
    if run is not None:
        if system:
            raise UsageError("--run scores a saved ranking, so give no system and no --data with it")
        found = _again(run, matches or [], tuple(cut or (50,)))
    elif embeddings or scores:
        files = [*(embeddings or []), *([Path(system)] if system else [])]
        found, dataset = _given(
            files, scores, pairs, captions, labels or [], similarity, protocol, keep, index, depth
        )
        folder = out or Path("evaluations") / found.data
    else:
        if not system or not data:
            raise UsageError(
                "evaluate needs a system and --data, such as `diptych evaluate builtin --data flickr8k`; "
                "vectors, `diptych evaluate --embeddings image.npy text.npy`; or a saved ranking: "
                "`diptych evaluate --run FOLDER`"
            )
        dataset, found = _evaluated(system, data, protocol, root, keep, strict, rerank, depth, index)
        parts = [Path(one).name for one in (system, rerank, data) if one]
        folder = out or Path("evaluations") / "-".join(parts).replace(":", "-").replace("@", "-")
    if folder is not None:
        found.save(folder)
    report = _report(found, dataset, folder or _beside(run)) if plots else None
    if clip_benchmark:
        from diptych.cli._comparing import write_clip_benchmark

        write_clip_benchmark(found, folder or _beside(run))
    if as_json:
        say_json(found.as_json())
        return
    if as_csv:
        from diptych.report.values import as_csv as written

        say(*written(found).splitlines())
        return
    _print(found)
    if folder is not None:
        say(f"saved evaluation.json and ranking.npz in {folder}", err=True)
    if report is not None:
        say(f"report: {report}", err=True)


# What goes with each way to ask, besides how to print and where to save.
_GOES_WITH = {
    "--run": ("--cut", "--matches", "--clip-benchmark"),
    "--embeddings": (
        "--pairs", "--captions", "--labels", "--similarity", "--protocol", "--index", "--depth", "--keep",
        "--clip-benchmark",
    ),
    "--scores": ("--pairs", "--captions", "--labels", "--protocol", "--keep", "--clip-benchmark"),
    "two evaluations": (),
    "a system and --data": (
        "--data",
        "--root",
        "--protocol",
        "--rerank",
        "--index",
        "--depth",
        "--keep",
        "--strict",
        "--clip-benchmark",
    ),
}  # fmt: skip


def _refuse(kind: str, given: Mapping[str, Any]) -> None:
    """Refuse an option that would be passed over in silence."""
    from diptych.errors import UsageError

    for option, value in given.items():
        if not value or option == kind or option in _GOES_WITH[kind]:
            continue
        homes = [name for name, options in _GOES_WITH.items() if option in (*options, name)]
        later = "; evaluate first, then score the saved ranking again" if homes == ["--run"] else ""
        raise UsageError(f"{option} goes with {' or '.join(homes)}, not with {kind}{later}")


def _again(run: Path, matches: Sequence[Path], cuts: tuple[int, ...]) -> Evaluation:
    """A saved ranking, by its own matches or by others; what of the others is not in it is said."""
    from diptych.evaluation import matched, rescore

    saved = rescore(run, cuts=cuts)
    if not matches:
        return saved
    found = matched(saved, matches, cuts=cuts)
    for facts in found.facts["matches"].values():
        lost = facts["left_out"]
        if any(part["here"] < part["listed"] for part in lost.values()):
            say(
                f"{facts['file']}: "
                + ", ".join(f"{part['here']:,} of {part['listed']:,} {name}" for name, part in lost.items())
                + " are in this ranking; the others are left out",
                err=True,
            )
    return found


def _given(
    files: Sequence[Path],
    scores: Path | None,
    pairs: Path | None,
    captions: int | None,
    labels: Sequence[Path],
    similarity: str | None,
    protocol: str | None,
    keep: int | None,
    index: str | None,
    depth: int | None,
) -> tuple[Evaluation, Dataset]:
    """Vectors or scores that lie on disk, measured as any system on any data set."""
    from diptych.data.given import read_scores, read_vectors
    from diptych.errors import UsageError
    from diptych.evaluation import evaluate
    from diptych.pipeline import DEPTH

    system: Any
    if scores is None:
        if len(files) == 1 and files[0].suffix == ".npy":
            raise UsageError(
                f"{files[0]} holds vectors of one side only; name the file of the texts' vectors after that "
                "of the images': --embeddings image.npy text.npy"
            )
        system, dataset = read_vectors(
            files, pairs=pairs, captions=captions, labels=labels, similarity=similarity
        )
    elif files:
        raise UsageError(f"--scores takes one file, so {files[0]} has no place")
    else:
        system, dataset = read_scores(scores, pairs=pairs, captions=captions, labels=labels)
    notes = [one.note for one in dataset.protocols.values() if one.note.startswith("paired")]
    paired = {"pairs": notes[0] if notes else "none", "seed": None}
    deep = DEPTH if depth is None else depth
    found = evaluate(system, dataset, protocol, keep=keep, index=index, depth=deep, facts=paired)
    return found, dataset


def _evaluated(
    system: str,
    data: str,
    protocol: str | None,
    root: Path | None,
    keep: int | None,
    strict: bool,
    rerank: str | None,
    depth: int | None,
    index: str | None,
) -> tuple[Dataset, Evaluation]:
    from diptych import catalogue
    from diptych.cli._read import say_left_out, say_read
    from diptych.data import open_data
    from diptych.evaluation import evaluate

    dataset = open_data(data, root)
    before = say_read(dataset)
    dataset.protocol(protocol)  # before a model is loaded for nothing
    loaded = catalogue.load(system)
    card = Path(system.partition("@")[2] or system) / "card.json"
    facts: dict[str, Any] = {"seed": 0}  # what `catalogue.load` draws first weights with
    if card.is_file():
        saved = catalogue.read_card(card)
        facts = {key: saved.get(key) for key in ("seed", "parameters")}
        if protocol is None:
            dataset = _not_learned(dataset, saved, card)
    more: dict[str, Any] = {} if depth is None else {"depth": depth}
    found = evaluate(
        loaded,
        dataset,
        protocol,
        name=system,
        rerank=rerank,
        index=index,
        keep=keep,
        strict=strict,
        facts=facts,
        **more,
    )
    say_left_out(found.facts.get("read", {}), before)
    return dataset, found


def _not_learned(dataset: Dataset, saved: Mapping[str, Any], card: Path) -> Dataset:
    """Of data without splits of their own that were learned from, the images that were held out.

    Raises:
        BadData: the card of the run says of them what it cannot mean.
    """
    from diptych.data.views import HeldOut
    from diptych.errors import BadData

    held, data = saved.get("held_out") or {}, saved.get("data") or {}
    for name, found, needed in (("held_out", held, {"sha256", "images"}), ("data", data, {"name"})):
        if not isinstance(found, dict) or (found and not needed <= found.keys()):
            what = f"{name} must hold {' and '.join(sorted(needed))}"
            raise BadData(f"{card} is damaged ({what}); train again or restore it")
    if not held or not HeldOut.needed(dataset):
        return dataset
    parted = HeldOut(dataset)
    if parted.split("held-out").sha256() == held["sha256"]:
        say(
            f"the system learned from these data: measured on the {held['images']} images that were held out",
            err=True,
        )
        return parted
    if dataset.name == data.get("name"):
        say(
            f"{dataset.name} is not what it was when the system learned from it: some of what is measured "
            "here may have been learned from",
            err=True,
        )
    return dataset


def _by(facts: Mapping[str, Any]) -> str:
    used = facts.get("matches", {})
    return f", matches of {' and '.join(one['file'] for one in used.values())}" if used else ""


def _beside(run: Path | None) -> Path:
    assert run is not None
    return run if run.is_dir() else run.parent


def _report(found: Evaluation, dataset: Dataset | None, folder: Path) -> Path:
    from diptych.report.evaluation_page import evaluation_page

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.html"
    path.write_text(evaluation_page(found, dataset), encoding="utf-8")
    return path


def _print(found: Evaluation) -> None:
    from rich.console import Console
    from rich.table import Table

    from diptych.core import DIRECTIONS
    from diptych.report.values import meaningful, number, spans

    facts, ties = found.facts, spans(found)
    paired = f", {facts['pairs']}" if str(facts.get("pairs", "")).startswith("paired") else ""
    caption = (
        f"{found.data}, protocol {facts['protocol']}{_by(facts)}{paired}, compared by "
        f"{facts['similarity'] or 'its own scores'}: "
        + "; ".join(
            f"{direction} ({DIRECTIONS[direction]}) {one.queries} queries against {one.gallery // one.folds}"
            + (f" in {one.folds} folds" if one.folds > 1 else "")
            + (f", {one.without_relevant} of them without a relevant entry" if one.without_relevant else "")
            for direction, one in found.measured.items()
        )
        + ". Interval: 95 %, bootstrap over queries."
        + (" Ties: worst to best order." if any(ties.values()) else "")
        + _second(facts.get("rerank"))
        + (
            f" Searched through {kind['kind']} for {kind['depth']} hits."
            if (kind := facts.get("index"))
            else ""
        )
    )
    table = Table(box=None, pad_edge=False, title=shown(facts["system"]), title_justify="left")
    table.add_column("")
    for direction in found.measured:
        table.add_column(DIRECTIONS[direction], justify="right")
        table.add_column("interval")
        if ties[direction]:
            table.add_column("ties")
    intervals = {direction: one.intervals() for direction, one in found.measured.items()}
    for name in meaningful(found):
        row = [name]
        for direction, one in found.measured.items():
            row += [number(name, one[name], one), _span(name, intervals[direction].get(name), one)]
            row += [_span(name, ties[direction].get(name), one)] if ties[direction] else []
        table.add_row(*row)
    console = Console(soft_wrap=True)
    console.print(table)
    console.print(shown(caption, "dim"), highlight=False)


def _second(facts: Mapping[str, Any] | None) -> str:
    """What is to say of a second stage, and what it cost."""
    if not facts:
        return ""
    weights = ", ".join(f"{weight:g} of {side}s" for side, weight in facts["weights"].items())
    return (
        f" The first {facts['depth']} were ranked anew by {facts['system']} (weights {weights}: "
        f"{facts['weights_are']}): {facts['pairs']:,} pairs, {facts['milliseconds_a_pair']:.3g} ms each."
    )


def _span(name: str, ends: tuple[float, float] | None, one: Any) -> str:
    from diptych.report.values import number

    return "" if ends is None else "-".join(number(name, end, one) for end in ends)
