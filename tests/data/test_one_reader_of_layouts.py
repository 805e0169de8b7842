"""The layouts in which people keep captioned pictures: a collection and a data set read the same of each."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

import diptych
from diptych.data import open_data
from diptych.data.reading import report_of
from diptych.testing import Colours

Make = Callable[[Path], None]
PAIRS = [
    ("0.jpg", ["a dog runs", "the dog, again"]),
    ("1.jpg", ["a cat"]),
    ("2.jpg", ["two boats", "at sea"]),
]
ROWS = [(name, text) for name, texts in PAIRS for text in texts]


def draw(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (len(name) * 9, sum(map(ord, name)) % 256, 90)).save(path)


def put(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def table(*head: str, delimiter: str = ",", rows: list[tuple[str, str]] = ROWS) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows([head, *rows])
    return out.getvalue()


def kaggle_flickr8k(folder: Path) -> None:
    draw(folder / "Images", *dict(PAIRS))
    put(folder, "captions.txt", table("image", "caption"))


def kaggle_flickr30k(folder: Path) -> None:
    draw(folder, *dict(PAIRS))
    rows = [f"{name}| {number}| {text} ." for name, texts in PAIRS for number, text in enumerate(texts)]
    put(folder, "results.csv", "\n".join(["image_name| comment_number| comment", *rows]))


def open_clip(folder: Path) -> None:
    draw(folder, *dict(PAIRS))
    put(folder, "train.csv", table("filepath", "title", delimiter="\t"))


def excel(folder: Path) -> None:
    draw(folder, *dict(PAIRS))
    put(folder, "list.csv", table("Image", "Caption", delimiter=";"))


def aligned(folder: Path) -> None:
    draw(folder, *dict(PAIRS))
    put(folder, "list.txt", "\n".join(f"{a:12}{b}" for a, b in [("image", "caption"), *ROWS]))


def hub(folder: Path) -> None:
    draw(folder, *(f"{part}/{name}" for name in dict(PAIRS) for part in ("train", "test")), "0.jpg")
    rows = [{"file_name": f"train/{name}", "text": text} for name, text in ROWS]
    put(folder, "metadata.jsonl", "\n".join(map(json.dumps, rows)))


def windows(folder: Path) -> None:
    draw(folder, *dict(PAIRS))
    put(folder, "captions.csv", table("image", "caption", rows=[(f"C:\\Me\\{a}", b) for a, b in ROWS]))


def capitals(folder: Path) -> None:
    draw(folder, "Bilder/0.JPG", "Bilder/caf\u00e9.jpg", "Bilder/2.jpg")
    names = {"0.jpg": "bilder/0.jpg", "1.jpg": "Bilder\\cafe\u0301.jpg", "2.jpg": "2.jpg"}
    put(folder, "captions.csv", table("image", "caption", rows=[(names[a], b) for a, b in ROWS]))


def list_in_a_cell(folder: Path) -> None:
    draw(folder, *dict(PAIRS))
    rows = [(name, repr(texts)) for name, texts in PAIRS]
    put(folder, "captions.csv", table("filename", "captions", rows=rows))


def flickr_annotations(folder: Path) -> None:
    draw(folder, *dict(PAIRS))
    out = io.StringIO()
    parts = ("train", "val", "test")
    rows = [[json.dumps(texts), part, name] for (name, texts), part in zip(PAIRS, parts, strict=True)]
    csv.writer(out).writerows([["raw", "split", "filename"], *rows])
    put(folder, "flickr_annotations_30k.csv", out.getvalue())


def five_columns(folder: Path) -> None:
    draw(folder, *dict(PAIRS))
    out = io.StringIO()
    rows = [[name, texts[0], *texts[1:], *[""] * (2 - len(texts))] for name, texts in PAIRS]
    csv.writer(out).writerows([["image", "caption_1", "caption_2"], *rows])
    put(folder, "list.csv", out.getvalue())


def blip(folder: Path) -> None:
    draw(folder / "images", *dict(PAIRS))
    put(folder, "test.json", json.dumps([{"image": f"images/{a}", "caption": b} for a, b in PAIRS]))


def blip_train(folder: Path) -> None:
    draw(folder / "images", *dict(PAIRS))
    rows = [{"caption": text, "image": f"images/{name}", "image_id": f"coco_{name}"} for name, text in ROWS]
    put(folder, "coco_karpathy_train.json", json.dumps(rows))


def by_name(folder: Path) -> None:
    draw(folder, *dict(PAIRS))
    with gzip.open(folder / "texts.json.gz", "wt") as file:
        json.dump(dict(PAIRS), file)


def tokens(folder: Path) -> None:
    draw(folder, *dict(PAIRS))
    rows = [f"{name}#{number}\t{text}" for name, texts in PAIRS for number, text in enumerate(texts)]
    put(folder, "results_20130124.token", "\n".join(rows))


def tokens_in_chinese(folder: Path) -> None:
    draw(folder, *dict(PAIRS))
    rows = [f"{name}#zhc#{number} \t{text}" for name, texts in PAIRS for number, text in enumerate(texts)]
    put(folder, "flickr8kzhc.caption.txt", "\n".join(rows))


def tokens_before_a_space(folder: Path) -> None:
    """As Flickr8k-CN has them; the first caption of each picture holds a comma."""
    draw(folder, *dict(PAIRS))
    said = [(name, sorted(texts, key=lambda text: "," not in text)) for name, texts in PAIRS]
    rows = [f"{name}#zhc#{number} {text}" for name, texts in said for number, text in enumerate(texts)]
    put(folder, "flickr8kzhc.caption.txt", "\n".join(rows))


def coco(folder: Path, name: str = "annotations/captions_val2017.json", place: str = "val2017") -> None:
    draw(folder / place, *dict(PAIRS))
    images = [{"id": f"img_{name}", "file_name": name} for name in dict(PAIRS)]
    said = [{"id": n, "image_id": f"img_{a}", "caption": b} for n, (a, b) in enumerate(ROWS)]
    put(folder, name, json.dumps({"info": {}, "images": images, "annotations": said}))


def coco_named_otherwise(folder: Path) -> None:
    coco(folder, "my_annotations.json", ".")


def karpathy(folder: Path) -> None:
    draw(folder / "images", *dict(PAIRS))
    images = [
        {"filename": a, "split": "test", "sentences": [{"raw": one, "tokens": one.split()} for one in b]}
        for a, b in PAIRS
    ]
    put(folder, "dataset_mine.json", json.dumps({"images": images, "dataset": "mine"}))


def json_lines(folder: Path) -> None:
    draw(folder, *dict(PAIRS))
    for name, texts in PAIRS:
        put(folder, f"part-{name[0]}.jsonl", json.dumps({"image": name, "captions": texts}))


def sidecars(folder: Path) -> None:
    for (name, texts), new in zip(PAIRS, ("0.jfif", "deep/1.JPEG", "2.jpe"), strict=True):
        path = folder / new
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), "red" if name == "0.jpg" else "blue").save(path, "JPEG")
        path.with_suffix(".txt").write_text("\n".join(texts))


def nested(folder: Path) -> None:
    for part, (name, texts) in zip("abc", PAIRS, strict=True):
        draw(folder / part, name)
        put(folder / part, "captions.json", json.dumps({name: texts}))


def described(path: Path, texts: list[str], kind: str) -> None:
    """A picture that says itself what it shows; a PNG after its pixels, as some programs write."""
    named = zip(("description", "title"), texts, strict=False)
    items = "".join(f"<dc:{name}><rdf:li>{text}</rdf:li></dc:{name}>" for name, text in named)
    exif = Image.Exif()
    exif[0x010E] = texts[0]
    exif[0x9C9B] = texts[-1].encode("utf-16-le")
    picture, data = Image.new("RGB", (8, 8), (len(texts) * 50, 9, 90)), io.BytesIO()
    if kind == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", items)
        picture.save(data, "PNG", pnginfo=info)
        whole = data.getvalue()
        text, pixels = whole.index(b"iTXt") - 4, whole.index(b"IDAT") - 4
        end = whole.index(b"IEND") - 4
        path.write_bytes(whole[:text] + whole[pixels:end] + whole[text:pixels] + whole[end:])
    else:
        picture.save(path, kind, **({"exif": exif} if kind == "JPEG" else {"xmp": items.encode()}))


def in_themselves(folder: Path) -> None:
    for (name, texts), kind in zip(PAIRS, ("JPEG", "PNG", "WEBP"), strict=True):
        described(folder / name, texts, kind)


def partly_in_themselves(folder: Path) -> None:
    (name, texts), *others = PAIRS
    described(folder / name, texts[:1], "WEBP")
    put(folder, "0.txt", "\n".join(texts))
    draw(folder, *dict(others))
    for name, texts in others:
        put(folder, f"{name}.txt", "\n".join(texts))


LAYOUTS: list[Make] = [
    kaggle_flickr8k, kaggle_flickr30k, open_clip, excel, aligned, hub, windows, capitals, list_in_a_cell,
    flickr_annotations, five_columns, blip, blip_train, by_name, tokens, tokens_in_chinese,
    tokens_before_a_space, coco,
    coco_named_otherwise, karpathy, json_lines, sidecars, nested, in_themselves, partly_in_themselves,
]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_index_and_data_read_the_same(layout: Make, tmp_path: Path) -> None:
    layout(tmp_path)
    data = open_data(tmp_path)
    in_data = sorted(text for name in data.splits for text in data.split(name).text)
    report = report_of(data)
    assert report is not None
    with diptych.open(tmp_path, model=Colours()) as collection:
        summary = collection.add()
        found = collection.search("a", to="text", k=99)
        in_collection = sorted(result.text or "" for result in found)
    expected = [text for _, text in ROWS]
    dots = " ." if layout is kaggle_flickr30k else ""
    assert in_data == in_collection == sorted(text + dots for text in expected)
    assert summary.skipped == []
    for told in (report, summary.captions):
        assert told.left == []
        assert (told.used["pictures"], told.used["captions"]) == (3, 5)


def test_what_is_left_out_is_counted_and_named_alike(tmp_path: Path) -> None:
    draw(tmp_path, "0.png", "a/1.png", "b/1.png")
    rows = ["0.png,red", "0.png,nan", "gone.png,lost", "1.png,whose", "0.png", "0.png,None"]
    put(tmp_path, "captions.csv", "\n".join(["image,caption", *rows]))
    data = open_data(tmp_path)
    assert data.split("all").text == ["red"]
    report = report_of(data)
    assert report is not None
    with diptych.open(tmp_path, model=Colours()) as collection:
        summary = collection.add()
    for told in (report, summary.captions):
        assert (told.used["pictures"], told.used["captions"]) == (1, 1)
        assert sum(left.count for left in told.left) == 5
        lines = "\n".join(told.lines())
        assert "names 2 pictures (a/1.png, b/1.png)" in lines
        assert "names no picture that is here" in lines
        assert "gone.png" in lines
        assert "expected 2 columns (captions.csv, line 6)" in lines
        assert json.loads(json.dumps(told.as_dict())) == told.as_dict()
    assert summary.skipped == []


@pytest.mark.parametrize("others", ["sidecars", "list", "lists below"])
def test_a_list_too_deep_is_counted_whatever_its_name(others: str, tmp_path: Path) -> None:
    draw(tmp_path, "0.png")
    if others == "sidecars":
        put(tmp_path, "0.txt", "red")
    else:
        place = "captions.csv" if others == "list" else "text/list.csv"
        put(tmp_path, place, table("image", "caption", rows=[("0.png", "red")]))
    put(tmp_path, "captions-deep.json", '[["a ]", ' * 60_000)
    data = open_data(tmp_path)
    assert data.split("all").text == ["red"]
    report = report_of(data)
    with diptych.open(tmp_path, model=Colours()) as collection:
        summary = collection.add()
        assert collection.count("text") == 1
    for told in (report, summary.captions):
        assert told is not None
        (left,) = told.left
        assert (left.what, left.count) == ("files", 1)
        assert "it is too deep (more than 100 levels)" in left.reason
        assert left.first == [str(tmp_path / "captions-deep.json")]


@pytest.mark.parametrize("form", ["csv", "tsv", "json"])
def test_quotes_and_line_ends_in_captions(form: str, tmp_path: Path) -> None:
    said = ['"stop" says the sign', '"a girl in a red coat', "two dogs play", "a boat, and a lake"]
    if form == "csv":
        said[1] = "over\ntwo lines"
        text = table("image", "caption", rows=[(f"{n}.png", one) for n, one in enumerate(said)])
    elif form == "tsv":
        text = "\n".join(["image\tcaption", *(f"{n}.png\t{one}" for n, one in enumerate(said))])
    else:
        said[1] = "over\ntwo lines"
        text = json.dumps({f"{n}.png": one for n, one in enumerate(said)})
    draw(tmp_path, *(f"{n}.png" for n in range(4)))
    put(tmp_path, f"captions.{form}", text)
    assert open_data(tmp_path).split("all").text == [" ".join(one.split()) for one in said]


def test_loose_texts_are_taken_only_if_asked_for(tmp_path: Path) -> None:
    draw(tmp_path, "0.png")
    put(tmp_path, "notes.txt", "my password\n")
    with diptych.open(tmp_path, model=Colours()) as collection:
        summary = collection.add()
        assert collection.count("text") == 0
        assert [left.first for left in summary.captions.left] == [[str(tmp_path / "notes.txt")]]
        assert collection.add(tmp_path / "notes.txt").added == 1
        put(tmp_path, "notes.txt", "my password\nand another\n")
        assert collection.add().changed == 1  # what was asked for once is kept up to date
        assert collection.count("text") == 2
    put(tmp_path, "more/letter.txt", "dear all\n")
    with diptych.open(tmp_path, model=Colours()) as collection:
        summary = collection.add()
        assert (summary.added, [left.count for left in summary.captions.left]) == (0, [1])
        assert collection.add().captions.left == []  # which was said once
        assert collection.info()["skipped"] == {}
        assert collection.add(texts=True).added == 1


def test_split_folders(tmp_path: Path) -> None:
    for part in ("Train", "valid", "test", "extra"):
        draw(tmp_path / part, "0.png")
        put(tmp_path / part, "0.txt", part)
    data = open_data(tmp_path)
    assert data.splits == ("train", "val", "test")
    assert data.protocol().validation == "val"
    assert len({data.split(name).sha256() for name in data.splits}) == 3
    report = report_of(data)
    assert report is not None
    assert [(left.what, left.first) for left in report.left] == [("folders", ["extra"])]
    put(tmp_path / "test", "0.txt", "valid")
    told = report_of(open_data(tmp_path))
    assert told is not None
    assert told.remarks == [
        "the splits 'val' and 'test' hold the same pictures and captions: what is measured on one was seen "
        "in the other"
    ]
