"""Tests that text from strangers never runs in a visitor's browser.

The text comes in file names, arguments and pictures.

The file is long because its tests share one watched browser window.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Browser, Error, Page, Route

from photo.errors import ImageError
from tests.conftest import UPLOADS
from tests.patience import SECONDS, expect
from tests.truth import SCENE
from tests.ui.visitor import EMPTY, downloaded, open_tab, segmented

RUN = "window.__xss=1"
ELSEWHERE = "http://evil.test/"
PAYLOADS = [
    # scripts
    f"<script>{RUN}</script>",
    f"<ScRiPt>{RUN}</sCrIpT>",
    f"<script/x>{RUN}</script>",
    f"<script\n>{RUN}</script>",
    f"<scr<script>ipt>{RUN}</scr</script>ipt>",
    f'<script src="data:text/javascript,{RUN}"></script>',
    f'<script src="{ELSEWHERE}x.js"></script>',
    f"</textarea><script>{RUN}</script>",
    f"</title><script>{RUN}</script>",
    f"</style></script><script>{RUN}</script>",
    f"<!--><script>{RUN}</script>-->",
    f"<noscript><p title='</noscript><script>{RUN}</script>'>",
    # event handlers
    f"<img src=x onerror={RUN}>",
    f"<img src=x oNeRrOr='{RUN}'>",
    f"<img/src=x/onerror={RUN}>",
    f"<img src=x:x onerror\n=\n{RUN}>",
    f"<img src=`x`onerror={RUN}>",
    f"<image src=x onerror={RUN}>",
    f"<svg onload={RUN}>",
    f"<svg/onload={RUN}>",
    f"<svg><script>{RUN}</script></svg>",
    f"<svg><animate onbegin={RUN} attributeName=x dur=1s>",
    f"<svg><set onbegin={RUN} attributeName=x>",
    f"<svg><a xlink:href='javascript:{RUN}'><text y=20>click</text></a></svg>",
    f"<math><maction actiontype=statusline xlink:href='javascript:{RUN}'>click</maction></math>",
    f"<math><mtext><table><mglyph><style><img src=x onerror={RUN}></style>",
    f"<details open ontoggle={RUN}>x</details>",
    f"<body onload={RUN}>",
    f"<iframe onload={RUN}></iframe>",
    f"<iframe src='javascript:parent.{RUN}'></iframe>",
    f'<iframe srcdoc="<script>parent.{RUN}</script>"></iframe>',
    f"<object data='data:text/html,<script>parent.{RUN}</script>'></object>",
    f"<embed src='javascript:{RUN}'>",
    f"<video><source onerror={RUN}></video>",
    f"<audio src=x onerror={RUN}>",
    f"<input autofocus onfocus={RUN}>",
    f"<select autofocus onfocus={RUN}></select>",
    f"<button onclick={RUN}>click</button>",
    f"<form action='javascript:{RUN}'><input type=submit></form>",
    f"<div onmouseover={RUN}>hover</div>",
    f"<marquee onstart={RUN}>x</marquee>",
    f"<p style='animation:spin 1s' onanimationstart={RUN}>x</p>",
    # break out of an attribute, a string or a template
    f'"><img src=x onerror={RUN}>',
    f"'><svg onload={RUN}>",
    f'" autofocus onfocus="{RUN}" x="',
    f"';{RUN};//",
    f'";{RUN};//',
    f"`;{RUN};//",
    f"${{{RUN}}}",
    f"{{{{constructor.constructor('{RUN}')()}}}}",
    f"{{@html '<img src=x onerror={RUN}>'}}",
    f"<%= {RUN} %>",
    # Markdown
    f"[click](javascript:{RUN})",
    f"[click](JaVaScRiPt:{RUN})",
    f"[click](java\tscript:{RUN})",
    f"[click](data:text/html,<script>{RUN}</script>)",
    f"<javascript:{RUN}>",
    f"[click]: javascript:{RUN}\n[click]",
    f"![x](x){{onerror={RUN}}}",
    f'![x](x"onerror="{RUN})',
    f"![x]({ELSEWHERE}x.png)",
    f"```html\n<script>{RUN}</script>\n```\n<script>{RUN}</script>",
    f"$\\href{{javascript:{RUN}}}{{x}}$",
    # other ways to write the same
    f"&lt;script&gt;{RUN}&lt;/script&gt;",
    f"<a href='&#106;avascript:{RUN}'>click</a>",
    f"<a href='java&#10;script:{RUN}'>click</a>",
    f"<a href='\x01javascript:{RUN}'>click</a>",
    f"<img src=x onerror=&#119;indow.__xss=1>",  # noqa: F541
    f"%3Cscript%3E{RUN}%3C/script%3E",
    f"\uff1cscript\uff1e{RUN}\uff1c/script\uff1e",
    f"<\u017fcript>{RUN}</\u017fcript>",
    f"+ADw-script+AD4-{RUN}+ADw-/script+AD4-",
    f"\u202e<img src=x onerror={RUN}>\u202c",
    f"<base href='javascript:{RUN}//'>",
    f"<meta http-equiv=refresh content='0;url=javascript:{RUN}'>",
    f"<link rel=stylesheet href='{ELSEWHERE}x.css'>",
    f"<style>@import '{ELSEWHERE}x.css';</style><p style=\"background:url({ELSEWHERE}y)\">",
    f"<template><script>{RUN}</script></template><slot onslotchange={RUN}></slot>",
    # work in many places at once
    f"jaVasCript:/*-/*`/*\\`/*'/*\"/**/(/* */oNcliCk={RUN} )//%0D%0A//"
    f"</stYle/</titLe/</teXtarEa/</scRipt/--!>"
    f"\\x3csVg/<sVg/oNloAd={RUN}//>\\x3e",
    f"'\"--></style></script><svg/onload='/*--><html */{RUN}//'>",
]
"""Each payload sets `window.__xss` if a page takes it for HTML, script or Markdown. Some wait for a click."""

FAMILIES = ("onerror", "onload", "<script", "javascript:", "](", "onfocus")

POKE = """() => {
    for (const element of document.querySelectorAll("body *"))
        for (const name of ["mouseover", "click", "focus"])
            element.dispatchEvent(new MouseEvent(name, { bubbles: true }));
}"""
"""Sends the events of a curious visitor to every element."""

DANGEROUS = """() => [...document.querySelectorAll("body *")].filter((element) =>
    ["IFRAME", "OBJECT", "EMBED", "BASE"].includes(element.tagName.toUpperCase())
    || [...element.attributes].some(({ name, value }) => name.startsWith("on")
        || (/^(href|src|action|data|xlink:href)$/.test(name) && /^\\s*(javascript|data:text)/i.test(value)))
).map((element) => element.outerHTML.slice(0, 200))"""
"""Finds the elements that could run something, even if they have not done so yet."""


ELSEWHERES = re.compile(r"^(?!data:|blob:)(?!.*127\.0\.0\.1)")
"""Matches addresses of other hosts. A pattern is fast; Playwright would call a function for each file."""


class Watched:
    """A page with notes of everything that must not happen in it: dialogs, errors and foreign requests."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.notes: list[str] = []
        page.set_default_timeout(20 * SECONDS)
        page.on("dialog", self._note_dialog)
        page.on("pageerror", lambda error: self.notes.append(f"error: {error}"))
        page.route(ELSEWHERES, self._note_request)

    def _note_dialog(self, dialog: Any) -> None:
        self.notes.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _note_request(self, route: Route) -> None:
        self.notes.append(f"request: {route.request.url}")
        route.abort()

    def assert_nothing_ran(self, after: str) -> None:
        assert self.page.evaluate("window.__xss ?? null") is None, after
        assert self.page.evaluate(DANGEROUS) == [], after
        assert self.notes == [], after


@pytest.fixture(scope="module")
def opened(browser: Browser, server: str) -> Iterator[Watched]:
    """The app's page. It opens once for all tests, because opening takes a while."""
    watched = Watched(browser.new_page(viewport={"width": 1400, "height": 1000}))
    watched.page.goto(f"{server}{EMPTY}")
    expect(watched.page.locator("#picture input[type=file]")).to_be_attached()
    watched.page.get_by_text("Model", exact=True).first.click()  # where the button "Look again" is
    yield watched
    watched.page.close()


@pytest.fixture
def watched(opened: Watched) -> Watched:
    """The app's page without notes."""
    opened.page.evaluate("delete window.__xss")
    opened.notes.clear()
    return opened


@pytest.fixture(scope="module")
def window(browser: Browser) -> Iterator[Watched]:
    """The browser window for empty pages."""
    watched = Watched(browser.new_page())
    yield watched
    watched.page.close()


@pytest.fixture
def empty(window: Watched) -> Watched:
    """An empty page without notes."""
    window.page.goto("about:blank")
    window.notes.clear()
    return window


@pytest.fixture
def fresh(browser: Browser) -> Iterator[Watched]:
    """An empty page in a window that only this test uses."""
    watched = Watched(browser.new_page())
    yield watched
    watched.page.close()


def small_picture(number: int) -> bytes:
    """Returns a PNG. Each number gives another picture."""
    file = io.BytesIO()
    squares = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(squares.repeat(8, 0).repeat(8, 1)).save(file, "PNG")
    return file.getvalue()


def put(page: Page, name: str, content: bytes) -> None:
    """Uploads a file with this name through the page, and waits until the app has segmented it."""
    photo = page.locator("#picture .photo")
    before = photo.get_attribute("src")
    page.set_input_files(
        "#picture input[type=file]", {"name": name, "mimeType": "image/png", "buffer": content}
    )
    expect(page.locator("#summary"), name).to_contain_text("Model scenes")
    expect(photo, name).not_to_have_attribute("src", before or "")
    expect(page.locator("#picture .waiting"), name).to_be_hidden()


# ---- the payloads are real ----


TAKE_FOR_HTML = """async ([payloads, poke]) => {
    const frames = payloads.map((payload) => {
        const frame = document.body.appendChild(document.createElement("iframe"));
        frame.contentDocument.write(payload);
        frame.contentDocument.close();
        return frame;
    });
    const each = (look) => frames.map((frame) => {
        try { return look(frame.contentWindow); } catch { return true; }  // it has taken the frame elsewhere
    });
    await new Promise((resolve) => setTimeout(resolve, 200));
    each((window) => window.eval(`(${poke})()`));
    await new Promise((resolve) => setTimeout(resolve, 200));
    return each((window) => Boolean(window.__xss));
}"""
"""Writes each payload into a frame of its own and pokes the frame. Returns whether each payload ran."""


def test_most_payloads_do_run_where_they_are_taken_for_html(browser: Browser) -> None:
    page = browser.new_page()
    page.route("http://evil.test/**", lambda route: route.abort())
    page.on("dialog", lambda dialog: dialog.dismiss())
    runs = page.evaluate(TAKE_FOR_HTML, [PAYLOADS, POKE])
    ran = [payload for payload, it_ran in zip(PAYLOADS, runs, strict=True) if it_ran]
    page.close()
    assert len(PAYLOADS) >= 50
    assert len(ran) >= 40
    assert {family for family in FAMILIES if any(family in payload for payload in ran)} >= {
        "onerror", "onload", "<script", "javascript:", "onfocus",
    }  # fmt: skip


def test_what_would_run_is_noticed(watched: Watched) -> None:
    show = """html => {
        const p = document.createElement('p');
        p.id = 'bad';
        p.innerHTML = html;
        document.body.append(p);
    }"""
    for html in (f"<p onclick={RUN}>", f"<a href='javascript:{RUN}'>x</a>", "<iframe></iframe>"):
        watched.page.evaluate(show, html)
        with pytest.raises(AssertionError):
            watched.assert_nothing_ran(html)
        watched.page.evaluate("document.querySelector('#bad').remove()")
    watched.assert_nothing_ran("taken away")
    with watched.page.expect_event("dialog"):
        watched.page.evaluate(show, "<img src=x onerror=setTimeout(alert,9,1)>")
    watched.page.evaluate("document.querySelector('#bad').remove()")
    assert watched.notes == ["dialog: 1"]


each_way = pytest.mark.parametrize(
    "count", [8, pytest.param(1, marks=pytest.mark.slow)], ids=["some together", "one by one"]
)


# ---- names ----


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)], ids=["every fifth", "all"])
def test_no_name_of_a_photo_runs(step: int, watched: Watched) -> None:
    """Sends the names through the browser. The next test sends all names without a browser."""
    page = watched.page
    open_tab(page, "Code")
    for number, payload in enumerate(PAYLOADS[::step], 1000 * step):
        # No file system allows these characters in a name, so no browser sends them.
        name = re.sub(r"[\x00-\x1f]", " ", payload).replace("/", "\u2215")
        put(page, f"{name}.png", small_picture(number))
        watched.assert_nothing_ran(payload)
    expect(page.locator("#python")).to_contain_text("handle_file(")


def test_a_name_that_is_sent_past_the_browser_is_harmless(server: str, empty: Watched) -> None:
    with httpx.Client(base_url=f"{server}gradio_api/", timeout=20) as http:
        for number, payload in enumerate(PAYLOADS):
            uploaded = http.post("upload", files={"files": (f"{payload}.png", small_picture(number))})
            assert uploaded.status_code == 200
            (path,) = uploaded.json()
            assert Path(path).resolve().is_relative_to(UPLOADS)
            assert not set(Path(path).name) & set('<>"`|*?\\/\n\r')
            back = http.get(f"file={quote(path)}")
            assert back.headers["x-content-type-options"] == "nosniff"
            assert back.headers["content-type"] == "image/png" or is_download(back)
            if number % 20 == 0 and not is_download(back):
                empty.page.goto(f"{server}gradio_api/file={quote(path)}")
                empty.assert_nothing_ran("shown by itself")


def is_download(answer: httpx.Response) -> bool:
    return answer.headers.get("content-disposition", "").startswith("attachment")


# ---- messages ----


def together(payloads: list[str], count: int) -> list[str]:
    """Joins each `count` payloads to one text, because a message costs much more time than a payload."""
    return [" x ".join(payloads[at : at + count]) for at in range(0, len(payloads), count)]


@each_way
def test_no_refusal_runs_that_repeats_what_came(
    count: int, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our messages do not repeat names. If one did, the page would still show the name as text."""
    page, payload = watched.page, ""

    def refuse(*args: object) -> None:
        raise ImageError(f"refused {number}: {payload}")

    put(page, "photo.png", small_picture(201))
    monkeypatch.setattr("serving.service.segment_file", refuse)
    for number, payload in enumerate(together(PAYLOADS, count)):
        page.locator("#run").click()
        expect(page.locator("#picture .message")).to_contain_text(f"refused {number}:")
        watched.assert_nothing_ran(payload)


@each_way
def test_no_error_toast_runs_that_repeats_an_argument(count: int, watched: Watched) -> None:
    """Gradio's own check of a radio button repeats an unknown value in its message."""
    page, number, payload = watched.page, 0, ""

    def with_payload(route: Route) -> None:
        body = route.request.post_data_json
        if "auto" in body["data"]:
            body["data"][body["data"].index("auto")] = f"no. {number}: {payload}"
        route.continue_(post_data=json.dumps(body))

    put(page, "photo.png", small_picture(202))
    page.route("**/gradio_api/queue/join*", with_payload)
    try:
        for number, payload in enumerate(together(PAYLOADS, count)):
            page.locator("#run").click()
            toasts = page.locator(".toast-body.error")
            expect(toasts.filter(has_text=f"no. {number}:").first).to_contain_text("Value:")
            watched.assert_nothing_ran(payload)
            page.evaluate("document.querySelectorAll('.toast-close').forEach((button) => button.click())")
    finally:
        page.unroute("**/gradio_api/queue/join*")


ARGUMENTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "segment": lambda text: {"classes": [text]},
    "segment ": lambda text: {"model": text},
    "segment  ": lambda text: {"hidden": [text]},
    "segment   ": lambda text: {text: 1},
    "annotate": lambda text: {"effect": "blur", "color": text},
    "annotate ": lambda text: {"show": [text], "opacity": 1},
    "export": lambda text: {"format": text},
    "export ": lambda text: {"edges": text},
}


def test_no_answer_of_the_api_that_repeats_an_argument_is_taken_for_a_page(
    server: str, empty: Watched
) -> None:
    with httpx.Client(base_url=f"{server}gradio_api/", timeout=20) as http:
        uploaded = http.post("upload", files={"files": ("photo.png", small_picture(2))})
        image = {"path": uploaded.json()[0], "meta": {"_type": "gradio.FileData"}}
        calls = list(ARGUMENTS.items())
        for number, payload in enumerate(PAYLOADS):
            name, arguments = calls[number % len(calls)]
            path = f"call/v2/{name.strip()}"
            answer = http.post(path, json={"image": image} | arguments(payload))
            if answer.status_code == 200:
                assert_data(answer)
                answer = http.get(f"{path}/{answer.json()['event_id']}")
                assert "event: error" in answer.text
            assert_data(answer)
            for address in (f"file={quote(payload)}", f"call/{quote(payload, safe='')}", f"{quote(payload)}"):
                assert_data(http.get(address))
    for payload in PAYLOADS[::8]:
        empty.page.goto(f"{server}gradio_api/file={quote(payload, safe='')}")
        empty.assert_nothing_ran(payload)


def assert_data(answer: httpx.Response) -> None:
    """Checks that browsers treat the answer as data and not as a page, whatever it contains."""
    assert answer.headers["content-type"].split(";")[0] in ("application/json", "text/event-stream")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_no_address_of_the_page_runs(server: str, empty: Watched) -> None:
    payload = quote(f"</script><script>{RUN}</script>\"><img src=x onerror={RUN}>';{RUN};//")
    query = "&".join(f"{name}={payload}" for name in ("__theme", "view", "deep_link", "__lang", "x"))
    empty.page.goto(f"{server}?{query}#{payload}")
    expect(empty.page.locator("#picture .stage")).to_be_visible()
    empty.assert_nothing_ran(payload)


# ---- files ----

PAGE = f"<!doctype html><title>x</title><script>{RUN};opener&&(opener.{RUN});alert(1)</script>"
DRAWING = f'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1);{RUN}</script></svg>'
PAGES = ("html", "htm", "HTML", "shtml", "mhtml", "hta", "txt", "js", "css")
XHTML = f'<html xmlns="http://www.w3.org/1999/xhtml"><script>alert(1);{RUN}</script></html>'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *((f"x.{ending}", PAGE) for ending in PAGES),
        *((f"x.{ending}", DRAWING) for ending in ("svg", "SVG", "svgz")),
        *((f"x.{ending}", XHTML) for ending in ("xhtml", "xht", "xml", "xsl", "rdf", "atom", "pdf")),
        ("x", PAGE), (".html", PAGE), ("x.html.", PAGE), ("x.png.html", PAGE), ("x.html;.png", PAGE),
    ],
    ids=lambda value: value if len(value) < 20 else "",
)  # fmt: skip
def test_an_uploaded_page_or_drawing_is_given_back_as_a_download(
    name: str, content: str, server: str, empty: Watched
) -> None:
    uploaded = httpx.post(f"{server}gradio_api/upload", files={"files": (name, content.encode())})
    address = f"{server}gradio_api/file={quote(uploaded.json()[0])}"
    answer = httpx.get(address)
    assert answer.content == content.encode()
    assert answer.headers["x-content-type-options"] == "nosniff"
    harmless = answer.headers["content-type"].startswith(("image/png", "text/plain", "application/pdf"))
    assert is_download(answer) or harmless
    if is_download(answer):
        with empty.page.expect_download(), pytest.raises(Error, match=r"Download is starting|ERR_ABORTED"):
            empty.page.goto(address)
    else:
        empty.page.goto(address)
    assert empty.page.evaluate("window.__xss ?? null") is None
    assert empty.notes == []


def hidden_words(kind: str) -> bytes:
    """Returns a picture with HTML in its metadata."""
    words, file = f'"><script>{RUN}</script><img src=x onerror={RUN}>', io.BytesIO()
    picture = Image.open(SCENE).convert("RGB")
    if kind == "PNG":
        text = PngInfo()
        for key in ("Title", "Description", "Comment", "XML:com.adobe.xmp"):
            text.add_itxt(key, words)
            text.add_text("Author", words)
        picture.save(file, "PNG", pnginfo=text)
    else:
        exif = Image.Exif()
        for tag in (0x010E, 0x010F, 0x0110, 0x0131, 0x013B, 0x8298):
            exif[tag] = words
        picture.save(file, "JPEG", exif=exif, comment=words.encode(), quality=95)
    assert file.getvalue().count(b"__xss") >= 4
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_what_is_written_inside_of_a_picture_runs_nowhere_and_is_in_no_output(
    kind: str, server: str, watched: Watched
) -> None:
    content, page = hidden_words(kind), watched.page
    put(page, f"photo.{kind.lower()}", content)
    open_tab(page, "Effects")
    after = page.locator("#picture img.right-side")
    expect(after).to_be_visible()
    watched.assert_nothing_ran(kind)
    shown = after.evaluate("image => image.src")
    assert b"__xss" not in httpx.get(shown).content
    assert "__xss" not in page.content()
    with httpx.Client(base_url=f"{server}gradio_api/", timeout=60) as http:
        path = http.post("upload", files={"files": ("photo", content)}).json()[0]
        image = {"path": path, "meta": {"_type": "gradio.FileData"}}
        for name, arguments in (
            ("segment", {}),
            ("annotate", {}),
            ("annotate", {"effect": "spotlight"}),
            ("annotate", {"effect": "cut_out"}),
            ("export", {"format": "zip"}),
        ):
            event = http.post(f"call/v2/{name}", json={"image": image} | arguments).json()["event_id"]
            answer = http.get(f"call/v2/{name}/{event}").text
            assert "event: complete" in answer and "__xss" not in answer
            if name != "segment":
                made = json.loads(answer.partition("data: ")[2])[0]["url"]
                assert not any(b"__xss" in part for part in parts(httpx.get(made).content))


def parts(content: bytes) -> list[bytes]:
    """Returns a file's content, and for a zip also the contents of the files in it."""
    if not content.startswith(b"PK"):
        return [content]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [content, *map(archive.read, archive.namelist())]


# ---- the policy ----


def test_the_policy_refuses_nothing_that_the_page_needs_and_what_comes_from_elsewhere(
    server: str, fresh: Watched, tmp_path: Path
) -> None:
    page, refusals = fresh.page, []
    page.on(
        "console",
        lambda line: refusals.append(line.text) if "Content Security Policy" in line.text else None,
    )
    page.expose_function("__refused", lambda words: refusals.append(words))
    page.add_init_script(
        "addEventListener('securitypolicyviolation', (event) => "
        "__refused(`${event.violatedDirective} ${event.blockedURI}`))"
    )
    page.goto(f"{server}{EMPTY}")
    expect(page.locator("#picture input[type=file]")).to_be_attached()
    segmented(page)
    page.locator(".objects-details tbody tr").first.click()
    open_tab(page, "Effects")
    expect(page.locator("#picture img.right-side")).to_be_visible()
    page.get_by_label("Plain background").check()
    expect(page.locator("#color")).to_be_visible()
    page.locator("#color button").first.click()
    open_tab(page, "Compare")
    expect(page.locator("#comparison")).to_contain_text("Right:")
    open_tab(page, "Download")
    downloaded(page, page.locator("#save"), tmp_path / "picture")
    with Image.open(tmp_path / "picture") as picture:
        picture.verify()
    open_tab(page, "Code")
    expect(page.locator("#python .cm-line").first).to_be_visible()
    open_tab(page, "How it works")
    expect(page.locator(".how img").first).to_be_visible()
    for name in ("Use via API", "Settings"):
        button = page.locator("footer button", has_text=name)
        if button.count():
            button.first.click()
            page.wait_for_timeout(500)
            page.keyboard.press("Escape")
            page.goto(page.url.partition("?")[0])
            expect(page.locator("#picture .stage")).to_be_visible()
    page.locator("#picture .example-list button").last.click()
    expect(page.locator("#summary")).to_contain_text("Model scenes")
    assert refusals == []
    page.evaluate(f"document.body.append(Object.assign(new Image(), {{ src: '{ELSEWHERE}x.png' }}))")
    page.wait_for_timeout(200)
    assert any("img-src" in refusal for refusal in refusals)
    assert fresh.notes == []
