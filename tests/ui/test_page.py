"""Tests the page as a visitor uses it, in headless Chromium.

The file is long because all tests share one window, which is slow to open.
"""

from __future__ import annotations

import csv
import functools
import json
import queue
import re
import shutil
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import gradio as gr
import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Error, Locator, Page

from answer import coco, result
from answer.files import EXPORTS
from answer.settings import Filters
from detections import Detections
from inference import SegmentationModel
from marks import shown_score
from photo.images import read_image
from serving import photos
from serving.disk import Reservation
from serving.estimates import effect_bytes, export_bytes
from serving.models import Models
from serving.service import Service
from tests.loops import in_a_loop
from tests.patience import SECONDS, expect
from tests.samples import CAR, DOG, PERSON, fake_model, make_detections
from tests.truth import SCENE, SCENES, share_found
from ui.page import save_cut_out, save_effect, save_format, show


@pytest.fixture(scope="module")
def window(browser: Browser) -> Iterator[Page]:
    """One window for all tests, so Chromium fetches and compiles the page's files only once."""
    page = browser.new_page()
    page.set_default_timeout(20 * SECONDS)
    yield page
    page.close()


@pytest.fixture
def open_page(window: Page, server: str) -> Iterator[Callable[..., Page]]:
    """Opens the page as in a new browser, but faster. Fails if a script of the page raises an error."""
    faults: list[str] = []

    def note_error(error: Error) -> None:
        faults.append(str(error))

    def note_line(line: ConsoleMessage) -> None:
        """Notes errors in the scripts of components, which Gradio catches and logs to the console."""
        if "Error" in line.text:
            faults.append(line.text)

    def open_page(width: int = 1400, height: int = 1000, scheme: Any = "light", query: str = "") -> Page:
        window.set_viewport_size({"width": width, "height": height})
        window.emulate_media(color_scheme=scheme)
        window.goto(f"{server}{query}")
        expect(window.locator("#picture input[type=file]")).to_be_attached()
        return window

    window.on("pageerror", note_error)
    window.on("console", note_line)
    yield open_page
    window.remove_listener("pageerror", note_error)
    window.remove_listener("console", note_line)
    window.evaluate("localStorage.clear(); sessionStorage.clear()")
    window.context.clear_cookies()
    window.goto("about:blank")
    window.mouse.move(0, 0)
    assert faults == [], "errors of the page's own scripts"


@pytest.fixture
def page(open_page: Callable[[], Page]) -> Page:
    return open_page()


def upload(page: Page, file: Path = SCENE) -> None:
    page.set_input_files("#picture input[type=file]", file)


def segmented(page: Page, file: Path = SCENE) -> Page:
    upload(page, file)
    expect(page.locator("#summary")).to_contain_text("Model scenes")
    expect(masks(page).first).to_be_attached()
    return page


def masks(page: Page) -> Locator:
    """Returns the outlines of the instances in view."""
    return page.locator("#picture .outlines path:not([hidden])")


def rows(page: Page) -> list[list[str]]:
    lines = page.locator(".objects-details tbody tr:not([hidden])").all()
    return [[cell.strip() for cell in line.locator("td").all_inner_texts()] for line in lines]


def kind(page: Page, name: str) -> Locator:
    """Returns the checkbox of a kind or of a group of kinds."""
    return page.locator(f"#kinds input[data-key='{name}']")


def part(page: Page, name: str, id: int) -> Locator:
    """Returns the element of an instance in ".outlines", ".spots", ".labels" or "tbody"."""
    home = ".objects-details" if name == "tbody" else "#picture"
    return page.locator(f"{home} {name} [data-id='{id}']")


def spot_on(page: Page, id: int) -> tuple[float, float]:
    """Returns a point on the screen (x, y) where the pointer meets instance `id` and no other instance."""
    found: list[float] | None = page.evaluate(
        """(id) => {
            const box = document.querySelector(`#picture .spots [data-id="${id}"]`).getBoundingClientRect();
            for (let y = box.top + 1; y < box.bottom; y += 2)
                for (let x = box.left + 1; x < box.right; x += 2)
                    if (document.elementFromPoint(x, y)?.dataset.id === String(id)) return [x, y];
            return null;
        }""",
        id,
    )
    assert found is not None, f"the pointer meets instance {id} nowhere"
    return found[0], found[1]


def set_threshold(page: Page, value: float) -> None:
    number = page.locator("#threshold input[type=number]")
    number.fill(str(value))
    number.press("Enter")


@functools.cache
def instances(server: str, scene: Path = SCENE, **arguments: float) -> list[dict[str, Any]]:
    """Returns the instances that the API finds. Asks only once for the same arguments."""
    client = Client(server, verbose=False)
    answer = client.predict(image=handle_file(scene), api_name="/segment", **arguments)
    found: list[dict[str, Any]] = answer["instances"]
    return found


def test_an_uploaded_photo_is_segmented_at_once_and_agrees_with_the_api(page: Page, server: str) -> None:
    segmented(page)
    expected = instances(server)
    assert share_found(SCENE, expected) >= 0.7
    expect(masks(page)).to_have_count(len(expected))
    expect(page.locator("#summary")).to_contain_text(f"{len(expected)} objects")
    expect(page.locator("#summary")).to_contain_text("s on CPU")
    labels = page.locator("#picture .spots li:not([hidden])").evaluate_all(
        "spots => spots.map((spot) => spot.getAttribute('aria-label'))"
    )
    assert labels == [
        f"{instance['category_name']}, {shown_score(instance['score'])}, {i} of {len(expected)}"
        for i, instance in enumerate(expected, 1)
    ]
    table = rows(page)
    assert [(int(row[0]), row[1]) for row in table] == [(i["id"], i["category_name"]) for i in expected]
    assert [row[2] for row in table] == [shown_score(i["score"], 3) for i in expected]
    assert [int(row[3].replace(",", "")) for row in table] == [i["area"] for i in expected]


def test_before_a_photo_the_page_says_what_to_do(page: Page) -> None:
    page.get_by_role("tab", name="Effects").click()
    page.get_by_role("tab", name="Objects").click()
    expect(page.locator("#summary")).to_contain_text("Drop a photo, take one")
    expect(page.locator("#picture .drop")).to_contain_text("Drop a photo here")
    for button in ("#save", "#save-effect"):
        expect(page.locator(button)).to_be_disabled()
    set_threshold(page, 0.7)
    expect(page.locator("#summary")).to_contain_text("There is no result to look at")


def test_a_photo_that_is_taken_away_takes_everything_with_it(page: Page) -> None:
    segmented(page)
    page.locator(".objects-details tbody tr").first.click()
    page.get_by_role("button", name="Remove this photo").click()
    expect(page.locator("#summary")).to_contain_text("Drop a photo")
    expect(page.locator("#picture .drop")).to_be_visible()
    for gone in ("#kinds", "#histogram", ".objects-details .card", "#picture .canvas", "#picture .tools"):
        expect(page.locator(gone)).to_be_hidden()
    expect(page.locator("#save")).to_be_disabled()


def test_a_dragged_slider_ends_with_the_picture_of_where_it_was_let_go(page: Page, server: str) -> None:
    scores = [instance["score"] for instance in instances(server, score_threshold=0.05)]
    segmented(page)
    page.locator("#threshold input[type=range]").evaluate(
        """async (slider) => {
            for (const value of [...Array(60).keys(), 35]) {
                slider.value = 0.05 + value / 100;
                slider.dispatchEvent(new Event("input", { bubbles: true }));
                await new Promise((resolve) => setTimeout(resolve, 4));
            }
        }"""
    )
    expect(page.locator("#histogram")).to_contain_text("and 0.40")
    expect(masks(page)).to_have_count(sum(score >= 0.4 for score in scores))


def test_the_threshold_filters_without_running_the_model_again(
    page: Page, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = [instance["score"] for instance in instances(server, score_threshold=0.05)]
    segmented(page)
    runs: list[object] = []
    monkeypatch.setattr(photos, "segment_or_fall_back", lambda *args: runs.append(args))
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


def test_an_emptied_number_field_is_the_lowest_threshold_and_no_error(page: Page, server: str) -> None:
    lowest = len(instances(server, score_threshold=0.05))
    segmented(page)
    page.locator("#threshold input[type=number]").fill("")
    expect(masks(page)).to_have_count(lowest)
    expect(page.locator(".toast-body.error")).to_have_count(0)
    set_threshold(page, 0.5)
    expect(masks(page)).to_have_count(len(instances(server)))


def test_an_unticked_kind_disappears_and_stays_away(page: Page, server: str) -> None:
    kinds = [instance["category_name"] for instance in instances(server)]
    everything = [instance["category_name"] for instance in instances(server, score_threshold=0.05)]
    name = kinds[0]
    segmented(page)
    expect(page.locator("#kinds label", has_text=f"{name} ({kinds.count(name)})")).to_be_visible()
    assert name in [row[1] for row in rows(page)]
    kind(page, name).uncheck()
    expect(masks(page)).to_have_count(len(kinds) - kinds.count(name))
    assert name not in [row[1] for row in rows(page)]
    set_threshold(page, 0.05)
    expect(masks(page)).to_have_count(len(everything) - everything.count(name))
    expect(kind(page, name)).not_to_be_checked()
    kind(page, name).check()
    expect(masks(page)).to_have_count(len(everything))


def test_an_unticked_kind_stays_away_in_the_next_photo_too(page: Page, server: str) -> None:
    first = {instance["category_name"] for instance in instances(server)}
    other, name = next(
        (scene, shared[0])
        for scene in SCENES[1:]
        if (shared := sorted(first & {i["category_name"] for i in instances(server, scene)}))
    )
    segmented(page)
    kind(page, name).uncheck()
    expect(page.locator(".objects-details tbody tr:not([hidden])", has_text=name)).to_have_count(0)
    kinds = [instance["category_name"] for instance in instances(server, other)]
    segmented(page, other)
    expect(masks(page)).to_have_count(len(kinds) - kinds.count(name))
    expect(kind(page, name)).not_to_be_checked()


def test_all_and_none_tick_every_kind(page: Page, server: str) -> None:
    count = len(instances(server))
    segmented(page)
    page.locator("#kinds [data-action=none]").click()
    expect(page.locator("#summary")).to_contain_text(f"All {count} objects above 0.50 are of kinds")
    expect(masks(page)).to_have_count(0)
    page.locator("#kinds [data-action=all]").click()
    expect(masks(page)).to_have_count(count)


def test_a_group_of_kinds_is_ticked_at_once_and_one_of_them_alone(page: Page, server: str) -> None:
    scene, group, members = next(
        (scene, group, members)
        for scene in SCENES
        for group, members in by_group(instances(server, scene)).items()
        if len(set(members)) > 1
    )
    count = len(instances(server, scene))
    segmented(page, scene)
    box = kind(page, f"group {group}")
    box.uncheck()
    expect(masks(page)).to_have_count(count - len(members))
    kind(page, members[0]).check()
    expect(masks(page)).to_have_count(count - len(members) + members.count(members[0]))
    assert box.evaluate("box => box.indeterminate") is True
    page.locator(f"#kinds button[data-key='only {members[0]}']").click()
    expect(masks(page)).to_have_count(members.count(members[0]))
    page.locator(f"#kinds button[data-key='only group {group}']").click()
    expect(masks(page)).to_have_count(len(members))
    expect(box).to_be_checked()


def by_group(found: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Returns the names of the instances by supercategory."""
    groups: dict[str, list[str]] = {}
    for instance in found:
        name = instance["category_name"]
        groups.setdefault(coco.BY_NAME[name].supercategory, []).append(name)
    return groups


def test_the_histogram_says_what_the_threshold_hides(page: Page, server: str) -> None:
    scores = [instance["score"] for instance in instances(server, score_threshold=0.05)]
    segmented(page)
    set_threshold(page, 0.9)
    shown, more = sum(s >= 0.9 for s in scores), sum(0.7 <= s < 0.9 for s in scores)
    expect(page.locator("#histogram")).to_contain_text(f"{shown} shown, {more or 'no'} more between 0.70 and")


def test_the_pointer_highlights_the_smallest_object_under_it(page: Page) -> None:
    segmented(page)
    for id in [int(row[0]) for row in rows(page)[:4]]:
        page.mouse.move(*spot_on(page, id))
        for name in (".outlines", ".spots", ".labels", "tbody"):
            expect(part(page, name, id)).to_have_class(re.compile("active"))
        expect(page.locator("#picture .outlines path.active")).to_have_count(1)
        expect(page.locator("#picture .tip")).to_contain_text(f" {id}, score ")
    ids, areas = zip(*[(int(row[0]), int(row[3].replace(",", ""))) for row in rows(page)], strict=True)
    order = page.locator("#picture .outlines path").evaluate_all("all => all.map((one) => +one.dataset.id)")
    drawn = [areas[ids.index(id)] for id in order if id in ids]
    assert drawn == sorted(drawn, reverse=True)  # the last one drawn lies on top
    page.mouse.move(5, 5)
    expect(page.locator("#picture .active")).to_have_count(0)
    expect(page.locator("#picture .tip")).to_be_hidden()


def test_a_click_selects_the_object_its_row_and_its_numbers(page: Page) -> None:
    segmented(page)
    row = rows(page)[-1]
    id = int(row[0])
    page.mouse.click(*spot_on(page, id))
    expect(part(page, "tbody", id)).to_have_class(re.compile("selected"))
    expect(part(page, ".spots", id)).to_have_attribute("aria-selected", "true")
    frame, line = (
        page.locator(name).bounding_box() for name in (".objects-details .frame", "tbody tr.selected")
    )
    assert frame is not None and line is not None
    assert frame["y"] <= line["y"] and line["y"] + line["height"] <= frame["y"] + frame["height"] + 1
    card = page.locator(".objects-details .card")
    expect(card).to_contain_text(f"{row[1]} {id}")
    for text in row[2:5]:
        expect(card).to_contain_text(text)
    path = part(page, ".outlines", id).get_attribute("d")
    expect(card.locator("clipPath path")).to_have_attribute("d", path or "")
    photo = page.locator("#picture .photo").bounding_box()
    assert photo is not None
    empty = page.evaluate(
        """({x, y, width, height}) => {
            for (let dy = 2; dy < height; dy += 5) for (let dx = 2; dx < width; dx += 5)
                if (document.elementFromPoint(x + dx, y + dy)?.classList.contains("outlines"))
                    return [x + dx, y + dy];
        }""",
        photo,
    )
    page.mouse.click(*empty)
    expect(page.locator("#picture .selected")).to_have_count(0)
    expect(card).to_be_hidden()


def test_a_click_on_a_row_selects_the_object_and_escape_lets_it_go(page: Page) -> None:
    segmented(page)
    id = int(rows(page)[1][0])
    part(page, "tbody", id).click()
    expect(part(page, ".outlines", id)).to_have_class(re.compile("selected"))
    page.keyboard.press("Escape")
    expect(page.locator("#picture .selected")).to_have_count(0)


def test_tab_and_the_arrow_keys_go_from_object_to_object(page: Page) -> None:
    segmented(page)
    ids = [int(row[0]) for row in rows(page)]
    page.locator("#picture .spots li").first.focus()
    for key, at in [
        ("ArrowDown", 1),
        ("Tab", 2),
        ("ArrowLeft", 1),
        ("End", -1),
        ("ArrowRight", -1),
        ("Home", 0),
    ]:
        page.keyboard.press(key)
        expect(part(page, ".spots", ids[at])).to_be_focused()
        expect(part(page, "tbody", ids[at])).to_have_class(re.compile("selected"))
        expect(page.locator(".objects-details tr.selected")).to_have_count(1)
    page.keyboard.press("Shift+Tab")
    expect(page.locator("#picture .spots li:focus")).to_have_count(0)


def test_a_wrong_object_is_hidden_by_the_delete_key_and_brought_back(page: Page, tmp_path: Path) -> None:
    segmented(page)
    before = rows(page)
    id, name = int(before[1][0]), before[1][1]
    part(page, "tbody", id).click()
    page.keyboard.press("Delete")
    expect(masks(page)).to_have_count(len(before) - 1)
    expect(page.locator("#summary")).to_contain_text(f"{len(before) - 1} objects")
    expect(page.locator("#summary")).to_contain_text("1 more hidden by you")
    assert rows(page) == before[:1] + before[2:]
    expect(part(page, ".spots", int(before[2][0]))).to_be_focused()
    page.locator("#format input").click()
    page.get_by_role("option", name="Table (CSV)").click()
    with page.expect_download() as download:
        page.locator("#save").click()
    download.value.save_as(tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == [row[0] for row in before if int(row[0]) != id]
    page.locator("#picture").get_by_role("button", name=f"Bring back {name} {id}").click()
    expect(masks(page)).to_have_count(len(before))
    part(page, "tbody", id).click()
    page.get_by_role("button", name="Hide this object").click()
    expect(masks(page)).to_have_count(len(before) - 1)
    part(page, "tbody", int(before[0][0])).click()
    page.keyboard.press("Control+z")
    expect(masks(page)).to_have_count(len(before))


def test_what_was_hidden_by_hand_is_shown_in_the_next_photo(page: Page, server: str) -> None:
    segmented(page)
    page.locator(".objects-details tbody tr").first.click()
    page.keyboard.press("Delete")
    expect(page.locator("#summary")).to_contain_text("1 more hidden by you")
    segmented(page, SCENES[1])
    expect(masks(page)).to_have_count(len(instances(server, SCENES[1])))
    expect(page.locator("#picture .hidden-list")).to_be_hidden()


def test_touch_selects_an_object(browser: Browser, server: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    page.goto(server)
    segmented(page)
    page.locator("#picture .stage").scroll_into_view_if_needed()
    id = int(rows(page)[0][0])
    page.touchscreen.tap(*spot_on(page, id))
    expect(page.locator(".objects-details .card")).to_contain_text(f" {id}")
    context.close()


def test_a_click_on_a_column_sorts_the_table_and_another_turns_it(page: Page) -> None:
    segmented(page)
    areas = [int(row[3].replace(",", "")) for row in rows(page)]
    header = page.locator(".objects-details th button", has_text="area (px)")
    header.click()
    assert [int(row[3].replace(",", "")) for row in rows(page)] == sorted(areas)
    header.click()
    assert [int(row[3].replace(",", "")) for row in rows(page)] == sorted(areas, reverse=True)
    expect(page.locator(".objects-details th[aria-sort=descending]")).to_have_text("area (px)")


def test_no_label_is_without_a_place_in_the_picture(page: Page) -> None:
    segmented(page)
    set_threshold(page, 0.05)
    expect(page.locator("#histogram")).to_contain_text("shown")
    stage = page.locator("#picture .stage").bounding_box()
    assert stage is not None
    for label in page.locator("#picture .labels span:not([hidden]):not(.without-place)").all():
        box = label.bounding_box()
        assert box is not None
        assert stage["x"] - 1 <= box["x"] and box["x"] + box["width"] <= stage["x"] + stage["width"] + 1
        assert stage["y"] - 1 <= box["y"] and box["y"] + box["height"] <= stage["y"] + stage["height"] + 1


def test_display_settings_change_the_picture_and_not_the_numbers(page: Page) -> None:
    page.get_by_text("Display", exact=True).click()  # long before it is used: Gradio builds it only now
    segmented(page)
    first, numbers = masks(page).first, rows(page)
    look = "path => { const s = getComputedStyle(path); return [s.fill, s.fillOpacity]; }"
    fill, opacity = first.evaluate(look)
    page.get_by_label("each kind").check()
    expect(first).not_to_have_css("fill", fill)
    page.locator("#opacity input[type=number]").fill("0.8")
    page.locator("#opacity input[type=number]").press("Enter")
    expect(first).to_have_css("fill-opacity", "0.8")
    assert opacity == "0.5"
    for part_name, seen in (("Labels", ".labels span"), ("Masks", None), ("Boxes", None)):
        page.get_by_label(part_name, exact=True).uncheck()
        if seen:
            expect(page.locator(f"#picture {seen}").first).not_to_be_visible()
    expect(first).to_have_css("fill-opacity", "0")
    expect(page.locator("#picture .spots li").first).to_have_css("border-top-color", "rgba(0, 0, 0, 0)")
    assert rows(page) == numbers != []


def test_the_mask_threshold_draws_new_outlines(page: Page, server: str) -> None:
    page.get_by_text("Display", exact=True).click()  # long before it is used: Gradio builds it only now
    segmented(page)
    before = part(page, ".outlines", 1).get_attribute("d")
    number = page.locator("#mask-threshold input[type=number]")
    number.fill("0.8")
    number.press("Enter")
    expect(part(page, ".outlines", 1)).not_to_have_attribute("d", before or "")
    expected = instances(server, mask_threshold=0.8)
    assert [int(row[3].replace(",", "")) for row in rows(page)] == [i["area"] for i in expected]


def downloaded(page: Page, button: Locator, path: Path) -> str:
    """Clicks the button and saves the download at `path`. Returns the name that the app suggests for it."""
    with page.expect_download() as download:
        button.click()
    download.value.save_as(path)
    return download.value.suggested_filename


def test_the_annotated_picture_downloads_in_its_own_size(page: Page, tmp_path: Path) -> None:
    segmented(page)
    name = downloaded(page, page.locator("#save"), tmp_path / "annotated.png")
    assert name == f"{SCENE.stem}-segmented.png"
    with Image.open(tmp_path / "annotated.png") as annotated, Image.open(SCENE) as original:
        assert annotated.size == original.size
        assert np.any(np.asarray(annotated) != np.asarray(original))


def test_everything_downloads_as_one_zip(page: Page, tmp_path: Path, server: str) -> None:
    segmented(page)
    page.locator("#format input").click()
    page.get_by_role("option", name="Everything (ZIP)").click()
    page.get_by_label("Soft edges").check()
    assert downloaded(page, page.locator("#save"), tmp_path / "all.zip") == f"{SCENE.stem}.zip"
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        manifest = json.loads(archive.read("manifest.json"))
    assert manifest["settings"]["edges"] == "soft"
    assert sum(manifest["counts"].values()) == len(instances(server))


def test_the_selected_object_downloads_as_a_cut_out(page: Page, tmp_path: Path) -> None:
    segmented(page)
    id, name = rows(page)[0][:2]
    part(page, "tbody", int(id)).click()
    suggested = downloaded(
        page, page.get_by_role("button", name="Download cut-out"), tmp_path / "cut-out.png"
    )
    assert suggested == f"{SCENE.stem}-{int(id):03d}-{name.replace(' ', '-')}.png"
    with Image.open(tmp_path / "cut-out.png") as picture:
        assert picture.mode == "RGBA" and 0 < picture.width < Image.open(SCENE).width


def test_an_effect_is_shown_beside_the_photo_follows_the_filters_and_downloads(
    page: Page, tmp_path: Path
) -> None:
    segmented(page)
    page.get_by_role("tab", name="Effects").click()
    after = page.locator("#before-after img").last
    expect(after).to_be_visible()
    source = after.get_attribute("src") or ""
    page.get_by_label("Blur the objects").check()
    expect(after).not_to_have_attribute("src", source)
    source = after.get_attribute("src") or ""
    set_threshold(page, 1.0)
    expect(after).not_to_have_attribute("src", source)
    page.get_by_label("Cut out").check()
    name = downloaded(page, page.locator("#save-effect"), tmp_path / "cut-out.png")
    assert name == f"{SCENE.stem}-cut-out.png"
    with Image.open(tmp_path / "cut-out.png") as picture:
        assert picture.mode == "RGBA" and picture.getchannel("A").getextrema() == (0, 0)  # nothing is in view


def test_two_thresholds_and_two_models_are_compared_side_by_side(page: Page, server: str) -> None:
    scores = [instance["score"] for instance in instances(server, score_threshold=0.05)]
    segmented(page)
    page.get_by_role("tab", name="Compare").click()
    words = page.locator("#comparison")
    expect(words).to_contain_text(
        f"Left: {sum(s >= 0.5 for s in scores)} objects, model scenes, threshold 0.50"
    )
    expect(words).to_contain_text(
        f"Right: {sum(s >= 0.3 for s in scores)} objects, model scenes, threshold 0.30"
    )
    expect(page.locator("#left-right img")).to_have_count(2)
    number = page.locator("#other-threshold input[type=number]")
    number.fill("0.9")
    number.press("Enter")
    expect(words).to_contain_text(f"Right: {sum(s >= 0.9 for s in scores)} objects")
    page.locator("#other-model input").click()
    page.get_by_role("option", name="v2").click()
    expect(page.get_by_text("could not be fetched from download.pytorch.org").first).to_be_visible()


def test_a_new_photo_is_compared_with_itself(page: Page, server: str) -> None:
    segmented(page)
    page.get_by_role("tab", name="Compare").click()
    page.locator("#other-model input").click()
    page.get_by_role("option", name="Drawn scenes").click()
    words = page.locator("#comparison")
    expect(words).to_contain_text("Right: ")
    segmented(page, SCENES[1])
    count = len(instances(server, SCENES[1], score_threshold=0.3))
    expect(words).to_contain_text(f"Right: {count} object")
    expect(page.locator("#other-model input")).to_have_value("the same model")
    left, right = page.locator("#left-right img").evaluate_all(
        "images => images.map((image) => image.naturalWidth / image.naturalHeight)"
    )
    assert left == right
    page.get_by_role("tab", name="Objects").click()
    expect(masks(page)).to_have_count(len(instances(server, SCENES[1])))


def test_the_call_that_is_shown_gives_what_is_on_the_screen(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    segmented(page)
    part(page, "tbody", int(rows(page)[0][0])).click()
    page.keyboard.press("Delete")
    expect(page.locator("#summary")).to_contain_text("1 more hidden by you")
    set_threshold(page, 0.7)
    expect(page.locator("#histogram")).to_contain_text("and 0.70")
    page.get_by_text("Use it from a program").click()
    lines = page.locator("#python .cm-line")
    expect(lines.first).to_be_visible()
    code = "\n".join(lines.all_inner_texts())
    page.get_by_role("tab", name="curl").click()
    commands = "\n".join(page.locator("#curl .cm-line").all_inner_texts())
    shown = rows(page)
    shutil.copy(SCENE, tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    assert [str(instance["id"]) for instance in names["answer"]["instances"]] == [row[0] for row in shown]
    assert Path(names["picture"]).name == f"{SCENE.stem}-segmented.png"
    answer = subprocess.run(["bash", "-c", commands], capture_output=True, text=True, check=True).stdout
    data = json.loads(answer.partition("event: complete\ndata: ")[2].partition("\n")[0])
    assert data[0]["instances"] == names["answer"]["instances"]


def test_a_link_opens_an_example_as_it_was_looked_at(open_page: Callable[..., Page], server: str) -> None:
    query = "?__theme=light&example=scene-1&score_threshold=0.3&without=umbrella,clock&color_by=category"
    page = open_page(query=query)
    expect(masks(page).first).to_be_attached()
    expect(page.locator("#threshold input[type=number]")).to_have_value("0.3")
    shown = {row[1] for row in rows(page)}
    assert shown and not shown & {"umbrella", "clock"}
    expect(kind(page, "umbrella")).not_to_be_checked()
    expect(page.locator("#link textarea")).to_have_value(f"{server}{query.replace('__theme=light&', '')}")
    assert parse_qs(urlsplit(page.url).query) == parse_qs(query[1:])


def test_the_address_follows_what_is_set_and_leads_back_to_it(page: Page, server: str) -> None:
    example(page, -1)
    expect(masks(page).first).to_be_attached()
    page.locator("#threshold input[type=number]").fill("0.8")
    page.locator("#threshold input[type=number]").press("Enter")
    page.get_by_role("tab", name="Effects").click()
    expect(page.locator("#link textarea")).to_have_value(re.compile("score_threshold=0.8&tab=Effects"))
    counted = page.locator("#summary").inner_text().partition(".")[0]
    address = page.url
    assert address.startswith(f"{server}?example=scene-6&score_threshold=0.8")
    page.goto("about:blank")
    page.goto(address)
    expect(page.locator("#summary")).to_contain_text(counted)
    expect(page.locator("#before-after img").first).to_be_visible()


def test_a_link_that_cannot_be_read_is_said_and_the_rest_of_it_holds(open_page: Callable[..., Page]) -> None:
    page = open_page(query="?score_threshold=lots&opacity=0.25")
    expect(page.get_by_text("The link's score_threshold cannot be read")).to_be_visible()
    expect(page.locator("#threshold input[type=number]")).to_have_value("0.5")


def test_what_is_no_picture_is_said_and_the_next_photo_works(page: Page, tmp_path: Path) -> None:
    document = tmp_path / "document.jpg"
    document.write_bytes(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n")
    upload(page, document)
    expect(page.locator("#picture .message")).to_contain_text(
        "This file is not a picture that can be read here"
    )
    expect(masks(page)).to_have_count(0)
    expect(page.locator("#picture .drop")).to_be_visible()
    segmented(page)
    expect(page.locator("#picture .message")).to_be_hidden()
    shown = masks(page).count()
    upload(page, document)  # what was there stays
    expect(page.locator("#picture .message")).to_contain_text(
        "This file is not a picture that can be read here"
    )
    expect(masks(page)).to_have_count(shown)


def test_a_model_that_cannot_be_had_is_said_and_the_result_stays(page: Page, server: str) -> None:
    segmented(page)
    page.get_by_text("Model", exact=True).first.click()
    page.get_by_label("Mask R-CNN v2").check()
    expect(page.locator("#picture .message")).to_contain_text(
        "maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth could not be"
    )
    expect(masks(page)).to_have_count(len(instances(server)))
    page.get_by_label("Drawn scenes").check()
    expect(page.locator("#summary")).to_contain_text("Model scenes")


def test_the_banner_says_which_model_stands_in_and_what_to_do(page: Page) -> None:
    banner = page.locator("#banner")
    expect(banner).to_contain_text("The COCO weights could not be loaded")
    expect(banner).to_contain_text("no connection), so the small built-in model answers")
    expect(banner).to_contain_text("less accurate")
    expect(banner).to_contain_text("SEGMENTATION_WEIGHTS=file")
    page.locator("#again").click()
    expect(banner).to_contain_text("The COCO weights could not be loaded")


def test_a_click_on_an_example_segments_it(page: Page) -> None:
    example(page, -1)
    expect(page.locator("#summary")).to_contain_text("Model scenes")
    expect(masks(page)).not_to_have_count(0)


def drop(page: Page, file: Path) -> None:
    """Drops a file onto the photo on the page."""
    page.locator("#picture .stage").evaluate(
        """(element, [bytes, name]) => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
            element.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer }));
        }""",
        [list(file.read_bytes()), file.name],
    )


def example(page: Page, index: int) -> None:
    page.locator("#picture .example-list button").nth(index).click()


def test_each_photo_is_looked_at_once_however_it_comes(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: queue.Queue[str] = queue.Queue()

    def counted(path: str, *rest: Any) -> result.Result:
        runs.put(Path(path).name)
        return photos.segment_file(path, *rest)

    monkeypatch.setattr("serving.service.segment_file", counted)
    last, first = SCENES[-1], SCENES[0]
    page.get_by_text("Model", exact=True).first.click()  # where the button is
    ways: list[tuple[Callable[[], None], list[str]]] = [
        (lambda: upload(page, SCENES[1]), [SCENES[1].name]),
        (lambda: upload(page, SCENES[2]), [SCENES[2].name]),
        (lambda: drop(page, SCENES[3]), [SCENES[3].name]),
        (lambda: drop(page, SCENES[3]), [SCENES[3].name]),  # a photo may be sent again
        (lambda: example(page, -1), [last.name]),
        (page.locator("#run").click, [last.name]),
        (lambda: upload(page, first), [first.name]),
    ]
    for send, expected in ways:
        send()
        for name in expected:
            assert runs.get(timeout=20) == name
        page.wait_for_timeout(0.5 * SECONDS)  # enough time for a second run, which must not come
        expect(page.locator("#stop")).to_be_hidden()
        assert runs.empty()


def test_a_photo_that_comes_while_another_is_looked_at_is_the_last(
    page: Page, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = len(instances(server, SCENES[0]))
    began, may_go = hold(monkeypatch)
    upload(page, SCENES[1])
    assert began.acquire(timeout=20)
    for scene in (SCENES[2], SCENES[0]):
        with page.expect_response(lambda response: "/upload" in response.url):
            upload(page, scene)
    page.wait_for_timeout(0.5 * SECONDS)  # until the uploads have reached the server
    may_go.release()
    assert began.acquire(timeout=20)
    page.wait_for_timeout(0.5 * SECONDS)  # until the page knows that the first run has ended
    expect(page.locator("#stop")).to_be_visible()
    may_go.release()
    expect(masks(page)).to_have_count(count)
    expect(page.locator("#stop")).to_be_hidden()
    assert not began.acquire(timeout=0.5)


def test_what_is_opened_or_moved_while_the_model_runs_is_heeded(
    page: Page, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = [instance["score"] for instance in instances(server, score_threshold=0.05)]
    began, may_go = hold(monkeypatch)
    upload(page)
    assert began.acquire(timeout=20)
    page.get_by_role("tab", name="Effects").click()
    set_threshold(page, 0.95)
    expect(page.locator("#summary")).to_contain_text("There is no result to look at")
    may_go.release()
    expect(page.locator("#before-after img").first).to_be_visible()
    page.get_by_role("tab", name="Objects").click()
    expect(masks(page)).to_have_count(sum(score >= 0.95 for score in scores))


def test_the_same_photo_may_be_sent_again_after_a_failure(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("serving.service.segment_file", fail)
        upload(page)
        expect(page.locator(".toast-body.error")).to_contain_text("ran out of memory")
        expect(page.locator("#stop")).to_be_hidden()
    segmented(page)


def hold(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Semaphore, threading.Semaphore]:
    """Makes the model wait before each run.

    Returns two semaphores. Each run releases the first one when it begins. To let a run go on, release the
    second.
    """
    began, may_go = threading.Semaphore(0), threading.Semaphore(0)
    segment = photos.segment_or_fall_back

    def held(*args: Any) -> Any:
        began.release()
        may_go.acquire(timeout=20)
        return segment(*args)

    monkeypatch.setattr(photos, "segment_or_fall_back", held)
    return began, may_go


def test_the_button_runs_the_model_again(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    segmented(page)
    ran, segment = threading.Event(), photos.segment_or_fall_back

    def watched(*args: Any) -> Any:
        ran.set()
        return segment(*args)

    monkeypatch.setattr(photos, "segment_or_fall_back", watched)
    page.get_by_text("Model", exact=True).first.click()
    page.locator("#run").click()
    assert ran.wait(20)


def test_stop_brings_back_the_photo_and_the_objects_from_before(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmented(page, SCENES[0])
    before, count = page.locator("#picture .photo").get_attribute("src"), masks(page).count()
    began, may_go = hold(monkeypatch)
    stop = page.locator("#stop")
    upload(page, SCENES[1])
    expect(page.locator("#picture .waiting")).to_be_visible()
    expect(masks(page).first).not_to_be_visible()  # no photo stands beside another photo's objects
    assert began.acquire(timeout=20)
    stop.click()
    expect(page.locator("#picture .waiting")).to_be_hidden()
    expect(page.locator("#picture .photo")).to_have_attribute("src", before or "")
    expect(masks(page)).to_have_count(count)
    expect(masks(page).first).to_be_visible()
    expect(stop).to_be_hidden()
    may_go.release(2)
    upload(page, SCENES[1])
    expect(page.locator("#picture .photo")).not_to_have_attribute("src", before or "")
    expect(page.locator("#picture .waiting")).to_be_hidden()
    expect(masks(page)).not_to_have_count(0)
    expect(stop).to_be_hidden()


def test_a_photo_that_is_no_longer_kept_is_said_when_it_is_downloaded(
    scenes_model: SegmentationModel, tmp_path: Path
) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(SCENE.read_bytes())
    found = photos.segment_file(photo, scenes_model)
    look = (0.5, {"unticked": []}, 0.5, ["masks"], 0.5, "instance", {"hidden": []})
    photo.unlink()
    service = Service(Models(lambda: (scenes_model, None)))
    with pytest.raises(gr.Error, match="could not be opened"):
        in_a_loop(save_format(service, "annotated", found, False, *look))
    with pytest.raises(gr.Error, match="could not be opened"):
        in_a_loop(save_effect(service, "blur", "#ffffff", found, False, *look))
    with pytest.raises(gr.Error, match="no result to look at"):
        in_a_loop(save_format(service, "annotated", None, False, *look))


def test_every_file_that_the_page_saves_reserves_the_room_that_it_may_need(
    scenes_model: SegmentationModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = photos.segment_file(SCENE, scenes_model)
    look = (0.5, {"unticked": []}, 0.5, ["masks"], 0.5, "instance", {"hidden": []})
    shown = result.view(found.detections, Filters(0.5))
    service, reserved = Service(Models(lambda: (scenes_model, None))), []
    reserve = service.disk.reserve

    def note(size: int, folder: Path | None = None) -> Reservation:
        reserved.append(size)
        return reserve(size, folder)

    monkeypatch.setattr(service.disk, "reserve", note)
    paths = [in_a_loop(save_format(service, format, found, True, *look)) for format in EXPORTS]
    assert reserved == [export_bytes(shown, format) for format in EXPORTS]
    paths.append(in_a_loop(save_effect(service, "blur", "#ffffff", found, True, *look)))
    assert reserved[-1] == effect_bytes(shown)
    for id in shown.ids.tolist():
        paths.append(in_a_loop(save_cut_out(service, id, found, True, *look)))
        assert reserved[-1] <= export_bytes(shown, "cutouts")
    assert all(Path(path).stat().st_size <= size for path, size in zip(paths, reserved, strict=True))
    for id in (None, -1, [shown.ids.tolist()[0]]):
        with pytest.raises(gr.Error, match="expected that of an object in view"):
            in_a_loop(save_cut_out(service, id, found, True, *look))
    with pytest.raises(gr.Error, match="format: expected one of"):
        in_a_loop(save_format(service, "exe", found, True, *look))


def test_a_comparison_hides_by_hand_on_both_sides_and_knows_the_other_models_kinds() -> None:
    found = make_result(make_detections([[0, 0, 9, 9]] * 3, class_ids=[PERSON, DOG, DOG]), "left")
    other = make_result(make_detections([[0, 0, 9, 9]] * 2, class_ids=[PERSON, CAR]), "right")
    look = (0.5, {"unticked": ["person"]}, 0.5, ["masks"], 0.5, "instance", {"hidden": [2]})
    where = ("Compare", "", "auto", "blur", "#ffffff")
    same = show(found, None, 0.3, *where, *look)[-2]
    assert "**Left:** 1 object, model left" in same and "**Right:** 1 object, model left" in same
    different = show(found, other, 0.3, *where, *look)[-2]
    assert "**Left:** 1 object, model left" in different and "**Right:** 1 object, model right" in different


def make_result(detections: Detections, model: str) -> result.Result:
    picture = np.zeros((60, 80, 3), np.uint8)
    return result.Result(
        Path("photo.png"), picture, detections, replace(fake_model(), name=model), {"read": 1, "model": 1}
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_window_shows_everything_without_scrolling_sideways(
    scheme: str, open_page: Callable[..., Page]
) -> None:
    page = segmented(open_page(390, 844, scheme))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for name in (
        "#threshold",
        "#kinds",
        "#picture .stage",
        "#summary",
        ".objects-details .frame",
        "#save",
    ):
        box = page.locator(name).bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 390, name


def test_no_other_host_is_asked_for_anything(browser: Browser, server: str) -> None:
    page = browser.new_page()
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(request.url.split("/")[2].split(":")[0]))
    page.goto(server)
    segmented(page)
    page.close()
    assert hosts - {"", "127.0.0.1"} == set()


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_photo_that_browsers_cannot_show_is_shown_as_we_decode_it(
    page: Page, orientation: int, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(SCENE) as scene:
        scene.convert("RGB").save(tmp_path / "photo.tif", exif=exif)
    upload(page, tmp_path / "photo.tif")
    expect(page.locator("#summary")).to_contain_text("Model scenes")
    width, height = read_image(tmp_path / "photo.tif").shape[1::-1]
    page.wait_for_function(
        "ratio => { const { naturalWidth, naturalHeight } = document.querySelector('#picture .photo');"
        " return naturalWidth / naturalHeight == ratio; }",
        arg=width / height,
    )


FAULTS = {
    "several": ("[new File([1], 'a.png'), new File([1], 'b.png')]", "one photo at a time. You chose 2 files"),
    "empty": ("[new File([], 'a.png', { type: 'image/png' })]", "This file is empty, or it is a folder"),
    "large": ("[new File([new Uint8Array(26 * 2 ** 20)], 'a.png', { type: 'image/png' })]", "at most 25 MB"),
    "video": ("[new File([1], 'a.mp4', { type: 'video/mp4' })]", "This is a video"),
    "document": ("[new File([1], 'a.pdf', { type: 'application/pdf' })]", "This is a PDF, not a photo"),
}


@pytest.mark.parametrize("kind_of_fault", FAULTS)
def test_what_cannot_be_sent_is_said_on_the_stage_and_the_page_goes_on(
    page: Page, kind_of_fault: str
) -> None:
    files, sentence = FAULTS[kind_of_fault]
    page.evaluate(
        f"""() => {{
            const dataTransfer = new DataTransfer();
            for (const file of {files}) dataTransfer.items.add(file);
            const options = {{ bubbles: true, cancelable: true, dataTransfer }};
            document.body.dispatchEvent(new DragEvent("drop", options));
        }}"""
    )
    expect(page.locator("#picture .message[role=alert]")).to_contain_text(sentence)
    expect(page.locator("#picture .drop")).to_be_visible()
    drop(page, SCENE)
    expect(masks(page).first).to_be_visible()
    expect(page.locator("#picture .message")).to_be_hidden()


def test_a_picture_and_an_address_can_be_pasted_but_text_is_refused(page: Page) -> None:
    paste = """([words, type]) => {
        const clipboardData = new DataTransfer();
        clipboardData.setData(type, words);
        const options = { bubbles: true, cancelable: true, clipboardData };
        document.body.dispatchEvent(new ClipboardEvent("paste", options));
    }"""
    page.evaluate(paste, ["just words", "text/plain"])
    expect(page.locator("#picture .message")).to_contain_text("This is text, not a photo")
    page.evaluate(paste, ["http://127.0.0.1:9/photo.jpg", "text/plain"])
    expect(page.locator("#picture .message")).to_contain_text("public")
    page.locator("#picture .address input").fill("http://127.0.0.1:9/photo.jpg")
    page.locator("#picture .message button").click()
    page.get_by_role("button", name="Open").click()
    expect(page.locator("#picture .message")).to_contain_text("public")


def test_the_picture_zooms_by_wheel_keys_and_double_click_and_pointing_still_works(page: Page) -> None:
    segmented(page)
    canvas, stage = page.locator("#picture .canvas"), page.locator("#picture .stage")
    size = stage.bounding_box()
    assert size is not None
    page.mouse.move(size["x"] + size["width"] / 3, size["y"] + size["height"] / 3)
    page.mouse.wheel(0, -500)
    zoomed = canvas.bounding_box()
    assert zoomed is not None and zoomed["width"] > 2 * size["width"]
    assert abs((size["x"] + size["width"] / 3 - zoomed["x"]) / zoomed["width"] - 1 / 3) < 0.01
    page.locator("#picture .spots li").first.focus()
    page.keyboard.press("0")
    assert canvas.bounding_box() == size
    page.keyboard.press("+")
    wider = canvas.bounding_box()
    assert wider is not None and wider["width"] == pytest.approx(1.5 * size["width"], abs=1)
    id = int(rows(page)[0][0])
    page.locator("#picture .spots li").first.focus()
    expect(part(page, ".outlines", id)).to_have_class(re.compile("selected"))
    page.mouse.dblclick(size["x"] + size["width"] / 2, size["y"] + size["height"] / 2)
    assert canvas.bounding_box() == size


def test_labels_are_names_that_cover_no_other_label(page: Page) -> None:
    segmented(page)
    set_threshold(page, 0.05)
    expect(page.locator("#histogram")).to_contain_text("shown")
    labels = page.locator("#picture .labels span:not([hidden]):not(.without-place)")
    boxes = labels.evaluate_all(
        """all => all.map((one) => {
            const { left, top, right, bottom } = one.getBoundingClientRect();
            return [left, top, right, bottom];
        })"""
    )
    assert len(boxes) >= 3
    for i, (left, top, right, bottom) in enumerate(boxes):
        for other in boxes[:i]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
    assert not re.search(r"\d", " ".join(labels.all_inner_texts()))
