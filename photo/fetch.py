"""Fetch: a picture from a web address or a data URL that a stranger gave, within limits.

A server that fetches what it is told to can be made to reach what only it can reach (CWE-918, server-side
request forgery). So only public addresses are connected to: each name is looked up once, every address that
it has is checked, and the connection goes to an address that was checked.
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
from photo.limits import MAX_FILE_BYTES

TOTAL_SECONDS = 30.0
REDIRECTS = 3
PORTS = (80, 443)
NAME_LENGTH = 80
HIDDEN_NETWORKS = tuple(
    ipaddress.ip_network(network) for network in ("192.0.0.0/24", "192.88.99.0/24", "2002::/16", "3fff::/20")
)
"""What Python's `is_global` lets pass: protocols' own (clouds' metadata at 192.0.0.192), 6to4, examples."""
UNICAST = ipaddress.ip_network("2000::/3")
"""All of IPv6 that is given out; others map to IPv4 in ways of their own."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(address: Address) -> bool:
    """Whether anybody on the internet may be meant by `address`."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return is_public(address.ipv4_mapped)
        if address not in UNICAST:
            return False
    hidden = any(address in network for network in HIDDEN_NETWORKS if network.version == address.version)
    return address.is_global and not (hidden or address.is_multicast or address.is_reserved)


async def fetch(
    url: str,
    folder: Path,
    *,
    allowed: Callable[[Address], bool] = is_public,
    ports: tuple[int, ...] = PORTS,
) -> Path:
    """Saves what `url` leads to as a file in `folder`, which exists, and gives its path.

    Args:
        url: "http:", "https:" or "data:".
        allowed: Which addresses may be connected to.
        ports: Which ports may be.

    Raises:
        ImageError: The address cannot be fetched, takes longer than `TOTAL_SECONDS`, or gives more than
            `MAX_FILE_BYTES`. The sentence does not tell what lies behind an address that is not public.
    """
    if url.startswith("data:"):
        name, content = "picture", _decoded(url)
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
    """The content at `url`, or the address that it redirects to."""
    _check(url, ports)
    async with pool.stream("GET", url, headers={"Accept": "image/*"}) as response:
        if response.status in (301, 302, 303, 307, 308):
            headers = {name.lower(): value for name, value in response.headers}
            with contextlib.suppress(ValueError):
                return urllib.parse.urljoin(url, headers.get(b"location", b"").decode("latin-1"))
            return ""  # which is refused as any other malformed address
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
            bool(parts.hostname)
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
            return base64.b64decode(urllib.parse.unquote(content), validate=True)
    except (binascii.Error, ValueError):
        pass
    raise ImageError("image: expected a data URL such as data:image/png;base64,iVBORw0…")


def _file_name(url: str) -> str:
    name = urllib.parse.unquote(urllib.parse.urlsplit(url).path).rpartition("/")[2]
    return re.sub(r"[^\w.-]+", "-", name).strip(".-")[-NAME_LENGTH:] or "picture"


class _CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to an address of the host that was checked; certificates are still held against its name."""

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
