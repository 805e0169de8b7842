"""Drawings are drawn, and what they try beyond that costs nothing but the drawing."""

from __future__ import annotations

import gzip
import io
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from diptych.errors import ImageError
from diptych.media import drawings
from diptych.media.drawings import draw, is_drawing

HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    'width="80" height="40">'
)
RED = HEAD + '<rect width="40" height="40" fill="red"/></svg>'


@pytest.mark.parametrize(
    "data",
    [
        RED.encode(),
        b"\xef\xbb\xbf" + RED.encode(),
        RED.encode("utf-16"),
        gzip.compress(RED.encode()),
        f"<?xml version='1.0'?><!--{'a long comment ' * 600}-->{RED}".encode(),
    ],
    ids=["plain", "mark", "utf-16", "gzip", "late"],
)
def test_every_form_is_drawn(data: bytes) -> None:
    assert is_drawing(data[:4096])
    picture = draw(data, "a.svg", 160)
    assert picture.size == (160, 80)
    assert picture.getpixel((20, 40)) == (255, 0, 0)
    assert picture.getpixel((120, 40)) == (255, 255, 255)


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x1f\x8bnothing", b"<html><body/></html>", b"text <b>"])
def test_other_files_are_no_drawings(data: bytes) -> None:
    assert not is_drawing(data)


def test_nothing_outside_is_drawn(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40), "blue").save(tmp_path / "secret.png")
    secret, empty = tmp_path / "secret.png", draw(f"{HEAD}</svg>".encode(), "a.svg", 80).tobytes()
    for link in (
        f'href="{secret}"',
        f'xlink:href="file://{secret}"',
        f'href=" {secret}"',
        'href="secret.png"',
        'href="/dev/zero"',
    ):
        found = draw(f'{HEAD}<image {link} width="40" height="40"/></svg>'.encode(), "a.svg", 80)
        assert found.tobytes() == empty, link
    hidden = f'<!DOCTYPE svg [<!ENTITY s "{secret}">]>{HEAD}<image href="&s;" width="40" height="40"/></svg>'
    assert draw(hidden.encode(), "a.svg", 80).tobytes() == empty


def test_a_drawing_inside_a_drawing_reads_nothing_either(tmp_path: Path) -> None:
    import base64

    Image.new("RGB", (40, 40), "blue").save(tmp_path / "secret.png")
    inner = f'{HEAD}<image href="{tmp_path / "secret.png"}" width="40" height="40"/></svg>'
    link = "data:image/svg+xml;base64," + base64.b64encode(inner.encode()).decode()
    found = draw(f'{HEAD}<image href="{link}" width="80" height="40"/></svg>'.encode(), "a.svg", 80)
    assert (0, 0, 255) not in [colour for _, colour in found.getcolors(80 * 40) or ()]


def test_its_own_parts_and_data_are_drawn() -> None:
    import base64

    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), "lime").save(buffer, "PNG")
    held = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    text = f'{HEAD}<defs><rect id="r" width="40" height="40" fill="red"/></defs><use href="#r"/>'
    text += f'<image href="{held}" x="40" width="40" height="40"/></svg>'
    picture = draw(text.encode(), "a.svg", 80)
    assert picture.getpixel((20, 20)) == (255, 0, 0)
    assert picture.getpixel((60, 20)) == (0, 255, 0)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (HEAD + "<g>" * 30_000 + "</g>" * 30_000 + "</svg>", "damaged drawing|ends the renderer"),
        ("<?xml version='1.0'?><html/>", "begins with <html>"),
        (HEAD, "no element found"),
        (
            '<!DOCTYPE s [<!ENTITY a "aaaaaaaaaa">'
            + "".join(
                f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij", strict=True)
            )
            + f"]>{HEAD}&j;</svg>",
            "amplification",
        ),
    ],
    ids=["deep", "other", "cut", "entities"],
)
def test_what_cannot_be_drawn_is_said_and_the_next_is_drawn(data: str, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        draw(data.encode(), "bad.svg", 80)
    assert draw(RED.encode(), "a.svg", 80)


def test_nested_groups_end_the_worker_and_nothing_else() -> None:
    nested = HEAD + '<g opacity=".9">' * 300 + '<rect width="9" height="9"/>' + "</g>" * 300 + "</svg>"
    with pytest.raises(ImageError, match=r"deep\.svg: a drawing that ends the renderer"):
        draw(nested.encode(), "deep.svg", 80)
    assert draw(RED.encode(), "a.svg", 80)


def test_a_slow_drawing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawings, "DRAWING_SECONDS", 0.5)
    noise = '<feTurbulence numOctaves="100000" baseFrequency="0.01"/>' * 20
    slow = f'{HEAD}<filter id="f" width="900%" height="900%">{noise}</filter><rect filter="url(#f)"/></svg>'
    slow = slow.replace("<rect", '<rect width="80" height="40"')
    started = time.monotonic()
    with pytest.raises(ImageError, match="takes longer than"):
        draw(slow.encode(), "slow.svg", 800)
    assert time.monotonic() - started < 5
    assert draw(RED.encode(), "a.svg", 80)


def test_a_worker_that_was_killed_is_started_again() -> None:
    draw(RED.encode(), "a.svg", 80)
    process = drawings._worker._process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert draw(RED.encode(), "a.svg", 80)


def test_threads_share_the_worker() -> None:
    found: list[Image.Image] = []
    threads = [threading.Thread(target=lambda: found.append(draw(RED.encode(), "a", 80))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({one.tobytes() for one in found}) == 1


def test_a_packed_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawings, "DRAWING_BYTES", 1 << 20)
    bomb = gzip.compress(RED.encode() + b" " * (4 << 20))
    with pytest.raises(ImageError, match="too large a drawing"):
        draw(bomb, "bomb.svgz", 80)


def test_the_worker_imports_nothing_from_where_we_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "struct.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    (tmp_path / "resvg_py.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    drawings._worker.end()
    assert draw(RED.encode(), "a.svg", 80)
    assert not (tmp_path / "ran").exists()
