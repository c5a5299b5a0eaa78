"""The page of a report in a browser: Chromium, where it is installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from tests.helpers.command_line import Vidcolor
from tests.helpers.review_films import (
    SHOT,
    pixels,
    recolored,
    true_frames,
    write_original,
    write_result,
)
from tests.helpers.shot_folders import gray_of, paint, write_folder
from tests.review.test_check import jump
from vidcolor.review import album
from vidcolor.run.references.shot_list import Shot
from vidcolor.run.settings import Settings

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
browser_only = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


@dataclass
class Opened:
    """A page in a browser, what its console said, and what it asked for."""

    page: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Any) -> Iterator[Any]:
    contexts = []

    def go(path: Path, **options: Any) -> Opened:
        context = chromium.new_context(**options)
        contexts.append(context)
        found = Opened(context.new_page())
        found.page.on("console", lambda message: found.said.append(message.text))
        found.page.on("pageerror", lambda error: found.said.append(str(error)))
        found.page.on("request", lambda request: found.asked.append(request.url))
        found.page.goto(path.as_uri())
        return found

    yield go
    for each in contexts:
        each.close()


def assert_accessible(page: Any) -> None:
    """axe-core finds no violation; it is added to the page by the browser's own tools, as the page
    itself lets no other script in."""
    from axe_playwright_python.sync_playwright import Axe

    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    assert len(results.response["passes"]) > 15


@pytest.fixture(scope="module")
def frames() -> list[Tensor]:
    return true_frames()


@pytest.fixture(scope="module")
def report(frames: list[Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a film with a jump in its first shot, and with a folder of shots."""
    from vidcolor.review.report import write_report

    folder = tmp_path_factory.mktemp("report")
    source = write_original(folder, frames)
    result = write_result(folder, recolored(frames, jump), "<i>color.mkv")
    shots = [Shot(1, 0, SHOT - 1), Shot(2, SHOT, 2 * SHOT - 1)]
    stills = write_folder(folder / "shots", frames, shots, stills=(4, 40))
    paint(stills, 40, frames[40])
    page = folder / "report.html"
    (review,) = write_report(str(source), result, page, Settings(), stills)
    assert [each.kind for each in review.findings] == ["jump"]
    return page


def test_the_page_is_whole_in_itself(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    assert "http:" not in text and "https:" not in text and "<i>" not in text
    assert text.count('type="range"') == 2 and text.count("<svg") == 2
    assert 'href="#shot-0">00:00:01.200</a>' in text and "shot_0001_000040.png" in text
    assert len(text) < 1_000_000


@browser_only
@pytest.mark.parametrize(
    "look",
    [{"color_scheme": "light"}, {"color_scheme": "dark"}, {**PHONE, "color_scheme": "dark"}],
    ids=["light", "dark", "phone"],
)
def test_the_page_in_a_browser(report: Path, opened: Any, look: dict[str, Any]) -> None:
    found = opened(report, **look)
    page = found.page
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.viewport_size["width"]  # nothing sticks out
    assert_accessible(page)
    assert found.said == []
    assert [url for url in found.asked if not url.startswith(("file:", "data:"))] == []
    dark = "rgb(21, 24, 27)"
    color = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (color == dark) == (look["color_scheme"] == "dark")


@browser_only
def test_sliders_move(report: Path, opened: Any) -> None:
    """By keys, by the mouse and on the picture; what is shown moves with them."""
    found = opened(report)
    page = found.page
    frames, slider = page.locator(".frames").first, page.locator("input[type=range]").first

    def shown() -> str:
        return str(page.locator(".before").first.evaluate("e => getComputedStyle(e).clipPath"))

    middle = shown()
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert slider.input_value() == "51" and shown() != middle
    page.keyboard.press("Home")
    assert slider.input_value() == "0" and "100%" in shown()
    page.keyboard.press("End")
    assert slider.get_attribute("aria-valuetext") == "100 percent original"
    frames.scroll_into_view_if_needed()
    box = frames.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 20)
    page.mouse.down()
    assert 23 <= int(slider.input_value()) <= 27
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 20)
    page.mouse.up()
    assert 73 <= int(slider.input_value()) <= 77
    page.mouse.move(box["x"] + 5, box["y"] + 20)
    assert 73 <= int(slider.input_value()) <= 77  # let go
    assert found.said == []


@browser_only
def test_what_the_slider_shows(
    report: Path, opened: Any, frames: list[Tensor], tmp_path: Path
) -> None:
    """All of the original on the one end, all of the result on the other."""
    page = opened(report).page
    picture, slider = page.locator(".frames").nth(1), page.locator("input[type=range]").nth(1)
    picture.scroll_into_view_if_needed()
    page.wait_for_function("[...document.images].slice(-3).every(i => i.complete)")
    spread = {}
    for key in ("Home", "End"):
        slider.focus()
        page.keyboard.press(key)
        picture.screenshot(path=str(tmp_path / "shown.png"))
        rgb = np.asarray(Image.open(tmp_path / "shown.png").convert("RGB"), np.float32)
        inner = rgb[:, 8:-8]
        spread[key] = float((inner.max(axis=2) - inner.min(axis=2)).mean())
    assert spread["End"] < 1 < 15 < spread["Home"]


@browser_only
def test_a_finding_leads_to_its_shot(report: Path, opened: Any) -> None:
    found = opened(report, viewport={"width": 900, "height": 500})
    page = found.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the findings"
    link = page.locator(".findings a")
    link.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "shot-0"
    assert page.evaluate(
        "(e => e.getBoundingClientRect().top >= 0 && e.getBoundingClientRect().top < 500)"
        "(document.getElementById('shot-0'))"
    )
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.type") == "range"
    page.locator(".sheet a").nth(1).click()
    assert page.evaluate("document.activeElement.id") == "shot-1"
    assert found.said == []


@pytest.fixture
def folders(tmp_path: Path, frames: list[Tensor]) -> tuple[Path, Path]:
    """Nine pictures and their results in folders that mirror each other; the third is gray."""
    for number in range(9):
        rgb = frames[number * 6]
        one, two = (tmp_path / name / "in" / f"p{number}.png" for name in ("gray", "color"))
        for path in (one, two):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(gray_of(rgb)).save(one)
        color = pixels(recolored([rgb])[0])
        Image.fromarray(gray_of(rgb) if number == 3 else color).save(two)
    return tmp_path / "gray", tmp_path / "color"


def test_folders_of_pictures(
    folders: tuple[Path, Path], command: Vidcolor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, result = folders
    answer = command("check", source, result)
    lines = [line for line in answer.out.splitlines() if "nearly gray" in line]
    assert answer.code == 1 and len(lines) == 1 and "p3.png" in lines[0]
    (result / "in" / "p5.png").unlink()
    answer = command("check", source, result, "--json")
    assert answer.code == 1 and len(answer.out.splitlines()) == 9
    assert "there is no" in answer.out
    monkeypatch.setattr(album, "MOST", 3)
    page = tmp_path / "report.html"
    assert command("report", source, result, "-o", page).code == 0
    text = page.read_text(encoding="utf-8")
    # every third, which the one with the finding is too
    assert text.count('type="range"') == 3 and "3 of 9 pictures are shown" in text
    assert text.count("nearly gray") == 2  # in the list, and with its picture
    only = command("check", source / "in" / "p1.png", result / "in" / "p1.png")
    assert only.code == 0 and "picture, L* differs by" in only.out


@browser_only
def test_a_page_of_pictures_in_a_browser(
    folders: tuple[Path, Path], command: Vidcolor, tmp_path: Path, opened: Any
) -> None:
    page = tmp_path / "report.html"
    assert command("report", *folders, "-o", page).code == 0
    found = opened(page, **PHONE)
    assert_accessible(found.page)
    assert found.page.locator("input[type=range]").count() == 9
    assert found.page.locator("img[loading=lazy]").count() == 27
    assert found.said == []


def test_files_that_are_no_report_stay(report: Path, command: Vidcolor, tmp_path: Path) -> None:
    note = tmp_path / "note.html"
    note.write_text("mine")
    source, result = report.parent / "original.mkv", report.parent / "<i>color.mkv"
    answer = command("report", source, result, "-o", note)
    assert answer.code == 2 and note.read_text() == "mine" and "is no report" in answer.err
    for path in (source, result):  # also with leave to replace files
        before = path.read_bytes()
        assert command("report", source, result, "-o", path, "-y").code != 0
        assert path.read_bytes() == before


def test_a_page_though_the_first_result_cannot_be_read(
    folders: tuple[Path, Path], command: Vidcolor, tmp_path: Path
) -> None:
    source, result = folders
    (result / "in" / "p0.png").write_bytes(b"nothing")
    page = tmp_path / "report.html"
    assert command("report", source, result, "-o", page).code == 0
    text = page.read_text(encoding="utf-8")
    assert "p0.png" in text and text.count('type="range"') == 8


def test_large_pictures_are_compared(command: Vidcolor, tmp_path: Path) -> None:
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    for path in (one, two):
        Image.new("1", (20_000, 10_000), 1).save(path)
    small = command("check", one, two)
    assert small.code == 1 and "bomb" in small.err
    large = command("check", one, two, "--large-pictures")
    assert large.code == 0 and "bomb" not in large.err


def test_a_film_of_many_shots() -> None:
    """A page has pairs of every second, fourth ... shot, and of those with findings."""
    found, shown = album.FilmAlbum(), album.Picture("", "", "", 1, 1)
    found.flag(7)
    for shot in range(1000):
        if shot == 901:
            found.flag(shot)
        found.keep(shot, shown)
    assert {7, 901} <= set(found.pictures)
    rest = sorted(set(found.pictures) - {7, 901})
    assert album.MOST // 2 <= len(rest) <= album.MOST
    assert rest == list(range(0, 1000, rest[1]))
