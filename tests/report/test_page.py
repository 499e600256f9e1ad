"""The report page: parsed, and used in a real browser where there is one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import Browser, find_browser

from accelsim.report.page import to_page
from accelsim.report.result import Result
from accelsim.report.words import scaled

VOID = {"meta", "br", "input", "path", "circle", "link"}


class Reader(HTMLParser):
    """Checks that tags nest, and gathers what a page holds."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.heads: list[str] = []
        self.rows = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in VOID:
            self.stack.append(tag)
        self.ids += [given["id"] or ""] if "id" in given else []
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]
        self.rows += tag == "tr"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del tag
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.stack.pop() == tag


@pytest.fixture(scope="module")
def text(resnet50: Result, tpu_apps: list[Result]) -> str:
    return to_page([resnet50, *tpu_apps[:2]])


def test_is_well_formed_and_needs_nothing_else(text: str) -> None:
    reader = Reader()
    reader.feed(text)
    assert reader.stack == []
    assert len(reader.ids) == len(set(reader.ids))
    assert all(address.startswith(("#", "data:")) for address in reader.addresses)
    targets = [address[1:] for address in reader.addresses if address.startswith("#")]
    assert set(targets) <= set(reader.ids)
    assert "default-src 'none'" in text
    assert not re.search(r"https?://", text)


def test_holds_all_figures(text: str, resnet50: Result) -> None:
    assert f"{resnet50.totals.cycles:,}" in text
    assert ">fc</a></th>" in text
    assert "engine: rows" in text
    assert "level: unified_buffer" in text
    assert "Sources of the energy figures" in text
    assert resnet50.provenance.network.sha256 in text
    assert text.count("<circle") >= 50


def test_the_timeline_has_an_axis_and_says_what_it_adds_up(text: str, resnet50: Result) -> None:
    assert text.count('class="scale"') == 3
    assert f"<span>{scaled(resnet50.totals.seconds, 's')}</span></div>" in text
    assert "laid one after another" in text


def test_names_are_escaped(resnet50: Result) -> None:
    page = to_page([resnet50.model_copy(update={"network": "<script>alert(1)</script>"})])
    assert "<script>alert" not in page


def test_same_results_same_bytes(resnet50: Result, text: str, tpu_apps: list[Result]) -> None:
    assert to_page([resnet50, *tpu_apps[:2]]) == text


# ---- in a browser ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = find_browser()
    if path is None:
        pytest.skip("no Chromium is installed (apt-get install chromium, or set ACCELSIM_BROWSER)")
    opened = Browser(path)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def page(browser: Browser, text: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(text, encoding="utf-8")
    browser.open(file)
    return file


COLUMN = "[...document.querySelectorAll('#r0 table.sortable')[0].tBodies[0].rows].map(r=>r.cells[{}].dataset.v)"
HEAD = "document.querySelectorAll('#r0 table.sortable')[0].tHead.rows[0].cells[{}]"


@pytest.mark.usefixtures("page")
def test_a_click_sorts(browser: Browser) -> None:
    before = browser.run(COLUMN.format(0))
    for expected in ("descending", "ascending"):
        browser.run(HEAD.format(3) + ".firstElementChild.click()")
        assert browser.run(HEAD.format(3) + ".getAttribute('aria-sort')") == expected
        cycles = [int(value) for value in browser.run(COLUMN.format(3))]
        assert cycles == sorted(cycles, reverse=expected == "descending")
    browser.run(HEAD.format(0) + ".firstElementChild.click()")
    assert sorted(browser.run(COLUMN.format(0))) == sorted(before)
    assert browser.run(HEAD.format(3) + ".getAttribute('aria-sort')") == "none"


@pytest.mark.usefixtures("page")
def test_pointing_at_a_disc_tells_its_layer(browser: Browser) -> None:
    browser.run("document.querySelector('#r0 svg').scrollIntoView({block:'center'})")
    box = browser.run(
        "(()=>{for(const c of document.querySelectorAll('#r0 circle')){const b=c.getBoundingClientRect(),"
        "x=b.x+b.width/2,y=b.y+b.height/2;if(document.elementFromPoint(x,y)===c)return [x,y]}})()"
    )
    browser.move_to(*box)
    assert browser.run("document.getElementById('tip').hidden") is False
    assert "of its roof" in browser.run("document.getElementById('tip').textContent")
    assert browser.run("document.querySelectorAll('tr.hit').length") == 1
    browser.move_to(2, 2)
    assert browser.run("document.getElementById('tip').hidden") is True


@pytest.mark.usefixtures("page")
def test_the_keyboard_reaches_a_discs_figures(browser: Browser) -> None:
    browser.run("document.querySelector('#r0 circle').focus()")
    assert browser.run("document.getElementById('tip').hidden") is False
    assert "of its roof" in browser.run("document.getElementById('tip').textContent")
    assert browser.run("document.querySelectorAll('tr.hit').length") == 1
    browser.run("document.activeElement.dispatchEvent(new KeyboardEvent('keydown',{key:'Escape',bubbles:true}))")
    assert browser.run("document.getElementById('tip').hidden") is True


@pytest.mark.usefixtures("page")
def test_a_layer_leads_to_its_stalls_time_and_mapping(browser: Browser) -> None:
    browser.run("document.querySelector('#r0r0 th a').click()")
    assert browser.run("location.hash") == "#r0m0"
    browser.run("new Promise(done=>setTimeout(done,50))")
    assert browser.run("document.getElementById('r0m0').open") is True
    assert "mapping: tile" in browser.run("document.getElementById('r0m0').textContent")
    links = browser.run("[...document.querySelectorAll('#r0m0 a')].map(a=>a.getAttribute('href'))")
    assert links == ["#r0r0", "#r0s0", "#r0t0"]
    name = browser.run("document.querySelector('#r0r0 th').textContent")
    assert name in browser.run("document.getElementById('r0s0').textContent")
    assert name in browser.run("document.getElementById('r0t0').getAttribute('aria-label')")


@pytest.mark.usefixtures("page")
def test_the_rooflines_of_a_page_share_their_axes_and_fill_it(browser: Browser) -> None:
    grid = "[...document.querySelectorAll('#r{} svg path.grid')].map(p=>p.getAttribute('d')).slice(0,6)"
    assert browser.run(grid.format(0)) == browser.run(grid.format(1))
    share = browser.run(
        "document.querySelector('#r0 svg').getBoundingClientRect().width/document.querySelector('#r0').clientWidth"
    )
    assert share > 0.95


def test_fetches_nothing_and_fails_nowhere(browser: Browser, page: Path) -> None:
    assert set(browser.requested) <= {page.as_uri()}
    assert browser.errors == []


@pytest.mark.parametrize("dark", [False, True])
def test_letters_stand_out(browser: Browser, page: Path, dark: bool) -> None:
    browser.open(page, dark)
    for place in ("body", ".cards dt", ".bars em", "caption", "nav a"):
        ink, paper = browser.run(
            f"(e=>{{let p=e,c;while((c=getComputedStyle(p).backgroundColor)==='rgba(0, 0, 0, 0)')p=p.parentElement;"
            f"return [getComputedStyle(e).color,c]}})(document.querySelector('{place}'))"
        )
        assert contrast(ink, paper) >= 4.5, (place, ink, paper)
    assert (luminance(browser.run("getComputedStyle(document.body).backgroundColor")) < 0.2) == dark


def test_nothing_sticks_out(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.run("document.documentElement.scrollWidth<=innerWidth")


def luminance(colour: str) -> float:
    channels = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    """WCAG's ratio; 4.5 is what it asks of text."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)
