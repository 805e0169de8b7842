"""What the command line says of what is missing, passed over, empty or given twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from diptych.cli import _progress
from diptych.engine.results import Progress
from diptych.optional import EXTRAS

pytestmark = pytest.mark.slow


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "holidays").mkdir(parents=True)
    (folder / "later").mkdir()
    for name in ("red", "green", "holidays/blue"):
        Image.new("RGB", (64, 48), Path(name).name).save(folder / f"{name}.png")
    (folder / "red.txt").write_text("a red wall\nrot wie ein Apfel — 猫\n", encoding="utf-8")
    return folder


@pytest.fixture
def indexed(photos: Path, run) -> Path:
    assert run("index", str(photos), "-q")[0] == 0
    return photos


def test_what_is_not_read_is_counted_by_its_ending(
    photos: Path, run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rawpy", None)
    for name in ("a.CR2", "b.nef", "c.tga", "d.tga", "scan", "clip.MOV", "Thumbs.db", ".hidden", "x.pdf"):
        (photos / name).write_bytes(b"no picture")
    for made in ("@eaDir", "__MACOSX", "$RECYCLE.BIN", "holidays/#recycle"):
        (photos / made).mkdir()
        Image.new("RGB", (9, 9)).save(photos / made / "small.jpg")
    code, out, err = run("index", str(photos), "--json")
    facts = json.loads(out)
    assert (code, facts["added"], facts["skipped"]) == (0, 3, [])
    endings = {".cr2": 1, ".nef": 1, ".tga": 2, "": 1, ".mov": 1, ".pdf": 1}
    assert facts["passed_over"] == endings
    _, _, err = run("index", str(photos))
    line = next(line for line in err.splitlines() if line.startswith("passed over"))
    assert "2 raw pictures of cameras (read with: pip install 'diptych[raw]')" in line
    assert "2 .tga" in line
    assert "1 video, " in line
    assert "1 without an ending" in line


def test_pictures_that_a_system_made_are_forgotten(photos: Path, run) -> None:
    made = photos / "@eaDir"
    made.mkdir()
    Image.new("RGB", (9, 9), "white").save(made / "small.jpg")
    assert json.loads(run("index", str(made / "small.jpg"), "--in", str(photos), "--json")[1])["added"] == 1
    facts = json.loads(run("index", str(photos), "--json")[1])
    assert (facts["added"], facts["removed"]) == (3, 1)


def test_skipped_files_are_told_by_reason_and_once(photos: Path, run) -> None:
    for at in range(5):
        (photos / f"broken{at}.jpg").write_bytes(b"no picture %d" % at)
    os.symlink(photos / "nowhere.png", photos / "link.png")
    _, _, err = run("index", str(photos))
    told = [line for line in err.splitlines() if line.startswith("skipped")]
    assert len(told) == 2
    assert any(
        line.startswith("skipped 5 files (broken0.jpg, broken1.jpg, broken2.jpg and 2 more): not a picture")
        for line in told
    )
    assert "skipped link.png: is a link to nothing" in told
    assert "3 added, 6 skipped in" in err
    assert "it holds 3 pictures and 2 texts" in err

    (photos / "broken5.jpg").write_bytes(b"new")
    _, _, err = run("index", str(photos))
    assert [line.split(":")[0] for line in err.splitlines() if line.startswith("skipped")] == [
        "skipped broken5.jpg"
    ]
    assert "3 unchanged, 7 skipped (6 of them before)" in err
    _, _, err = run("index", str(photos), "--verbose")
    assert len([line for line in err.splitlines() if line.startswith("skipped")]) == 7


def test_a_weight_of_what_is_not_asked_is_refused(indexed: Path, run) -> None:
    place = ("--in", str(indexed))
    for asked, refused in (
        (("red", "--image-weight", "2"), "--image-weight 2 weighs nothing without --image or --like; leave"),
        (("red", "--not-weight", "0.7"), "--not-weight 0.7 weighs nothing without --not"),
        (
            ("--image", str(indexed / "red.png"), "--text-weight", "2"),
            "--text-weight 2 weighs nothing without words",
        ),
    ):
        code, out, err = run("search", *asked, *place)
        assert (code, out) == (2, "")
        assert refused in err
    every = ("--image", str(indexed / "red.png"), "--not", "a dog")
    weights = ("--text-weight", "1", "--image-weight", "1", "--not-weight", "0.5")
    plain, weighed = (run("search", "red", *every, *more, *place, "--json") for more in ((), weights))
    assert [one["score"] for one in json.loads(plain[1])["results"]] == [
        one["score"] for one in json.loads(weighed[1])["results"]
    ]


def test_one_of_a_kind_is_told_in_the_singular(tmp_path: Path, run) -> None:
    Image.new("RGB", (20, 20), "red").save(tmp_path / "red.png")
    (tmp_path / "red.txt").write_text("a red wall\n")
    assert "it holds 1 picture and 1 text\n" in run("index", str(tmp_path))[2]


def test_a_list_used_in_part_and_loose_texts_are_told_once(photos: Path, run) -> None:
    (photos / "list.csv").write_text("image,caption\nred.png,a wall\ngreen.png,\ngone.png,a dog\n")
    (photos / "later" / "notes.txt").write_text("a note\n")
    err = run("index", str(photos))[2]
    assert [line for line in err.splitlines() if "not used" in line] == [
        "captions: 1 file not used: texts that belong to no picture, which are taken only if asked for "
        "(later/notes.txt)",
        "captions: 1 row not used: names no picture that is here (list.csv, line 4 (gone.png))",
        "captions: 1 row not used: has no caption (list.csv, line 3)",
    ]
    assert "skipped" not in err
    assert "--texts" in err
    (photos / "later" / "notes.txt").write_text("a longer note\n")
    again = run("index", str(photos))[2]
    assert "not used" not in again
    assert "--texts" not in again
    assert "skipped" not in again


def test_index_and_info_count_alike(photos: Path, run) -> None:
    (photos / "broken.jpg").write_bytes(b"no picture")
    os.symlink(photos / "nowhere.png", photos / "link.png")
    indexed = json.loads(run("index", str(photos), "--json")[1])
    held = json.loads(run("info", str(photos), "--json")[1])
    assert (indexed["added"], len(indexed["skipped"])) == (held["images"], len(held["skipped"])) == (3, 2)
    (photos / "link.png").unlink()
    run("index", str(photos), "-q")
    assert list(json.loads(run("info", str(photos), "--json")[1])["skipped"]) == [str(photos / "broken.jpg")]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--in", "{photos}/nowhere"), 1, "nowhere does not exist; give the folder"),
        (("--in", "{photos}/red.png"), 1, "red.png is not a folder"),
        (("--in", "{photos}/later"), 1, "no pictures of {photos}/later are indexed"),
        (
            ("--in", "{photos}", "--min-score", "0.99"),
            1,
            "reaches --min-score 0.99; the best scores",
        ),
        (("--in", "{photos}", "--in", "{photos}/later"), 2, "--in takes one value, and was given 2 times"),
        (("--in", "{photos}", "-k", "3", "-k", "4"), 2, "-k takes one value, and was given 2 times"),
        (("--in", "{photos}", "--image", "https://example.org/a.jpg"), 2, "a.jpg is an address, and"),
        (("--in", "{photos}", "--image", "{photos}/later"), 2, "later is a folder; give one of its pictures"),
    ],
)
def test_an_empty_or_impossible_search_has_a_sentence_of_its_own(
    arguments: tuple[str, ...], code: int, sentence: str, indexed: Path, run
) -> None:
    found, out, err = run("search", "a wall", *(one.format(photos=indexed) for one in arguments))
    assert (found, out) == (code, "")
    assert sentence.format(photos=indexed) in err
    assert "match" not in err
    assert "Traceback" not in err


def test_options_that_gather_values_may_be_repeated(indexed: Path, run) -> None:
    picture = str(indexed / "red.png")
    more = ("--image", picture, "--image", picture, "--not", "a", "--not", "b")
    assert run("search", "a wall", *more, "--in", str(indexed))[0] == 0


def test_json_has_ids_and_readable_text(indexed: Path, run) -> None:
    picture = str(indexed / "red.png")
    _, out, _ = run("search", "--image", picture, "--to", "text", "--in", str(indexed), "--json")
    assert "— 猫" in out
    assert {one["id"] for one in json.loads(out)["results"]} == {"red.png"}


def test_tables_do_not_wrap_and_do_not_trail_in_a_pipe(indexed: Path, run) -> None:
    for arguments in (("list", "systems"), ("data", "list"), ("search", "a wall", "--in", str(indexed))):
        _, out, _ = run(*arguments)
        lines = out.splitlines()
        assert all(line == line.rstrip() for line in lines)
    systems = json.loads(run("list", "systems", "--json")[1])
    lines = run("list", "systems")[1].splitlines()
    assert len(lines) == len(systems) + 1
    assert all(any(one["title"] in line for line in lines) for one in systems)


def test_the_doctor_speaks_in_sentences(indexed: Path, run) -> None:
    _, out, _ = run("doctor", str(indexed))
    assert "{" not in out
    code, out, _ = run("doctor", str(indexed.parent / "nowhere"))
    assert code == 1
    assert f"WRONG: {indexed.parent / 'nowhere'} does not exist" in out
    out = run("doctor", str(indexed))[1]
    assert f"collection here: 3 pictures and 2 texts of {indexed}, by builtin" in out


@pytest.mark.parametrize("there", [True, False])
def test_the_doctor_knows_what_extras_bring(indexed: Path, run, monkeypatch, there: bool) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if there else None)
    told = json.loads(run("doctor", str(indexed), "--json")[1])
    assert told["extras"] == dict.fromkeys(EXTRAS, there)
    assert ("HEIC" in told["pictures"], "SVG" in told["pictures"], "JPEG" in told["pictures"]) == (
        there,
        there,
        True,
    )


def test_progress_without_a_terminal_is_a_line_every_so_often(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: now[0])
    with _progress.progress() as shown:
        for second in range(25):
            now[0] = float(second)
            shown(Progress(second * 4, 100 if second > 15 else None, 0, None, float(second)))
    assert capsys.readouterr().err.splitlines() == ["indexing: 40, 4/s", "indexing: 80 of 100, 4/s"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("index", "{photos}", "--model", "clip:vit-b-32@openai"),
            "Xenova/clip-vit-base-patch32 is no folder here, and fetching it from the hub needs "
            "{extra}[hub]'",
        ),
        (("index", "{photos}", "--model", "dscmr"), "dscmr needs {extra}[train]'"),
        (
            ("train", "dscmr", "--data", "{photos}", "--features", "builtin"),
            "diptych train needs {extra}[train]'",
        ),
        (("evaluate", "dscmr", "--data", "{photos}"), "dscmr needs {extra}[train]'"),
    ],
)
def test_what_needs_an_extra_ends_in_the_install_command(
    photos: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    given = ["diptych", *(one.format(photos=photos) for one in arguments)]
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'accelerate', 'safetensors', 'huggingface_hub'):\n"
        "    sys.modules[name] = None\n"
        f"sys.argv = {given!r}\n"
        "from diptych.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    told = sentence.format(extra="an optional package: pip install 'diptych")
    assert done.returncode == 1
    assert done.stderr.endswith(f"diptych: {told}\n")
    assert not (photos / ".diptych").exists()


def test_the_sheet_marks_what_was_asked_with_and_puts_it_last(indexed: Path, tmp_path: Path, run) -> None:
    (indexed / "copy.png").write_bytes((indexed / "red.png").read_bytes())
    assert run("index", str(indexed), "-q")[0] == 0
    page = tmp_path / "found.html"
    asked = ("--image", str(indexed / "red.png"), "--in", str(indexed), "--html", str(page))
    assert run("search", *asked, "--itself", "--all-copies")[0] == 0
    text = page.read_text(encoding="utf-8")
    names = [text.index(f'title="{name}"') for name in ("green.png", "holidays/blue.png")]
    marked = [text.index("the picture asked with<"), text.index("a copy of the picture asked with<")]
    assert max(names) < min(marked)
    assert "4 of 4 pictures in the folder photos, " in text
    assert run("search", *asked, "--to", "text")[0] == 0
    text = page.read_text(encoding="utf-8")
    assert text.count('alt="a red wall"') == text.count('alt="rot wie ein Apfel — 猫"') == 1
    assert "2 of 2 texts in the folder photos" in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("search", "dog", "-k", "abc"), "invalid value for '-k': "),
        (("search", "dog", "--bogus"), "no such option: --bogus; see diptych search --help"),
        (("serach", "dog"), "no such command 'serach'; see diptych --help"),
        (("remove",), "missing argument 'PATH...'; see diptych remove --help"),
        (("data", "info"), "missing argument 'name'; see diptych data info --help"),
        (
            ("evaluate", "--embeddings", "image.npy"),
            "image.npy holds vectors of one side only; name the file",
        ),
    ],
)
def test_what_is_typed_wrongly_is_one_sentence(run, arguments: tuple[str, ...], sentence: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"diptych: {sentence}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [(), ("data",)])
def test_nothing_typed_shows_the_help_line_by_line(run, arguments: tuple[str, ...]) -> None:
    code, out, err = run(*arguments)
    assert code == 2
    assert "\nCommands:\n" in out + err
    assert "\\n" not in out + err


def test_a_result_that_cannot_be_written_is_one_sentence(indexed: Path, tmp_path: Path, run) -> None:
    (tmp_path / "file").write_text("in the way")
    asked = ("search", "red", "--in", str(indexed), "--html")
    for target in (indexed, tmp_path / "file" / "found.html"):
        code, _, err = run(*asked, str(target))
        assert code == 1
        assert err.startswith(f"diptych: {target.parent if target != indexed else target} cannot be used: ")
        assert err.count("\n") == 1
    with pytest.raises(OSError, match="irectory"):
        run(*asked, str(indexed), "--debug")


def test_a_path_that_is_nowhere_is_not_removed(indexed: Path, run) -> None:
    code, _, err = run("remove", str(indexed / "rde.png"))
    assert code == 2
    assert "rde.png is not there, and nothing of it was indexed" in err
    code, _, err = run("remove", str(indexed / "red.png"), str(indexed / "rde.png"))
    assert (code, "1 file forgotten" in err) == (0, True)


def test_the_first_index_names_the_way_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    from diptych.cli import _models
    from diptych.systems.dual_tower import clip

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert _models.remark() == (
        "using the built-in model; for stronger ones: pip install 'diptych[hub]', "
        "then diptych index --rebuild --model clip:vit-b-32@onnx"
    )
    monkeypatch.delitem(sys.modules, "huggingface_hub")
    monkeypatch.setattr(_models, "hub_answers", lambda: True)
    assert _models.remark().endswith("diptych index --rebuild --model clip:vit-b-32@onnx")
    assert clip._repositories("vit-b-32", clip._exported_tag("vit-b-32"))[1]
