"""Times the page's answers to a visitor's filters, and compares them with Gradio's own `AnnotatedImage`.

    python benchmarks/filter.py [--instances 100] [--size 768x1024] [--runs 15] [--browser]

There is one photo with blobs of many sizes, and no model runs. The time of an answer starts when the handler
is called. It ends with the bytes of the JSON, and includes the files that are written.
`AnnotatedImage.postprocess` gets the same instances in the same round. With --browser, the script also
measures in Chromium, from the release of the slider to the frame that shows the new picture. The script
prints a table, then one JSON object as the last line: medians in milliseconds. `server_ms` is the median for
a change of the score threshold.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import gradio as gr
import numpy as np
import orjson
from gradio.state_holder import SessionState
from PIL import Image
from playwright.sync_api import sync_playwright
from tqdm import tqdm

import coco
from answer.report import unique_labels
from answer.result import Result, in_view, names
from answer.settings import Filters
from app import create_demo, launch
from detections import Detections
from inference import load
from serving import service
from serving.models import Models
from serving.service import Service
from tools.random_weights import random_picture
from tools.screenshot import CHROMIUM_FLAGS
from ui.choices import Choices
from ui.components import EMPTY_STAGE
from ui.layout import add_layout
from ui.page import Memory, Page, Run
from visualize import Style, annotate

RELEASE = """([threshold, count]) => new Promise((resolve) => {
  const slider = document.querySelector("#threshold input[type=range]");
  const root = document.querySelector("#picture .objects");
  const start = performance.now();
  new MutationObserver((_, observer) => {
    if (Number(root.dataset.shown) !== count) return;
    observer.disconnect();
    requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - start)));
  }).observe(root, { attributes: true });
  slider.value = threshold;
  for (const name of ["input", "change", "pointerup"])
    slider.dispatchEvent(new Event(name, { bubbles: true }));
})"""
"""Moves the slider as a visitor does. Returns the milliseconds from its release to the new picture."""


def blobs(count: int, size_hw: tuple[int, int], seed: int = 0) -> Detections:
    """Returns instances like those of a photo: round blobs with ragged borders and scores from 0.06 to 0.99.

    Their sides are 1/20 to 1/2 of the photo's sides.
    """
    rng = np.random.default_rng(seed)
    sides = np.exp(rng.uniform(np.log(0.05), np.log(0.5), (count, 2)))
    corners = rng.uniform(0, 1 - sides)
    scale = np.array([size_hw[1], size_hw[0]] * 2)
    y, x = (np.indices((28, 28)) - 13.5) / 14
    ragged = rng.normal(0, 1.5, (count, 28, 28))
    probs = 1 / (1 + np.exp(12 * (np.hypot(x, y) - 0.85) + ragged))
    return Detections(
        boxes=(np.hstack([corners, corners + sides]) * scale).astype(np.float32),
        scores=np.linspace(0.99, 0.06, count).astype(np.float32),
        class_ids=rng.choice([category.id for category in coco.CATEGORIES.members[:20]], count).astype(
            np.int64
        ),
        mask_probs=probs.astype(np.float32),
        ids=np.arange(1, count + 1),
        image_size=size_hw,
    )


def make_result(folder: Path, count: int, size_hw: tuple[int, int]) -> Result:
    """Writes a random photo into `folder`, and returns a result with `count` instances in this photo."""
    path = folder / "photo.png"
    picture = random_picture(*size_hw)
    Image.fromarray(picture).save(path)
    return Result(path, picture, blobs(count, size_hw), load("scenes"), {"read": 0.0, "model": 0.0})


class PageAnswers:
    """Calls the page's handlers as Gradio calls them, in a session that looks at `result`."""

    def __init__(self, result: Result) -> None:
        self.result = result
        self._handlers: dict[str, Any] = {}
        with gr.Blocks() as self._blocks:
            self._layout = add_layout()
            self._memory = Memory(gr.State(None), gr.State(None), gr.State(None), gr.State(""))
            page = Page(self._layout, self._memory, Service(Models(lambda: (result.model, None))))
            for handler in (page.show, page.redraw):
                event = self._layout.run.click(handler, self._layout.inputs(), self._layout.outputs())
                self._handlers[handler.__name__] = self._blocks.fns[event["id"]]
        self._state = SessionState(self._blocks)

    def answer(self, handler: str, **settings: Any) -> bytes:
        """Returns the JSON that reaches the browser after one change of the settings.

        Args:
            handler: The name of a method of `ui.page.Page`.
            settings: As for `ui.choices.Choices`.
        """
        choices, layout, memory = Choices(**settings), self._layout, self._memory
        values = {component: getattr(choices, name) for name, component in layout.controls.items()}
        values[layout.summary] = {"unticked": list(choices.without)}
        values[layout.picture] = EMPTY_STAGE | {"hidden": list(choices.hidden), "show": list(choices.show)}
        values[memory.run] = Run(self.result, 1, choices, "token")
        values |= {memory.other: None, memory.address: "http://127.0.0.1:7860"}

        async def called() -> Any:
            block_fn = self._handlers[handler]
            predictions = await block_fn.fn(values)
            return await self._blocks.postprocess_data(block_fn, predictions, self._state)

        return orjson.dumps(asyncio.run(called()), default=str)


def gradios_own(result: Result) -> Any:
    """Returns the same picture from `gr.AnnotatedImage`.

    The base picture holds the boxes and labels. Each instance has a float mask.
    """
    shown = in_view(result.detections, result.categories, Filters(0))
    size = result.working_image.shape[:2]
    base = annotate(
        result.working_image, shown, names(shown, result.categories), Style(masks=False), result.detections
    )
    masks = [shown.mask(i, size).astype(np.float32) for i in range(len(shown))]
    component = gr.AnnotatedImage()
    return component.postprocess(
        (base, list(zip(masks, unique_labels(shown, result.categories), strict=True)))
    )


def measure(result: Result, runs: int) -> dict[str, Any]:
    """Returns the medians of `runs` rounds, each with other settings. A first round does not count."""
    seconds: dict[str, list[float]] = {}
    sizes: dict[str, int] = {}
    rng = random.Random(0)
    app = PageAnswers(result)
    for run in tqdm(range(runs + 1), desc="runs", file=sys.stderr):
        works: dict[str, Callable[[], Any]] = {
            "threshold": lambda: app.answer("show", score_threshold=rng.uniform(0.05, 0.06)),
            "class": lambda: app.answer("show", score_threshold=0.05, without=("person",)),
            "opacity": lambda: app.answer("show", score_threshold=0.05, opacity=rng.random()),
            "colouring": lambda: app.answer("show", score_threshold=0.05, color_by="category"),
            "labels off": lambda: app.answer("show", score_threshold=0.05, show=("masks", "boxes")),
            "mask threshold": lambda: app.answer(
                "redraw", score_threshold=0.05, mask_threshold=rng.uniform(0.3, 0.7)
            ),
            "AnnotatedImage": lambda: gradios_own(result),
        }
        for name, work in works.items():
            start = time.perf_counter()
            answer = work()
            if run:
                seconds.setdefault(name, []).append(time.perf_counter() - start)
            if isinstance(answer, bytes):
                sizes[name] = len(answer)
    medians = {name: round(statistics.median(values) * 1000, 2) for name, values in seconds.items()}
    return {
        "instances": len(result.detections),
        "size_hw": result.detections.image_size,
        "runs": runs,
        "server_ms": medians["threshold"],
        "ratio": round(medians["AnnotatedImage"] / medians["threshold"], 1),
        "mask_threshold_ratio": round(medians["AnnotatedImage"] / medians["mask threshold"], 1),
        "milliseconds": medians,
        "bytes": sizes,
    }


def measure_browser(result: Result, runs: int) -> dict[str, float]:
    """Returns the median and the worst milliseconds from the slider's release to the picture in Chromium."""
    setattr(service, "segment_file", lambda *arguments: result)  # noqa: B010  # without the model
    demo = create_demo(Models(lambda: (result.model, None)))
    _, url, _ = launch(demo, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    taken = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        tab = browser.new_page(viewport={"width": 1400, "height": 1000})
        tab.goto(f"{url}?example=none")
        tab.set_input_files("#picture input[type=file]", result.path)
        tab.locator("#picture path[data-id]").first.wait_for(state="attached")
        tab.wait_for_timeout(1000)
        for run in range(runs + 1):
            threshold = round(0.1 + 0.6 * (run * 7 % 13) / 13, 2)
            count = len(in_view(result.detections, result.categories, Filters(threshold)))
            milliseconds = tab.evaluate(RELEASE, [threshold, count])
            if run:
                taken.append(milliseconds)
            tab.wait_for_timeout(200)
        browser.close()
    demo.close(verbose=False)
    return {"median": round(statistics.median(taken), 1), "worst": round(max(taken), 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--instances", type=int, default=100, help="instances in the photo")
    parser.add_argument("--size", default="768x1024", help="height x width of the photo in pixels")
    parser.add_argument("--runs", type=int, default=15, help="number of runs; the times are their medians")
    parser.add_argument("--browser", action="store_true", help="measure in Chromium as well")
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        result = make_result(Path(folder), arguments.instances, (height, width))
        figures = measure(result, arguments.runs)
        if arguments.browser:
            figures["browser_ms"] = measure_browser(result, arguments.runs)
    print(f"{'answer':<18}{'milliseconds':>14}{'bytes':>10}")
    for name, value in figures["milliseconds"].items():
        print(f"{name:<18}{value:>14.2f}{figures['bytes'].get(name, 0) or '':>10}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
