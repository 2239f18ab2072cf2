"""Tests the page with axe-core against the rules of WCAG 2.2 up to level AA, in light and dark colours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.patience import expect
from tests.ui.visitor import EMPTY, hold, open_kinds, open_tab, set_threshold, upload
from ui.choices import TABS
from ui.links import PHOTOS

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
PANELS = ("Display", "Model")


def faults(page: Page, part: str = "html") -> list[str]:
    """Returns a line for each element in `part` that breaks a rule: the rule, the fault and the element."""
    page.wait_for_function("document.getAnimations().every((one) => one.playState !== 'running')")
    found: list[dict[str, Any]] = (
        Axe().run(page, context=part, options={"runOnly": RULES}).response["violations"]
    )
    return [
        f"{fault['id']}: {node['failureSummary']} {node['html'][:200]}"
        for fault in found
        for node in fault["nodes"]
    ]


@pytest.fixture(params=["light", "dark"])
def open_page(request: pytest.FixtureRequest, open_page: Callable[..., Page]) -> Callable[..., Page]:
    opened = open_page

    def open_page_with_examples(query: str = EMPTY) -> Page:
        page = opened(1300, 900, request.param, query)
        expect(page.locator("#picture .example-list button[aria-label]")).to_have_count(len(PHOTOS))
        return page

    return open_page_with_examples


def test_rules_are_heeded_and_what_breaks_one_is_noticed(open_page: Callable[..., Page]) -> None:
    page = open_page()
    assert faults(page) == []
    # Screen readers read changes of the summary aloud.
    expect(page.locator("#summary [aria-live=polite]")).to_contain_text("Drop a photo")
    page.evaluate("""() => {
        const picture = document.createElement("img");
        picture.src = "favicon.ico";
        document.querySelector("#summary").append(picture);
    }""")
    (fault,) = faults(page)
    assert fault.startswith("image-alt")


def test_a_result_with_all_panels_open_heeds_them(open_page: Callable[..., Page]) -> None:
    page = open_page("?example=scene-1&score_threshold=0.4")
    expect(page.locator("#picture .outlines path").first).to_be_attached()
    for panel in PANELS:
        page.locator(f"button:has-text('{panel}')").first.click()
    open_kinds(page)
    page.get_by_label("More numbers").check()
    page.locator(".objects-details tbody tr").first.click()
    page.locator("#selected summary").click()
    page.locator("#selected [data-action=reshape]").click()
    page.locator("#picture .draft").press("Enter")
    expect(page.locator("#picture .idea [type=submit]")).to_be_visible()
    assert faults(page, "#picture") == []
    page.keyboard.press("Escape")
    page.locator("#selected [data-action=rename]").click()
    expect(page.locator("#picture .idea input")).to_be_visible()
    assert faults(page, "#picture") == []
    page.keyboard.press("Escape")
    assert faults(page) == []
    for tab in TABS[1:]:
        open_tab(page, tab)
        if tab in ("Effects", "Compare"):
            expect(page.locator("#picture .divider")).to_be_visible()
            assert faults(page, "#picture") == []
        assert faults(page, "#tabs") == []


@pytest.mark.parametrize("open_page", ["light"], indirect=True)
def test_filters_that_hide_everything_heed_them(open_page: Callable[..., Page]) -> None:
    page = open_page("?example=scene-1")
    expect(page.locator("#picture .outlines path").first).to_be_attached()
    page.locator(".objects-details tbody tr").first.click()
    page.keyboard.press("Delete")
    expect(page.locator("#picture .hidden-list")).to_be_visible()
    page.locator("#summary .chip").first.click()
    expect(page.locator("#summary .chip[aria-pressed=true]")).to_be_visible()
    assert faults(page) == []
    set_threshold(page, 1)
    expect(page.get_by_role("button", name="Show what was found")).to_be_visible()
    assert faults(page) == []


def test_waiting_heeds_them(open_page: Callable[..., Page], monkeypatch: pytest.MonkeyPatch) -> None:
    page = open_page()
    began, may_go = hold(monkeypatch)
    upload(page)
    assert began.acquire(timeout=20)
    expect(page.locator("#picture .waiting")).to_be_visible()
    # The spinner turns for ever, so there is no end of the animations to wait for.
    page.emulate_media(reduced_motion="reduce")
    assert faults(page, "#picture") == []
    may_go.release()
    expect(page.locator("#picture .waiting")).to_be_hidden()


@pytest.mark.parametrize("open_page", ["light"], indirect=True)
def test_a_refusal_heeds_them(open_page: Callable[..., Page], tmp_path: Path) -> None:
    page = open_page()
    (tmp_path / "text.jpg").write_text("no picture")
    page.set_input_files("#picture input[type=file]", tmp_path / "text.jpg")
    expect(page.locator("#picture .message")).to_contain_text("not a picture that can be read")
    assert faults(page) == []


@pytest.mark.parametrize("open_page", ["light"], indirect=True)
def test_everything_is_reached_by_tab_in_the_order_in_which_it_is_read(
    open_page: Callable[..., Page],
) -> None:
    page = open_page("?example=scene-1")
    expect(page.locator("#picture .outlines path").first).to_be_attached()
    order = page.evaluate("""() => [...document.querySelectorAll("[tabindex]")]
        .filter((element) => element.tabIndex > 0).length""")
    assert order == 0, "a positive tabindex takes an element out of its order"
    open_kinds(page)
    stations = ["#picture", "#summary", "#threshold input", "#tabs [role=tablist]", ".objects-details"]
    page.locator("#title").click()
    passed: list[str] = []
    for _ in range(110):
        page.keyboard.press("Tab")
        at = page.evaluate(
            "(stations) => stations.find((station) => document.activeElement.closest(station))", stations
        )
        if at and at not in passed:
            passed.append(at)
    assert passed == stations
