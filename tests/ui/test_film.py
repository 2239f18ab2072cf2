"""Tests of clips on the page, in Chromium: a moving dog and a person who stands, found by a fake network."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from inference import SegmentationModel
from serving.clips import ClipResults
from tests.patience import expect
from tests.samples import DOG, PERSON, FakeNetwork, fake_model
from tests.server import running
from tests.small_clips import write_clip
from tests.truth import SCENE
from tests.ui.visitor import chip, downloaded, masks, open_tab, set_threshold, upload

FRAMES = 12
STEP = 0.04
"""How far the dog moves in a frame, as a share of the picture's width."""


class Walk(FakeNetwork):
    """Finds a dog that walks to the right from frame to frame, and a person who stands."""

    def __init__(self) -> None:
        super().__init__([], [DOG, PERSON], [0.9, 0.8])
        self.runs = 0
        self.may_go: threading.Semaphore | None = None
        self.began = threading.Semaphore(0)
        self.running = threading.Lock()

    def roi_heads(self, features: object, proposals: object, sizes: list[tuple[int, int]]) -> Any:
        with self.running:
            if self.may_go is not None:
                self.began.release()
                self.may_go.acquire(timeout=20)
            x = 0.1 + STEP * (self.runs % FRAMES)
            self.runs += 1
            self.boxes = [[x, 0.5, x + 0.2, 0.9], [0.7, 0.1, 0.9, 0.8]]
            return super().roi_heads(features, proposals, sizes)


@pytest.fixture(scope="module")
def walk() -> Walk:
    return Walk()


@pytest.fixture(scope="module")
def server(walk: Walk) -> Iterator[str]:
    anything: Any = walk
    model: SegmentationModel = replace(fake_model(), network=anything, name="scenes", sha256="walk")
    with running(model, None, others={"scenes": model}) as url:
        yield url


@pytest.fixture(autouse=True)
def fresh(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing was looked at before."""
    monkeypatch.setattr(ClipResults, "find", lambda *_: None)
    walk.runs, walk.began, walk.scores = 0, threading.Semaphore(0), [0.9, 0.8]
    yield
    held, walk.may_go = walk.may_go, None
    if held is not None:
        held.release(100)
        with walk.running:  # a run that was given up has ended
            pass


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "walk.webm")


def looked_at(page: Page, clip: Path, followed: str = "1 dog, 1 person") -> Page:
    upload(page, clip)
    expect(page.locator("#summary")).to_contain_text(f"Followed: {followed}")
    expect(page.locator("#picture .waiting")).to_be_hidden()
    return page


def seek(page: Page, seconds: float) -> None:
    """Goes to a time of the clip, and waits until its frame is drawn."""
    page.locator("#picture .film").evaluate(
        """(film, at) => new Promise((done) => {
            film.requestVideoFrameCallback(() => requestAnimationFrame(() => setTimeout(done)));
            film.currentTime = at;
        })""",
        seconds,
    )


def on_stage(page: Page) -> dict[str, tuple[float, str]]:
    """Returns where each object begins, as a share of the width, and its colour, by its name and id."""
    found: dict[str, tuple[float, str]] = page.evaluate(
        """() => Object.fromEntries(
          [...document.querySelectorAll("#picture .spots li:not([hidden])")].map((spot) => [
            document.querySelector(`#picture .labels [data-id="${spot.dataset.id}"]`).textContent,
            [parseFloat(spot.style.left) / 100, spot.style.getPropertyValue("--color")]]))"""
    )
    return found


def dog_at(page: Page, x: float) -> None:
    """Waits until the dog on the stage begins at x."""
    spot = page.locator("#picture .spots li[data-id='1']")
    expect(spot).to_have_attribute("style", re.compile(f"left: {100 * x:.0f}"))


def test_every_frame_shows_its_own_objects_with_the_same_ids_and_colours(
    page: Page, clip: Path, walk: Walk
) -> None:
    looked_at(page, clip)
    assert walk.runs == FRAMES
    shown = []
    for k in (0, 5, 11):
        seek(page, k / 10 + 0.01)
        dog_at(page, 0.1 + STEP * k)
        shown.append(on_stage(page))
    assert [sorted(each) for each in shown] == [["dog 1", "person 2"]] * 3
    assert len({each["dog 1"][1] for each in shown}) == 1
    assert shown[0]["dog 1"][1] != shown[0]["person 2"][1]
    assert walk.runs == FRAMES


def test_filters_hold_for_the_whole_clip_without_another_run(page: Page, clip: Path, walk: Walk) -> None:
    looked_at(page, clip)
    set_threshold(page, 0.85)
    expect(masks(page)).to_have_count(1)
    seek(page, 0.81)
    assert sorted(on_stage(page)) == ["dog 1"]
    set_threshold(page, 0.5)
    expect(masks(page)).to_have_count(2)
    chip(page, "person").click()
    expect(masks(page)).to_have_count(1)
    expect(page.locator(".objects-details tbody tr")).to_have_count(1)
    assert walk.runs == FRAMES


def test_a_track_that_is_hidden_is_gone_from_every_frame_and_comes_back(page: Page, clip: Path) -> None:
    looked_at(page, clip)
    page.locator("#picture .spots li[data-id='2']").focus()
    page.keyboard.press("Delete")
    expect(masks(page)).to_have_count(1)
    seek(page, 0.51)
    assert sorted(on_stage(page)) == ["dog 1"]
    page.keyboard.press("Control+z")
    expect(masks(page)).to_have_count(2)


def test_a_row_of_the_table_leads_to_the_best_frame_of_its_track(page: Page, clip: Path) -> None:
    looked_at(page, clip)
    seek(page, 0.81)
    page.locator(".objects-details tbody tr").first.click()
    expect(page.locator("#selected .name")).to_have_text("dog 1")
    assert page.locator("#picture .film").evaluate("film => film.currentTime") < 0.1
    expect(page.locator("#picture .outlines path.selected")).to_have_count(1)


def test_stop_keeps_what_was_found(page: Page, clip: Path, walk: Walk) -> None:
    walk.may_go = threading.Semaphore(0)
    upload(page, clip)
    for _ in range(4):
        walk.may_go.release()
        assert walk.began.acquire(timeout=20)
        page.wait_for_timeout(300)
    expect(masks(page)).to_have_count(2)
    expect(page.locator("#picture .waiting .words")).to_contain_text("of 12 frames")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#picture .waiting")).to_be_hidden()
    expect(page.locator("#summary")).to_contain_text("the part until")
    set_threshold(page, 0.85)
    expect(masks(page)).to_have_count(1)


def test_a_frame_becomes_a_photo(page: Page, clip: Path, walk: Walk) -> None:
    looked_at(page, clip)
    seek(page, 0.51)
    page.get_by_role("button", name="This frame as a photo").click()
    expect(page.locator("#picture .player")).to_be_hidden()
    expect(page.locator("#picture .waiting")).to_be_hidden()
    expect(page.locator("#summary")).to_contain_text("2 objects")
    assert walk.runs == FRAMES + 1


def test_a_clip_stays_if_the_next_photo_gets_no_answer(page: Page, clip: Path, tmp_path: Path) -> None:
    looked_at(page, clip)
    (tmp_path / "text.jpg").write_text("no picture")
    upload(page, tmp_path / "text.jpg")
    expect(page.locator("#picture .message")).to_contain_text("not a picture that can be read")
    expect(page.locator("#picture .player")).to_be_visible()
    expect(masks(page)).to_have_count(2)


def test_what_is_no_clip_gets_a_sentence(page: Page, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no clip" * 100)
    upload(page, tmp_path / "a.mp4")
    expect(page.locator("#picture .message")).to_contain_text("This ")
    expect(page.locator("#picture .player")).to_be_hidden()
    page.wait_for_timeout(500)  # the copy that the browser asked for has failed as well
    expect(page.locator(".toast-body")).to_have_count(0)


def test_the_chart_and_the_player_fit_on_a_phone(open_page: Callable[..., Page], clip: Path) -> None:
    page = looked_at(open_page(390, 844), clip)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    expect(page.locator("#picture .chart polyline")).to_have_count(2)
    expect(page.locator("#picture .legend")).to_contain_text("dog, at most 1")
    box = page.locator("#picture .player button").first.bounding_box()
    assert box is not None and min(box["width"], box["height"]) >= 34


def test_a_clip_that_the_browser_cannot_play_is_copied(page: Page, tmp_path: Path) -> None:
    looked_at(page, write_clip(tmp_path / "walk.avi"))
    film = page.locator("#picture .film")
    expect(film).to_have_attribute("src", re.compile(r"walk-copy\.(webm|mp4)$"))
    page.wait_for_function("document.querySelector('#picture .film').readyState >= 2")
    seek(page, 0.51)
    dog_at(page, 0.1 + STEP * 5)
    expect(page.locator("#picture .message")).to_be_hidden()


def test_an_animated_picture_can_be_looked_at_frame_by_frame(page: Page, walk: Walk, tmp_path: Path) -> None:
    upload(page, write_clip(tmp_path / "walk.gif"))
    expect(page.locator("#summary")).to_contain_text("only the first was looked at")
    assert walk.runs == 1
    walk.runs = 0
    page.get_by_role("button", name="Look at all its frames").click()
    expect(page.locator("#summary")).to_contain_text("Followed: 1 dog, 1 person")
    expect(page.locator("#picture .waiting")).to_be_hidden()
    expect(page.locator("#picture .player")).to_be_visible()
    assert walk.runs == FRAMES


def test_what_is_in_view_of_a_clip_can_be_downloaded(page: Page, clip: Path, tmp_path: Path) -> None:
    looked_at(page, clip)
    chip(page, "person").click()
    expect(masks(page)).to_have_count(1)
    open_tab(page, "Download")
    expect(page.locator("#format")).to_be_hidden()
    page.locator("#clip-format input").click()
    page.get_by_role("option", name="COCO").click()
    assert downloaded(page, page.locator("#save"), tmp_path / "coco.json") == "walk-coco.json"
    coco = json.loads((tmp_path / "coco.json").read_text())
    assert {annotation["track_id"] for annotation in coco["annotations"]} == {2}
    assert len(coco["annotations"]) == FRAMES
    open_tab(page, "Effects")
    page.get_by_label("Blur").first.check()
    name = downloaded(page, page.locator("#save-effect"), tmp_path / "film")
    assert name in ("walk-blur.webm", "walk-blur.mp4") and (tmp_path / "film").stat().st_size > 500
    upload(page, SCENE)
    expect(page.locator("#save-effect")).to_have_text("Download this picture")


def test_the_programs_find_the_same_in_the_clip(page: Page, clip: Path) -> None:
    looked_at(page, clip)
    set_threshold(page, 0.85)
    expect(masks(page)).to_have_count(1)
    open_tab(page, "Code")
    program = page.locator("#python .cm-content").inner_text()
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=clip.parent, capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines()[-2] == "{'dog': 1}"
    assert run.stdout.splitlines()[-1].endswith("walk.zip")


def test_settings_that_change_meanwhile_hold_for_what_is_found_next(
    page: Page, clip: Path, walk: Walk
) -> None:
    walk.may_go = threading.Semaphore(0)
    upload(page, clip)
    assert walk.began.acquire(timeout=20)
    set_threshold(page, 0.85)
    walk.may_go.release(100)
    expect(page.locator("#picture .waiting")).to_be_hidden()
    expect(masks(page)).to_have_count(1)
    expect(page.locator("#summary")).to_contain_text("Followed: 1 dog. Most")


def test_a_lower_threshold_shows_what_was_not_sent_before(page: Page, clip: Path, walk: Walk) -> None:
    walk.scores = [0.9, 0.2]
    looked_at(page, clip, "1 dog")
    expect(masks(page)).to_have_count(1)
    set_threshold(page, 0.15)
    expect(masks(page)).to_have_count(2)
    assert walk.runs == FRAMES
