"""Tests the live camera in Chromium, whose camera shows a drawn clip."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page

from benchmarks.live import camera_flags, drawn_frames, write_video
from serving import live
from tests.patience import SECONDS, expect
from tests.truth import SCENE
from tests.ui.test_accessibility import faults as broken_rules
from tests.ui.visitor import EMPTY, example, masks, segmented, set_threshold


@pytest.fixture(scope="module", autouse=True)
def patient_server() -> Iterator[None]:
    """The machine of the tests may be too busy for the time that a frame may take."""
    patch = pytest.MonkeyPatch()
    patch.setattr(live, "FRAME_SECONDS", 60.0)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def chromium(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium whose camera shows a drawn clip, and lets every page use it."""
    clip = tmp_path_factory.mktemp("camera") / "clip.y4m"
    write_video(clip, drawn_frames(2, 10), 10)
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with_camera = browser.browser_type.launch(executable_path=program, args=camera_flags(clip))
    yield with_camera
    with_camera.close()


@pytest.fixture
def faults() -> list[str]:
    return []


@pytest.fixture
def visitor(chromium: Browser, server: str, faults: list[str]) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1400, "height": 1000})
    context.grant_permissions(["camera"])
    page = context.new_page()
    page.set_default_timeout(20 * SECONDS)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(f"{server}{EMPTY}")
    expect(page.locator("#picture input[type=file]")).to_be_attached()
    yield page
    if page.locator("#picture .live-view").is_visible():
        press(page, "live-stop")
    context.close()
    assert faults == []


def press(page: Page, action: str) -> None:
    page.locator(f"#picture [data-action={action}]:visible").first.click()


def go_live(page: Page) -> Page:
    press(page, "live")
    expect(page.locator("#picture .live-outlines path").first).to_be_attached()
    return page


def told(page: Page) -> str:
    message = page.locator("#picture .message")
    expect(message).to_be_visible()
    return message.locator("p").inner_text()


def test_frames_come_and_their_objects_are_drawn(visitor: Page) -> None:
    go_live(visitor)
    expect(visitor.locator("#picture .live-model")).to_have_text("Model scenes.")
    expect(visitor.locator("#picture .live-rates")).to_contain_text("frames per second")
    assert visitor.locator("#picture .live-labels span").first.inner_text().split()[-1].isdigit()
    assert visitor.evaluate("document.querySelector('#picture .live-view video').currentTime") > 0


def test_freeze_hands_the_frame_to_the_page_with_all_its_tools(visitor: Page) -> None:
    go_live(visitor)
    press(visitor, "live-freeze")
    expect(visitor.locator("#summary")).to_contain_text("Model scenes")
    expect(masks(visitor).first).to_be_attached()
    expect(visitor.locator("#picture .live-view")).to_be_hidden()
    size = visitor.locator("#picture .photo").evaluate("(it) => [it.naturalWidth, it.naturalHeight]")
    assert size == [640, 480]


def test_stop_brings_the_photo_back_and_frees_the_camera(visitor: Page) -> None:
    segmented(visitor, SCENE)
    shown = masks(visitor).count()
    go_live(visitor)
    camera = visitor.locator("#picture .live-view video")
    track = camera.evaluate_handle("(it) => it.srcObject.getTracks()[0]")
    press(visitor, "live-stop")
    expect(visitor.locator("#picture .live-view")).to_be_hidden()
    assert masks(visitor).count() == shown
    assert track.evaluate("(it) => it.readyState") == "ended"


def test_the_picture_is_mirrored_and_the_labels_are_not(visitor: Page) -> None:
    go_live(visitor)
    for part in ("video", "svg"):
        turned = visitor.locator(f"#picture .live-view {part}").evaluate(
            "(it) => getComputedStyle(it).transform"
        )
        assert turned == "matrix(-1, 0, 0, 1, 0, 0)"
    apart = visitor.evaluate(
        """() => new Promise((done) => requestAnimationFrame(() => {
            const live = document.querySelector("#picture .live-view");
            const all = (name) => [...live.querySelectorAll(name)];
            const [rects, labels] = [all("rect"), all(".live-labels span")];
            done(labels.filter((label, i) => {
                const [a, b] = [label.getBoundingClientRect(), rects[i].getBoundingClientRect()];
                const aside = a.right < b.left || a.left > b.right;
                return aside && getComputedStyle(label).visibility !== "hidden";
            }).length);
        }))"""
    )
    assert apart == 0, "labels stand at their objects"
    assert (
        visitor.locator("#picture .live-labels").evaluate("(it) => getComputedStyle(it).transform") == "none"
    )


def test_the_threshold_and_the_tools_work_while_live(visitor: Page) -> None:
    go_live(visitor)
    set_threshold(visitor, 1)
    expect(visitor.locator("#picture .live-outlines path")).to_have_count(0)
    set_threshold(visitor, 0.3)
    expect(visitor.locator("#picture .live-outlines path").first).to_be_attached()
    press(visitor, "masks")
    expect(visitor.locator("#picture .live-outlines path").first).to_be_hidden()


def test_another_photo_ends_live(visitor: Page) -> None:
    go_live(visitor)
    example(visitor, "coffee")
    expect(visitor.locator("#picture .live-view")).to_be_hidden()


def test_a_hidden_tab_ends_live(visitor: Page) -> None:
    go_live(visitor)
    visitor.evaluate("Object.defineProperty(document, 'hidden', { get: () => true, configurable: true })")
    visitor.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    assert told(visitor) == "Live stopped because this tab was hidden. Press “Live” to go on."
    expect(visitor.locator("#picture .live-view")).to_be_hidden()


def test_two_idle_minutes_end_live(visitor: Page) -> None:
    visitor.clock.install()
    go_live(visitor)
    visitor.clock.fast_forward("02:01")
    assert told(visitor).startswith("Live stopped after two minutes without a touch or a key.")


def test_the_third_visitor_is_told_that_live_is_busy(visitor: Page, server: str) -> None:
    frame = SCENE.read_bytes()
    held = [httpx.post(f"{server}live", content=frame, timeout=30).json()["place"] for _ in range(2)]
    try:
        press(visitor, "live")
        assert told(visitor) == live.FULL
        expect(visitor.locator("#picture .live-view")).to_be_hidden()
    finally:
        for place in held:
            httpx.post(f"{server}live/stop", params={"place": place})
    visitor.locator("#picture [data-action=dismiss]").click()
    go_live(visitor)


@pytest.mark.parametrize(
    ("refuses", "sentence"),
    [(True, "The browser does not let this page use the camera."), (False, "No camera was found.")],
)
def test_a_camera_that_is_refused_or_absent_gives_a_sentence(
    refuses: bool, sentence: str, browser: Browser, server: str
) -> None:
    context = browser.new_context(permissions=["camera"])
    page = context.new_page()
    if refuses:
        refusal = "async () => { throw new DOMException('', 'NotAllowedError'); }"
        page.add_init_script(f"navigator.mediaDevices.getUserMedia = {refusal}")
    page.goto(f"{server}{EMPTY}")
    expect(page.locator("#picture input[type=file]")).to_be_attached()
    press(page, "live")
    assert told(page).startswith(sentence)
    expect(page.locator("#picture .live-view")).to_be_hidden()
    context.close()


def test_a_live_that_is_stopped_at_once_leaves_no_place_taken(visitor: Page) -> None:
    for _ in range(4):
        press(visitor, "live")
        expect(visitor.locator("#picture .live-view")).to_be_visible()
        press(visitor, "live-stop")
    go_live(visitor)
    expect(visitor.locator("#picture .message")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_running_camera_follows_the_rules_for_everybody(scheme: Any, visitor: Page) -> None:
    visitor.emulate_media(color_scheme=scheme)
    go_live(visitor)
    assert broken_rules(visitor, "#picture") == []


def test_on_a_phone_the_buttons_are_large_and_within_reach(chromium: Browser, server: str) -> None:
    context = chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(f"{server}{EMPTY}")
    expect(page.locator("#picture input[type=file]")).to_be_attached()
    go_live(page)
    for action in ("live-freeze", "live-stop"):
        # One look, because the stage takes the shape of the camera's picture meanwhile.
        button, stage = page.evaluate(
            """(action) => [`[data-action=${action}]`, ".stage"].map(
                (name) => document.querySelector(`#picture ${name}`).getBoundingClientRect().toJSON())""",
            action,
        )
        assert min(button["width"], button["height"]) >= 44
        assert button["top"] > (stage["top"] + stage["bottom"]) / 2 and button["bottom"] <= 844
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    press(page, "live-stop")
    context.close()
