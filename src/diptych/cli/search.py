"""``diptych search``: find pictures with words or pictures, and words with pictures."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diptych.cli._inline import show as draw_pictures
from diptych.cli._llm import Budget, Llm, Seconds, SendPictures, assistant
from diptych.cli._options import AsJson, Trust
from diptych.cli._results import (
    print_json,
    print_notes,
    print_paths,
    print_table,
    why_nothing,
    write_sheet,
)
from diptych.cli._session import Asked, Session
from diptych.cli._terminal import say, typed_lines
from diptych.engine.weights import typed, typed_words
from diptych.errors import UsageError

if TYPE_CHECKING:
    from diptych.engine.collection import Collection
    from diptych.engine.results import Results
    from diptych.server.nearby import Answer

__all__ = ["command"]

# How a language model judges, by what is typed.
_WAYS = {"llm": "yes_no", "llm-list": "list", "llm-grade": "grade"}

# What an interactive session says itself, question by question.
_SAID = ("to", "k", "where", "offset", "negative", "itself")


def command(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="WORDS...",
            help="What to look for, with or without quotes; 2:cat begins a text of weight 2.",
        ),
    ] = None,
    place: Annotated[
        str,
        typer.Option(
            "--in",
            metavar="FOLDER",
            help="Indexed folder, or one inside it, or an address.",
            show_default="this folder",
        ),
    ] = ".",
    image: Annotated[
        list[str] | None,
        typer.Option("--image", help="A picture to look like, or 0.5:PICTURE; may be repeated."),
    ] = None,
    like: Annotated[
        list[str] | None,
        typer.Option("--like", help="What is indexed to look like, by path or id; may be repeated."),
    ] = None,
    negative: Annotated[
        list[str] | None,
        typer.Option("--not", help="Words to keep away from, or 0.2:WORDS; may be repeated."),
    ] = None,
    text_weight: Annotated[
        float | None, typer.Option(help="Weight of the words; default 1.", show_default=False)
    ] = None,
    image_weight: Annotated[
        float | None, typer.Option(help="Weight of each picture; default 1.", show_default=False)
    ] = None,
    not_weight: Annotated[
        float | None, typer.Option(help="Weight of each --not; default 0.5.", show_default=False)
    ] = None,
    to: Annotated[str, typer.Option(help="What to find: image or text.")] = "image",
    k: Annotated[int, typer.Option("-k", help="Most results.")] = 10,
    page: Annotated[int, typer.Option(help="Which page of -k results.", min=1)] = 1,
    all_copies: Annotated[
        bool, typer.Option("--all-copies", help="List each copy by itself, not under the first.")
    ] = False,
    fold_near: Annotated[
        bool, typer.Option("--fold-near", help="List nearly the same pictures under the first, too.")
    ] = False,
    itself: Annotated[
        bool, typer.Option("--itself", help="Find pictures that are asked with, too, not only others.")
    ] = False,
    diverse: Annotated[
        float | None,
        typer.Option(
            help="Weight of being unlike the results before, 0 to 1; 0.3 is good.", show_default=False
        ),
    ] = None,
    hubness: Annotated[
        str | None,
        typer.Option(
            help="nnn: take back what pictures gain that are near to everything.", show_default=False
        ),
    ] = None,
    min_score: Annotated[
        str | None,
        typer.Option(
            help="Leave out results that score lower than a number, or are less than strong, good or fair.",
            show_default=False,
        ),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Compare with every picture even if there are codes.")
    ] = False,
    recall: Annotated[
        float | None,
        typer.Option(help="With codes: share of the best to find; default 0.98.", show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Which of the collection's models compares [the default].", show_default=False),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            help="Search only what fulfils this: date >= 2024 and tag in (dog, beach).", show_default=False
        ),
    ] = None,
    by: Annotated[
        str, typer.Option(help="Compare vectors, look for the words in captions, tags and names, or both.")
    ] = "both",
    rerank: Annotated[
        str | None,
        typer.Option(
            help="What ranks the first hits anew: a system, as scorers of pairs do (SYSTEM@WEIGHTS or "
            "a run), or the language model (llm, llm-list, llm-grade).",
            show_default=False,
        ),
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option(
            help="First hits that --rerank ranks anew; default 128, and 20 of a language model.",
            show_default=False,
        ),
    ] = None,
    expand: Annotated[
        bool,
        typer.Option("--expand", help="Search a caption that the language model makes of the words, too."),
    ] = False,
    compose: Annotated[
        bool,
        typer.Option(
            "--compose", help="Find --image after the change that the words say, by the language model."
        ),
    ] = False,
    llm: Llm = None,
    captioner: Annotated[
        str | None,
        typer.Option(
            help="With --compose: what describes the picture; by default --llm.", show_default=False
        ),
    ] = None,
    budget: Budget = None,
    llm_seconds: Seconds = 30.0,
    send_pictures: SendPictures = None,
    update: Annotated[
        bool, typer.Option("--update", help="First bring the collection up to date with its folder.")
    ] = False,
    interactive: Annotated[
        bool,
        typer.Option("--interactive", "-i", help="Answer question after question, the model loaded once."),
    ] = False,
    show: Annotated[
        bool, typer.Option("--show", help="Show the pictures in the terminal, too (diptych[terminal]).")
    ] = False,
    here: Annotated[
        bool, typer.Option("--here", help="Search in this process, even where a server has the collection.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write a contact sheet to this file.", show_default=False)
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Show a contact sheet in the browser.")] = False,
    paths: Annotated[bool, typer.Option("--paths", help="Print paths only, for other programs.")] = False,
    null: Annotated[bool, typer.Option("-0", "--null", help="With --paths: end names with NUL.")] = False,
    as_json: AsJson = False,
    trust: Trust = False,
) -> None:
    """Find pictures with words or pictures, and words with pictures (--to text).

    With --where alone, what fulfils it, newest first. Answers from what was
    indexed; the exit code is 1 where nothing was found.
    """
    texts, images = typed_words(words or []), [_typed_path(path) for path in image or []]
    away = [typed(one) for one in negative or []]
    plain = texts[0] if len(texts) == 1 and isinstance(texts[0], str) else None
    asked = " ".join(words or [])
    weights: dict[str, Any] = {
        "text_weight": _weight("--text-weight", text_weight, "words", asked.strip()),
        "image_weight": _weight("--image-weight", image_weight, "--image or --like", image or like),
        "negative_weight": _weight("--not-weight", not_weight, "--not", negative),
    }
    if all_copies and fold_near:
        raise UsageError("--all-copies lists what --fold-near puts together, so give either")
    judged = _WAYS.get(rerank or "")
    if expand and compose:
        raise UsageError("--expand rewrites words alone, --compose words with a picture; give either")
    if (expand or compose) and rerank and not judged:
        raise UsageError(
            f"--rerank {rerank} goes with a plain search; with a language model, --rerank llm does"
        )
    if not (expand or compose or judged):
        _without(
            {"--llm": llm, "--captioner": captioner, "--budget": budget, "--send-pictures": send_pictures}
        )
    if depth is not None and rerank is None:
        raise UsageError("--depth is how many hits --rerank ranks anew; give that too, or leave it out")
    least, offset, parts = _least(min_score), (page - 1) * k, bool(asked.strip() or images or like or away)
    newest = where is not None and not parts and not interactive
    if newest:
        _refuse(
            {
                "--min-score": min_score,
                "--diverse": diverse,
                "--hubness": hubness,
                "--recall": recall,
                "--rerank": rerank,
            }
        )
    listed: dict[str, Any] = {
        "to": to, "k": k, "where": where, "offset": offset,
        "fold": None if all_copies else "near" if fold_near and not newest else "exact",
    }  # fmt: skip
    options: dict[str, Any] = listed if newest else listed | {
        "negative": away, **{name: weight for name, weight in weights.items() if weight is not None},
        "min_score": least, "exact": exact, "recall": recall, "by": by,
        "itself": itself, "diverse": diverse, "hubness": hubness,
    }  # fmt: skip
    files = [Path(path if isinstance(path, str) else path[1]) for path in images]
    question = _question(asked, [*files, *map(Path, like or [])], negative or [])

    def tell(results: Results, folder: Path, model: str, nothing: str = "") -> None:
        if as_json:
            facts = {"query": question, "to": to, "folder": str(folder), "model": model, "offset": offset}
            print_json(facts, results)
        elif paths:
            print_paths(results, b"\0" if null else b"\n")
        elif results and not html and not open_:
            print_table(results, to)
        if show:
            draw_pictures(results)
        if not as_json:
            print_notes(folder, model, results, nothing)
        if not results:
            raise typer.Exit(1)

    answer: Answer | None = None
    own = here or update or interactive or trust or expand or compose or html is not None or open_
    own = own or bool(images) or model is not None or rerank is not None
    weighty = any(isinstance(typed(name, words=False), tuple) for name in like or [])
    if (parts or newest) and not (own or weighty):  # what has a colon may be a name as well as a weight
        from diptych.server.nearby import answer_nearby

        answer, here = answer_nearby(place, text=texts, like=like or [], **options), True
        if answer is not None and answer.results:
            tell(answer.results, answer.folder, answer.model)
            return
    from diptych.engine import collection as engine
    from diptych.pipeline import DEPTH

    with engine.open(place, create=False, trust=trust) as opened:
        if update:
            opened.add()
        if model is not None:
            opened = opened.using(model)
        if interactive:
            if as_json or paths or html or open_:
                raise UsageError(
                    "--interactive prints results for people; leave out --json, --paths, --html and --open"
                )
            if expand or compose or judged:
                raise UsageError(
                    "--interactive asks no language model; leave out --expand, --compose and --rerank llm, "
                    "or converse with one by diptych chat"
                )
            given = {name: value for name, value in options.items() if name not in _SAID}
            given |= {"rerank": rerank, "depth": depth or DEPTH} if rerank else {}
            _ask_on(
                opened, k, given, to, where, Asked(texts, list(images), list(like or []), away, to, where)
            )
            return
        if answer is not None:
            results = answer.results
        elif newest:
            results = opened.newest(**listed)
        else:
            options["like"] = [_typed_name(opened, name) for name in like or []]
            if expand or compose or judged:
                helper = assistant(
                    opened,
                    llm,
                    captioner=captioner,
                    budget=budget,
                    seconds=llm_seconds,
                    send_pictures=send_pictures,
                )
                results = helper.search(
                    plain if plain is not None else texts,
                    image=images[0] if len(images) == 1 and isinstance(images[0], str) else images,
                    expand=expand,
                    compose=compose,
                    rerank=judged,
                    depth=20 if depth is None else depth,
                    **options,
                )
            else:
                text = () if plain is not None else texts
                options |= {"rerank": rerank, "depth": DEPTH if depth is None else depth}
                results = _found(opened, plain, here=here, text=text, image=images, **options)
        if html or open_:
            write_sheet(opened, question, results, files, html, show=open_)
        nothing = "" if as_json else why_nothing(opened, results, to, by, min_score, where, page)
        tell(results, opened.folder, opened.model, nothing)


def _ask_on(
    opened: Collection, k: int, given: dict[str, Any], to: str, where: str | None, first: Asked
) -> None:
    """Answer lines of standard input until they end."""

    def tell(results: Results, asked: Asked) -> None:
        if results:
            print_table(results, asked.to)
        page, least = asked.offset // k + 1, given["min_score"]
        nothing = why_nothing(opened, results, asked.to, given["by"], least, asked.where, page)
        print_notes(opened.folder, opened.model, results, nothing)

    session = Session(opened, k=k, given=given, tell=tell, to=to, where=where)
    if sys.stdin.isatty():
        say(f"{opened!r}; :help says what can be typed", err=True)
    session.begin(first)
    session.run(typed_lines())


def _found(opened: Collection, plain: str | None, *, here: bool, **asked: Any) -> Results:
    """The answer of this user's server of the collection, if there is one, whose model is warm; else ours."""
    from diptych.server.found import running

    if not here and running(opened.folder) is not None:
        from diptych.server.nearby import search_nearby

        found = search_nearby(opened, plain, **asked)
        if found is not None:
            return found
    return opened.search(plain, **asked)


def _typed_path(argument: str) -> tuple[float, str] | str:
    """A picture as it is typed, with or without its weight; a file that is there is that file."""
    return argument if os.path.lexists(argument) else typed(argument, words=False)


def _typed_name(opened: Collection, argument: str) -> tuple[float, str] | str:
    """What is indexed as it is typed, with or without its weight; a whole name that is there is meant."""
    return argument if opened.get(argument) is not None else typed(argument, words=False)


def _weight(option: str, weight: float | None, part: str, given: object) -> float | None:
    """The weight of a part of the query, refused where there is no such part: it would say nothing."""
    if weight is not None and not given:
        raise UsageError(f"{option} {weight:g} weighs nothing without {part}; leave it out or add {part}")
    return weight


def _refuse(given: dict[str, Any]) -> None:
    """Refuse what says nothing where nothing is compared."""
    for option, value in given.items():
        if value is not None:
            raise UsageError(f"{option} says nothing of --where alone; add words or a picture")


def _without(given: dict[str, Any]) -> None:
    """Refuse what is about a language model where none is asked."""
    for option, value in given.items():
        if value is not None:
            raise UsageError(
                f"{option} says nothing of a plain search; add --expand, --compose or --rerank llm"
            )


def _least(given: str | None) -> Any:
    """The number or the word that was given; search says what is allowed."""
    try:
        return None if given is None else float(given)
    except ValueError:
        return given


def _question(asked: str, images: list[Path], negative: list[str]) -> str:
    parts = [asked] if asked else []
    parts += [f"like {path.name}" for path in images]
    return ", ".join(parts) + "".join(f", not {word}" for word in negative)
