# ruff: noqa: F811  # fixtures are imported by name
"""The page where something is not as it should be, or not yet: no token, no server, few or no pictures."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from page_helpers import SHOWN, Browsed, chromium, lay, needs_chromium, serving, visit  # noqa: F401
from PIL import Image

import diptych
from llm_servers import Request
from llm_servers import serving as llm_serving

pytestmark = needs_chromium

Visit = Callable[..., Browsed]
TOKEN = "open-sesame-and-nothing-else"


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is indexed, to be copied."""
    folder = lay(tmp_path_factory.mktemp("indexed") / "album")
    with diptych.open(folder) as collection:
        collection.add()
    return folder


@pytest.fixture
def album(indexed: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(indexed, tmp_path / "album"))


def test_without_a_token_nothing_is_shown_but_where_to_give_it(album: Path, visit: Visit) -> None:
    with serving(album, "--token", TOKEN) as site:
        page = visit()
        address = re.sub("#.*", "", site.url)
        page.page.goto(address)
        field = page.page.get_by_label("Token")
        page.until(field.count, "the field")
        assert "This collection asks for a token" in page.text()
        assert page.violations() == []
        page.shot("token")
        assert not [url for url in page.asked if "thumbnail" in url or "search" in url]
        field.fill("open-barley-please")
        page.page.keyboard.press("Enter")
        page.until(lambda: "That is not the token of this server" in page.text(), "that it is wrong")
        page.shot("token_wrong")
        page.wrong.clear()  # the browser tells of 401
        field.fill(TOKEN)
        page.page.keyboard.press("Enter")
        page.until(lambda: len(page.names()) == SHOWN, "the pictures")
        page.until(
            lambda: page.page.evaluate("[...document.images].filter(one => one.naturalWidth > 0).length") > 3,
            "pictures that are shown, with the cookie",
        )
        assert page.page.evaluate("document.cookie") == ""  # no script can read it
        other = visit().open(f"{address}#token={TOKEN}")
        other.until(lambda: len(other.names()) == SHOWN, "the pictures")
        assert "sesame" not in other.page.url


def test_indexing_is_seen_live_and_what_was_skipped_is_said(visit: Visit, tmp_path: Path) -> None:
    folder = lay(tmp_path / "album")
    with serving(folder, "--write") as site:
        page = visit()
        page.page.goto(site.url)
        page.page.wait_for_selector("input[name=q]")
        page.until(lambda: len(page.names()) == SHOWN, "the pictures, by themselves")
        page.page.goto(site.url + "#/collection")
        page.until(lambda: "Up to date, in" in page.text(), "the end")
        page.until(lambda: "One file was left out" in page.text(), "what was skipped")
        assert "home/broken.jpg" in page.text()
        shutil.copy(folder / "home" / "coins.jpg", folder / "home" / "more_coins.jpg")
        (folder / "home" / "more_coins.jpg").write_bytes((folder / "home" / "coins.jpg").read_bytes() + b"\0")
        page.page.get_by_role("button", name="Bring it up to date").click()
        page.until(lambda: "one new" in page.text(), "what was new")
        page.shot("updated")
        page.page.reload()
        page.until(lambda: "one new" in page.text(), "the outcome of the last update, not of the first")
        page.page.get_by_role("button", name="Look for copies").click()
        page.until(lambda: "2 files of the same content" in page.text(), "the copies")
        page.shot("copies")


def test_a_folder_without_pictures_says_what_to_do(visit: Visit, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with serving(tmp_path / "empty") as site:
        page = visit()
        page.page.goto(site.url)
        page.until(lambda: "No pictures here yet" in page.text(), "what to do")
        told = "run diptych index, or start the server with --update"  # this one only reads
        page.until(lambda: told in page.text(), "how")
        assert page.violations() == []
        page.shot("no_pictures")
        page.wrong.clear()


def test_a_server_that_goes_away_and_comes_back(album: Path, visit: Visit) -> None:
    with serving(album) as site:
        page = visit().open(site.url + "#/?q=a+cat")
        before = page.names()
        port = int(site.url.rstrip("/").rpartition(":")[2])
        site.stop()
        page.page.fill("input[name=q]", "a rocket")
        page.until(lambda: "The server does not answer" in page.text(), "that it is away")
        assert page.text().count("The server does not answer") == 1
        assert page.names() == before  # what was found stays
        assert page.violations() == []
        page.shot("offline")
    with serving(album, port=port):
        page.until(lambda: "The server does not answer" not in page.text(), "that it is back")
        page.until(lambda: page.names()[0] == "space/rocket.jpg", "the answer to what was asked meanwhile")
    page.wrong.clear()  # the browser tells of every request that failed


def test_a_dialogue_asks_back_and_takes_what_is_pointed_at(album: Path, visit: Visit) -> None:
    """With a scripted model: it makes one description of all that was said, and asks."""

    def answer(request: Request) -> None:
        if request.body is None:
            request.json({"data": [{"id": "scripted"}]})
            return
        prompt = str(request.body["messages"])
        night = "at night" in prompt
        request.say(
            "Caption: a rocket at night\nQuestion: Is there fire?"
            if night
            else "Question: When was it taken?"
        )

    with (
        llm_serving(answer) as (address, asked),
        serving(album, "--llm", f"llm:{address}#scripted") as site,
    ):
        page = visit()
        page.page.goto(site.url + "#/chat")
        box = page.page.get_by_label("What you say")
        page.until(box.count, "the box")
        assert "Describe the picture that you look for" in page.text()
        box.fill("a tall thing that stands")
        page.page.keyboard.press("Enter")
        page.until(lambda: len(page.names()) > 3, "what was found")
        asks = page.page.locator(".talk .asks")
        page.until(lambda: asks.count() and "?" in asks.last.inner_text(), "a question")
        box.fill("at night")
        page.page.get_by_role("button", name="Send").click()
        page.until(lambda: page.page.locator(".talk .says").count() == 2, "the second turn")
        assert asked
        assert page.violations() == []
        page.shot("chat")
        page.page.locator(".tile button").nth(1).click()
        page.page.get_by_role("button", name="More like this").click()
        page.until(lambda: "more like 2" in page.page.locator(".talk").inner_text(), "what was liked")
        page.page.get_by_role("button", name="Take back").click()
        page.until(lambda: page.page.locator(".talk .says").count() == 2, "that it was taken back")
    assert "Chat" in page.text()


def test_without_a_language_model_there_is_no_chat(album: Path, visit: Visit) -> None:
    with serving(album) as site:
        page = visit().open(site.url)
        assert not page.page.get_by_role("link", name="Chat").count()


def test_what_is_typed_into_a_dialogue_stays_while_the_page_still_loads(album: Path, visit: Visit) -> None:
    """The page begins a dialogue for a collection; that the collection comes late must not begin it anew."""

    def answer(request: Request) -> None:
        request.json({"data": [{"id": "scripted"}]})

    with llm_serving(answer) as (address, _), serving(album, "--llm", f"llm:{address}#scripted") as site:
        page = visit()
        page.page.add_init_script(
            "const real = fetch; window.fetch = async (url, options) => {"
            "  if (String(url).endsWith('/collections')) await new Promise((done) => setTimeout(done, 1000));"
            "  return real(url, options); };"
        )
        page.page.goto(site.url + "#/chat")
        box = page.page.get_by_label("What you say")
        page.until(box.count, "the box")
        box.fill("a tall thing that stands")
        page.page.wait_for_timeout(2_000)
        assert box.input_value() == "a tall thing that stands"


class Held:
    """A model behind a URL that replies when it is let go, each time anew."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def __call__(self, request: Request) -> None:
        if request.body is None:
            request.json({"data": [{"id": "scripted"}]})
            return
        self.go.wait(150)
        request.say("Description: a rocket at night" if "at night" in str(request.body) else "Is it tall?")


def test_a_slow_language_model_holds_nobody_up_and_is_seen_to_work(album: Path, visit: Visit) -> None:
    model = Held()
    with (
        llm_serving(model) as (address, _),
        serving(album, "--llm", f"llm:{address}#scripted", "--deadline", "150") as site,
    ):
        page = visit()
        page.page.goto(site.url + "#/chat")
        box = page.page.get_by_label("What you say")
        page.until(box.count, "the box")
        box.fill("a rocket")
        page.page.keyboard.press("Enter")
        # What was said stands there at once, what was found before anything is asked back.
        page.until(lambda: "a rocket" in page.page.locator(".talk .says").inner_text(), "what was said")
        page.until(lambda: len(page.names()) > 3, "what was found")
        status = page.page.locator(".talk [role=status]")
        page.until(lambda: status.count() and "Thinking of a question" in status.inner_text(), "a status")
        talk = page.page.locator(".talk")
        page.until(lambda: re.search(r"of a question…\s+\d+ s", talk.inner_text()), "for how long already")
        page.shot("chat_slow")
        assert page.violations() == []
        other = visit().open(site.url + "#/?q=a+cat")
        assert other.names()[0].startswith("garden/cat")
        # What was found is looked at, too, but pointed at only when the turn is over.
        page.page.locator(".tile button").first.click()
        pointing = page.page.get_by_role("button", name=re.compile("(More|Less) like this"))
        page.until(lambda: pointing.count() == 2, "the buttons")
        assert all(one.is_disabled() for one in pointing.all())
        page.page.keyboard.press("Escape")
        # Other pages are looked at meanwhile; what goes on goes on.
        box.fill("it stands")
        page.page.get_by_role("link", name="Search").click()
        page.settled()
        page.page.get_by_role("link", name="Chat").click()
        page.until(lambda: status.count() and "Thinking of a question" in status.inner_text(), "a status")
        assert box.input_value() == "it stands"
        model.go.set()
        page.until(lambda: "Is it tall?" in page.page.locator(".talk").inner_text(), "a question")
        assert not status.count()
        model.go.clear()
        box.fill("yes, at night")
        page.page.keyboard.press("Enter")
        page.until(lambda: status.count() and "Putting together" in status.inner_text(), "a status")
        site.process.kill()  # and with it the turn, but no other
        page.until(lambda: box.input_value() == "yes, at night", "what was said, to be said again")
        assert "Is it tall?" in page.page.locator(".talk").inner_text()
        assert page.page.locator(".talk .says").count() == 1
        assert "The server does not answer" in page.text()
        page.wrong.clear()  # the browser tells of every request that failed


def test_a_turn_ends_at_its_deadline_and_without_its_model(album: Path, visit: Visit) -> None:
    model = Held()
    with llm_serving(model) as (address, _):
        options = ("--llm", f"llm:{address}#scripted", "--deadline", "6")
        with serving(album, *options) as site:
            page = visit().open(site.url + "#/?q=a+rocket")  # its model is loaded then
            page.page.get_by_role("link", name="Chat").click()
            box = page.page.get_by_label("What you say")
            box.fill("a rocket")
            page.page.keyboard.press("Enter")
            talk = page.page.locator(".talk")
            page.until(lambda: "(the model took too long)" in talk.inner_text(), "why it is not the model's")
            assert page.page.locator(".talk .asks").last.inner_text().endswith("?")
            page.shot("chat_late")


def three_wide(folder: Path) -> Path:
    """A collection of three pictures, all three times as wide as high."""
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (300, 100), (90 * number, 0, 90)).save(folder / f"wide{number}.png")
    with diptych.open(folder) as collection:
        collection.add()
    return folder


def test_each_collection_shows_its_own_pictures(album: Path, visit: Visit, tmp_path: Path) -> None:
    other = three_wide(tmp_path / "others")
    with serving(album, str(other)) as site:
        page = visit().open(site.url)
        page.page.locator(".tile button").first.click()
        page.page.get_by_role("button", name="More like this").click()
        page.settled()
        page.page.locator(".brand select").select_option("others")
        page.until(
            lambda: len(page.names()) == 3, "the three, and none that are like one of another collection"
        )
        images = "[...document.querySelectorAll('.tile img')]"
        page.until(lambda: page.page.evaluate(f"{images}.every(one => one.complete)"), "pictures")
        shapes = page.page.evaluate(f"{images}.map(one => one.naturalWidth / one.naturalHeight)")
        assert [round(shape) for shape in shapes] == [3, 3, 3]
        page.page.locator(".tile button").first.click()
        page.until(lambda: "300 × 100" in page.page.locator("dialog").inner_text(), "what is known of it")


def test_the_address_says_which_collection_is_searched(album: Path, visit: Visit, tmp_path: Path) -> None:
    other = three_wide(tmp_path / "others & more")
    with serving(album, str(other)) as site:
        page = visit().open(site.url)
        choice = page.page.locator(".brand select")
        assert choice.input_value() == "album"
        choice.select_option("others & more")
        page.until(lambda: len(page.names()) == 3, "the three")
        page.ask("something red")
        shared = page.page.url
        assert "in=others" in shared
        page.page.get_by_role("link", name="Collection").click()
        page.until(lambda: "others & more" in page.page.locator(".wholepage").inner_text(), "what it holds")
        assert "in=others" in page.page.url
        page.page.get_by_role("link", name="Search").click()
        page.settled()
        assert page.page.input_value("input[name=q]") == "something red"
        # Back to before it was chosen, with what was asked of the other, and forth again.
        choice.select_option("album")
        page.until(lambda: len(page.names()) == SHOWN, "the album")
        page.page.locator(".tile button").first.click()
        page.page.get_by_role("button", name="More like this").click()
        page.settled()
        like = page.names()
        assert page.page.locator(".term img").count() == 1
        choice.select_option("others & more")
        page.until(lambda: len(page.names()) == 3, "the three")
        assert not page.page.locator(".term img").count()  # which is a picture of the other
        page.page.go_back()
        page.until(lambda: page.names() == like, "the album, and what was like its picture")
        assert choice.input_value() == "album"
        assert page.page.locator(".term img").count() == 1
        page.page.go_forward()
        page.until(lambda: len(page.names()) == 3, "the three")
        # Whoever gets the address sees the same.
        guest = visit().open(shared)
        assert len(guest.names()) == 3
        assert guest.page.locator(".brand select").input_value() == "others & more"
        assert guest.page.input_value("input[name=q]") == "something red"
        guest.page.goto(site.url + "#/?in=elsewhere&q=a+cat")
        guest.until(lambda: "There is no collection elsewhere here" in guest.text(), "that it is unknown")
        assert guest.violations() == []
        guest.shot("unknown_collection")
        guest.page.get_by_role("link", name="others & more").click()
        guest.until(lambda: len(guest.names()) == 3, "the three")


def test_with_one_collection_the_address_names_none(album: Path, visit: Visit) -> None:
    with serving(album) as site:
        page = visit().open(site.url)
        page.ask("a cat")
        assert page.page.url.endswith("#/?q=a+cat")
        page.open(site.url + "#/?in=album&q=a+rocket")
        assert page.names()[0] == "space/rocket.jpg"


def test_first_hits_are_looked_at_again_and_what_that_costs_is_told(album: Path, visit: Visit) -> None:
    with serving(album, "--rerank", "builtin") as site:
        page = visit().open(site.url + "#/?q=a+man+with+a+camera")
        before = page.names()
        assert "looked again" not in page.text()
        page.page.get_by_text("How to search").click()
        toggle = page.page.get_by_role("checkbox", name="Look again with builtin")
        assert "better order, but slower" in page.page.locator(".options").inner_text()  # nobody knows yet
        toggle.check()
        page.settled()
        assert re.search(r"builtin looked again at the first \d+, in \d", page.text())
        assert page.names() != before
        assert page.page.url.endswith("&rerank=1")
        page.shot("rerank")
        assert page.violations() == []
        options = page.page.locator(".options")
        page.until(lambda: re.search(r"takes about \d.* longer", options.inner_text()), "the cost")
        page.page.reload()
        page.settled()
        page.page.get_by_text("How to search").click()
        page.until(lambda: re.search(r"takes about \d.* longer", options.inner_text()), "the cost, as before")
        toggle.uncheck()
        page.settled()
        assert page.names() == before
