"""Tests what the stage shows while photos come and go: progress, a quick look, Stop, errors and reloads.

The models are fakes whose runs a test can hold, so that it can look at the page meanwhile. They tell the
pictures apart by their shapes.
"""

from __future__ import annotations

import csv
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image
from playwright.sync_api import Page, Route

from inference import SegmentationModel
from photo import images
from photo.errors import ImageError
from tests.patience import expect
from tests.samples import DOG, PERSON, FakeNetwork, fake_model
from tests.server import running
from tests.ui.visitor import (
    EMPTY,
    card,
    chip,
    choose,
    downloaded,
    drop,
    masks,
    open_tab,
    part,
    rows,
    set_threshold,
    upload,
)
from ui import links

BUS = 6
WIDE, TALL, SQUARE = "wide", "tall", "square"
SIZES = {WIDE: (80, 60), TALL: (60, 80), SQUARE: (70, 70)}
"""The width and height of each photo."""
LEFT, RIGHT, MIDDLE = [0.05, 0.1, 0.45, 0.9], [0.55, 0.1, 0.95, 0.9], [0.3, 0.3, 0.7, 0.7]
FULL = {
    WIDE: ([LEFT, RIGHT, MIDDLE], [DOG, DOG, PERSON], [0.998, 0.9, 0.8]),
    TALL: ([MIDDLE], [BUS], [0.9996]),
    SQUARE: ([LEFT], [DOG], [1.0]),
}
"""What the accurate model finds in each photo: boxes, categories and scores."""
SMALL = {
    WIDE: ([[0.56, 0.12, 0.95, 0.9], LEFT], [DOG, DOG], [0.7, 0.6]),
    TALL: ([[0.3, 0.3, 0.7, 0.72]], [BUS], [0.7]),
    SQUARE: ([LEFT], [DOG], [0.7]),
}
"""What the small model finds. It numbers the dogs the other way round."""
NAMES = {WIDE: {"dog", "person"}, TALL: {"bus"}, SQUARE: {"dog"}}
EXPECTED_SECONDS = 4.0


class Network(FakeNetwork):
    """Finds what `found` says of a picture's shape. A run waits while `held` is set."""

    def __init__(self, found: dict[str, tuple[Any, Any, Any]]) -> None:
        super().__init__([], [], [])
        self.found = found
        self.runs: list[str] = []
        """The shapes of the pictures that were looked at."""
        self.began = threading.Semaphore(0)
        self.may_go: threading.Semaphore | None = None

    def roi_heads(self, features: object, proposals: object, sizes: list[tuple[int, int]]) -> Any:
        height, width = sizes[0]
        shape = WIDE if width > height else TALL if height > width else SQUARE
        self.runs.append(shape)
        if self.may_go is not None:
            self.began.release()
            self.may_go.acquire(timeout=20)
        self.boxes, self.labels, self.scores = self.found[shape]
        return super().roi_heads(features, proposals, sizes)


def model(name: str, network: Network) -> SegmentationModel:
    anything: Any = network
    return replace(fake_model(), network=anything, name=name, sha256=name)


@pytest.fixture(scope="module")
def full() -> Network:
    return Network(FULL)


@pytest.fixture(scope="module")
def small() -> Network:
    return Network(SMALL)


@pytest.fixture(scope="module")
def server(full: Network, small: Network) -> Iterator[str]:
    """The address of an app with an accurate model and a small one."""
    accurate = model("resnet50_fpn", full)
    others = {"starter": model("starter", small), "scenes": accurate}
    with running(accurate, None, others=others) as url:
        yield url


@pytest.fixture(autouse=True)
def quick(
    full: Network, small: Network, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[None]:
    """The app expects no photo to take long, unless the test asks for `slow`."""
    is_slow = "slow" in request.fixturenames
    monkeypatch.setattr(
        "serving.timing.Seconds.expected",
        lambda self, model, detail: EXPECTED_SECONDS if is_slow and model.name == "resnet50_fpn" else 0.1,
    )
    full.runs.clear()
    small.runs.clear()
    yield
    for network in (full, small):
        held, network.may_go = network.may_go, None
        network.began = threading.Semaphore(0)
        if held is not None:
            held.release(100)


@pytest.fixture
def slow() -> None:
    """The app expects the accurate model to take `EXPECTED_SECONDS`."""


@pytest.fixture
def held(full: Network) -> Network:
    """The accurate model. Each of its runs waits until the test releases `may_go`."""
    full.may_go = threading.Semaphore(0)
    return full


def release(network: Network, count: int = 1) -> None:
    assert network.may_go is not None
    network.may_go.release(count)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The photos, by their shapes."""
    folder = tmp_path_factory.mktemp("photos")
    for shape, (width, height) in SIZES.items():
        picture = np.full((height * 10, width * 10, 3), 90 + 20 * len(shape), np.uint8)
        Image.fromarray(picture).save(folder / f"{shape}.png")
    return {shape: folder / f"{shape}.png" for shape in SIZES}


def names_on_stage(page: Page) -> list[str]:
    return page.locator("#picture .labels span:not([hidden])").all_inner_texts()


def looked_at(page: Page, file: Path) -> Page:
    """Uploads a photo and waits until everything that is in it is on the stage."""
    upload(page, file)
    expect_result(page, file.stem)
    return page


def expect_result(page: Page, shape: str) -> None:
    """Waits until a photo and its objects are on the stage, and nothing is waited for."""
    expect(page.locator("#picture .waiting")).to_be_hidden()
    expect_photo(page, shape)
    expect(masks(page)).to_have_count(len(FULL[shape][0]))
    expect(masks(page).first).to_be_visible()
    assert set(names_on_stage(page)) == NAMES[shape]


def expect_photo(page: Page, shape: str) -> None:
    width, height = SIZES[shape]
    page.wait_for_function(
        """(ratio) => {
            const photo = document.querySelector("#picture .photo");
            return photo?.complete && Math.abs(photo.naturalWidth / photo.naturalHeight - ratio) < 0.01;
        }""",
        arg=width / height,
    )


WATCH = """() => {
    window.seen = [];
    const look = () => {
        const root = document.querySelector("#picture .objects"), photo = root?.querySelector(".photo");
        const shown = root && !root.classList.contains("busy") && photo.naturalWidth
            ? [...root.querySelectorAll(".outlines path:not([hidden])")] : [];
        const labels = shown.map(({ dataset }) =>
            root.querySelector(`.labels [data-id="${dataset.id}"]`).textContent);
        const { naturalWidth: width, naturalHeight: height } = photo ?? {};
        const shape = width > height ? "wide" : width < height ? "tall" : "square";
        const line = [shape, ...new Set(labels)].join(" ");
        if (labels.length && window.seen.at(-1) !== line) window.seen.push(line);
        requestAnimationFrame(look);
    };
    look();
}"""
"""Notes in each frame the shape of the photo that is drawn and the names of the objects drawn over it."""


def seen(page: Page) -> list[tuple[str, set[str]]]:
    """Returns what `WATCH` has noted: the photo's shape, and the kinds of the objects over it."""
    lines: list[str] = page.evaluate("window.seen")
    return [(line.split()[0], set(line.split()[1:])) for line in lines]


def assert_no_strange_objects(page: Page) -> None:
    for shape, kinds in seen(page):
        assert kinds <= NAMES[shape], f"{kinds} over the {shape} photo"


# ---- which photo, which objects ----


def test_objects_are_never_drawn_over_another_photo(
    page: Page, files: dict[str, Path], full: Network
) -> None:
    looked_at(page, files[WIDE])
    page.evaluate(WATCH)
    full.may_go = threading.Semaphore(0)
    upload(page, files[TALL])
    assert full.began.acquire(timeout=20)
    expect_photo(page, TALL)
    expect(page.locator("#picture .waiting")).to_be_visible()
    expect(masks(page).first).not_to_be_visible()
    with page.expect_response(lambda response: "/upload" in response.url):
        upload(page, files[SQUARE])  # while the model still looks at the other one
    expect_photo(page, SQUARE)
    release(full)
    assert full.began.acquire(timeout=20)  # the answer about the tall photo has come by now, or comes soon
    expect(chip(page, "bus")).to_be_attached()
    expect(page.locator("#picture .waiting")).to_be_visible()
    expect(masks(page).first).not_to_be_visible()
    expect_photo(page, SQUARE)
    release(full)
    expect_result(page, SQUARE)
    expect(chip(page, "dog")).to_have_text("1 dog")
    assert_no_strange_objects(page)
    assert [shape for shape, _ in seen(page)][-1] == SQUARE
    assert full.runs == [WIDE, TALL, SQUARE]


def test_objects_are_not_drawn_over_the_photo_before_while_their_own_is_still_loading(
    page: Page, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fetch(url: str, folder: Path) -> Path:
        return Path(shutil.copy(files[WIDE], folder))

    monkeypatch.setattr("serving.service.fetch", fetch)
    looked_at(page, files[TALL])
    page.evaluate(WATCH)
    loading: list[Route] = []
    page.route("**/picture.jpg", lambda route: loading.append(route))
    try:
        page.evaluate(
            """() => {
                const clipboardData = new DataTransfer();
                clipboardData.setData("text/plain", "https://example.com/photo.png");
                const options = { bubbles: true, cancelable: true, clipboardData };
                document.body.dispatchEvent(new ClipboardEvent("paste", options));
            }"""
        )
        expect(page.locator("#picture .waiting")).to_be_hidden()
        expect(masks(page)).to_have_count(len(FULL[WIDE][0]))
        page.evaluate("() => new Promise(requestAnimationFrame)")
        assert loading, "the photo has come already"
        assert_no_strange_objects(page)
        for route in loading:
            route.continue_()
        expect_result(page, WIDE)
        assert_no_strange_objects(page)
    finally:
        page.unroute("**/picture.jpg")


@pytest.mark.parametrize("way", ["button", "after a quick look"])
def test_stop_brings_back_the_photo_and_the_objects_from_before(
    way: str,
    open_page: Callable[..., Page],
    files: dict[str, Path],
    full: Network,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = looked_at(open_page(), files[WIDE])
    source = page.locator("#picture .photo").get_attribute("src") or ""
    if way != "button":
        monkeypatch.setattr("serving.timing.Seconds.expected", lambda self, model, detail: EXPECTED_SECONDS)
    page.evaluate(WATCH)
    full.may_go = threading.Semaphore(0)
    upload(page, files[TALL])
    assert full.began.acquire(timeout=20)
    if way != "button":
        expect(page.locator("#picture .objects")).to_have_class(re.compile("preview"))
    page.locator("#picture .waiting").get_by_role("button", name="Stop").click()
    expect_result(page, WIDE)
    expect(page.locator("#picture .photo")).to_have_attribute("src", source)
    assert_no_strange_objects(page)
    release(full, 9)
    # What the server knows is of the first photo too.
    open_tab(page, "Download")
    choose(page, "#format", "Table (CSV)")
    assert downloaded(page, page.locator("#save"), tmp_path / "table.csv") == "wide.csv"
    with (tmp_path / "table.csv").open(newline="") as file:
        assert [row["object"] for row in csv.DictReader(file)] == ["dog", "dog", "person"]
    set_threshold(page, 0.85)
    expect(masks(page)).to_have_count(2)
    page.get_by_text("Model", exact=True).first.click()
    page.locator("#run").click()
    assert full.began.acquire(timeout=20)
    assert full.runs[-1] == WIDE
    expect(page.locator("#picture .waiting")).to_be_hidden()
    expect(masks(page)).to_have_count(2)


def test_an_error_stands_on_the_stage_and_keeps_what_was_there(
    page: Page, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looked_at(page, files[WIDE])
    source = page.locator("#picture .photo").get_attribute("src") or ""

    def refuse(*args: object) -> None:
        raise ImageError("This photo cannot be read.")

    with monkeypatch.context() as patch:
        patch.setattr("serving.service.segment_file", refuse)
        page.evaluate(WATCH)
        upload(page, files[TALL])
        message = page.locator("#picture .message[role=alert]")
        expect(message).to_contain_text("This photo cannot be read.")
    expect_result(page, WIDE)
    expect(page.locator("#picture .photo")).to_have_attribute("src", source)
    assert_no_strange_objects(page)
    open_tab(page, "Download")
    assert downloaded(page, page.locator("#save"), tmp_path / "picture") == "wide-segmented.jpg"
    message.get_by_role("button", name="OK").click()
    expect(message).to_be_hidden()
    looked_at(page, files[TALL])


def test_the_next_photo_takes_an_error_away(page: Page, files: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    upload(page, tmp_path / "text.png")
    expect(page.locator("#picture .message")).to_be_visible()
    looked_at(page, files[TALL])
    expect(page.locator("#picture .message")).to_be_hidden()


# ---- progress ----


@pytest.mark.usefixtures("slow")
def test_the_stage_says_what_is_done_and_how_long_it_will_take(
    page: Page, files: dict[str, Path], held: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ui.page.FALLBACK_NAME", "resnet50_fpn_v2")  # which cannot be had
    drop(page, files[TALL])
    assert held.began.acquire(timeout=20)
    words = page.locator("#picture .waiting .words")
    expect(words).to_have_text(re.compile(r"^Looking for objects · \d of about 4 s$"))
    expect(words).to_have_text(re.compile(r"· 1 of about 4 s$"))  # the clock runs
    expect(page.locator("#picture .waiting")).to_have_class(re.compile("foretold"))
    expect(page.locator("#picture .objects")).to_have_class(re.compile("busy"))
    release(held)
    expect_result(page, TALL)


def test_who_waits_sees_the_place_in_the_line(
    page: Page, server: str, files: dict[str, Path], held: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    came = threading.Semaphore(0)

    def read_photo(*args: Any) -> Any:
        came.release()
        return images.read_photo(*args)

    def call(shape: str) -> Any:
        client = Client(server, verbose=False)
        return client.predict(image=handle_file(files[shape]), api_name="/segment")

    monkeypatch.setattr("serving.photos.read_photo", read_photo)
    with ThreadPoolExecutor(2) as others:
        calls = [others.submit(call, shape) for shape in (SQUARE, WIDE)]
        for _ in calls:  # each of them takes a slot
            assert came.acquire(timeout=20)
        upload(page, files[TALL])
        expect(page.locator("#picture .waiting .words")).to_contain_text("Waiting for 2 other photos")
        release(held, 9)
        assert [len(call.result(20)["instances"]) for call in calls] == [1, 3]
    expect_result(page, TALL)


# ---- a quick look ----


@pytest.mark.usefixtures("slow")
def test_a_quick_look_comes_first_and_the_full_answer_takes_its_place(
    page: Page, files: dict[str, Path], held: Network, small: Network
) -> None:
    root = page.locator("#picture .objects")
    page.evaluate(WATCH)
    upload(page, files[WIDE])
    assert held.began.acquire(timeout=20)
    expect(root).to_have_class(re.compile("preview"))
    expect(masks(page)).to_have_count(2)
    expect(masks(page).first).to_be_visible()
    assert names_on_stage(page) == ["dog", "dog"]
    words = page.locator("#picture .waiting .words")
    expect(words).to_contain_text("Quick look. The full answer comes in about 4 s.")
    expect(page.locator("#summary")).not_to_contain_text("objects")  # only the stage has a quick look
    left = next(int(row[0]) for row in rows(page) if row[2].startswith("0.6"))
    part(page, "tbody", left).click()
    expect(card(page)).to_contain_text(f"dog {left}")
    page.keyboard.press("Delete")  # the full answer has other ids, so nothing can be hidden yet
    expect(masks(page)).to_have_count(2)
    release(held)
    expect_result(page, WIDE)
    expect(root).not_to_have_class(re.compile("preview"))
    again = next(int(row[0]) for row in rows(page) if row[2].startswith("0.99"))
    assert again != left
    expect(part(page, "tbody", again)).to_have_class(re.compile("selected"))
    expect(card(page)).to_contain_text(f"dog {again}")
    assert (small.runs, held.runs) == ([WIDE], [WIDE])
    assert [kinds for _, kinds in seen(page)] == [{"dog"}, {"dog", "person"}]


@pytest.mark.usefixtures("slow")
def test_a_selection_that_the_full_answer_does_not_have_is_let_go(
    page: Page, files: dict[str, Path], held: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(held.found, TALL, ([[0, 0, 0.2, 0.2]], [BUS], [0.9]))
    upload(page, files[TALL])
    assert held.began.acquire(timeout=20)
    expect(page.locator("#picture .objects")).to_have_class(re.compile("preview"))
    page.locator(".objects-details tbody tr").click()
    expect(card(page)).to_be_visible()
    release(held)
    expect(page.locator("#picture .waiting")).to_be_hidden()
    expect(card(page)).to_be_hidden()
    expect(page.locator("#picture .selected")).to_have_count(0)


@pytest.mark.usefixtures("slow")
def test_filters_hold_for_a_quick_look_and_for_the_full_answer(
    open_page: Callable[..., Page], files: dict[str, Path], held: Network
) -> None:
    page = open_page(query=f"{EMPTY}&score_threshold=0.65&without=person")
    upload(page, files[WIDE])
    assert held.began.acquire(timeout=20)
    expect(masks(page)).to_have_count(1)
    release(held)
    expect(page.locator("#picture .waiting")).to_be_hidden()
    expect(masks(page)).to_have_count(2)
    assert names_on_stage(page) == ["dog", "dog"]


def test_a_photo_waits_until_the_filters_of_the_address_are_set(
    open_page: Callable[..., Page], files: dict[str, Path], full: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_read = threading.Semaphore(0)
    read_query = links.read_query

    def read_late(query: str) -> Any:
        may_read.acquire(timeout=20)
        return read_query(query)

    monkeypatch.setattr(links, "read_query", read_late)
    page = open_page(query=f"{EMPTY}&score_threshold=0.95")
    with page.expect_response("**/upload*"):
        upload(page, files[WIDE])
    expect(page.locator("#picture .waiting")).to_be_visible()
    may_read.release()
    expect(page.locator("#picture .waiting")).to_be_hidden()
    assert names_on_stage(page) == ["dog"]
    assert full.runs == [WIDE]


def test_a_quick_model_has_no_quick_look(page: Page, files: dict[str, Path], small: Network) -> None:
    looked_at(page, files[WIDE])
    assert small.runs == []


@pytest.mark.usefixtures("slow")
def test_no_answer_of_the_api_is_a_quick_look(server: str, files: dict[str, Path], small: Network) -> None:
    client = Client(server, verbose=False)
    answer = client.predict(image=handle_file(files[WIDE]), api_name="/segment")
    assert answer["model"]["name"] == "resnet50_fpn"
    assert [instance["score"] for instance in answer["instances"]] == FULL[WIDE][2]
    assert small.runs == []


# ---- a reload ----


TOKEN = "JSON.parse(sessionStorage.getItem('photo-of-this-tab'))?.token"


def test_a_reload_brings_back_the_photo_the_result_and_what_was_hidden(
    page: Page, files: dict[str, Path], full: Network
) -> None:
    looked_at(page, files[WIDE])
    id = int(rows(page)[0][0])
    part(page, "tbody", id).click()
    page.keyboard.press("Delete")
    expect(masks(page)).to_have_count(2)
    token = page.evaluate(TOKEN)
    assert len(token) >= 43
    page.reload()
    expect(masks(page)).to_have_count(2)
    expect(part(page, ".outlines", id)).to_be_hidden()
    expect_photo(page, WIDE)
    expect(page.locator("#picture .hidden-list")).to_contain_text(f"dog {id}")
    expect(chip(page, "dog")).to_be_visible()
    expect(page.locator("#picture .waiting")).to_be_hidden()
    assert full.runs == [WIDE]  # the model did not run again
    assert page.evaluate(TOKEN) == token
    open_tab(page, "Download")
    assert token not in page.url and token not in page.locator("#link textarea").input_value()
    page.locator("#picture").get_by_role("button", name=f"Bring back dog {id}").click()
    expect(masks(page)).to_have_count(3)
    page.reload()
    expect(masks(page)).to_have_count(3)


def test_a_new_photo_has_a_new_token_and_a_photo_that_was_removed_has_none(
    page: Page, files: dict[str, Path]
) -> None:
    looked_at(page, files[WIDE])
    token = page.evaluate(TOKEN)
    looked_at(page, files[TALL])
    page.wait_for_function(f"(token) => {TOKEN} !== token", arg=token)
    page.reload()
    expect_result(page, TALL)
    page.get_by_role("button", name="Remove this photo").click()
    expect(page.locator("#picture .drop")).to_be_visible()
    assert page.evaluate("sessionStorage.getItem('photo-of-this-tab')") is None


@pytest.mark.parametrize("query", [EMPTY, ""])
def test_a_token_that_is_not_known_opens_the_page_as_fresh(
    query: str, open_page: Callable[..., Page], files: dict[str, Path]
) -> None:
    page = open_page()
    page.evaluate(
        "sessionStorage.setItem('photo-of-this-tab', JSON.stringify({ token: 'guessed', hidden: [1] }))"
    )
    page = open_page(query=query)
    if query:
        expect(page.locator("#picture .drop")).to_be_visible()
    else:
        expect(page.locator("#picture .hint")).to_be_visible()
        expect(page.locator("#picture .photo")).to_have_attribute("src", re.compile("bicycles"))
    expect(page.locator("#picture .waiting")).to_be_hidden()
    expect(page.locator("#picture .message")).to_be_hidden()
    expect(page.locator("#picture .hidden-list")).to_be_hidden()
    looked_at(page, files[WIDE])


# ---- kinds, models and scores ----


def test_kinds_that_would_empty_the_next_photo_are_all_shown_and_the_page_says_so(
    page: Page, files: dict[str, Path]
) -> None:
    looked_at(page, files[WIDE])
    chip(page, "person").click()
    expect(masks(page)).to_have_count(1)
    looked_at(page, files[SQUARE])  # has dogs only
    expect(page.locator("#summary .found")).to_contain_text("The kinds are all shown again")
    expect(page.locator("#summary .chip.away")).to_have_count(0)
    set_threshold(page, 0.4)
    expect(page.locator("#summary .found")).not_to_contain_text("shown again")
    looked_at(page, files[WIDE])
    expect(masks(page)).to_have_count(3)


def test_a_hidden_kind_stays_hidden_if_the_next_photo_has_others(page: Page, files: dict[str, Path]) -> None:
    looked_at(page, files[WIDE])
    chip(page, "person").click()
    expect(masks(page)).to_have_count(1)
    upload(page, files[TALL])
    expect(chip(page, "bus")).to_have_text("1 bus")
    expect(page.locator("#summary .found")).not_to_contain_text("shown again")
    upload(page, files[WIDE])
    expect(chip(page, "dog")).to_have_class(re.compile("away"))
    expect(masks(page)).to_have_count(1)


def test_a_model_that_cannot_be_had_puts_the_choice_back(page: Page, files: dict[str, Path]) -> None:
    looked_at(page, files[WIDE])
    page.get_by_text("Model", exact=True).first.click()
    chosen = page.locator("#model input:checked")
    page.get_by_label("Drawn scenes").check()
    expect(page.locator("#picture .waiting")).to_be_hidden()
    expect(chosen).to_have_value("scenes")
    page.get_by_label("Mask R-CNN v2").check()
    expect(page.locator("#picture .message")).to_contain_text("no connection")
    expect(page.locator("#picture .message")).to_contain_text("Choose another model")
    expect(chosen).to_have_value("scenes")
    expect_result(page, WIDE)


def test_no_score_below_1_is_shown_as_1_anywhere(page: Page, files: dict[str, Path]) -> None:
    looked_at(page, files[WIDE])  # 0.998
    part(page, "tbody", int(rows(page)[0][0])).click()
    expect(card(page).locator(".short")).to_contain_text("score 0.99 ")
    expect(page.locator("#picture .spots [aria-selected=true]")).to_have_attribute(
        "aria-label", "dog, 0.99, 1 of 3"
    )
    assert rows(page)[0][2] == "0.998"
    looked_at(page, files[TALL])  # 0.9996
    assert rows(page)[0][2] == "0.999"
    part(page, "tbody", int(rows(page)[0][0])).click()
    expect(card(page).locator(".short")).to_contain_text("score 0.99 ")
    assert "1.00" not in page.locator("#picture").inner_text() + card(page).inner_text()
    looked_at(page, files[SQUARE])  # 1
    part(page, "tbody", int(rows(page)[0][0])).click()
    expect(card(page).locator(".short")).to_contain_text("score 1.00 ")
