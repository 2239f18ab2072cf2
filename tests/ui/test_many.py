"""Tests of many photos on the page, in Chromium, with drawn scenes that the model `scenes` knows."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page

from serving import photos as serving_photos
from tests.javascript import node, with_client
from tests.patience import expect
from tests.truth import SCENE
from tests.ui.test_accessibility import faults
from tests.ui.visitor import chip, choose, downloaded, hold, masks, open_tab, set_threshold

Photos = list[Path]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    """A scene, the same scene turned round, and a half of it."""
    folder = tmp_path_factory.mktemp("photos")
    with Image.open(SCENE) as opened:
        scene = opened.convert("RGB")
    width, height = scene.size
    scene.save(folder / "first.png")
    scene.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "second.png")
    scene.crop((0, 0, width // 2, height)).save(folder / "third.png")
    return [folder / f"{name}.png" for name in ("first", "second", "third")]


def bring(page: Page, files: Photos) -> None:
    page.set_input_files("#picture input[type=file]", files)


def strip(page: Page) -> Locator:
    return page.locator("#picture .strip button")


def told(page: Page) -> Locator:
    return page.locator("#picture .many-told")


def looked_at(page: Page, files: Photos) -> Page:
    """Brings photos, and waits until all are done and the first one is on the stage."""
    bring(page, files)
    expect(told(page)).to_have_text(f"{len(files)} photos")
    expect(page.locator("#picture .waiting")).to_be_hidden()
    return page


def is_open(page: Page, place: int) -> None:
    expect(strip(page).nth(place)).to_have_attribute("aria-current", "true")
    expect(page.locator("#picture .waiting")).to_be_hidden()


def table(page: Page) -> list[list[str]]:
    """The table of counts, with its header and its sums."""
    rows: list[list[str]] = page.locator("#many table tr").evaluate_all(
        "rows => rows.map((row) => [...row.cells].map((cell) => cell.textContent.trim()))"
    )
    return rows


def shown(page: Page) -> int:
    return masks(page).count()


def test_the_strip_fills_and_the_first_photo_opens(page: Page, photos: Photos) -> None:
    looked_at(page, photos)
    is_open(page, 0)
    expect(told(page)).to_have_text("3 photos")
    expect(masks(page).first).to_be_attached()
    header, *rows, sums = table(page)
    assert header[:2] == ["photo", "all"] and [row[0] for row in rows] == ["first", "second", "third"]
    assert int(rows[0][1]) == shown(page) > 2
    for column in range(1, len(header)):
        assert sum(int(row[column]) for row in rows) == int(sums[column])
    assert strip(page).nth(0).get_attribute("aria-label") == f"first, {rows[0][1]} objects, 1 of 3"
    assert page.locator("#many .many-chart li").count() == len(header) - 2


def test_a_photo_opens_at_once_with_all_its_tools(
    page: Page, photos: Photos, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looked_at(page, photos)

    def fail(*_: object) -> None:
        raise AssertionError("the network ran again")

    monkeypatch.setattr(serving_photos, "segment_or_fall_back", fail)
    strip(page).nth(2).click()
    is_open(page, 2)
    assert shown(page) == int(table(page)[3][1])
    page.locator("#picture .spots li:not([hidden])").first.focus()
    expect(page.locator("#selected .objects-card")).to_be_visible()
    open_tab(page, "Download")
    choose(page, "#format", "COCO")
    assert downloaded(page, page.locator("#save"), tmp_path / "one.json") == "third-coco.json"
    page.get_by_role("button", name="second", exact=True).click()
    is_open(page, 1)


def test_arrow_keys_move_along_the_strip_and_enter_opens(page: Page, photos: Photos) -> None:
    looked_at(page, photos)
    strip(page).nth(0).focus()
    page.keyboard.press("ArrowRight")
    expect(strip(page).nth(1)).to_be_focused()
    page.keyboard.press("End")
    expect(strip(page).nth(2)).to_be_focused()
    page.keyboard.press("Enter")
    is_open(page, 2)
    expect(strip(page).nth(2)).to_be_focused()
    page.keyboard.press("Home")
    expect(strip(page).nth(0)).to_be_focused()


def test_filters_apply_to_all_photos(page: Page, photos: Photos) -> None:
    looked_at(page, photos)
    before = table(page)
    kind = before[0][2]
    chip(page, kind).click()
    expect(page.locator("#many thead th")).to_have_count(3)
    header, *rows = table(page)
    assert header == ["photo", "all", kind]
    assert [row[1] for row in rows] == [row[2] for row in before[1:]]
    strip(page).nth(1).click()
    is_open(page, 1)
    assert shown(page) == int(rows[1][1])
    set_threshold(page, 1)
    expect(page.locator("#many tfoot td").first).to_have_text("0")


def test_settings_may_be_for_one_photo_only(page: Page, photos: Photos) -> None:
    looked_at(page, photos)
    before = table(page)
    own = page.locator("#picture .many-own input")
    own.check()
    expect(strip(page).nth(0)).to_have_attribute("aria-label", re.compile("settings of its own"))
    set_threshold(page, 1)
    expect(page.locator("#many tbody tr").first.locator("td").first).to_have_text("0")
    assert [row[1] for row in table(page)[2:4]] == [row[1] for row in before[2:4]]
    strip(page).nth(1).click()
    is_open(page, 1)
    expect(own).not_to_be_checked()
    expect(page.locator("#threshold input[type=number]")).to_have_value("0.5")
    strip(page).nth(0).click()
    is_open(page, 0)
    expect(own).to_be_checked()
    expect(page.locator("#threshold input[type=number]")).to_have_value("1")
    own.uncheck()
    expect(page.locator("#threshold input[type=number]")).to_have_value("0.5")
    expect(page.locator("#many tfoot td").first).to_have_text(before[-1][1])


def test_what_is_hidden_by_hand_belongs_to_its_photo(page: Page, photos: Photos) -> None:
    looked_at(page, photos)
    before = table(page)
    page.locator("#picture .spots li:not([hidden])").first.focus()
    page.keyboard.press("Delete")
    expect(page.locator("#many tbody tr").first.locator("td").first).to_have_text(str(int(before[1][1]) - 1))
    strip(page).nth(1).click()
    is_open(page, 1)
    assert shown(page) == int(before[2][1])
    expect(page.locator("#picture .hidden-list")).to_be_hidden()
    strip(page).nth(0).click()
    is_open(page, 0)
    expect(masks(page)).to_have_count(int(before[1][1]) - 1)
    page.get_by_role("button", name="Bring all back").click()
    expect(page.locator("#many tfoot td").first).to_have_text(before[-1][1])


def test_a_correction_belongs_to_its_photo_and_reaches_the_files(
    page: Page, photos: Photos, tmp_path: Path
) -> None:
    looked_at(page, photos)
    page.evaluate(
        """() => {
            const spot = document.querySelector("#picture .spots li:not([hidden])");
            spot.focus();
            return spot.dataset.id;
        }"""
    )
    page.locator("#selected").get_by_role("button", name="Rename").click()
    page.locator("#picture .idea input").fill("thing")
    page.keyboard.press("Enter")
    expect(page.locator("#many thead")).to_contain_text("thing")
    strip(page).nth(1).click()
    is_open(page, 1)
    expect(page.locator("#summary")).not_to_contain_text("thing")
    strip(page).nth(0).click()
    is_open(page, 0)
    expect(page.locator("#summary")).to_contain_text("thing")
    choose(page, "#many-format", "COCO")
    downloaded(page, page.locator("#save-many"), tmp_path / "all.json")
    whole = json.loads((tmp_path / "all.json").read_text())
    (made,) = [each for each in whole["categories"] if each["name"] == "thing"]
    (edited,) = [each for each in whole["annotations"] if each["source"] == "edited"]
    assert edited["category_id"] == made["id"] and edited["image_id"] == 1


def test_a_photo_that_fails_says_why_and_is_tried_again(page: Page, photos: Photos, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(photos[0].read_bytes()[:500])
    (tmp_path / "empty.png").write_bytes(b"")
    bring(page, [tmp_path / "broken.png", tmp_path / "empty.png", photos[2]])
    expect(told(page)).to_have_text("1 photo, 1 failed")
    is_open(page, 1)
    notes = page.locator("#picture .many-notes")
    expect(notes).to_contain_text("“empty.png” was not sent. This file is empty")
    expect(notes).to_contain_text("“broken”: This picture is damaged or incomplete")
    expect(strip(page).nth(0)).to_have_attribute("aria-label", "broken, failed, 1 of 2")
    page.get_by_role("button", name="Try broken again").click()
    expect(told(page)).to_have_text("1 photo, 1 failed")
    is_open(page, 1)


def test_a_zip_works_as_its_photos_and_says_what_was_left_out(
    page: Page, photos: Photos, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "trip.zip", "w") as archive:
        for path in photos[:2]:
            archive.write(path, f"trip/{path.name}")
        archive.writestr("trip/notes.txt", "text")
    bring(page, [tmp_path / "trip.zip"])
    expect(told(page)).to_have_text("2 photos")
    is_open(page, 0)
    expect(page.locator("#picture .many-notes")).to_contain_text(
        "“notes.txt” was left out: it is no picture."
    )
    expect(masks(page).first).to_be_attached()
    page.wait_for_function("document.querySelector('#picture .photo').naturalWidth > 200")


def test_a_zip_that_cannot_be_used_brings_back_what_was_there(
    page: Page, photos: Photos, tmp_path: Path
) -> None:
    looked_at(page, photos[:2])
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04")
    bring(page, [tmp_path / "bad.zip"])
    expect(page.locator("#picture .message")).to_contain_text("This ZIP is damaged or incomplete")
    expect(strip(page)).to_have_count(2)
    expect(masks(page).first).to_be_attached()
    strip(page).nth(1).click()
    is_open(page, 1)


def test_stop_keeps_what_is_done_and_the_rest_can_follow(
    page: Page, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, may_go = hold(monkeypatch)
    bring(page, photos)
    assert began.acquire(timeout=20)
    may_go.release()
    is_open(page, 0)
    assert began.acquire(timeout=20)
    expect(told(page)).to_contain_text("1 of 3 photos")
    page.locator("#picture [data-action=many-stop]").click()
    expect(told(page)).to_have_text("1 photo, stopped")
    assert shown(page) == int(table(page)[1][1])
    may_go.release(10)
    page.get_by_role("button", name="Go on with the rest").click()
    expect(told(page)).to_have_text("3 photos")
    strip(page).nth(2).click()
    is_open(page, 2)


def test_another_model_looks_at_the_open_photo_or_at_all(
    page: Page, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at(page, photos)
    before = table(page)
    page.locator("#picture .spots li:not([hidden])").first.focus()
    page.keyboard.press("Delete")
    expect(page.locator("#many tbody tr").first.locator("td").first).to_have_text(str(int(before[1][1]) - 1))
    segment = serving_photos.segment_or_fall_back

    def half(*arguments: Any) -> Any:
        """Finds only the first object."""
        found, *rest = segment(*arguments)
        return found.select(np.arange(len(found)) < 1), *rest

    monkeypatch.setattr(serving_photos, "segment_or_fall_back", half)
    page.get_by_role("button", name="Look at all again").click()
    expect(page.locator("#many tfoot td").first).to_have_text("3")
    expect(masks(page)).to_have_count(1)
    monkeypatch.setattr(serving_photos, "segment_or_fall_back", segment)
    page.get_by_text("Model", exact=True).last.click()
    page.locator("#run").click()
    expect(page.locator("#many tbody tr").first.locator("td").first).to_have_text(before[1][1])
    assert table(page)[2][1] == "1"


def test_another_photo_takes_the_place_of_the_strip(page: Page, photos: Photos) -> None:
    looked_at(page, photos[:2])
    bring(page, photos[2:])
    expect(page.locator("#picture .many")).to_be_hidden()
    expect(page.locator("#many")).to_be_hidden()
    expect(page.locator("#picture .waiting")).to_be_hidden()
    expect(page.locator("#summary")).to_contain_text("Model scenes")


def test_new_photos_take_the_place_of_those_that_are_looked_at(
    page: Page, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, may_go = hold(monkeypatch)
    bring(page, photos)
    assert began.acquire(timeout=20)
    may_go.release()
    is_open(page, 0)
    bring(page, photos[1:])
    may_go.release(10)
    expect(told(page)).to_have_text("2 photos")
    is_open(page, 0)
    assert [row[0] for row in table(page)[1:-1]] == ["second", "third"]


def test_a_reload_opens_the_photos_again(page: Page, photos: Photos, server: str) -> None:
    looked_at(page, photos[:2])
    strip(page).nth(1).click()
    is_open(page, 1)
    before = table(page)
    page.goto(server)
    expect(strip(page)).to_have_count(2)
    is_open(page, 1)
    assert table(page) == before
    strip(page).nth(0).click()
    is_open(page, 0)


def test_the_files_for_all_photos_hold_what_is_in_view(page: Page, photos: Photos, tmp_path: Path) -> None:
    looked_at(page, photos)
    kind = table(page)[0][2]
    chip(page, kind).click()
    expect(page.locator("#many thead th")).to_have_count(3)
    rows = table(page)
    save = page.locator("#save-many")
    assert downloaded(page, save, tmp_path / "all.zip") == "photos.zip"
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        coco = json.loads(archive.read("photos-coco.json"))
        lines = list(csv.reader(io.StringIO(archive.read("photos-counts.csv").decode())))
    assert len(coco["annotations"]) == int(rows[-1][1])
    assert [line[:3] for line in lines[1:-1]] == [[row[0], row[2], row[1]] for row in rows[1:-1]]
    choose(page, "#many-format", "Contact sheet")
    assert downloaded(page, save, tmp_path / "sheet.jpg") == "photos-sheet.jpg"
    with Image.open(tmp_path / "sheet.jpg") as sheet:
        assert sheet.size[0] > 1000


@pytest.mark.parametrize("width", [1400, 768, 390])
def test_the_page_fits(open_page: Callable[..., Page], photos: Photos, width: int) -> None:
    page = looked_at(open_page(width, 844), photos)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = strip(page).first.bounding_box()
    assert box is not None and min(box["width"], box["height"]) >= 44


def test_too_many_photos_are_refused_before_they_are_sent(page: Page) -> None:
    page.locator("#picture .stage").evaluate(
        """(element) => {
            const dataTransfer = new DataTransfer();
            for (let k = 0; k < 51; k++) dataTransfer.items.add(new File([1], `${k}.png`));
            element.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer }));
        }"""
    )
    expect(page.locator("#picture .message")).to_contain_text("at most 50 photos at a time. You chose 51")


def test_the_programs_find_the_same_in_all_photos(page: Page, photos: Photos, tmp_path: Path) -> None:
    looked_at(page, photos)
    kind = table(page)[0][2]
    chip(page, kind).click()
    expect(page.locator("#many thead th")).to_have_count(3)
    sums = {kind: int(table(page)[-1][1])}
    folder = tmp_path / "work"
    shutil.copytree(photos[0].parent, folder)
    open_tab(page, "Code")
    program = page.locator("#python .cm-content").inner_text()
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines()[-2] == str(sums) and run.stdout.splitlines()[-1].endswith("photos.zip")
    page.get_by_role("tab", name="curl").click()
    commands = page.locator("#curl .cm-content").inner_text()
    run = subprocess.run(["sh", "-c", commands], cwd=folder, capture_output=True, text=True, check=True)
    answers = [json.loads(line[6:])[0] for line in run.stdout.splitlines() if line.startswith("data: [")]
    assert answers[-1]["counts"] == sums and answers[-1]["file"]["path"].endswith("photos.zip")


def test_the_program_for_node_finds_the_same_in_all_photos(
    page: Page, photos: Photos, tmp_path: Path
) -> None:
    looked_at(page, photos)
    kind, total = table(page)[0][2], table(page)[-1][2]
    folder = tmp_path / "work"
    shutil.copytree(photos[0].parent, folder)
    open_tab(page, "Code")
    page.get_by_role("tab", name="JavaScript").click()
    code = page.locator("#javascript .cm-content").inner_text()
    assert '"third.png"' in code and "/segment_many" in code
    assert re.search(rf"{kind}'?: {total}\b", node(code, with_client(folder)))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_rules_of_accessibility_are_heeded(
    open_page: Callable[..., Page], photos: Photos, scheme: str, tmp_path: Path
) -> None:
    page = open_page(1300, 900, scheme)
    (tmp_path / "broken.png").write_bytes(photos[0].read_bytes()[:500])
    bring(page, [*photos, tmp_path / "broken.png"])
    expect(told(page)).to_have_text("3 photos, 1 failed")
    is_open(page, 0)
    assert faults(page, "#picture .many") == []
    assert faults(page, "#many") == []
