"""What is asked of the server and what it answers, as JSON; the one description of both, but for dialogues.

Answers are what `Results.as_dict` and its siblings give, so that the command line's JSON, the server and
`diptych.Client` speak of the same things by the same names.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from diptych.core import Side
from diptych.engine.hubness import Hubness
from diptych.engine.results import By, FoundBy, Word

__all__ = [
    "Bench",
    "Caption",
    "CollectionFacts",
    "Collections",
    "Copy",
    "Count",
    "ErrorFacts",
    "Excluded",
    "Excluding",
    "Facet",
    "Facets",
    "Failure",
    "Fold",
    "Found",
    "Health",
    "ImagePart",
    "ItemFacts",
    "Job",
    "JobAsked",
    "Jobs",
    "LikePart",
    "ModelOfCollection",
    "Models",
    "NewItemAsked",
    "NewItems",
    "PictureFacts",
    "Query",
    "Removal",
    "Removed",
    "RerankFacts",
    "ResultFacts",
    "Session",
    "SkippedFacts",
    "SkippedFiles",
    "SummaryFacts",
    "TextPart",
    "Upload",
    "VectorsPage",
    "WarmModel",
    "WhyFacts",
    "WhyLine",
]

Fold = Literal["exact", "near", "none"]

MOST_PARTS = 32
"""Parts of one kind in a query."""
MOST_VECTORS = 1_000
"""Vectors of a page."""
MOST_WORDS = 10_000
"""Characters of a text that is asked for."""
MOST_RESULTS = 1_000
"""Results of one page."""

Words = Annotated[str, Field(max_length=MOST_WORDS)]
Number = Annotated[int, Field(ge=0, le=2**63 - 1)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Told(BaseModel):
    model_config = ConfigDict(extra="forbid")


# What is asked


class TextPart(_Asked):
    """Words with a weight of their own."""

    text: Words
    weight: float | None = None


class LikePart(_Asked):
    """A picture of the collection, or what it has of a text, to look like: by its number, or its `id`."""

    item: Number | None = None
    id: str | None = Field(default=None, max_length=4_000)
    weight: float | None = None


class ImagePart(_Asked):
    """A picture to look like: one that was uploaded, its file in base64, or an address where allowed."""

    upload: str | None = Field(default=None, max_length=64)
    data: str | None = None
    url: str | None = Field(default=None, max_length=4_000)
    weight: float | None = None
    item: Number | None = Field(
        None, description="Its number, if it is one of the collection's: not found then."
    )
    name: str | None = Field(default=None, max_length=1_000, description="What errors call it.")


class Query(_Asked):
    """What is searched for, and how; the names and meanings of `Collection.search`."""

    text: list[Words | TextPart] = Field(default=[], max_length=MOST_PARTS)
    negative: list[Words | TextPart] = Field(default=[], max_length=MOST_PARTS)
    like: list[Number | LikePart] = Field(default=[], max_length=MOST_PARTS)
    image: list[ImagePart] = Field(default=[], max_length=MOST_PARTS)
    text_weight: float = 1.0
    image_weight: float = 1.0
    negative_weight: float = 0.5
    to: Side = "image"
    k: int = Field(10, ge=1, le=MOST_RESULTS)
    offset: int = Field(0, ge=0, le=10_000_000)
    by: By = "both"
    where: str | None = Field(default=None, max_length=MOST_WORDS)
    fold: Fold = "exact"
    min_score: float | Literal["strong", "good", "fair"] | None = None
    itself: bool = False
    exact: bool = False
    recall: float | None = None
    model: str | None = Field(default=None, max_length=4_000)
    diverse: float | None = None
    hubness: Hubness | None = None
    rerank: bool = Field(default=False, description="Rank the first hits anew, where the server can.")
    folder: str | None = Field(default=None, max_length=4_000, description="Search only what lies in it.")
    collection: str | None = Field(default=None, max_length=1_000)


class JobAsked(_Asked):
    """Work that is asked for: bringing a collection, or parts of it, up to date with its folder; or codes."""

    collection: str | None = Field(default=None, max_length=1_000)
    kind: Literal["index", "codes"] = "index"
    bits: int | None = Field(default=None, ge=8, le=65_536, multiple_of=8, description="Of codes.")
    folders: list[Annotated[str, Field(max_length=4_000)]] = Field(default=[], max_length=1_000)
    texts: bool = False
    check: bool = False
    forget_missing: bool = False


class NewItemAsked(_Asked):
    """A picture, texts, or both, under an id; see `diptych.engine.items.NewItem`."""

    id: str = Field(min_length=1, max_length=1_000)
    data: str | None = Field(default=None, description="The picture's file in base64.")
    vector: list[float] | None = Field(default=None, max_length=100_000)
    texts: list[Words] = Field(default=[], max_length=1_000)
    meta: dict[str, Any] = {}


class NewItems(_Asked):
    """Items to take in; all of them, or none."""

    items: list[NewItemAsked] = Field(min_length=1, max_length=64)
    collection: str | None = Field(default=None, max_length=1_000)


class Removal(_Asked):
    """What is to be forgotten: items by the ids that they were given, files and folders by their paths."""

    ids: list[Annotated[str, Field(max_length=1_000)]] = Field(default=[], max_length=10_000)
    files: list[Annotated[str, Field(max_length=4_000)]] = Field(default=[], max_length=10_000)
    collection: str | None = Field(default=None, max_length=1_000)


class Excluding(_Asked):
    """Patterns of what is left out from the next indexing on: some more, and some that no longer count."""

    more: list[Annotated[str, Field(max_length=4_000)]] = Field(default=[], max_length=1_000)
    no_longer: list[Annotated[str, Field(max_length=4_000)]] = Field(default=[], max_length=1_000)
    collection: str | None = Field(default=None, max_length=1_000)


class Session(_Asked):
    """The token, to be remembered by a browser."""

    token: str = Field(max_length=1_000)


# What is answered


class ResultFacts(_Told):
    """One hit; see `diptych.engine.results.Result`."""

    rank: int
    score: float
    percentile: float | None
    word: Word
    side: Side
    id: str
    path: str | None
    text: str | None
    meta: dict[str, Any]
    by: FoundBy
    words: float
    found_in: str
    copies: list[str]
    item: int


class RerankFacts(_Told):
    """How the first hits were ranked anew; see `diptych.engine.results.Reranked`."""

    system: str
    depth: int
    weight: float
    calibrated: bool
    pairs: int
    milliseconds_a_pair: float
    degraded: str


class Found(_Told):
    """The hits of a query, best first; see `diptych.engine.results.Results`."""

    query: str
    to: Side
    folder: str
    model: str
    offset: int
    nothing_matches: bool
    best: ResultFacts | None
    unknown_words: list[str]
    remark: str
    missing: int
    rerank: RerankFacts | None
    notes: dict[str, Any]
    seconds: float
    results: list[ResultFacts]


class Caption(_Told):
    """A text of a picture, and where it came from."""

    text: str
    source: str


class Copy(_Told):
    """Another item of the same content."""

    item: int
    id: str


class PictureFacts(_Told):
    """A picture's file."""

    width: int | None
    height: int | None
    format: str | None
    bytes: int
    modified: str


class Alike(_Told):
    """A picture of a group of copies, and how like the first it is."""

    item: int
    id: str
    bytes: int
    likeness: float


class Duplicates(_Told):
    """Copies among pictures; see `diptych.engine.duplicates.Duplicates`."""

    exact: list[list[Alike]]
    near: list[list[Alike]]
    pictures: int
    threshold: float


class ItemFacts(_Told):
    """All that is known of an item."""

    item: int
    side: Side
    id: str
    path: str | None
    text: str | None
    captions: list[Caption]
    meta: dict[str, Any]
    copies: list[Copy]
    has_picture: bool
    picture: PictureFacts | None


class Excluded(_Told):
    """The patterns that count now."""

    excludes: list[str]


class VectorsPage(_Told):
    """Some vectors, by the numbers of their items.

    Attributes:
        items: Numbers, ascending.
        ids: What they are called in results.
        dimensions: Numbers in each vector.
        data: The vectors one after the other in base64, in single precision, the least byte first.
        next: What to ask for `after`; null where there are no more.
    """

    items: list[int]
    ids: list[str]
    dimensions: int
    data: str
    next: int | None


class Removed(_Told):
    """How many were there and are forgotten."""

    removed: int


class SummaryFacts(_Told):
    """What was taken in; see `diptych.engine.results.Summary`."""

    model_config = ConfigDict(extra="allow")

    added: int
    changed: int
    encoded: int
    lent: int


class WhyLine(_Told):
    """A text of an item: words of the query in it, and what each of its words means to the match."""

    text: str
    found: list[list[int]]
    meaning: list[list[float]]


class WhyFacts(_Told):
    """Why an item matches; see `diptych.engine.why.Why`."""

    id: str
    score: float | None
    relevance: list[list[float]] | None
    texts: list[WhyLine]
    reason: str


class Bench(_Told):
    """Results of `diptych bench`, a mapping a cell."""

    cells: list[dict[str, Any]]


class Upload(_Told):
    """A picture that was uploaded; it is known under that name until it expires."""

    upload: str
    width: int
    height: int
    format: str | None
    bytes: int
    expires: float = Field(description="Seconds until it is forgotten, unless it is asked with meanwhile.")


class ModelOfCollection(_Told):
    """See `diptych.engine.results.ModelFacts`."""

    name: str
    default: bool
    fingerprint: str
    similarity: str
    dimensions: int
    images: int
    texts: int
    codes: dict[str, Any] | None


class CollectionFacts(_Told):
    """What a collection holds."""

    name: str
    folder: str
    below: str | None
    images: int
    texts: int
    model: str
    fingerprint: str | None
    models: list[ModelOfCollection]
    bytes: int
    codes: dict[str, Any] | None
    excludes: list[str]
    fields: list[str]
    skipped: int
    generation: int
    jobs: list[str]


class Collections(_Told):
    """The collections that are served, the first of which is meant where none is named."""

    collections: list[CollectionFacts]


class SkippedFacts(_Told):
    """A file that could not be taken, and why."""

    path: str
    reason: str


class SkippedFiles(_Told):
    """The files of a collection that could not be taken."""

    skipped: list[SkippedFacts]


class FacetValue(_Told):
    """How many have a value; null of those that have none."""

    value: str | int | float | None
    count: int


class Facet(_Told):
    """The values of a field, the most frequent first."""

    field: str
    values: list[FacetValue]
    more: int = Field(description="Values that are not listed.")


class Facets(_Told):
    """Counts by fields."""

    facets: list[Facet]


class Count(_Told):
    """How many there are."""

    count: int


class WarmModel(_Told):
    """A model of one or more collections."""

    name: str
    fingerprint: str
    similarity: str
    dimensions: int
    loaded: bool
    collections: list[str]


class Models(_Told):
    """The models of all collections."""

    models: list[WarmModel]


class Job(_Told):
    """Work that was asked for, and how far it is."""

    job: str
    collection: str
    kind: str
    state: Literal["waiting", "running", "done", "failed", "stopped"]
    done: int
    total: int | None
    skipped: int
    current: str | None
    seconds: float
    error: str | None
    summary: dict[str, Any] | None


class Jobs(_Told):
    """The jobs that are known, the newest first."""

    jobs: list[Job]


class Reranker(_Told):
    """What ranks the first hits anew when it is asked for."""

    name: str
    seconds: float | None = Field(description="That it took for the latest search; null before the first.")


class Health(_Told):
    """Whether the server answers, and what it may be asked by whoever asks this."""

    status: Literal["ok", "stopping"]
    version: str
    run: str = Field(description="Another of each server that is started; see thumbnails.")
    ready: bool = Field(description="Whether the models are loaded.")
    token: bool = Field(description="Whether a token is needed.")
    authorized: bool = Field(description="Whether this request came with it, where one is needed.")
    write: bool
    urls: bool
    chat: bool
    bench: bool
    rerank: Reranker | None
    local: bool
    max_upload: int = Field(description="Bytes of an uploaded picture at most.")


class ErrorFacts(_Told):
    """What was wrong, in a sentence; of an error of the library its name, else that of the refusal."""

    kind: str
    message: str
    argument: str = ""


class Failure(_Told):
    """The answer to whatever cannot be done."""

    error: ErrorFacts
