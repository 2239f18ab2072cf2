"""Measures the live camera: frames per second, the delay, and what it costs a visitor with a photo.

    python benchmarks/live.py [--model starter] [--clip FILE] [--seconds 15] [--photos 8]

Chromium opens the page, and its camera shows a clip at 640x480 again and again: drawn objects, or the video
file that is named. One visitor is live. Meanwhile another visitor, with another address, sends one photo
after the other. The same photos are also timed while the browser shows the camera without sending it, so that
only the frames make the difference. The last line is one JSON object:

- `frames_per_second` and `delay_ms` are those that the page shows, read once a second: the medians.
- `photo_alone_ms` and `photo_live_ms` are medians, and `photo_waits_ms` is the difference. `frame_ms` is the
  time from one answered frame to the next while no photo is looked at.
- `event_ms` is the time of a whole Gradio event with an upload for a frame that the server has looked at
  before, so without the network. `route_ms` is the time of the live route for this frame, with the network.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import httpx
import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.clients import Client, Server, address, picture, serving
from tools.screenshot import CHROMIUM_FLAGS
from training.scenes.clips import draw_clip

SIZE = (640, 480)
"""The width and the height of the camera's picture."""
RATE = 30
WARM_SECONDS = 4.0


def write_video(path: Path, frames: Sequence[NDArray[np.uint8]], rate: int) -> None:
    """Writes frames, (H, W, 3) uint8 RGB, as YUV4MPEG2, which Chromium shows as a camera again and again."""
    height, width = frames[0].shape[:2]
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F{rate}:1 Ip A1:1 C420\n".encode())
        for frame in frames:
            file.write(b"FRAME\n" + cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420).tobytes())


def drawn_frames(seconds: float, rate: int) -> list[NDArray[np.uint8]]:
    """Returns the frames of a drawn clip at `SIZE`."""
    times = np.arange(0, seconds, 1 / rate).tolist()
    return [np.asarray(cv2.resize(frame.image, SIZE), np.uint8) for frame in draw_clip(1, times)]


def frames_of(clip: Path, seconds: float) -> list[NDArray[np.uint8]]:
    """Returns the first frames of a video file at `SIZE`, each as often as `RATE` asks for."""
    video = cv2.VideoCapture(str(clip))
    again = max(1, round(RATE / (video.get(cv2.CAP_PROP_FPS) or RATE)))
    frames: list[NDArray[np.uint8]] = []
    while len(frames) < seconds * RATE:
        there, frame = video.read()
        if not there:
            break
        frames += [np.asarray(cv2.cvtColor(cv2.resize(frame, SIZE), cv2.COLOR_BGR2RGB), np.uint8)] * again
    if not frames:
        raise SystemExit(f"{clip} has no frames that OpenCV can read.")
    return frames


def camera_flags(clip: Path) -> list[str]:
    """Returns the flags with which Chromium shows a clip as its camera, and lets every page use it."""
    return [
        *CHROMIUM_FLAGS,
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={clip}",
    ]


@contextmanager
def browsing(clip: Path) -> Iterator[Browser]:
    """Runs a Chromium whose camera shows `clip`."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise SystemExit("Chromium is not installed.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=camera_flags(clip))
        yield browser
        browser.close()


def open_camera(browser: Browser, url: str) -> Page:
    """Opens the page and its still camera, which shows the same picture as live, but sends nothing."""
    page = browser.new_page(viewport={"width": 1024, "height": 800})
    page.goto(f"{url}?example=none")
    page.locator("#picture .drop [data-action=camera]").click()
    page.locator("#picture .viewfinder").wait_for()
    return page


def go_live(page: Page) -> Page:
    """Closes the still camera, presses "Live", and waits until the first frames have been answered."""
    page.locator("#picture [data-action=close-camera]").click()
    page.locator("#picture .drop [data-action=live]").click()
    page.locator("#picture .live-view[data-rate]").wait_for(timeout=60_000)
    page.wait_for_timeout(1000 * WARM_SECONDS)
    return page


def shown(page: Page) -> tuple[float, float]:
    """Returns the frames per second and the delay in ms that the page shows now."""
    rate, delay = page.locator("#picture .live-view").evaluate("(it) => [it.dataset.rate, it.dataset.delay]")
    return float(rate), float(delay)


def photo_ms(server: Server, count: int, first_seed: int) -> list[float]:
    """Returns the milliseconds that each of `count` photos takes, one after the other."""
    with Client(server.url, address(1)) as client:
        answers = [client.ask("segment", picture(first_seed + k)) for k in range(count)]
    return [1000 * answer.seconds for answer in answers]


def transports_ms(server: Server, frame: bytes, count: int) -> tuple[float, float]:
    """Returns the median milliseconds of an event without the network, and of the live route with it."""
    with Client(server.url, address(2)) as client:
        client.ask("segment", frame)
        events = [1000 * client.ask("segment", frame).seconds for _ in range(count)]
    routes, place = [], ""
    with httpx.Client(base_url=server.url, headers={"X-Forwarded-For": address(2)}, timeout=60) as route:
        for _ in range(count):
            start = time.perf_counter()
            answer = route.post("/live", params={"place": place}, content=frame).raise_for_status().json()
            routes.append(1000 * (time.perf_counter() - start))
            place = answer["place"]
        route.post("/live/stop", params={"place": place})
    return statistics.median(events), statistics.median(routes)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="starter", help="the built-in model that looks (starter)")
    parser.add_argument("--clip", type=Path, help="a video file for the camera (a drawn clip)")
    parser.add_argument("--seconds", type=float, default=15, help="seconds to measure (15)")
    parser.add_argument("--photos", type=int, default=8, help="photos of the other visitor (8)")
    options = parser.parse_args(arguments)
    frames = frames_of(options.clip, 6) if options.clip else drawn_frames(4, RATE)
    jpeg = cv2.imencode(".jpg", frames[len(frames) // 2][..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[
        1
    ].tobytes()
    with tempfile.TemporaryDirectory() as folder, serving("--model", options.model) as server:
        clip = Path(folder, "camera.y4m")
        write_video(clip, frames, RATE)
        photo_ms(server, 2, 1000)
        event, route = transports_ms(server, jpeg, 2 * options.photos)
        with browsing(clip) as browser:
            page = open_camera(browser, server.url)
            page.wait_for_timeout(1000 * WARM_SECONDS)
            alone = photo_ms(server, options.photos, 0)
            go_live(page)
            seen = []
            for _ in range(round(options.seconds)):
                page.wait_for_timeout(1000)
                seen.append(shown(page))
            live = photo_ms(server, options.photos, 100)
            words = page.locator("#picture .live-model").inner_text()
    rate, delay = (statistics.median(values) for values in zip(*seen, strict=True))
    print(
        json.dumps(
            {
                "words": words,
                "frames_per_second": round(rate, 2),
                "delay_ms": round(delay),
                "frame_ms": round(1000 / rate),
                "photo_alone_ms": round(statistics.median(alone)),
                "photo_live_ms": round(statistics.median(live)),
                "photo_waits_ms": round(statistics.median(live) - statistics.median(alone)),
                "photo_waits_frames": round(
                    (statistics.median(live) - statistics.median(alone)) * rate / 1000, 2
                ),
                "event_ms": round(event),
                "route_ms": round(route),
            }
        )
    )


if __name__ == "__main__":
    main()
