"""What a visitor does on the page and sees there, for tests in Chromium."""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file
from playwright.sync_api import Locator, Page

from serving import photos
from tests.patience import expect
from tests.truth import SCENE

EMPTY = "?example=none"
"""The query of a page that opens without an example."""


def upload(page: Page, file: Path = SCENE) -> None:
    page.set_input_files("#picture input[type=file]", file)


def segmented(page: Page, file: Path = SCENE) -> Page:
    """Uploads a photo and waits until its objects are on the stage."""
    upload(page, file)
    expect(page.locator("#picture .waiting")).to_be_hidden()
    expect(page.locator("#summary")).to_contain_text("Model scenes")
    expect(masks(page).first).to_be_attached()
    return page


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


def example(page: Page, name: str) -> None:
    page.locator(f"#picture .example-list [data-example={name}]").click()


def masks(page: Page) -> Locator:
    """Returns the outlines of the instances in view."""
    return page.locator("#picture .outlines path:not([hidden])")


def rows(page: Page) -> list[list[str]]:
    """Returns the texts of the table, also of the columns that are hidden at first."""
    lines = page.locator(".objects-details tbody tr:not([hidden])")
    texts: list[list[str]] = lines.evaluate_all(
        "rows => rows.map((row) => [...row.cells].map((cell) => cell.textContent.trim()))"
    )
    return texts


def open_tab(page: Page, name: str) -> None:
    """Opens a tab below the picture. In a narrow window it may be in the menu of the tab bar."""
    tab = page.locator(f"#tabs [role=tab][data-tab-id='{name}']")
    folded = page.locator("#tabs .overflow-dropdown button", has_text=name)
    expect(tab.or_(folded).first).to_be_attached()
    if not tab.count():
        page.get_by_role("button", name="More tabs").first.click()
        tab = folded
    tab.click()


def open_kinds(page: Page) -> None:
    page.locator("#summary details.kinds > summary").click()


def kind(page: Page, name: str) -> Locator:
    """Returns the checkbox of a kind or of a group of kinds."""
    return page.locator(f"#summary .kinds input[data-key='{name}']")


def chip(page: Page, name: str) -> Locator:
    return page.locator(f"#summary .chip[data-key='chip {name}']")


def part(page: Page, name: str, id: int) -> Locator:
    """Returns the element of an instance in ".outlines", ".spots", ".labels" or "tbody"."""
    home = ".objects-details" if name == "tbody" else "#picture"
    return page.locator(f"{home} {name} [data-id='{id}']")


def card(page: Page) -> Locator:
    """Returns the card of the selected object, at its place in the right rail."""
    return page.locator("#selected .objects-card")


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


def set_number(page: Page, slider: str, value: float) -> None:
    number = page.locator(f"{slider} input[type=number]")
    number.fill(str(value))
    number.press("Enter")


def set_threshold(page: Page, value: float) -> None:
    set_number(page, "#threshold", value)


def choose(page: Page, dropdown: str, option: str) -> None:
    page.locator(f"{dropdown} input").click()
    page.get_by_role("option", name=option).first.click()


def downloaded(page: Page, button: Locator, path: Path) -> str:
    """Clicks the button and saves the download at `path`. Returns the name that the app suggests for it."""
    with page.expect_download() as download:
        button.click()
    download.value.save_as(path)
    return download.value.suggested_filename


@functools.cache
def instances(server: str, scene: Path = SCENE, **arguments: float) -> list[dict[str, Any]]:
    """Returns the instances that the API finds. Asks only once for the same arguments."""
    client = Client(server, verbose=False)
    answer = client.predict(image=handle_file(scene), api_name="/segment", **arguments)
    found: list[dict[str, Any]] = answer["instances"]
    return found


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
