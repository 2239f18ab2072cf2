"""Tests of the tab "Inside", in Chromium and without it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from inference import SegmentationModel
from inside.look import STEPS
from serving import photos
from tests.server import running
from ui.choices import TABS
from ui.inside import NO_RESULT
from ui.links import SETTINGS, read_query

LINK = "?example=scene-1&model=scenes&tab=inside"


def test_a_link_names_the_tab_and_the_step() -> None:
    values, faults = read_query("tab=inside&step=3&example=dogs")
    assert (values["tab"], values["step"], faults) == ("Inside", 3, [])
    assert read_query("tab=how it works")[0]["tab"] == "How it works"
    assert read_query("step=7")[1] == read_query("step=x")[1] == ["step"]
    assert (
        SETTINGS["step"].default == 1 and TABS[TABS.index("Compare") : TABS.index("Download")][1] == "Inside"
    )


@pytest.fixture(scope="module")
def runs() -> list[object]:
    """The runs of the network that keep every step, while `url` is there."""
    return []


@pytest.fixture(scope="module")
def url(scenes_model: SegmentationModel, runs: list[object]) -> Iterator[str]:
    real = photos.look_inside

    def counted(*arguments: object) -> object:
        runs.append(arguments)
        return real(*arguments)  # type: ignore[arg-type]

    photos.look_inside = counted  # type: ignore[assignment]
    with running(scenes_model, None) as address:
        yield address
    photos.look_inside = real


def opened(open_page: Callable[..., Page], url: str, query: str, width: int = 1200) -> Page:
    page = open_page(width, 900, query=query, at=url)
    page.locator("#inside-picture img").wait_for()
    return page


@pytest.fixture
def page(open_page: Callable[..., Page], url: str) -> Page:
    return opened(open_page, url, LINK)


def choose(page: Page, step: int) -> None:
    """Chooses a step, and waits for its picture."""
    before = page.locator("#inside-picture img").get_attribute("src") or ""
    page.locator("#inside-step label").nth(step - 1).click()
    expect(page.locator("#inside-picture img")).not_to_have_attribute("src", before)


def told(page: Page, words: str) -> None:
    expect(page.locator("#inside-sentence")).to_contain_text(re.compile(words))


def test_every_step_has_a_picture_and_a_sentence_after_one_run(page: Page, runs: list[object]) -> None:
    count = len(runs)
    sources = {page.locator("#inside-picture img").get_attribute("src")}
    told(page, r"The network sees this photo at 512 x 384 pixels\.")
    for step in range(2, len(STEPS) + 1):
        choose(page, step)
        sources.add(page.locator("#inside-picture img").get_attribute("src"))
    assert len(sources) == len(STEPS)
    told(page, "has 28 x 28 probabilities")
    expect(page).to_have_url(re.compile(r"tab=Inside&step=6"))
    assert len(runs) == count, "only the run before"


def test_a_link_opens_a_step(open_page: Callable[..., Page], url: str) -> None:
    told(opened(open_page, url, LINK + "&step=5"), "removed .* of the same kind")


def test_a_click_chooses_a_place(page: Page) -> None:
    choose(page, 4)
    told(page, "Proposal .*: stop sign 0.99")
    page.locator("#inside-picture img").click(position={"x": 20, "y": 20})
    told(page, "Proposal .*background 0\\.|There is no proposal at this place")


def test_a_place_can_be_chosen_with_the_keyboard(page: Page) -> None:
    expect(page.locator("#inside-across")).to_be_hidden()
    choose(page, 4)
    told(page, "Proposal .*: stop sign 0.99")
    for id in ("across", "down"):
        slider = page.locator(f"#inside-{id} input[type=range]")
        slider.focus()
        slider.press("Home")
    told(page, "Proposal .*background 0\\.|There is no proposal at this place")
    expect(page.locator("#inside-across input[type=number]")).to_have_value("0")


def test_a_slider_shows_what_another_threshold_would_change(page: Page) -> None:
    choose(page, 5)
    number = page.locator("#inside-iou input[type=number]")
    number.fill("0.8")
    number.press("Enter")
    told(page, r"At 0\.8 there would be \d+ objects instead of 39: \d+ new")


def test_another_object_can_be_chosen(page: Page) -> None:
    told(page, "The stop sign has")
    page.locator("#inside-object input").click()
    page.locator("#inside-object input").press("ArrowDown")
    page.locator("#inside-object input").press("Enter")
    told(page, "The (?!stop sign)[a-z ]+ has")


def test_the_tab_opens_with_the_object_that_is_selected_on_the_stage(page: Page) -> None:
    page.get_by_role("tab", name="Objects").click()
    spot = page.locator("#picture [role=option]", has_text="").nth(2)
    id, name = spot.get_attribute("data-id"), spot.get_attribute("aria-label")
    spot.focus()
    spot.press("Enter")
    page.get_by_role("tab", name="Inside").click()
    told(page, f"The {str(name).partition(',')[0]} has")
    expect(page.locator("#inside-object input")).to_have_value(re.compile(f"^{id}: "))


def test_a_new_photo_is_looked_at_while_the_tab_is_open(page: Page, runs: list[object]) -> None:
    count = len(runs)
    page.locator("#picture button", has=page.locator("img")).nth(3).click()
    told(page, r"at (?!512 x 384)\d+ x \d+ pixels")
    assert len(runs) == count + 1


def test_without_a_result_the_tab_says_what_to_do(open_page: Callable[..., Page], url: str) -> None:
    page = open_page(query="?example=none&tab=inside", at=url)
    expect(page.locator("#inside-sentence")).to_have_text(NO_RESULT)


def test_nothing_sticks_out_on_a_narrow_screen(open_page: Callable[..., Page], url: str) -> None:
    width = 390
    page = opened(open_page, url, LINK, width)
    for step in range(2, len(STEPS) + 1):
        choose(page, step)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        box = page.locator("#inside-picture img").bounding_box()
        assert box is not None and np.isclose(box["width"] / box["height"], 512 / 384, atol=0.1)
