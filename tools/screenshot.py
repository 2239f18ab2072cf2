"""Takes the README's screenshot: the page with a drawn scene segmented by the built-in model.

    python tools/screenshot.py [--photo examples/scenes/scene-1.png] [--out docs/screenshot.png]

Wants requirements-dev.txt and Chromium. Starts the app on a free port of this machine and stops it again.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from PIL import Image
from playwright.sync_api import sync_playwright

from app import create_demo, launch
from inference import load_model
from models import Models

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def take(url: str, photo: Path, out: Path, width: int, dark: bool) -> None:
    """Uploads `photo` to the page at `url`, waits for the result, and saves what is seen as PNG."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        page = browser.new_page(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
        )
        page.goto(url)
        page.set_input_files("#photo input[type=file]", photo)
        page.locator("#picture .outlines path").first.wait_for(state="attached")
        page.wait_for_timeout(1000)  # the page's own transitions
        page.screenshot(path=out, full_page=True)
        browser.close()
    with Image.open(out) as picture:  # a palette is enough, and a third of the size
        picture.convert("RGB").quantize(256).save(out, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photo", type=Path, default=ROOT / "examples" / "scenes" / "scene-1.png")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "screenshot.png")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--dark", action="store_true")
    arguments = parser.parse_args()
    models = Models(lambda: (load_model("scenes"), None))
    demo = create_demo(models)
    models.start()
    _, url, _ = launch(demo, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    take(url, arguments.photo, arguments.out, arguments.width, arguments.dark)
    demo.close(verbose=False)


if __name__ == "__main__":
    main()
