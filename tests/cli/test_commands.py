"""The command line end to end with the built-in model, and what it says to wrong input."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from PIL import Image

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name in ("red", "green", "blue"):
        Image.new("RGB", (64, 48), name).save(folder / f"{name}.png")
    (folder / "red.txt").write_text("a red wall\n")
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture
def indexed(photos: Path, run) -> Path:
    assert run("index", str(photos), "-q")[0] == 0
    return photos


def test_index_reports_what_it_did_and_what_it_skipped(photos: Path, run) -> None:
    code, out, err = run("index", str(photos), "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["added"] + facts["unchanged"] == 3
    assert [Path(s["path"]).name for s in facts["skipped"]] == ["broken.jpg"]
    code, out, err = run("index", str(photos), "--verbose")
    assert (code, out) == (0, "")
    assert "3 unchanged, 1 skipped (1 of them before)" in err
    assert "broken.jpg: not a picture, whatever its name says" in err


def test_search_finds_prints_and_pipes(indexed: Path, run) -> None:
    code, out, _ = run("search", "a", "red", "wall", "--in", str(indexed), "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["query"] == "a red wall"
    assert len(facts["results"]) == 3
    keys = {"rank", "score", "percentile", "word", "side", "id", "path", "text", "meta"}
    assert facts["results"][0].keys() == keys | {"by", "words", "found_in", "copies", "item"}
    assert facts["results"][0]["id"] == Path(facts["results"][0]["path"]).name
    code, out, _ = run("search", "--image", str(indexed / "red.png"), "--in", str(indexed), "-k", "1")
    assert "red.png" not in out  # only others are like it
    code, out, _ = run("search", "--image", str(indexed / "red.png"), "--in", str(indexed), "-k1", "--itself")
    assert "red.png" in out
    code, out, _ = run("search", "--image", str(indexed / "red.png"), "--to", "text", "--in", str(indexed))
    assert "a red wall" in out
    blue = ("--image", str(indexed / "blue.png"), "--itself", "--in", str(indexed), "--json")
    order = [one["id"] for one in json.loads(run("search", *blue)[1])["results"]]
    assert order[0] == "blue.png"
    code, out, _ = run("search", "sky", "--not", "grass", *blue)
    assert code == 0
    assert json.loads(out)["results"][0]["id"] == "blue.png"
    code, out, _ = run("search", "--not", "blue", "--not", "a blue wall", *blue)
    assert code == 0
    assert json.loads(out)["results"][0]["score"] < json.loads(run("search", *blue)[1])["results"][0]["score"]


def test_search_by_words(indexed: Path, run) -> None:
    where = ("--in", str(indexed))
    code, out, _ = run("search", "walls", "--by", "words", "--json", *where)
    [found] = json.loads(out)["results"]
    assert (code, found["id"], found["by"], found["found_in"]) == (0, "red.png", "words", "sidecar")
    assert "[words of its caption]" in run("search", "red wall", *where)[1]
    assert "[words of its name]" in run("search", "green", "--by", "words", *where)[1]
    assert "[words" not in run("search", "red wall", "--by", "vectors", *where)[1]
    target = indexed.parent / "found.html"
    assert run("search", "red wall", "--html", str(target), *where)[0] == 0
    assert target.read_text(encoding="utf-8").count("words of its caption") == 1
    code, _, err = run("search", "submarine", "--by", "words", *where)
    assert code == 1
    assert "none of the pictures has such words in its captions or name; leave out --by words" in err
    code, _, err = run("search", "wall", "--by", "smell", *where)
    assert code == 2
    assert "by words, vectors or both, not by 'smell'" in err


def test_search_turns_pages_and_folds_copies(photos: Path, tmp_path: Path, run) -> None:
    indexed = shutil.copytree(photos, tmp_path / "photos")
    shutil.copy(indexed / "red.png", indexed / "red again.png")
    assert run("index", str(indexed), "-q")[0] == 0
    base = ("search", "a red wall", "--in", str(indexed))
    assert "+1 copy" in run(*base)[1]
    page = str(tmp_path / "found.html")
    assert run(*base, "--html", page)[0] == 0
    assert "+1 copy" in Path(page).read_text(encoding="utf-8")
    whole = json.loads(run(*base, "--json")[1])["results"]
    assert [len(one["copies"]) for one in whole] == [1, 0, 0]
    second = json.loads(run(*base, "--json", "-k", "1", "--page", "2")[1])
    assert (second["offset"], second["results"][0]["id"]) == (1, whole[1]["id"])
    assert second["results"][0]["rank"] == 2
    assert len(json.loads(run(*base, "--json", "--all-copies")[1])["results"]) == 4
    code, out, err = run(*base, "--page", "9")
    assert (code, out) == (1, "")
    assert "there is no page 9; ask for an earlier --page" in err
    code, _, err = run(*base, "--all-copies", "--fold-near")
    assert code == 2
    assert "--all-copies lists what --fold-near puts together, so give either" in err


def test_paths_survive_newlines_in_names(tmp_path: Path) -> None:
    name = "odd\nname.png"
    try:
        Image.new("RGB", (9, 9), "red").save(tmp_path / name)
    except OSError:
        pytest.skip("this system allows no newline in a name")
    environment = {**os.environ, "DIPTYCH_HOME": str(tmp_path / "home")}
    base = [sys.executable, "-m", "diptych"]
    listed = os.fsencode(tmp_path / name) + b"\0"
    subprocess.run(
        [*base, "index", "-", "-0", "-q", "--in", str(tmp_path)], input=listed, env=environment, check=True
    )
    command = [*base, "search", "red", "--paths", "-0", "--in", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, env=environment, check=True)
    assert done.stdout == listed


def test_the_contact_sheet_is_one_safe_file(tmp_path: Path, run) -> None:
    Image.new("RGB", (30, 20), "red").save(tmp_path / "a&b.png")
    (tmp_path / "a&b.txt").write_text("<script>alert(1)</script>")
    assert run("index", str(tmp_path), "-q")[0] == 0
    target = tmp_path / "out" / "found.html"
    code, _, err = run("search", "<b>red</b>", "--in", str(tmp_path), "--html", str(target))
    page = target.read_text(encoding="utf-8")
    assert code == 0
    assert str(target) in err
    assert "<script" not in page
    assert "&lt;b&gt;red&lt;/b&gt;" in page
    assert 'href="../a%26b.png"' in page
    assert "data:image/jpeg;base64," in page
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("search", "x", "--in", "{empty}"), 1, "has not been indexed; do so with: diptych index"),
        (("search", "--in", "{photos}"), 2, "nothing was asked"),
        (("search", "x", "-k", "0", "--in", "{photos}"), 2, "k must be at least 1, not 0"),
        (("search", "x", "--to", "sideways", "--in", "{photos}"), 2, "to must be image or text"),
        (("search", "--image", "{photos}/broken.jpg", "--in", "{photos}"), 1, "broken.jpg: not a picture"),
        (("search", "--image", "{photos}/none.jpg", "--in", "{photos}"), 1, "none.jpg: "),
        (("index", "{empty}/nowhere"), 2, "nowhere does not exist"),
        (("index", "{empty}/*.jpg"), 2, "matches nothing"),
        (("index",), 2, "nothing to index"),
        (("index", "{empty}", "--model", "bultin"), 2, "did you mean builtin"),
        (("index", "{photos}", "--model", "builtin:concepts"), 1, "was indexed with builtin"),
        (("info", "{empty}"), 1, "has not been indexed"),
        (("list", "sistems"), 2, "did you mean systems"),
        (("list", "systems", "zz*"), 2, "there is no name among the systems 'zz*'"),
    ],
)
def test_wrong_input_gets_one_sentence(
    arguments: tuple[str, ...], code: int, sentence: str, indexed: Path, tmp_path: Path, run
) -> None:
    given = [a.format(photos=indexed, empty=tmp_path) for a in arguments]
    found, out, err = run(*given)
    assert (found, out) == (code, "")
    assert sentence in err
    assert "Traceback" not in err
    assert err.strip().startswith("diptych: ")


def test_unknown_options_are_usage_errors_and_debug_shows_the_traceback(tmp_path: Path, run) -> None:
    assert run("search", "--sideways")[0] == 2
    with pytest.raises(Exception, match="has not been indexed"):
        run("--debug", "info", str(tmp_path))


def test_info_list_and_doctor(indexed: Path, run, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = run("info", str(indexed), "--json")
    assert (code, json.loads(out)["images"], json.loads(out)["check"]) == (0, 3, "ok")
    assert "pictures  3" in run("info", str(indexed))[1]
    names = [row["name"] for row in json.loads(run("list", "systems", "--json")[1])]
    assert {"builtin", "clip", "dscmr"} <= set(names)
    assert "Zhen" in run("list", "systems", "dscmr")[1]
    card = run("list", "systems", "dcmh")[1]
    assert r"  - agreement of two outputs: \theta_{ij} = \frac12 F_i^\top G_j" in card
    assert card == run("info", "dcmh")[1]
    facts = json.loads(run("list", "systems", "dcmh", "--json")[1])[0]
    assert facts["equations"][1]["latex"] == r"\theta_{ij} = \frac12 F_i^\top G_j"
    assert facts["where"].startswith("where ")
    assert "Equations" not in facts["idea"]
    grouped = run("list", "systems", "--by", "structure")[1]
    apart, together = grouped.index("apart: "), grouped.index("together: ")
    assert apart < grouped.index("dscmr ") < together < grouped.index("vilbert ")
    assert "gradient reversal" in grouped
    assert "binary" in run("list", "systems", "--by", "representation")[1]
    assert run("list", "data", "--by", "family")[0] == 2
    for free, wrong in (
        (1 << 40, []),
        (1 << 20, ["less than 1 GB of disk is free: make room before indexing"]),
    ):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        code, out, _ = run("doctor", str(indexed), "--json")
        told = json.loads(out)
        assert (told["free bytes"], told["wrong"]) == (free, wrong)
        assert code == bool(wrong)


def test_info_of_a_name_is_its_card(indexed: Path, run, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = run("info", "vilt")
    assert (code, out.startswith("vilt: Vision-and-Language Transformer")) == (0, True)
    assert "  Learns from: pairs" in out
    assert run("info", "clip:vit-b-32@onnx")[1].startswith("clip: ")
    cards = json.loads(run("info", "flickr8k", "--json")[1])
    assert [card["name"] for card in cards] == ["flickr8k"]
    assert "vlit does not exist" in run("info", "vlit")[2]
    assert "no folder here" in run("info", "vilt", "--facets", "year")[2]
    monkeypatch.chdir(indexed.parent)
    (indexed.parent / "clip").mkdir()
    assert "has not been indexed" in run("info", "clip")[2]  # a folder comes first


def test_a_reader_that_has_enough_is_no_error(indexed: Path) -> None:
    environment = {**os.environ, "DIPTYCH_HOME": str(indexed / "home")}
    command = [sys.executable, "-m", "diptych", "list", "systems", "--full"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""


def test_help_imports_no_command_and_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['diptych', '--help']\n"
        "from diptych.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'onnxruntime', 'faiss', 'numpy', 'transformers', 'PIL', 'rich'}\n"
        "ours = {name for name in sys.modules if name.startswith('diptych.cli.')}\n"
        "print(heavy & set(sys.modules) | ours, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "search" in done.stdout
    assert done.stderr.strip() == "set()"


def test_help_says_of_each_command_what_the_command_says() -> None:
    from diptych.cli import _COMMANDS, app

    group = typer.main.get_group(app)
    context = typer.Context(group)
    for name, sentence in _COMMANDS.items():
        command = group.get_command(context, name)
        assert command is not None
        assert (command.help or "").splitlines()[0] == sentence


def test_the_command_line_document_is_what_the_program_prints() -> None:
    spec = importlib.util.spec_from_file_location("cli_docs", ROOT / "tools" / "cli_docs.py")
    docs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(docs)
    assert docs.TARGET.read_text(encoding="utf-8") == docs.text(), "run: python tools/cli_docs.py"


def test_a_run_that_learned_from_feature_files_indexes_nothing(tmp_path: Path, run) -> None:
    from diptych import catalogue

    (tmp_path / "photos").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "photos" / "a.png")
    catalogue.load("cca").save(tmp_path / "run")
    code, _, err = run("index", str(tmp_path / "photos"), "--model", str(tmp_path / "run"))
    assert code == 2
    assert "train it on features of an encoder" in err
    assert not (tmp_path / "photos" / ".diptych").exists()


def test_a_rebuild_with_a_mistyped_model_loses_nothing(indexed: Path, run) -> None:
    assert run("index", str(indexed), "--rebuild", "--model", "clop")[0] == 2
    assert json.loads(run("info", str(indexed), "--json")[1])["images"] == 3
    code, _, err = run("index", str(indexed), "--rebuild")
    assert (code, "3 added" in err) == (0, True)
    assert json.loads(run("info", str(indexed), "--json")[1])["images"] == 3
