"""Fetch: saves the picture that a stranger's web address, data URL or base64 text stands for, within limits.

A stranger could use a server that fetches any address to reach hosts that only the server can reach (CWE-918,
server-side request forgery). So `fetch` connects to public addresses only. It looks up each name once, checks
every address of the name, and connects to an address that it has checked.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import ipaddress
import re
import socket
import urllib.parse
from collections.abc import Callable, Iterable
from pathlib import Path

import httpcore

from photo.errors import ImageError
from photo.formats import READABLE
from photo.limits import MAX_FILE_BYTES

TOTAL_SECONDS = 30.0
REDIRECTS = 3
PORTS = (80, 443)
ADDRESS_LENGTH = 2000
"""The limit for a web address, in characters."""
NAME_LENGTH = 80
HIDDEN_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # addresses of protocols; Oracle's metadata server is 192.0.0.192
        "192.88.99.0/24",  # 6to4 relays
        "2002::/16",  # 6to4, which contains IPv4 addresses
        "3fff::/20",  # examples in documents
        # Addresses that look public, but that a cloud answers only to its own machines:
        "168.63.129.16/32",  # Azure's wire server and DNS
        "192.80.8.124/32",  # the metadata server of Packet (later Equinix Metal)
        "161.26.0.0/16",  # IBM Cloud's infrastructure: DNS, time, mirrors
        "166.8.0.0/14",  # IBM Cloud's private endpoints of its services
    )
)
"""Networks that are not public although Python's `is_global` says that they are.

The metadata servers of other clouds have addresses that `is_global` knows: 169.254.169.254 and other
link-local addresses (AWS, Google, Azure, Oracle, DigitalOcean, Tencent, Scaleway), 100.100.100.200 (Alibaba),
and fd00:ec2::254 (AWS).
"""
UNICAST = ipaddress.ip_network("2000::/3")
"""The part of IPv6 that is given out. Other parts map to IPv4 in ways of their own."""
BASE64_LENGTH = 48
"""The shortest text that is taken for a picture in base64, in characters. The smallest GIF has 56."""
SIGNATURES = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "WEBP": rb"RIFF....WEBP",
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "AVIF": rb"....ftyp(avif|avis|mif1)",
    "HEIF": rb"....ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)",
}
"""The first bytes of a file of each format, as a pattern. The keys are those of `READABLE`."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(address: Address) -> bool:
    """Returns whether `address` may belong to anybody on the internet."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return is_public(address.ipv4_mapped)
        if address not in UNICAST:
            return False
    hidden = any(address in network for network in HIDDEN_NETWORKS if network.version == address.version)
    return address.is_global and not (hidden or address.is_multicast or address.is_reserved)


def is_bare_picture(text: str) -> bool:
    """Returns whether `text` is a picture in base64 without the beginning of a data URL ("data:…")."""
    if len(text) < BASE64_LENGTH or not re.fullmatch(r"[A-Za-z0-9+/\s]+={0,2}\s*", text):
        return False
    start = "".join(text[: 2 * BASE64_LENGTH].split())[:BASE64_LENGTH]
    content = base64.b64decode(start[: len(start) // 4 * 4])
    patterns = [SIGNATURES[format] for format in READABLE if format in SIGNATURES]
    return any(re.match(pattern, content, re.DOTALL) for pattern in patterns)


async def fetch(
    url: str,
    folder: Path,
    *,
    allowed: Callable[[Address], bool] = is_public,
    ports: tuple[int, ...] = PORTS,
) -> Path:
    """Saves the picture that `url` stands for as a file in `folder`, and returns the file's path.

    Args:
        url: A web address, a data URL, or a text for which `is_bare_picture` returns True.
        folder: A folder that exists.
        allowed: Returns whether `fetch` may connect to an address.
        ports: The ports that `fetch` may connect to.

    Raises:
        ImageError: The address cannot be fetched, takes longer than `TOTAL_SECONDS`, or gives more than
            `MAX_FILE_BYTES`. The sentence does not tell what lies behind an address that is not public.
    """
    if url.startswith("data:"):
        name, content = "picture", _decoded(url)
    elif is_bare_picture(url):
        name, content = "picture", _decoded(f"data:;base64,{url}")
    else:
        content = await _fetched(url, allowed, ports)
        name = _file_name(url)
    path = folder / name
    path.write_bytes(content)
    return path


async def _fetched(url: str, allowed: Callable[[Address], bool], ports: tuple[int, ...]) -> bytes:
    try:
        async with (
            asyncio.timeout(TOTAL_SECONDS),
            httpcore.AsyncConnectionPool(network_backend=_CheckedNetwork(allowed)) as pool,
        ):
            for _ in range(REDIRECTS + 1):
                answer = await _get(pool, url, ports)
                if isinstance(answer, bytes):
                    return answer
                url = answer
    except (TimeoutError, httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise ImageError(
            "image: the address could not be reached in time, or is not a public one."
        ) from error
    raise ImageError(f"image: the address leads from one to another more than {REDIRECTS} times.")


async def _get(pool: httpcore.AsyncConnectionPool, url: str, ports: tuple[int, ...]) -> bytes | str:
    """Returns the content at `url`, or the address that the server redirects to."""
    _check(url, ports)
    async with pool.stream("GET", url, headers={"Accept": "image/*"}) as response:
        if response.status in (301, 302, 303, 307, 308):
            headers = {name.lower(): value for name, value in response.headers}
            with contextlib.suppress(ValueError):
                return urllib.parse.urljoin(url, headers.get(b"location", b"").decode("latin-1"))
            return ""  # is refused like any other malformed address
        if response.status != 200:
            raise ImageError(f"image: the server at the address answered {response.status}, not a picture.")
        content = bytearray()
        async for chunk in response.aiter_stream():
            content += chunk
            if len(content) > MAX_FILE_BYTES:
                raise ImageError(f"image: what the address gives is over {MAX_FILE_BYTES >> 20} MB.")
        return bytes(content)


def _check(url: str, ports: tuple[int, ...]) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
        good = (
            len(url) <= ADDRESS_LENGTH
            and bool(parts.hostname)
            and re.fullmatch("[!-~]+", url) is not None
            and port in ports
            and not parts.username
        )
    except ValueError:
        good = False
    if not good:
        raise ImageError(
            "image: expected an address such as https://example.org/photo.jpg, of a public web server."
        )


def _decoded(url: str) -> bytes:
    header, comma, content = url.partition(",")
    if len(content) > MAX_FILE_BYTES * 4 // 3 + 4:
        raise ImageError(f"image: the data URL holds more than {MAX_FILE_BYTES >> 20} MB.")
    try:
        if comma and header.endswith(";base64"):
            text = "".join(urllib.parse.unquote(content).split())
            return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        pass
    raise ImageError("image: expected a data URL such as data:image/png;base64,iVBORw0…")


def _file_name(url: str) -> str:
    name = urllib.parse.unquote(urllib.parse.urlsplit(url).path).rpartition("/")[2]
    return re.sub(r"[^\w.-]+", "-", name).strip(".-")[-NAME_LENGTH:] or "picture"


class _CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to a checked address of the host. The certificate must still match the host's name."""

    def __init__(self, allowed: Callable[[Address], bool]) -> None:
        self._allowed = allowed
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError("no such host") from error
        # Link-local addresses come with a scope behind them: fe80::1%eth0.
        addresses = [ipaddress.ip_address(str(info[4][0]).partition("%")[0]) for info in found]
        if not addresses or not all(self._allowed(address) for address in addresses):
            raise httpcore.ConnectError("not a public address")
        return await self._network.connect_tcp(
            str(addresses[0]), port, timeout, local_address, socket_options
        )
