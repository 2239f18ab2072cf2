"""Measures how much of the window the picture fills, how much of it labels cover, and how soon it answers.

    python benchmarks/layout.py [--model starter] [PHOTO ...]

It drives Chromium at 1400x900, 768x1024 and 390x844 with four photos: a crowd, a street, a photo of 3:4 and a
photo of 12 megapixels, which are made from the examples, or with the photos that are named. It needs
requirements-dev.txt and Chromium. It prints a table, then one JSON object as the last line. Shares are
fractions. Times are in milliseconds, the median over the photos:

- `width`, `height`: the size of the picture as a share of the window, for the first photo
- `on_screen`: the share of the picture that is on the screen right after an upload, and `progress` with it
- `labels`, `overlaps`: the largest share of a picture under labels, and the pairs of labels that overlap
- `drop_ms`: from the drop to the photo on the stage
- `slider_ms`: from the slider to the picture

The example's result is waited for without a click, and an own photo needs one drop.
"""

from __future__ import annotations

import argparse
import base64
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from app import create_demo, launch
from inference import load
from serving.models import Models
from tools.screenshot import CHROMIUM_FLAGS

WINDOWS = {"1400": (1400, 900), "768": (768, 1024), "390": (390, 844)}
MEASURE = """() => {
  const stage = document.querySelector("#picture .stage").getBoundingClientRect();
  const seen = Math.max(0, Math.min(stage.bottom, innerHeight) - Math.max(stage.top, 0)) / stage.height;
  const boxes = [...document.querySelectorAll("#picture .labels span:not([hidden])")]
    .filter((label) => getComputedStyle(label).visibility === "visible")
    .map((label) => label.getBoundingClientRect());
  const both = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  const area = boxes.reduce((sum, box) => sum + box.width * box.height, 0);
  return {
    width: stage.width / innerWidth, height: stage.height / innerHeight, on_screen: seen,
    labels: area / (stage.width * stage.height),
    overlaps: boxes.flatMap((a, i) => boxes.slice(i + 1).filter((b) => both(a, b))).length,
    objects: document.querySelectorAll("#picture .outlines path:not([hidden])").length,
    sideways: document.documentElement.scrollWidth > innerWidth,
  };
}"""
DROP = """async ([bytes, name]) => {
  const file = new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], name, { type: "image/jpeg" });
  const transfer = new DataTransfer();
  transfer.items.add(file);
  const photo = document.querySelector("#picture .photo");
  const start = performance.now();
  document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
  await photo.decode();
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const stage = document.querySelector("#picture .stage").getBoundingClientRect();
  return {
    drop_ms: performance.now() - start,
    on_screen: Math.max(0, Math.min(stage.bottom, innerHeight) - Math.max(stage.top, 0)) / stage.height,
    progress: !document.querySelector("#picture .waiting").hidden
      || !document.querySelector("#picture .objects").classList.contains("busy"),
  };
}"""
SLIDE = """(threshold) => new Promise((resolve) => {
  const slider = document.querySelector("#threshold input[type=range]");
  const caption = document.querySelector("#histogram");
  const start = performance.now();
  new MutationObserver((_, observer) => {
    observer.disconnect();
    requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - start)));
  }).observe(caption, { childList: true, subtree: true, characterData: true });
  slider.value = threshold;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  slider.dispatchEvent(new Event("pointerup", { bubbles: true }));
  slider.dispatchEvent(new Event("change", { bubbles: true }));
})"""
READY = """() => document.querySelector("#picture .outlines path")
  && document.querySelector("#picture .waiting").hidden"""


def make_photos(folder: Path) -> list[Path]:
    """Makes the four photos from the examples."""
    bicycles = Image.open(ROOT / "examples" / "bicycles.jpg")
    portrait = bicycles.crop((450, 0, 900, 600)) if bicycles.width >= 900 else bicycles
    made = {
        "crowd": bicycles,
        "street": Image.open(ROOT / "examples" / "traffic.jpg"),
        "portrait": portrait,
        "large": bicycles.resize((4000, 3000)),
    }
    paths = []
    for name, picture in made.items():
        paths.append(folder / f"{name}.jpg")
        picture.save(paths[-1], quality=90)
    return paths


def measure(page: Page, photo: Path) -> dict[str, Any]:
    """Drops a photo on the page, waits for the objects, and moves the threshold."""
    first: dict[str, Any] = page.evaluate(DROP, [base64.b64encode(photo.read_bytes()).decode(), photo.name])
    page.wait_for_function(READY)
    page.wait_for_timeout(300)
    after: dict[str, Any] = page.evaluate(MEASURE)
    times = [page.evaluate(SLIDE, threshold) for threshold in (0.41, 0.62, 0.5)]
    page.wait_for_timeout(300)
    return after | first | {"slider_ms": statistics.median(times)}


def main() -> None:
    """Prints the measurements of every window, and the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="*", type=Path)
    parser.add_argument("--model", default="starter")
    flags = parser.parse_args()
    demo = create_demo(Models(lambda: (load(flags.model, device="cpu"), None)))
    _, url, _ = launch(demo, prevent_thread_lock=True, quiet=True)
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as tool:
        photos = flags.photos or make_photos(Path(folder))
        browser = tool.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        for name, (width, height) in WINDOWS.items():
            page = browser.new_page(viewport={"width": width, "height": height})
            page.goto(url)
            page.wait_for_function(READY)  # the example, without a click
            rows = [measure(page, photo) for photo in photos]
            for photo, row in zip(photos, rows, strict=True):
                print(name, photo.stem, {key: round(value, 3) for key, value in row.items()})
            report[name] = {
                "width": round(rows[0]["width"], 3),
                "height": round(rows[0]["height"], 3),
                "on_screen": round(min(row["on_screen"] for row in rows), 3),
                "progress": all(row["progress"] for row in rows),
                "labels": round(max(row["labels"] for row in rows), 4),
                "overlaps": sum(row["overlaps"] for row in rows),
                "objects": max(row["objects"] for row in rows),
                "sideways": any(row["sideways"] for row in rows),
                "drop_ms": round(statistics.median(row["drop_ms"] for row in rows)),
                "slider_ms": round(statistics.median(row["slider_ms"] for row in rows)),
            }
            page.close()
        browser.close()
    demo.close()
    print(json.dumps(report))


if __name__ == "__main__":
    main()
