"""Corrections on the page and through the API, with the `scenes` model on a drawn scene."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file
from playwright.sync_api import Browser, Locator, Page

from tests.patience import expect
from tests.truth import SCENE
from tests.ui.visitor import (
    card,
    chip,
    choose,
    downloaded,
    instances,
    masks,
    open_tab,
    part,
    rows,
    segmented,
    set_threshold,
    spot_on,
)

LONG = "x" * 10_000


@pytest.fixture(scope="module")
def client(server: str) -> Client:
    return Client(server, verbose=False)


def panel(page: Page) -> Locator:
    return page.locator("#picture .idea")


def answered(page: Page) -> Locator:
    """Waits until the model has answered a question, and returns the panel."""
    expect(panel(page).get_by_role("button", name="Cancel")).to_be_visible()
    expect(panel(page).locator("button[type=submit]")).to_be_visible()
    return panel(page)


def draw(page: Page, x1: float, y1: float, x2: float, y2: float) -> None:
    """Draws a box in shares of the picture."""
    box = page.locator("#picture .canvas").bounding_box()
    assert box
    page.mouse.move(box["x"] + x1 * box["width"], box["y"] + y1 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + x2 * box["width"], box["y"] + y2 * box["height"], steps=4)
    page.mouse.up()


def draw_around(page: Page, id: int, server: str) -> None:
    """Draws a box that is a little larger than that of an object."""
    left, top, right, bottom = next(one for one in instances(server) if one["id"] == id)["bbox_xyxy"]
    width, height = size(page)
    draw(page, (left - 3) / width, (top - 3) / height, (right + 3) / width, (bottom + 3) / height)


def size(page: Page) -> tuple[int, int]:
    width, height = page.locator("#picture .photo").evaluate("one => [one.naturalWidth, one.naturalHeight]")
    return width, height


def tool(page: Page, action: str) -> Locator:
    return page.locator(f"#picture .tools [data-action={action}]")


def rename(page: Page, id: int, name: str) -> None:
    """Selects an object with the pointer and types another name for it."""
    page.mouse.click(*spot_on(page, id))
    card(page).get_by_role("button", name="Rename").click()
    panel(page).locator("input").fill(name)
    page.keyboard.press("Enter")


def sources(page: Page, folder: Path) -> dict[int, tuple[str, str, bool]]:
    """Returns the name, the source and whether there is a score, of each object in the COCO file."""
    open_tab(page, "Download")
    choose(page, "#format", "COCO annotations")
    downloaded(page, page.locator("#save"), folder / "coco.json")
    content = json.loads((folder / "coco.json").read_text())
    names = {one["id"]: one["name"] for one in content["categories"]}
    return {
        one["id"]: (names[one["category_id"]], one["source"], "score" in one)
        for one in content["annotations"]
    }


def test_a_box_is_drawn_named_and_everything_follows(page: Page, server: str, tmp_path: Path) -> None:
    segmented(page)
    before = masks(page).count()
    tool(page, "add").click()
    draw_around(page, 1, server)
    asked = answered(page)
    name = instances(server)[0]["category_name"]
    expect(asked.locator(".idea-words")).to_contain_text(f"takes this for: {name} (score")
    expect(asked.locator("input")).to_have_value(name)
    expect(page.locator("#picture .sketch path")).to_be_attached()
    asked.locator("input").fill("teapot")
    page.keyboard.press("Enter")
    expect(masks(page)).to_have_count(before + 1)
    expect(chip(page, "teapot")).to_be_visible()
    expect(card(page).locator(".short")).to_contain_text("added by you")
    added = next(row for row in rows(page) if row[1] == "teapot")
    assert added[2] == "✎"
    expect(part(page, ".labels", int(added[0]))).to_have_class(re.compile("by-you"))
    set_threshold(page, 1.0)
    expect(masks(page)).to_have_count(1)  # no threshold hides what a visitor added
    set_threshold(page, 0.5)
    open_tab(page, "Code")
    expect(page.locator("#python")).to_contain_text("'name': 'teapot'")
    saved = sources(page, tmp_path)
    assert saved[int(added[0])] == ("teapot", "person", False)
    assert {source for name, source, _ in saved.values() if name != "teapot"} == {"model"}

    tool(page, "undo").click()
    expect(masks(page)).to_have_count(before)
    tool(page, "redo").click()
    expect(masks(page)).to_have_count(before + 1)
    page.reload()
    expect(masks(page)).to_have_count(before + 1)
    expect(chip(page, "teapot")).to_be_visible()


def test_an_object_gets_another_name_and_another_box(page: Page, server: str, tmp_path: Path) -> None:
    segmented(page)
    rename(page, 2, "  tea\t pot ")
    expect(card(page).locator(".name")).to_have_text("tea pot 2")
    expect(card(page).locator(".short")).to_contain_text("changed by you")
    area = next(row for row in rows(page) if row[0] == "2")[3]

    card(page).get_by_role("button", name="Change box").click()
    corner = page.locator("#picture .draft [data-corner=se]").bounding_box()
    assert corner
    x, y = corner["x"] + corner["width"] / 2, corner["y"] + corner["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 12, y - 12, steps=3)
    page.mouse.up()
    answered(page).get_by_role("button", name="Use this box").click()
    expect(part(page, "tbody", 2).locator("td").nth(3)).not_to_have_text(area)
    expect(card(page).locator(".name")).to_have_text("tea pot 2")
    assert sources(page, tmp_path)[2] == ("tea pot", "edited", False)

    for _ in range(2):
        page.keyboard.press("Control+z")
    expect(part(page, "tbody", 2).locator("td").nth(3)).to_have_text(area)
    expect(part(page, "tbody", 2).locator("td").nth(1)).not_to_have_text("tea pot")


def test_a_click_beside_all_objects_asks_what_is_there(page: Page, server: str) -> None:
    segmented(page)
    name = instances(server)[0]["category_name"]
    set_threshold(page, 1.0)
    expect(masks(page)).to_have_count(0)
    box = page.locator("#picture .canvas").bounding_box()
    x1, y1, x2, y2 = page.locator("#picture .spots [data-id='1']").evaluate(
        "({ style: s }) => [s.left, s.top, s.width, s.height].map((n) => parseFloat(n) / 100)"
    )
    assert box
    page.mouse.click(box["x"] + (x1 + x2 / 2) * box["width"], box["y"] + (y1 + y2 / 2) * box["height"])
    question = page.get_by_role("button", name="What is here?")
    expect(question).to_be_focused()
    page.keyboard.press("Enter")
    expect(answered(page).locator("input")).to_have_value(name)
    page.keyboard.press("Enter")
    expect(masks(page)).to_have_count(1)  # the threshold hides the other ones still
    expect(card(page).locator(".name")).to_have_text(f"{name} 1")
    expect(card(page).locator(".short")).to_contain_text("changed by you")

    card(page).get_by_role("button", name="Close").click()
    page.locator("#picture .canvas").click(position={"x": 3, "y": 3})
    expect(question).to_be_focused()
    page.keyboard.press("Enter")
    expect(panel(page).locator(".idea-words")).to_contain_text("no idea what is here")


def test_the_keyboard_draws_and_escape_gives_up(page: Page) -> None:
    segmented(page)
    before = masks(page).count()
    part(page, ".spots", 1).focus()
    page.keyboard.press("Escape")
    page.locator("#picture .spots li").first.press("a")
    expect(tool(page, "add")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Enter")
    drafted = page.locator("#picture .draft")
    expect(drafted).to_be_focused()
    left = drafted.evaluate("one => parseFloat(one.style.left)")
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowRight"):
        page.keyboard.press(key)
    assert drafted.evaluate("one => parseFloat(one.style.left)") == pytest.approx(left + 4)
    assert drafted.evaluate("one => parseFloat(one.style.width)") == pytest.approx(32)
    page.keyboard.press("Enter")
    answered(page)
    page.keyboard.press("Escape")
    expect(panel(page)).to_be_hidden()
    expect(drafted).to_be_hidden()
    expect(tool(page, "add")).to_have_attribute("aria-pressed", "false")
    assert masks(page).count() == before

    tool(page, "add").press("Enter")
    page.keyboard.press("Enter")  # is for a box, and not for the button once more
    expect(drafted).to_be_focused()
    page.locator("#picture .tools [data-action=measure]").click()
    expect(drafted).to_be_hidden()  # one tool at a time
    expect(tool(page, "add")).to_have_attribute("aria-pressed", "false")


def test_another_look_at_a_photo_begins_without_the_corrections_of_other_ids(page: Page) -> None:
    segmented(page)
    rename(page, 1, "teapot")
    expect(chip(page, "teapot")).to_be_visible()
    page.get_by_text("Model", exact=True).first.click()
    page.locator("#run").click()
    expect(chip(page, "teapot")).to_have_count(0)
    expect(tool(page, "undo")).to_be_disabled()
    set_threshold(page, 0.6)
    expect(page.locator("#histogram")).to_contain_text("and 0.60")
    expect(chip(page, "teapot")).to_have_count(0)


def test_wrong_names_get_a_sentence_and_nothing_is_lost(page: Page) -> None:
    segmented(page)
    rename(page, 1, "   ")
    expect(panel(page).locator(".idea-words")).to_have_text("Type a name first.")
    panel(page).locator("input").evaluate(
        "(one, text) => { one.removeAttribute('maxlength'); one.value = text; }", LONG
    )
    page.keyboard.press("Enter")
    expect(panel(page).locator(".idea-words")).to_have_text("A name has at most 100 letters.")
    panel(page).locator("input").fill("<b>bold</b>")
    page.keyboard.press("Enter")
    expect(card(page).locator(".name")).to_have_text("<b>bold</b> 1")
    expect(page.locator("#summary")).to_contain_text("<b>bold</b>")


def test_two_tabs_correct_the_same_photo_apart(page: Page, browser: Browser) -> None:
    other = browser.new_page()
    other.goto(page.url)
    for tab, name in ((page, "teapot"), (other, "kettle")):
        segmented(tab)
        rename(tab, 1, name)
        expect(card(tab).locator(".name")).to_have_text(f"{name} 1")
    set_threshold(page, 0.6)
    expect(chip(page, "teapot")).to_be_visible()
    expect(chip(page, "kettle")).to_have_count(0)
    other.close()


def test_annotations_go_on_with_their_photo(page: Page, server: str, tmp_path: Path) -> None:
    segmented(page)
    rename(page, 1, "teapot")
    expect(chip(page, "teapot")).to_be_visible()
    saved = sources(page, tmp_path)

    page.set_input_files("#picture input[type=file]", [SCENE, tmp_path / "coco.json"])
    expect(page.locator("#summary")).to_contain_text("Opened with its annotations")
    expect(chip(page, "teapot")).to_be_visible()
    assert sources(page, tmp_path) == saved
    expect(tool(page, "undo")).to_be_disabled()

    other = tmp_path / "other.json"
    other.write_text('{"a": 1}')
    page.set_input_files("#picture input[type=file]", [SCENE, other])
    expect(page.locator("#picture .message")).to_contain_text("holds no annotations that can be read")
    page.set_input_files("#picture input[type=file]", [other])
    expect(page.locator("#picture .message")).to_contain_text("drop their photo together with them")


def test_a_finger_draws_on_a_phone(open_page: Callable[..., Page], server: str) -> None:
    page = segmented(open_page(390, 844))
    before = masks(page).count()
    tool(page, "add").click()
    assert page.locator("#picture .canvas").evaluate("one => getComputedStyle(one).touchAction") == "none"
    draw_around(page, 1, server)
    answered(page).get_by_role("button", name="Add", exact=True).click()
    expect(masks(page)).to_have_count(before + 1)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_api_suggests_and_takes_edits(client: Client, tmp_path: Path) -> None:
    photo = handle_file(SCENE)
    found = client.predict(photo, api_name="/segment")
    first = found["instances"][0]

    suggested = client.predict(photo, box=first["bbox_xyxy"], api_name="/suggest")
    best = suggested["names"][0]
    assert best["name"] == first["category_name"]
    assert best["edit"]["id"] not in [one["id"] for one in found["instances"]]
    x1, y1, x2, y2 = first["bbox_xyxy"]
    at = client.predict(photo, place=[(x1 + x2) / 2, (y1 + y2) / 2], api_name="/suggest")
    assert at["names"]

    edits = [best["edit"] | {"name": "teapot"}, {"do": "rename", "id": 2, "name": "cup"}]
    answer = client.predict(photo, edits=edits, classes=["teapot", "cup"], api_name="/segment")
    assert answer["counts"] == {"cup": 1, "teapot": 1}
    (teapot,) = [one for one in answer["instances"] if one["category_name"] == "teapot"]
    assert (teapot["source"], teapot["score"]) == ("person", None)
    assert teapot["segmentation"] == best["segmentation"]
    file = client.predict(photo, format="csv", edits=edits, api_name="/export")
    assert ",teapot,,", Path(file).read_text()
    assert client.predict(photo, edits=edits, api_name="/annotate")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "expected either a box or a place"),
        ({"box": [0, 0, 5, 5], "place": [1, 1]}, "expected either a box or a place"),
        ({"box": [10, 10, 10, 10]}, "no area"),
        ({"box": [9000, 9000, 9900, 9900]}, "outside of the photo"),
        ({"box": ["a", 1, 2, 3]}, "left, top, right and bottom"),
        ({"place": [-1, 5]}, "outside of the photo"),
        ({"place": [1]}, "expected x and y"),
    ],
)
def test_wrong_questions_get_a_sentence(client: Client, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(Exception, match=words):
        client.predict(handle_file(SCENE), **arguments, api_name="/suggest")
