"""Readers of features tell which files and arrays they used, and which they did not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diptych.data import open_data
from diptych.data.reading import report_of
from diptych.errors import UnknownName, UsageError
from diptych.media.report import Report

VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3)


def test_arrays_that_are_no_part_of_a_split_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", train_image=VECTORS, train_text=VECTORS + 1, whatever=VECTORS)
    np.save(tmp_path / "test_image.npy", VECTORS + 2)
    np.save(tmp_path / "test_text.npy", VECTORS + 3)
    np.save(tmp_path / "notes.npy", VECTORS)
    report = report_of(open_data(tmp_path))
    assert report is not None
    assert report.used == {"arrays": 4, "files": 3, "splits": 2, "pictures": 8, "captions": 8}
    assert report.lines() == [
        "read: 8 pictures, 8 captions, 3 files, 4 arrays, 2 splits",
        "2 arrays not used: each does not say by its name which split and side it is (a.npz::whatever; "
        "notes.npy::notes)",
    ]


def test_files_beside_the_shards_are_named(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    for part in ("img_emb", "text_emb", "metadata"):
        (tmp_path / part).mkdir()
    for number in range(2):
        np.save(tmp_path / "img_emb" / f"img_emb_{number}.npy", VECTORS)
        np.save(tmp_path / "text_emb" / f"text_emb_{number}.npy", VECTORS)
        table = pyarrow.table({"caption": list("abcd")})
        parquet.write_table(table, tmp_path / "metadata" / f"metadata_{number}.parquet")
    (tmp_path / "image.index").write_bytes(b"index")
    (tmp_path / "img_emb" / "readme.md").write_text("words")
    report = report_of(open_data(tmp_path))
    assert report is not None
    assert report.used == {"rows": 8, "files": 6, "splits": 1, "pictures": 8, "captions": 8}
    (left,) = report.left
    assert left.reason == "is no shard of vectors or metadata"
    assert [Path(name).as_posix() for name in left.first] == ["image.index", "img_emb/readme.md"]


@pytest.mark.parametrize("given", [3, None, ["a"]])
def test_what_is_no_name_and_no_path_is_refused(given: object) -> None:
    with pytest.raises(
        UsageError, match=r"data are opened by their name or path.*, not by an? (int|NoneType|list)$"
    ):
        open_data(given)  # type: ignore[arg-type]


def test_reasons_agree_with_how_many_they_are_of() -> None:
    report = Report()
    report.leave("captions", "describes only pictures that cannot be read", "a", "b")
    report.leave("rows", "has no caption", "line 3")
    report.leave("rows", "expected 2 columns", "line 4", "line 5")
    assert report.lines() == [
        "2 captions not used: each describes only pictures that cannot be read (a; b)",
        "1 row not used: has no caption (line 3)",
        "2 rows not used: expected 2 columns (line 4; line 5)",
    ]
    unknown = UnknownName("protocol of c", "foo", ["labels"])
    assert str(unknown) == "there is no protocol 'foo' of c; known: labels."
