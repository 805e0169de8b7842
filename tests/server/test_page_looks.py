# ruff: noqa: F811  # fixtures are imported by name
"""Every state of the page, light, dark and at phone width: nothing overflows or is cut, nobody is shut out.

With DIPTYCH_SCREENSHOTS set to a folder, a picture of each is there afterwards, to be looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from page_helpers import Browsed, Site, chromium, lay, needs_chromium, serving, visit  # noqa: F401

import diptych
from llm_servers import Request
from llm_servers import serving as llm_serving

pytestmark = needs_chromium

Visit = Callable[..., Browsed]

LOOKS = {
    "light": ("light", 1280),
    "dark": ("dark", 1280),
    "phone": ("light", 390),
    "phone_dark": ("dark", 390),
}
SEARCHES = {
    "newest": "",
    "words": "?q=a+cat",
    "minus": "?q=a+cup+of+coffee&not=0.5:a+table",
    "mixture": "?q=at+night&and=2:a+rocket&like=1:1:space/moon.jpg",
    "filter": "?q=a+cat&where=width+%3E+10",
    "facet": "?is.folder=%22garden%22",
    "nothing_matches": "?q=a+submarine",
    "nothing_fulfils": "?where=width+%3C+3",
    "wrong_filter": "?where=camra+%3D+3",
    "texts": "?q=a+cat&to=text",
    "rerank": "?q=a+man+with+a+camera&rerank=1",
}
CUT = """() => [...document.querySelectorAll("button, legend, summary, h1, h2, h3, .notice, .state p")]
  .filter(one => one.offsetParent && !one.closest(".unseen, .tile, .strip"))
  .filter(one => one.scrollWidth > one.clientWidth + 1)
  .filter(one => getComputedStyle(one).overflow !== "visible" && getComputedStyle(one).clipPath === "none")
  .map(one => one.outerHTML.slice(0, 160))"""

TOPS = "all => all.map(one => Math.round(one.getBoundingClientRect().top + scrollY))"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server that has everything that the page can show."""

    def answer(request: Request) -> None:
        if request.body is None:
            request.json({"data": [{"id": "scripted"}]})
        else:
            request.say("Is it day or night?")

    folder = lay(tmp_path_factory.mktemp("looks") / "album")
    with diptych.open(folder) as collection:
        collection.add()
    results = Path(__file__).parents[2] / "docs" / "results" / "results.jsonl"
    with llm_serving(answer) as (address, _):
        options = ("--write", "--bench", str(results), "--rerank", "builtin")
        with serving(folder, *options, "--llm", f"llm:{address}#scripted") as found:
            yield found


class Looking:
    """Looks at states of a page, and keeps a picture of each.

    Args:
        page: The page.
        look: One of `LOOKS`.
    """

    def __init__(self, page: Browsed, look: str) -> None:
        self.page, self.look, self.faults = page, look, list[str]()
        self.tops = set[int]()  # where the name of the page stands

    def at(self, state: str) -> None:
        """Note what is wrong with what is shown."""
        self.page.shot(f"{self.look}-{state}")
        found = [*self.page.violations(), *(f"is cut: {one}" for one in self.page.page.evaluate(CUT))]
        wide = self.page.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if wide > 0:
            found.append(f"is {wide} pixels too wide")
        self.tops |= set(self.page.page.locator(".brand").evaluate_all(TOPS))
        if odd := re.search(r".*(undefined|NaN|\[object|\{\w+\}).*", self.page.text()):
            found.append(f"says {odd[0]!r}")
        self.faults += [f"{state}: {one}" for one in found]


@pytest.mark.parametrize("look", LOOKS)
def test_every_state_looks_as_it_should(site: Site, visit: Visit, look: str) -> None:
    scheme, width = LOOKS[look]
    page = visit(width, 844, color_scheme=scheme, locale="de-DE" if look == "phone_dark" else "en-GB")
    looking = Looking(page, look)
    for name, query in SEARCHES.items():
        page.page.goto("about:blank")
        page.open(f"{site.url}#/{query}")
        looking.at(name)
    ground = page.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) > 3 * 128) == (scheme == "light"), ground
    page.wrong.clear()  # a wrong filter is told by the browser, too
    page.page.goto("about:blank")
    page.open(site.url + "#/?q=a+rocket")
    page.page.locator(".tile button").first.click()
    box = page.page.locator("dialog")
    page.until(lambda: box.locator(".fields tr").count() > 1, "its fields")
    looking.at("lightbox")
    box.locator(".acts button").nth(2).click()
    page.until(lambda: box.locator("canvas.map").count(), "the map")
    looking.at("why")
    for name, ready in (("collection", ".figures"), ("bench", ".bench table"), ("chat", ".talk textarea")):
        page.page.goto("about:blank")
        page.page.goto(f"{site.url}#/{name}")
        page.page.wait_for_selector(ready)
        if name == "chat":
            page.page.fill(ready, "a tall thing at night")
            page.page.keyboard.press("Enter")
            page.until(lambda: page.page.locator(".talk .asks").count() == 1 and page.names(), "a question")
        looking.at(name)
    assert not looking.faults, looking.faults
    assert len(looking.tops) == 1, looking.tops


def test_figures_are_sorted_and_chosen_and_say_what_made_them(site: Site, visit: Visit) -> None:
    page = visit()
    page.page.goto(site.url + "#/bench")
    page.page.wait_for_selector(".bench table")

    def column(at: int) -> list[str]:
        cells = page.page.locator(f"tbody tr > :nth-child({at})").all_inner_texts()
        return [text.split(" ")[0] for text in cells]

    def choose(name: str, value: str) -> None:
        page.page.locator(".picks label", has_text=name).locator("select").select_option(value)

    choose("Data set", "rsicd-codes")
    choose("Bits", "64")
    assert set(column(3)) == {"64"}
    choose("Data set", "wikipedia-cnn")  # has vectors alone, and no lengths to choose from
    assert set(column(3)) == {"–"}
    choose("Family", "baselines")
    page.page.get_by_role("button", name="Picture to text").click()
    first = [float(value) for value in column(4)]
    assert len(first) > 3
    assert first in (sorted(first), sorted(first, reverse=True))
    page.page.locator("tbody tr").first.hover()
    page.until(lambda: "diptych bench" in page.page.locator("#provenance").inner_text(), "the command")
    assert page.violations() == []


@pytest.mark.parametrize("look", LOOKS)
def test_states_in_which_something_is_missing_look_as_they_should(
    visit: Visit, tmp_path: Path, look: str
) -> None:
    scheme, width = LOOKS[look]
    how = {"color_scheme": scheme, "locale": "de-DE" if look == "phone_dark" else "en-GB"}
    (tmp_path / "empty").mkdir()
    with serving(tmp_path / "empty", "--token", "open-sesame-and-nothing-else") as empty:
        page = visit(width, 844, **how)
        looking = Looking(page, look)
        page.page.goto(re.sub("#.*", "", empty.url))
        page.page.wait_for_selector("input[name=token]")
        looking.at("sign_in")
        page.page.fill("input[name=token]", "open-barley-and-nothing-else")
        page.page.keyboard.press("Enter")
        page.until(lambda: page.page.locator("#sign-error").inner_text(), "that it is wrong")
        looking.at("sign_in_wrong")
        said, button = (page.page.locator(one).bounding_box() for one in ("#sign-error", "button.main"))
        assert said is not None
        assert button is not None
        assert said["y"] + said["height"] <= button["y"]
        page.page.fill("input[name=token]", "open-sesame-and-nothing-else")
        page.page.keyboard.press("Enter")
        page.page.wait_for_selector(".found .state h2")
        looking.at("empty")
        page.page.route("**/api/v1/search", lambda route: None)  # never answered
        page.page.fill("input[name=q]", "a cat")
        page.page.wait_for_selector(".waiting")
        looking.at("loading")
        page.page.unroute("**/api/v1/search")
        page.page.route(
            "**/api/v1/search",
            lambda route: route.fulfill(
                status=500,
                json={"error": {"kind": "Internal", "message": "something went wrong", "argument": ""}},
            ),
        )
        page.page.fill("input[name=q]", "a dog")
        page.page.wait_for_selector(".found .state[role=alert]")
        looking.at("error")
    page.page.unroute("**/api/v1/search")
    page.page.fill("input[name=q]", "a bird")
    page.page.wait_for_selector(".offline")
    looking.at("offline")
    page.wrong.clear()  # the browser tells of each request that was refused, or not answered
    assert not looking.faults, looking.faults
