"""The page as a visitor uses it, in headless Chromium."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

import result
from inference import SegmentationModel
from page import download
from tests.truth import SCENE, share_found
from tools.screenshot import CHROMIUM_FLAGS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECONDS = 1000.0
"""Playwright counts milliseconds."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail("Chromium is not installed, and REQUIRE_BROWSER asks for it")
        pytest.skip("Chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, server: str) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(20 * SECONDS)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(server)
    expect(page.locator("#photo input[type=file]")).to_be_attached(timeout=20 * SECONDS)
    yield page
    page.close()
    assert faults == [], "errors of the page's own scripts"


def upload(page: Page, file: Path = SCENE) -> None:
    page.set_input_files("#photo input[type=file]", file)


def segmented(page: Page, file: Path = SCENE) -> Page:
    upload(page, file)
    expect(page.locator("#summary")).to_contain_text("Model scenes", timeout=20 * SECONDS)
    expect(masks(page).first).to_be_attached()
    expect(page.locator("#table .virtual-row").first).to_be_attached()
    return page


def masks(page: Page) -> Any:
    return page.locator("#picture img.mask")


def rows(page: Page) -> list[list[str]]:
    """The cells of the rows in sight; Gradio draws no others."""
    lines = page.locator("#table .virtual-row").all()
    return [[cell.inner_text().strip() for cell in line.locator("[role=gridcell]").all()] for line in lines]


def set_threshold(page: Page, value: float) -> None:
    number = page.locator("#threshold input[type=number]")
    number.fill(str(value))
    number.press("Enter")


def instances(server: str, **arguments: Any) -> list[dict[str, Any]]:
    client = Client(server, verbose=False)
    found: list[dict[str, Any]] = client.predict(image=handle_file(SCENE), api_name="/segment", **arguments)[
        "instances"
    ]
    return found


def test_an_uploaded_photo_is_segmented_at_once_and_agrees_with_the_api(page: Page, server: str) -> None:
    segmented(page)
    expected = instances(server)
    assert share_found(SCENE, expected) >= 0.7
    expect(masks(page)).to_have_count(len(expected))
    expect(page.locator("#summary")).to_contain_text(f"{len(expected)} objects")
    expect(page.locator("#summary")).to_contain_text("s on CPU")
    legend = page.locator("#picture .legend-item").all_inner_texts()
    assert [text.strip() for text in legend] == [f"{i['category_name']} {i['id']}" for i in expected]
    table = rows(page)
    assert len(table) >= min(len(expected), 6)
    expected = expected[: len(table)]
    assert [(int(row[0]), row[1]) for row in table] == [(i["id"], i["category_name"]) for i in expected]
    assert [float(row[2]) for row in table] == [round(i["score"], 3) for i in expected]
    assert [int(row[3]) for row in table] == [i["area"] for i in expected]


def test_the_threshold_filters_without_running_the_model_again(
    page: Page, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = [instance["score"] for instance in instances(server, score_threshold=0.05)]
    segmented(page)
    runs: list[object] = []
    monkeypatch.setattr(result, "segment", lambda *args: runs.append(args))
    for threshold in (0.05, 0.95, 0.5):
        set_threshold(page, threshold)
        expect(masks(page)).to_have_count(sum(score >= threshold for score in scores))
    assert len({sum(score >= threshold for score in scores) for threshold in (0.05, 0.95)}) == 2
    assert runs == []


def test_the_threshold_moves_by_keyboard(page: Page) -> None:
    segmented(page)
    slider = page.locator("#threshold input[type=range]")
    slider.focus()
    slider.press("End")
    expect(page.locator("#summary")).to_contain_text("Nothing above 1.00; the strongest is")
    expect(masks(page)).to_have_count(0)
    slider.press("Home")
    expect(masks(page)).not_to_have_count(0)


def test_an_unticked_kind_disappears_and_stays_away(page: Page, server: str) -> None:
    kinds = [instance["category_name"] for instance in instances(server)]
    everything = [instance["category_name"] for instance in instances(server, score_threshold=0.05)]
    kind = kinds[0]
    of_kind = page.locator("#classes label", has_text=f"{kind} (").locator("input")
    in_table = page.locator("#table [role=gridcell]").get_by_text(kind, exact=True)
    segmented(page)
    expect(page.locator("#classes label", has_text=f"{kind} ({kinds.count(kind)})")).to_be_visible()
    expect(in_table).not_to_have_count(0)
    of_kind.uncheck()
    expect(masks(page)).to_have_count(len(kinds) - kinds.count(kind))
    expect(in_table).to_have_count(0)
    set_threshold(page, 0.05)
    expect(masks(page)).to_have_count(len(everything) - everything.count(kind))
    expect(in_table).to_have_count(0)
    expect(of_kind).not_to_be_checked()
    of_kind.check()
    expect(masks(page)).to_have_count(len(everything))


def test_select_all_hides_and_shows_every_kind(page: Page, server: str) -> None:
    count = len(instances(server))
    segmented(page)
    everything = page.locator("#classes input[type=checkbox]").first
    everything.uncheck()
    expect(page.locator("#summary")).to_contain_text(f"All {count} objects above 0.50 are of kinds")
    everything.check()
    expect(masks(page)).to_have_count(count)


def test_display_settings_change_the_picture_and_not_the_numbers(page: Page) -> None:
    segmented(page)
    before, numbers = masks(page).first.get_attribute("src"), rows(page)
    page.get_by_text("Display", exact=True).click()
    page.get_by_label("each kind").check()
    expect(masks(page).first).not_to_have_attribute("src", before or "")
    assert rows(page) == numbers
    base = page.locator("#picture img:not(.mask)").first
    labelled = base.get_attribute("src")
    page.get_by_label("Labels").uncheck()
    expect(base).not_to_have_attribute("src", labelled or "")
    assert rows(page) == numbers != []


def test_the_annotated_picture_downloads_in_its_own_size(page: Page, tmp_path: Path) -> None:
    segmented(page)
    with page.expect_download() as download:
        page.locator("#save").click()
    assert download.value.suggested_filename == f"{SCENE.stem}-segmented.png"
    download.value.save_as(tmp_path / "annotated.png")
    with Image.open(tmp_path / "annotated.png") as annotated, Image.open(SCENE) as original:
        assert annotated.size == original.size
        assert np.any(np.asarray(annotated) != np.asarray(original))


def test_what_is_no_picture_is_said_and_the_next_photo_works(page: Page, tmp_path: Path) -> None:
    document = tmp_path / "document.jpg"
    document.write_bytes(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n")
    upload(page, document)
    expect(page.locator("#summary")).to_contain_text("This file is not a picture that can be read here")
    expect(masks(page)).to_have_count(0)
    page.locator("#photo button[aria-label='Remove Image']").click()
    expect(page.locator("#summary")).to_contain_text("Drop a photo")
    segmented(page)


def test_a_model_that_cannot_be_had_is_said_and_the_result_stays(page: Page, server: str) -> None:
    segmented(page)
    page.get_by_text("Model", exact=True).first.click()
    page.get_by_label("Mask R-CNN v2").check()
    expect(page.locator("#summary")).to_contain_text(
        "maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth could not be"
    )
    expect(masks(page)).to_have_count(len(instances(server)))
    page.get_by_label("Drawn scenes").check()
    expect(page.locator("#summary")).to_contain_text("Model scenes")


def test_the_banner_says_which_model_stands_in_and_what_to_do(page: Page) -> None:
    banner = page.locator("#banner")
    expect(banner).to_contain_text("The COCO weights could not be loaded")
    expect(banner).to_contain_text("no connection), so a small built-in model answers")
    expect(banner).to_contain_text("SEGMENTATION_WEIGHTS=file")
    page.locator("#again").click()
    expect(banner).to_contain_text("The COCO weights could not be loaded")


def test_a_click_on_an_example_segments_it(page: Page) -> None:
    page.get_by_text("Drawn scenes (the small").scroll_into_view_if_needed()
    page.locator(".gallery-item, .gallery button").last.click()
    expect(page.locator("#summary")).to_contain_text("Model scenes")
    expect(masks(page)).not_to_have_count(0)


def test_the_button_runs_the_model_again(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    segmented(page)
    ran, segment = threading.Event(), result.segment

    def watched(*args: Any) -> Any:
        ran.set()
        return segment(*args)

    monkeypatch.setattr(result, "segment", watched)
    page.locator("#run").click()
    assert ran.wait(20)


def test_a_photo_that_is_no_longer_kept_is_said_when_it_is_downloaded(
    scenes_model: SegmentationModel, tmp_path: Path
) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(SCENE.read_bytes())
    found = result.segment_file(photo, scenes_model)
    look = (0.5, frozenset(), 0.5, ["masks"], 0.5, "instance")
    photo.unlink()
    with pytest.raises(gr.Error, match="could not be opened"):
        download(found, *look)
    with pytest.raises(gr.Error, match="no result to look at"):
        download(None, *look)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_window_shows_everything_without_scrolling_sideways(
    scheme: Any, browser: Browser, server: str
) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page.goto(server)
    expect(page.locator("#photo input[type=file]")).to_be_attached(timeout=20 * SECONDS)
    segmented(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for part in ("#photo", "#run", "#threshold", "#classes", "#picture", "#summary", "#table", "#save"):
        box = page.locator(part).bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 390, part
    page.close()


def test_no_other_host_is_asked_for_anything(browser: Browser, server: str) -> None:
    page = browser.new_page()
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(request.url.split("/")[2].split(":")[0]))
    page.goto(server)
    segmented(page)
    page.close()
    assert hosts - {"", "127.0.0.1"} == set()
