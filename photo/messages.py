"""Messages: how the app, the server and its children speak with each other.

Requests and answers are JSON behind their length. A worker's requests are one line of JSON each, and
`RECEIVED` comes before its answers. The server's own answers are numbers. Nobody unpickles anything.
"""

from __future__ import annotations

import json
import struct
from typing import Any

CHILD, CLIP_CHILD = b"C", b"V"
"""What the app asks the server for: a child for a picture, or one for a clip."""
LENGTH = struct.Struct("<I")
MAX_MESSAGE = 64 * 1024
NUMBER = struct.Struct("<q")
"""A process id."""
END = struct.Struct("<qq")
"""A wait status, and the largest resident memory in kB."""
RECEIVED = b"R"
"""A worker's first byte for each request: it lives, and begins to read the picture."""


def packed(message: dict[str, Any]) -> bytes:
    """Returns a message as its length and its JSON."""
    content = json.dumps(message).encode()
    return LENGTH.pack(len(content)) + content
