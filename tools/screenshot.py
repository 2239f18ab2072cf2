"""Takes the README's pictures of the page. The built-in `starter` looks at the example photos.

    python tools/screenshot.py [--out docs]

The tool writes `screenshot.png` (the whole page), `thumbnail.png` (for links to the page) and `tour.webp` (an
animation). It needs requirements-dev.txt and Chromium. It starts the app on a free port of this machine, and
stops the app at the end.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from app import create_demo, launch
from inference import load
from serving.models import Models

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PAGE, THUMBNAIL, TOUR = (1280, 900), (1200, 630), (1200, 900)
"""Width and height of the browser's window for each picture, in pixels."""
TOUR_WIDTH = 800
"""Width of the animation, in pixels."""
SETTLE_MS = 1000
"""Milliseconds until the page's own transitions are over."""

Frame = tuple[bytes, int]
"""A screenshot, and the time in milliseconds for which the animation shows it."""


def opened(page: Page, url: str, query: str, size: tuple[int, int]) -> Page:
    """Opens the link in a window of this size (width, height), waits for the result, and returns the page."""
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.goto(f"{url}?{query}")
    page.locator("#picture .outlines path").first.wait_for(state="attached")
    page.locator("#picture .waiting").wait_for(state="hidden")
    page.wait_for_timeout(SETTLE_MS)
    return page


def tour(page: Page) -> Iterator[Frame]:
    """Points at objects, moves the threshold, shows one kind, drags the line of an effect. Yields frames."""

    def shot(milliseconds: int) -> Frame:
        page.evaluate("window.scrollTo(0, 0)")
        page.wait_for_timeout(300)
        return page.screenshot(), milliseconds

    yield shot(1500)
    for part in page.locator("#picture .outlines path:not([hidden])").all()[:3]:
        part.dispatch_event("pointermove", {"bubbles": True})
        yield shot(900)
    page.locator("#picture .outlines").dispatch_event("pointerleave")
    number = page.locator("#threshold input[type=number]")
    for percent in (30, 20, 10, 30, 60, 80, 90, 50):
        number.fill(str(percent / 100))
        number.press("Enter")
        yield shot(1200 if percent in (10, 90) else 350)
    chip = page.locator("#summary .chip").last
    chip.click()
    yield shot(1200)
    chip.click()
    page.locator("#tabs button[data-tab-id=Effects]").click()
    page.locator("#picture .divider").wait_for()
    page.locator("#picture .divider").focus()
    for key in ("Home", *["ArrowRight"] * 25):
        page.keyboard.press(key)
    yield shot(1200)
    for _ in range(6):
        for _ in range(3):
            page.keyboard.press("ArrowLeft")
        yield shot(150)
    yield shot(1500)


def save_still(screenshot: bytes, path: Path) -> None:
    """Saves a screenshot as PNG with a palette. That looks good enough, and is a third of the size."""
    with Image.open(io.BytesIO(screenshot)) as picture:
        picture.convert("RGB").quantize(256).save(path, optimize=True)


def save_animation(frames: Sequence[Frame], path: Path) -> None:
    """Saves the frames as an animation that repeats, `TOUR_WIDTH` wide."""
    pictures = []
    for screenshot, _ in frames:
        picture = Image.open(io.BytesIO(screenshot)).convert("RGB")
        height = round(picture.height * TOUR_WIDTH / picture.width)
        pictures.append(picture.resize((TOUR_WIDTH, height), Image.Resampling.LANCZOS))
    durations = [milliseconds for _, milliseconds in frames]
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], duration=durations, loop=0, quality=70, method=6
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    out = parser.parse_args(arguments).out
    models = Models(lambda: (load("starter", device="cpu"), None))
    demo = create_demo(models)
    models.start()
    _, url, _ = launch(demo, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        page = browser.new_page(color_scheme="light")
        whole = opened(page, url, "example=bicycles", PAGE).screenshot(full_page=True)
        save_still(whole, out / "screenshot.png")
        save_still(opened(page, url, "example=dogs", THUMBNAIL).screenshot(), out / "thumbnail.png")
        save_animation(list(tour(opened(page, url, "example=bicycles", TOUR))), out / "tour.webp")
        browser.close()
    demo.close(verbose=False)
    for name in ("screenshot.png", "thumbnail.png", "tour.webp"):
        print(f"{name}: {(out / name).stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
