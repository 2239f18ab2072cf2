from __future__ import annotations

import asyncio
import base64
import io
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from photo import fetch
from photo.errors import ImageError
from photo.fetch import is_public
from photo.formats import READABLE
from tests.fault_server import Answer, FaultServer

PICTURE = b"\x89PNG the bytes of a picture"

HOSTILE = (
    *("127.0.0.1", "127.8.9.10", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.254", "192.168.1.1"),
    *("169.254.169.254", "169.254.170.2", "100.64.0.1", "100.127.255.254", "100.100.100.200"),
    *("168.63.129.16", "192.80.8.124", "161.26.0.10", "161.26.255.255", "166.8.0.1", "166.11.255.255"),
    *("::ffff:168.63.129.16", "2002:a83f:8110::1"),
    *("192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.5", "192.88.99.1"),
    *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::ffff:0:127.0.0.1"),
    *("64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1"),
    *("2001:0:4136:e378:8000:63bf:80ff:fffe", "2001:db8::1", "3fff::1", "100::1", "5f00::1"),
    *("fe80::1", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1"),
)
"""Addresses that are not public: this machine, private networks, metadata servers of clouds and other
addresses that a cloud answers only to its own machines, networks of carriers, addresses for examples,
multicast groups, and the same addresses inside IPv6 (mapped, compatible, translated, 6to4, Teredo)."""
PUBLIC = (
    *("8.8.8.8", "1.1.1.1", "93.184.215.14", "2606:4700::1111", "2a00:1450:4001:82a::200e"),
    *("168.63.129.15", "168.63.129.17", "161.25.255.255", "161.27.0.0", "166.7.255.255", "166.12.0.0"),
)


def get(url: str, folder: Path, **options: Any) -> Path:
    return asyncio.run(fetch.fetch(url, folder, **options))


@pytest.fixture
def serve() -> Iterator[Callable[..., tuple[str, dict[str, Any]]]]:
    """Starts a server on this machine. Returns its address and the options that let `fetch` reach it."""
    servers: list[FaultServer] = []

    def start(*answers: Answer, body: bytes = PICTURE) -> tuple[str, dict[str, Any]]:
        server = FaultServer(body, list(answers) or [Answer()])
        servers.append(server)
        port = int(server.url.rpartition(":")[2])
        return server.url, {"allowed": lambda address: address.is_loopback, "ports": (port,)}

    yield start
    for server in servers:
        server.stop()


@pytest.mark.parametrize("address", HOSTILE)
def test_what_is_not_public_is_not(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.fixture
def nothing_is_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*args: object) -> None:
        pytest.fail(f"it connected: {args}")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket.socket, "connect_ex", connect)


@pytest.mark.parametrize("address", HOSTILE)
def test_a_name_that_leads_to_a_hostile_address_is_refused_unconnected(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_is_connected: None
) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    found = [(family, socket.SOCK_STREAM, 6, "", (one, 80)) for one in ("8.8.8.8", address)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)
    with pytest.raises(ImageError, match="not a public one"):
        get("http://photos.example/cat.jpg", tmp_path)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "localhost",
    ],
)
def test_an_address_written_in_other_ways_is_refused_unconnected(
    host: str, tmp_path: Path, nothing_is_connected: None
) -> None:
    with pytest.raises(ImageError, match="not a public one"):
        get(f"http://{host}/cat.jpg", tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://photos.example/cat.jpg",
        "gopher://photos.example/1",
        "http://photos.example:22/",
        "http://photos.example:notaport/",
        "http://user:secret@photos.example/",
        "http:///cat.jpg",
        "http://[::1/cat.jpg",
        "cat.jpg",
        "",
        "http://photos.example/\r\nX-Injected: 1",
        "http://ﾟ.example/",
    ],
)
def test_other_schemes_ports_and_forms_are_answered_with_the_right_one(
    url: str, tmp_path: Path, nothing_is_connected: None
) -> None:
    with pytest.raises(ImageError, match="expected an address such as https"):
        get(url, tmp_path)


def test_a_picture_is_saved_under_its_own_name(serve: Callable[..., Any], tmp_path: Path) -> None:
    url, options = serve()
    path = get(f"{url}/a/b/My%20cat.jpg?size=9", tmp_path, **options)
    assert path == tmp_path / "My-cat.jpg" and path.read_bytes() == PICTURE


@pytest.mark.parametrize("path", ["/", "/..", "/%2e%2e%2f", "/a/%00", "/" + "x" * 500, "/C:%5Cboot.ini"])
def test_no_name_leads_out_of_the_folder(path: str, serve: Callable[..., Any], tmp_path: Path) -> None:
    url, options = serve()
    saved = get(url + path, tmp_path, **options)
    assert saved.resolve().parent == tmp_path.resolve() and len(saved.name) <= fetch.NAME_LENGTH


def test_a_redirect_is_followed_and_checked_like_the_first_address(
    serve: Callable[..., Any], tmp_path: Path
) -> None:
    there, options = serve()
    url, _ = serve(Answer(status=302, location=f"{there}/cat.jpg"))
    ports = {"ports": (*options["ports"], int(url.rpartition(":")[2]))}
    assert get(url, tmp_path, **options | ports).read_bytes() == PICTURE
    with pytest.raises(ImageError, match="expected an address"):  # the second port is not allowed
        get(url, tmp_path, allowed=options["allowed"], ports=ports["ports"][1:])


@pytest.mark.parametrize("location", ["http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "//["])
def test_a_redirect_to_a_hostile_address_is_refused(
    location: str, serve: Callable[..., Any], tmp_path: Path
) -> None:
    url, options = serve(Answer(status=302, location=location))
    with pytest.raises(ImageError, match=r"not a public one|expected an address"):
        get(url, tmp_path, allowed=options["allowed"], ports=(*options["ports"], 80))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("redirects", [fetch.REDIRECTS, fetch.REDIRECTS + 1])
def test_the_last_redirect_that_is_allowed_is_followed_and_one_more_is_not(
    redirects: int, serve: Callable[..., Any], tmp_path: Path
) -> None:
    url, options = serve(*[Answer(status=302, location="/again")] * redirects, Answer())
    if redirects == 3:
        assert get(url, tmp_path, **options).read_bytes() == PICTURE
    else:
        with pytest.raises(ImageError, match="more than 3 times"):
            get(url, tmp_path, **options)
        assert list(tmp_path.iterdir()) == []


def test_a_ring_of_redirects_ends(serve: Callable[..., Any], tmp_path: Path) -> None:
    url, options = serve(Answer(status=302, location="/again"))
    with pytest.raises(ImageError, match="more than 3 times"):
        get(url, tmp_path, **options)


@pytest.mark.parametrize("length", [None, 0], ids=["stated", "without a length"])
def test_more_than_may_be_is_refused(
    length: int | None, serve: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "MAX_FILE_BYTES", 2**20)
    url, options = serve(Answer(length=length), body=bytes(2**20 + 1))
    with pytest.raises(ImageError, match="over 1 MB"):
        get(url, tmp_path, **options)
    url, options = serve(Answer(length=length), body=bytes(2**20))
    assert get(url, tmp_path, **options).stat().st_size == 2**20


@pytest.mark.parametrize(
    "answer",
    [Answer(piece=1, pause=0.05), Answer(ends_after=3, end="hang"), Answer(ends_after=0, end="hang")],
    ids=["a byte at a time", "stops", "says nothing"],
)
def test_a_slow_server_is_left_after_the_stated_time(
    answer: Answer, serve: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "TOTAL_SECONDS", 0.3)
    url, options = serve(answer, body=bytes(1000))
    with pytest.raises(ImageError, match="could not be reached in time"):
        get(url, tmp_path, **options)


@pytest.mark.parametrize("answer", [Answer(ends_after=9), Answer(ends_after=9, end="reset")])
def test_an_answer_that_breaks_off_leaves_no_file(
    answer: Answer, serve: Callable[..., Any], tmp_path: Path
) -> None:
    url, options = serve(answer)
    with pytest.raises(ImageError, match="could not be reached"):
        get(url, tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_refusal_is_said(status: int, serve: Callable[..., Any], tmp_path: Path) -> None:
    url, options = serve(Answer(status=status))
    with pytest.raises(ImageError, match=f"answered {status}, not a picture"):
        get(url, tmp_path, **options)


def test_a_data_url_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "data:image/png;base64," + base64.b64encode(PICTURE).decode()
    assert get(url, tmp_path).read_bytes() == PICTURE
    monkeypatch.setattr(fetch, "MAX_FILE_BYTES", 9)
    with pytest.raises(ImageError, match="holds more than"):
        get(url, tmp_path)


def pictures() -> dict[str, bytes]:
    """A small file of each format that is read."""
    found = {}
    for format in READABLE:
        if format == "HEIF":
            pytest.importorskip("pillow_heif").register_heif_opener()
        file = io.BytesIO()
        Image.new("RGB", (1, 1) if format == "GIF" else (9, 9)).save(file, format)
        found[format] = file.getvalue()
    return found


def test_a_picture_of_any_format_is_known_by_its_base64(tmp_path: Path) -> None:
    assert fetch.SIGNATURES.keys() >= READABLE.keys()
    for format, content in pictures().items():
        text = base64.b64encode(content).decode()
        for one in (text, text.rstrip("="), base64.encodebytes(content).decode(), f" {text}\n"):
            assert fetch.is_bare_picture(one), format
            assert get(one, tmp_path).read_bytes() == content


@pytest.mark.parametrize(
    "text",
    [
        "",
        "iVBORw0KGgo",
        "A" * 100_000,
        "x" * 100_000,
        "/tmp/photos-0/" + "a" * 64 + "/cat.jpg",
        "/tmp/photos/" + "a" * 64 + "/tmp23fe2a7b3e",
        "https://example.org/" + "a" * 64,
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAkAAAAJCAIAAABv85FHAAAAEElE",
        "iVBORw0KGgoAAAANSUhEUgAAAAkAAAAJCAIAAABv85FHAAAAEElE*",
        base64.b64encode(b"%PDF-1.7" + bytes(100)).decode(),
        base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'>" + b" " * 100).decode(),
        base64.b64encode(b"RIFF\0\0\0\0AVI LIST" + bytes(100)).decode(),
        base64.b64encode(b"\0\0\0\x18ftypmp42" + bytes(100)).decode(),
    ],
    ids=lambda text: text[:30],
)
def test_other_texts_are_no_pictures(text: str, tmp_path: Path, nothing_is_connected: None) -> None:
    assert not fetch.is_bare_picture(text)
    if not text.startswith(("data:", "https:")):
        with pytest.raises(ImageError, match="expected an address such as https"):
            get(text, tmp_path)


def test_a_picture_in_base64_over_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "MAX_FILE_BYTES", 100)
    with pytest.raises(ImageError, match="holds more than"):
        get(base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(200)).decode(), tmp_path)


@pytest.mark.parametrize(("length", "fits"), [(2000, True), (2001, False)])
def test_a_long_address_is_refused(length: int, fits: bool, tmp_path: Path) -> None:
    url = "http://photos.example/".ljust(length, "x")
    with pytest.raises(ImageError, match="could not be reached" if fits else "expected an address such as"):
        get(url, tmp_path)


def test_no_error_repeats_what_was_sent(tmp_path: Path) -> None:
    junk = "x" * 100_000
    for url in (junk, f"http://{junk}", f"http://a/{junk}", f"data:{junk}", f"data:;base64,{junk}*"):
        with pytest.raises(ImageError) as caught:
            get(url, tmp_path)
        assert len(str(caught.value)) < 150


@pytest.mark.parametrize("url", ["data:", "data:image/png,abc", "data:;base64,***", "data:image/png;base64"])
def test_a_malformed_data_url_is_answered_with_a_right_one(url: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="expected a data URL such as"):
        get(url, tmp_path)
