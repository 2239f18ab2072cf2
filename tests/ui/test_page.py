"""Tests the page as a visitor uses it, in headless Chromium.

The file is long because all tests share one window, which is slow to open.
"""

from __future__ import annotations

import csv
import json
import queue
import re
import shutil
import subprocess
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlsplit

import gradio as gr
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

import coco
from answer.result import Result
from inference import SegmentationModel
from marks import shown_score
from photo.images import read_image
from serving import photos
from serving.models import Models
from serving.service import Service
from tests.loops import in_a_loop
from tests.patience import SECONDS, expect
from tests.truth import SCENE, SCENES, share_found
from tests.ui.visitor import (
    EMPTY,
    card,
    chip,
    choose,
    downloaded,
    drop,
    example,
    hold,
    instances,
    kind,
    masks,
    open_kinds,
    open_tab,
    part,
    rows,
    segmented,
    set_number,
    set_threshold,
    spot_on,
    upload,
)
from ui import links
from ui.choices import Choices
from ui.film import FilmPage
from ui.layout import add_layout
from ui.page import Run
from ui.saving import Saver


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


def test_the_page_opens_with_a_finished_example(open_page: Callable[..., Page]) -> None:
    page = open_page(query="")
    expect(page.locator("#picture .waiting")).to_be_hidden()
    expect(page.locator("#summary")).to_contain_text("Model scenes")
    expect(page.locator("#picture .hint")).to_contain_text("An example.")
    expect(page.locator("#picture .photo")).to_have_attribute("src", re.compile("bicycles"))
    expect(page.locator("#picture .drop")).to_be_hidden()
    segmented(page)
    expect(page.locator("#picture .hint")).to_be_hidden()


def test_before_a_photo_the_page_says_what_to_do(page: Page) -> None:
    expect(page.locator("#summary")).to_contain_text("Drop a photo, take one")
    expect(page.locator("#picture .drop")).to_contain_text("Drop a photo or a video here")
    for tab, button in (("Download", "#save"), ("Effects", "#save-effect")):
        open_tab(page, tab)
        page.locator(button).click()
        expect(page.locator(".toast-body.error")).to_contain_text("There is no result to save")
        page.locator(".toast-close").click()
    set_threshold(page, 0.7)
    expect(page.locator("#summary")).to_contain_text("There is no result to look at")


def test_a_photo_that_is_taken_away_takes_everything_with_it(page: Page) -> None:
    segmented(page)
    page.locator(".objects-details tbody tr").first.click()
    page.get_by_role("button", name="Remove this photo").click()
    expect(page.locator("#summary")).to_contain_text("Drop a photo")
    expect(page.locator("#picture .drop")).to_be_visible()
    away = ("#summary .chips", "#summary .kinds", "#histogram", "#selected .objects-card", "#picture .canvas")
    for gone in (*away, "#picture .tools", ".objects-details table"):
        expect(page.locator(gone)).to_be_hidden()


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
    expect(page.locator("#summary .kinds")).not_to_have_attribute("open", "")
    open_kinds(page)
    expect(page.locator(".kinds label", has_text=f"{name} ({kinds.count(name)})")).to_be_visible()
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
    open_kinds(page)
    kind(page, name).uncheck()
    expect(page.locator(".objects-details tbody tr:not([hidden])", has_text=name)).to_have_count(0)
    kinds = [instance["category_name"] for instance in instances(server, other)]
    segmented(page, other)
    expect(masks(page)).to_have_count(len(kinds) - kinds.count(name))
    expect(kind(page, name)).not_to_be_checked()


def test_all_and_none_tick_every_kind(page: Page, server: str) -> None:
    count = len(instances(server))
    segmented(page)
    open_kinds(page)
    page.locator("#summary .kinds [data-action=none]").click()
    expect(page.locator("#summary")).to_contain_text(f"All {count} objects above 0.50 are of kinds")
    expect(masks(page)).to_have_count(0)
    page.locator("#summary .kinds [data-action=all]").click()
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
    open_kinds(page)
    box = kind(page, f"group {group}")
    box.uncheck()
    expect(masks(page)).to_have_count(count - len(members))
    kind(page, members[0]).check()
    expect(masks(page)).to_have_count(count - len(members) + members.count(members[0]))
    assert box.evaluate("box => box.indeterminate") is True
    page.locator(f"#summary .kinds button[data-key='only {members[0]}']").click()
    expect(masks(page)).to_have_count(members.count(members[0]))
    page.locator(f"#summary .kinds button[data-key='only group {group}']").click()
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
    expect(card(page)).to_contain_text(f"{row[1]} {id}")
    expect(card(page).locator(".short")).to_have_text(f"score {row[2][:4]} · {row[4]} % of the photo")
    for text in row[2:5]:
        expect(card(page).locator(".numbers")).to_contain_text(text)
    place = card(page).bounding_box()
    assert place is not None and place["y"] + place["height"] <= 1000  # it is seen without scrolling
    path = part(page, ".outlines", id).get_attribute("d")
    expect(card(page).locator("clipPath path")).to_have_attribute("d", path or "")
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
    expect(card(page)).to_be_hidden()


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
    expect(page.locator("#picture .selected")).to_have_count(0)  # a second Delete would hide another one
    expect(card(page)).to_be_hidden()
    page.keyboard.press("Delete")
    open_tab(page, "Download")
    choose(page, "#format", "Table (CSV)")
    downloaded(page, page.locator("#save"), tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == [row[0] for row in before if int(row[0]) != id]
    page.locator("#picture").get_by_role("button", name=f"Bring back {name} {id}").click()
    expect(masks(page)).to_have_count(len(before))
    page.mouse.click(*spot_on(page, id))
    card(page).get_by_role("button", name="Hide").click()
    expect(masks(page)).to_have_count(len(before) - 1)
    page.locator("#picture").get_by_role("button", name="Bring all back").click()
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
    page.goto(f"{server}{EMPTY}")
    segmented(page)
    page.locator("#picture .stage").scroll_into_view_if_needed()
    id = int(rows(page)[0][0])
    page.touchscreen.tap(*spot_on(page, id))
    expect(card(page)).to_contain_text(f" {id}")
    context.close()


def test_a_click_on_a_column_sorts_the_table_and_another_turns_it(page: Page) -> None:
    segmented(page)
    areas = [int(row[3].replace(",", "")) for row in rows(page)]
    header = page.locator(".objects-details th button", has_text="area (px)")
    shown = page.locator(".objects-details th:visible")
    expect(header).to_be_hidden()
    assert shown.all_inner_texts() == ["id", "object", "score", "area (%)"]
    page.get_by_label("More numbers").check()
    assert len(shown.all()) == 9
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
    page.get_by_role("radio", name="each kind").check()
    expect(first).not_to_have_css("fill", fill)
    set_number(page, "#opacity", 0.8)
    expect(first).to_have_css("fill-opacity", "0.8")
    assert opacity == "0.5"
    for name in ("labels", "masks", "boxes"):
        toggle = page.locator(f"#picture [data-action={name}]")
        expect(toggle).to_have_attribute("aria-pressed", "true")
        toggle.click()
        expect(toggle).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#picture .labels span").first).not_to_be_visible()
    expect(first).to_have_css("fill-opacity", "0")
    expect(page.locator("#picture .spots li").first).to_have_css("border-top-color", "rgba(0, 0, 0, 0)")
    assert rows(page) == numbers != []


def test_the_mask_threshold_draws_new_outlines(page: Page, server: str) -> None:
    page.get_by_text("Display", exact=True).click()  # long before it is used: Gradio builds it only now
    segmented(page)
    before = part(page, ".outlines", 1).get_attribute("d")
    set_number(page, "#mask-threshold", 0.8)
    expect(part(page, ".outlines", 1)).not_to_have_attribute("d", before or "")
    expected = instances(server, mask_threshold=0.8)
    assert [int(row[3].replace(",", "")) for row in rows(page)] == [i["area"] for i in expected]


@pytest.mark.parametrize(
    ("format", "ending"), [(None, "jpg"), ("Picture with the objects (PNG, exact)", "png")]
)
def test_the_picture_with_the_objects_downloads_in_its_own_size(
    format: str | None, ending: str, page: Page, tmp_path: Path
) -> None:
    segmented(page)
    open_tab(page, "Download")
    if format:
        choose(page, "#format", format)
    name = downloaded(page, page.locator("#save"), tmp_path / "annotated")
    assert name == f"{SCENE.stem}-segmented.{ending}"
    with Image.open(tmp_path / "annotated") as annotated, Image.open(SCENE) as original:
        assert annotated.size == original.size
        assert np.any(np.asarray(annotated) != np.asarray(original))


@pytest.mark.parametrize("button", ["#copy", "#share"])
def test_where_the_browser_cannot_copy_or_share_the_picture_is_downloaded(
    button: str, page: Page, tmp_path: Path
) -> None:
    segmented(page)
    page.evaluate("() => { navigator.clipboard.write = () => Promise.reject(new Error()); }")
    open_tab(page, "Download")
    name = downloaded(page, page.locator(button), tmp_path / "picture")
    assert name.startswith(f"{SCENE.stem}-segmented.")
    with Image.open(tmp_path / "picture") as picture, Image.open(SCENE) as original:
        assert picture.size == original.size


def test_the_picture_with_the_objects_is_copied_to_the_clipboard(page: Page) -> None:
    segmented(page)
    page.evaluate(
        """() => {
            navigator.clipboard.write = async ([item]) => {
                window.copied = [item.types[0], (await item.getType("image/png")).size];
            };
        }"""
    )
    open_tab(page, "Download")
    page.locator("#copy").click()
    expect(page.locator("#copy")).to_have_text("Copied")
    type, size = page.evaluate("window.copied")
    assert type == "image/png" and size > 1000


def test_everything_downloads_as_one_zip(page: Page, tmp_path: Path, server: str) -> None:
    segmented(page)
    open_tab(page, "Download")
    choose(page, "#format", "Everything (ZIP)")
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
    button = card(page).get_by_role("button", name="Cut out")
    suggested = downloaded(page, button, tmp_path / "cut-out.png")
    assert suggested == f"{SCENE.stem}-{int(id):03d}-{name.replace(' ', '-')}.png"
    with Image.open(tmp_path / "cut-out.png") as picture:
        assert picture.mode == "RGBA" and 0 < picture.width < Image.open(SCENE).width


def test_an_effect_stands_on_the_stage_follows_the_filters_and_downloads(page: Page, tmp_path: Path) -> None:
    segmented(page)
    after, divider = page.locator("#picture img.right-side"), page.locator("#picture .divider")
    expect(after).to_be_hidden()
    open_tab(page, "Effects")
    expect(after).to_be_visible()
    expect(divider).to_be_visible()
    expect(masks(page).first).not_to_be_visible()  # on the left is the photo without any drawing
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
    set_threshold(page, 0.5)
    open_tab(page, "Objects")
    expect(after).to_be_hidden()
    expect(divider).to_be_hidden()
    expect(masks(page).first).to_be_visible()


def right_side_begins(page: Page) -> float:
    """Returns where the right side begins to be seen, as a share of the stage's width."""
    share: float = page.evaluate(
        """() => {
            const [stage, side] = [".stage", ".right-side"].map((one) =>
                document.querySelector(`#picture ${one}`));
            const cut = parseFloat(getComputedStyle(side).clipPath.match(/ ([\\d.]+)(px|%)\\)$/)[1]) / 100;
            const [frame, box] = [stage, side].map((one) => one.getBoundingClientRect());
            return (box.left + cut * box.width - frame.left) / frame.width;
        }"""
    )
    return share


def test_the_line_between_two_pictures_is_moved_by_keys_and_by_dragging(page: Page) -> None:
    segmented(page)
    open_tab(page, "Effects")
    divider, stage = page.locator("#picture .divider"), page.locator("#picture .stage").bounding_box()
    expect(divider).to_be_visible()
    assert stage is not None
    assert right_side_begins(page) == pytest.approx(0.5, abs=0.005)
    divider.focus()
    for key, place in [("ArrowRight", 52), ("ArrowRight", 54), ("ArrowLeft", 52), ("Home", 0), ("End", 100)]:
        page.keyboard.press(key)
        expect(divider).to_have_attribute("aria-valuenow", str(place))
        assert right_side_begins(page) == pytest.approx(place / 100, abs=0.005)
    page.keyboard.press("ArrowRight")  # it ends there
    expect(divider).to_have_attribute("aria-valuenow", "100")
    middle = stage["y"] + stage["height"] / 2
    page.mouse.move(stage["x"] + stage["width"] - 4, middle)
    page.mouse.down()
    page.mouse.move(stage["x"] + 0.25 * stage["width"], middle, steps=4)
    expect(divider).to_have_attribute("aria-valuenow", "25")
    page.mouse.move(stage["x"] - 200, middle)
    page.mouse.up()
    expect(divider).to_have_attribute("aria-valuenow", "0")
    page.mouse.move(stage["x"] + 0.8 * stage["width"], middle)
    expect(divider).to_have_attribute("aria-valuenow", "0")  # it was let go
    divider.focus()
    page.keyboard.press("End")
    for _ in range(25):
        page.keyboard.press("ArrowLeft")
    page.locator("#picture .tools").get_by_role("button", name="Zoom in").click()
    assert right_side_begins(page) == pytest.approx(0.5, abs=0.005)  # it stays, and the pictures grow


def test_two_thresholds_and_two_models_are_compared_side_by_side(page: Page, server: str) -> None:
    scores = [instance["score"] for instance in instances(server, score_threshold=0.05)]
    segmented(page)
    open_tab(page, "Compare")
    words = page.locator("#comparison")
    expect(words).to_contain_text(
        f"Left: {sum(s >= 0.5 for s in scores)} objects, model scenes, threshold 0.50"
    )
    expect(words).to_contain_text(
        f"Right: {sum(s >= 0.3 for s in scores)} objects, model scenes, threshold 0.30"
    )
    right = page.locator("#picture img.right-side")
    expect(right).to_be_visible()
    expect(masks(page).first).to_be_visible()  # the left side stays as it is set
    source = right.get_attribute("src") or ""
    set_number(page, "#other-threshold", 0.9)
    expect(words).to_contain_text(f"Right: {sum(s >= 0.9 for s in scores)} objects")
    expect(right).not_to_have_attribute("src", source)
    expect(words).to_contain_text("Only right: nothing.")
    page.locator("#other-show").get_by_text("The difference").click()
    expect(words).to_contain_text("orange is only left, blue is only right")
    choose(page, "#other-model", "v2")
    expect(page.get_by_text("could not be fetched from download.pytorch.org").first).to_be_visible()


def test_a_new_photo_is_compared_with_itself(page: Page, server: str) -> None:
    segmented(page)
    open_tab(page, "Compare")
    choose(page, "#other-model", "Drawn scenes")
    words = page.locator("#comparison")
    expect(words).to_contain_text("Right: ")
    segmented(page, SCENES[1])
    count = len(instances(server, SCENES[1], score_threshold=0.3))
    expect(words).to_contain_text(f"Right: {count} object")
    expect(page.locator("#other-model input")).to_have_value("the same model")
    page.wait_for_function(
        """() => {
            const [photo, right] = ["photo", "right-side"].map((one) =>
                document.querySelector(`#picture .${one}`));
            return photo.naturalWidth / photo.naturalHeight === right.naturalWidth / right.naturalHeight;
        }"""
    )
    open_tab(page, "Objects")
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
    open_tab(page, "Code")
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
    open_kinds(page)
    expect(kind(page, "umbrella")).not_to_be_checked()
    open_tab(page, "Download")
    query += "&tab=Download"
    expect(page.locator("#link textarea")).to_have_value(f"{server}{query.replace('__theme=light&', '')}")
    page.wait_for_function("location.search.includes('tab=Download')")
    assert parse_qs(urlsplit(page.url).query) == parse_qs(query[1:])


def test_the_address_follows_what_is_set_and_leads_back_to_it(
    open_page: Callable[..., Page], server: str
) -> None:
    page = open_page(query="?example=scene-6")
    expect(masks(page).first).to_be_attached()
    set_threshold(page, 0.8)
    page.locator("#picture [data-action=boxes]").click()
    open_tab(page, "Effects")
    address = f"{server}?example=scene-6&score_threshold=0.8&show=masks,labels&tab=Effects"
    page.wait_for_function("(address) => decodeURIComponent(location.href) === address", arg=address)
    counted = page.locator("#summary .found").inner_text()
    page.goto("about:blank")
    page.goto(address)
    expect(page.locator("#summary .found")).to_have_text(counted)
    expect(page.locator("#picture img.right-side")).to_be_visible()
    expect(page.locator("#picture [data-action=boxes]")).to_have_attribute("aria-pressed", "false")


def test_a_link_that_cannot_be_read_is_said_and_the_rest_of_it_holds(open_page: Callable[..., Page]) -> None:
    page = open_page(query=f"{EMPTY}&score_threshold=lots&opacity=0.25")
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
    expect(page.locator("#picture .message")).to_contain_text("Choose another model")
    expect(page.locator("#model input:checked")).to_have_value("auto")  # the choice is put back
    expect(masks(page)).to_have_count(len(instances(server)))
    page.get_by_label("Drawn scenes").check()
    expect(page.locator("#picture .message")).to_be_hidden()
    expect(page.locator("#summary")).to_contain_text("Model scenes")


def test_the_banner_says_which_model_stands_in_and_hides_what_only_the_owner_needs(page: Page) -> None:
    banner = page.locator("#banner")
    expect(banner).to_contain_text("The accurate model could not be loaded, so a smaller one answers.")
    expect(banner).to_contain_text("misses and mistakes more")
    reason = banner.locator("details", has_text="no connection")
    expect(reason).to_have_js_property("open", False)
    banner.get_by_text("For the owner").click()
    expect(reason).to_have_js_property("open", True)
    expect(banner).to_contain_text("SEGMENTATION_WEIGHTS=file")
    page.locator("#again").click()
    expect(banner).to_contain_text("The accurate model could not be loaded")


def test_a_click_on_an_example_segments_it(page: Page) -> None:
    example(page, "traffic")
    expect(page.locator("#picture .waiting")).to_be_hidden()
    expect(page.locator("#summary")).to_contain_text("Model scenes")
    expect(page.locator("#picture .photo")).to_have_attribute("src", re.compile("traffic"))
    expect(page.locator("#picture .hint")).to_be_hidden()  # it is known to be an example


def test_each_photo_is_looked_at_once_however_it_comes(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: queue.Queue[str] = queue.Queue()

    def counted(path: str, *rest: Any) -> Result:
        runs.put(Path(path).name)
        return photos.segment_file(path, *rest)

    monkeypatch.setattr("serving.service.segment_file", counted)
    last, first = "ship.jpg", SCENES[0]
    page.get_by_text("Model", exact=True).first.click()  # where the button is
    ways: list[tuple[Callable[[], None], list[str]]] = [
        (lambda: upload(page, SCENES[1]), [SCENES[1].name]),
        (lambda: upload(page, SCENES[2]), [SCENES[2].name]),
        (lambda: drop(page, SCENES[3]), [SCENES[3].name]),
        (lambda: drop(page, SCENES[3]), [SCENES[3].name]),  # a photo may be sent again
        (lambda: example(page, "ship"), [last]),
        (page.locator("#run").click, [last]),
        (lambda: upload(page, first), [first.name]),
    ]
    for send, expected in ways:
        send()
        for name in expected:
            assert runs.get(timeout=20) == name
        expect(page.locator("#picture .waiting")).to_be_hidden()
    page.wait_for_timeout(0.5 * SECONDS)  # enough time for one more run, which must not come
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
    expect(page.locator("#picture .waiting")).to_be_visible()
    may_go.release()
    expect(masks(page)).to_have_count(count)
    expect(page.locator("#picture .waiting")).to_be_hidden()
    assert not began.acquire(timeout=0.5)


def test_what_is_opened_or_moved_while_the_model_runs_is_heeded(
    page: Page, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = [instance["score"] for instance in instances(server, score_threshold=0.05)]
    began, may_go = hold(monkeypatch)
    upload(page)
    assert began.acquire(timeout=20)
    open_tab(page, "Effects")
    set_threshold(page, 0.95)
    expect(page.locator("#summary")).to_contain_text("There is no result to look at")
    may_go.release()
    expect(page.locator("#picture img.right-side")).to_be_visible()
    open_tab(page, "Objects")
    expect(masks(page)).to_have_count(sum(score >= 0.95 for score in scores))


def test_the_same_photo_may_be_sent_again_after_a_failure(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("serving.service.segment_file", fail)
        upload(page)
        expect(page.locator("#picture .message[role=alert]")).to_contain_text("ran out of memory")
        expect(page.locator("#picture .waiting")).to_be_hidden()
    segmented(page)


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


def test_looking_closer_says_what_it_costs_and_answers_as_the_api(
    page: Page, server: str, tmp_path: Path
) -> None:
    large = tmp_path / "large.png"
    with Image.open(SCENE) as scene:
        scene.resize((2 * scene.width, 2 * scene.height)).save(large)
    segmented(page, large)
    page.get_by_text("Model", exact=True).first.click()
    expect(page.locator("#detail")).to_contain_text(
        re.compile(r"Looking closer at this photo: \d+ looks, about")
    )
    page.locator("#detail").get_by_text("Looks closer").click()
    expect(page.locator("#summary")).to_contain_text("Model scenes (closer)")
    found = instances(server, large, detail="closer")
    expect(masks(page)).to_have_count(len(found))
    assert "detail=closer" in page.evaluate("location.search")


def test_a_line_of_known_length_gives_centimetres_until_it_is_removed(page: Page, tmp_path: Path) -> None:
    segmented(page)
    page.locator("#picture [data-action=measure]").click()
    ends = page.locator("#picture .ruler button")
    expect(ends.first).to_be_focused()
    ends.first.press("Shift+ArrowUp")
    form = page.locator("#picture .ruler-form")
    form.get_by_role("button", name="Use it").click()
    expect(form.locator(".fault")).to_contain_text("Type the length")
    form.get_by_label("Length of the line").fill("80")
    form.get_by_label("Length of the line").press("Enter")
    expect(form).to_be_hidden()
    expect(page.locator("#summary")).to_contain_text("By your line of 80 cm, a pixel is")
    expect(page.locator("#picture .ruler span")).to_have_text("80 cm")
    expect(page.locator("#objects-table th").last).to_have_text("height (cm)")
    open_tab(page, "Download")
    choose(page, "#format", "Table (CSV)")
    saved = tmp_path / "table.csv"
    downloaded(page, page.locator("#save"), saved)
    lines = list(csv.DictReader(saved.read_text("utf-8").splitlines()))
    assert float(lines[0]["width (cm)"]) > 0
    page.locator("#picture [data-action=measure]").click()
    form.get_by_role("button", name="Remove the scale").click()
    expect(page.locator("#summary")).not_to_contain_text("By your line")
    expect(page.locator("#picture .ruler")).to_be_hidden()


def test_a_line_is_drawn_by_hand_and_goes_with_its_photo(page: Page) -> None:
    segmented(page)
    page.locator("#picture [data-action=measure]").click()
    frame = page.locator("#picture .canvas").bounding_box()
    assert frame is not None
    page.mouse.move(frame["x"] + 20, frame["y"] + 20)
    page.mouse.down()
    page.mouse.move(frame["x"] + 220, frame["y"] + 20)
    page.mouse.up()
    page.keyboard.type("2")
    page.locator("#picture .ruler-form select").select_option("m")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Use it").click()
    share = 200 / frame["width"]
    expect(page.locator("#summary")).to_contain_text("By your line of 2 m, a pixel is ")
    line = page.locator("#picture .ruler line")
    drawn = float(line.get_attribute("x2") or 0) - float(line.get_attribute("x1") or 0)
    assert abs(drawn - share) < 0.01
    segmented(page, SCENES[1])
    expect(page.locator("#summary")).not_to_contain_text("By your line")
    expect(page.locator("#picture .ruler")).to_be_hidden()


def test_a_photo_that_is_no_longer_kept_is_said_when_it_is_downloaded(
    scenes_model: SegmentationModel, tmp_path: Path
) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(SCENE.read_bytes())
    found = photos.segment_file(photo, scenes_model)
    photo.unlink()
    with gr.Blocks():
        layout, run, film = add_layout(), gr.State(None), gr.State(None)
    service = Service(Models(lambda: (scenes_model, None)))
    saver = Saver(layout, run, film, FilmPage(layout, film, service), service)
    values = {component: component.value for component in layout.inputs()}
    values |= {run: Run(found, 1, Choices(), "token"), layout.format: "annotated", layout.soft: False}
    values |= {film: None}
    for save in (saver.save, saver.save_to_copy, saver.save_to_share, saver.save_effect):
        with pytest.raises(gr.Error, match="could not be opened"):
            in_a_loop(save(values))
        with pytest.raises(gr.Error, match="no result to save"):
            in_a_loop(save(values | {run: None}))


def test_a_narrow_window_shows_everything_without_scrolling_sideways(open_page: Callable[..., Page]) -> None:
    page = segmented(open_page(390, 844))
    for tab, names in (
        (
            "Objects",
            (
                "#title",
                "#picture .stage",
                "#picture .tools",
                "#summary",
                "#threshold",
                ".objects-details .frame",
            ),
        ),
        ("Download", ("#format", "#save", "#copy", "#link")),
        ("Effects", ("#effect", "#save-effect")),
    ):
        open_tab(page, tab)
        for name in names:
            expect(page.locator(name).first).to_be_visible()
            box = page.locator(name).first.bounding_box()
            assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 390, name
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_no_other_host_is_asked_for_anything(browser: Browser, server: str) -> None:
    page = browser.new_page()
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(request.url.split("/")[2].split(":")[0]))
    page.goto(f"{server}{EMPTY}")
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
    "several": (
        "[new File([], 'a.png'), new File([1], 'b.mp4')]",
        "“a.png” was not sent. This file is empty",
    ),
    "empty": ("[new File([], 'a.png', { type: 'image/png' })]", "This file is empty, or it is a folder"),
    "large": ("[new File([new Uint8Array(26 * 2 ** 20)], 'a.png', { type: 'image/png' })]", "at most 25 MB"),
    "document": ("[new File([1], 'a.pdf', { type: 'application/pdf' })]", "This is a PDF, not a photo"),
}


def test_what_cannot_be_sent_is_said_on_the_stage_and_the_page_goes_on(page: Page) -> None:
    for files, sentence in FAULTS.values():
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


def test_a_chip_shows_only_its_kind_and_then_all_again(page: Page, server: str) -> None:
    kinds = [instance["category_name"] for instance in instances(server)]
    segmented(page)
    words = [text.strip() for text in page.locator("#summary .chip").all_inner_texts()]
    assert sorted(words) == sorted(coco.CATEGORIES.counted(name, kinds.count(name)) for name in set(kinds))
    assert [int(text.split()[0]) for text in words] == sorted(
        (kinds.count(n) for n in set(kinds)), reverse=True
    )
    first, second = sorted(set(kinds))[:2]
    for name in (first, second):
        chip(page, name).click()
        expect(page.locator("#picture .labels span:not([hidden])")).to_have_text([name] * kinds.count(name))
        expect(chip(page, name)).to_have_attribute("aria-pressed", "true")
        assert {row[1] for row in rows(page)} == {name}
    expect(chip(page, first)).to_have_attribute("aria-pressed", "false")
    chip(page, second).click()
    expect(masks(page)).to_have_count(len(kinds))
    expect(chip(page, second)).to_have_attribute("aria-pressed", "false")


def test_a_kind_gets_a_threshold_of_its_own_by_keys_and_loses_it_again(page: Page, server: str) -> None:
    found = instances(server)
    segmented(page)
    name = found[0]["category_name"]
    strong = [one for one in found if one["category_name"] != name or one["score"] >= 1]
    assert len(strong) < len(found)
    menu = page.locator(f"#summary .menu[data-kind='{name}']")
    menu.press("Enter")
    slider = page.locator("#summary .own input")
    expect(slider).to_be_focused()
    slider.press("End")
    expect(masks(page)).to_have_count(len(strong))
    expect(chip(page, name)).to_contain_text("\u2265 1.00")
    assert f"thresholds={name}:1" in unquote_plus(page.evaluate("location.search"))
    slider.press("Escape")
    expect(menu).to_be_focused()
    menu.click()
    page.get_by_role("button", name="Same as all").click()
    expect(masks(page)).to_have_count(len(found))
    assert "thresholds" not in page.evaluate("location.search")


def test_a_chip_keeps_the_focus_when_it_is_pressed_by_key(page: Page) -> None:
    segmented(page)
    name = rows(page)[0][1]
    chip(page, name).focus()
    page.keyboard.press("Enter")
    expect(chip(page, name)).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#summary .chip.away").first).to_be_attached()
    expect(chip(page, name)).to_be_focused()


@pytest.mark.parametrize("filter", ["kinds", "hand", "kinds and threshold"])
def test_what_hides_everything_is_reset_by_a_click(filter: str, page: Page, server: str) -> None:
    count = len(instances(server))
    segmented(page)
    if "kinds" in filter:
        open_kinds(page)
        page.locator("#summary .kinds [data-action=none]").click()
    if "threshold" in filter:
        set_threshold(page, 1)
    if filter == "hand":
        for left in range(count - 1, -1, -1):
            page.locator(".objects-details tbody tr:not([hidden])").first.click()
            page.keyboard.press("Delete")
            expect(masks(page)).to_have_count(left)
    expect(masks(page)).to_have_count(0)
    reset = page.get_by_role("button", name="Show what was found")
    reset.click()
    expect(masks(page)).not_to_have_count(0)
    expect(reset).to_be_hidden()
    if "threshold" not in filter:
        expect(masks(page)).to_have_count(count)
    value = float(page.locator("#threshold input[type=number]").input_value())
    scores = [instance["score"] for instance in instances(server)]
    assert value == (0.5 if "threshold" not in filter else int(100 * max(scores)) / 100)
    expect(page.locator("#picture .hidden-list")).to_be_hidden()
    expect(page.locator("#summary .chip.away")).to_have_count(0)


def test_undo_and_redo_work_from_anywhere_but_text_fields(page: Page) -> None:
    segmented(page)
    before = [int(row[0]) for row in rows(page)]
    undo, redo = (page.locator(f"#picture .tools [data-action={name}]") for name in ("undo", "redo"))
    expect(undo).to_be_disabled()
    for id in before[:2]:
        part(page, "tbody", id).click()
        page.keyboard.press("Delete")
        expect(part(page, "tbody", id)).to_be_hidden()
    expect(redo).to_be_disabled()
    places = ("#title", "#threshold input[type=range]", "#tabs button[data-tab-id=Objects]")
    for place in places:
        page.locator(place).evaluate("element => (element.tabIndex < 0 ? document.body : element).focus()")
        page.keyboard.press("Control+z")
        expect(masks(page)).to_have_count(len(before) - 1)
        expect(part(page, "tbody", before[1])).to_be_visible()
        page.keyboard.press("Control+z")
        expect(masks(page)).to_have_count(len(before))
        expect(undo).to_be_disabled()
        page.keyboard.press("Control+Shift+Z")
        page.keyboard.press("Control+Shift+Z")
        expect(masks(page)).to_have_count(len(before) - 2)
        expect(redo).to_be_disabled()
    page.locator("#threshold input[type=number]").focus()
    page.keyboard.press("Control+z")  # belongs to the field
    undo.click()
    expect(masks(page)).to_have_count(len(before) - 1)
    redo.click()
    expect(masks(page)).to_have_count(len(before) - 2)
    undo.click()
    part(page, "tbody", before[2]).click()
    page.keyboard.press("Delete")
    expect(redo).to_be_disabled()  # what was undone is gone for good
    expect(masks(page)).to_have_count(len(before) - 2)


@pytest.mark.parametrize("query", ["?example=scene-6&show=masks", f"{EMPTY}&show=masks"])
def test_a_photo_that_comes_before_the_page_has_read_its_address_stays(
    query: str, open_page: Callable[..., Page], server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, may_read = len(instances(server)), threading.Event()

    def read_query(text: str) -> Any:
        assert may_read.wait(20)
        return links.read_query(text)

    monkeypatch.setattr("ui.page.links", SimpleNamespace(**vars(links) | {"read_query": read_query}))
    page = open_page(query=query)
    upload(page)
    expect(masks(page)).to_have_count(count)
    source = page.locator("#picture .photo").get_attribute("src") or ""
    may_read.set()
    expect(page.locator("#picture [data-action=boxes]")).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#picture .waiting")).to_be_hidden()
    expect(page.locator("#picture .photo")).to_have_attribute("src", source)
    expect(masks(page)).to_have_count(count)
    set_threshold(page, 0.7)
    expect(page.locator("#histogram")).to_contain_text("and 0.70")
