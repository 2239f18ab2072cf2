"""Gives the tools that write to the Hugging Face Hub a client, checked names and errors in plain sentences.

`sign_in` returns the client. `repo_id` checks a name. `plainly` turns the client's errors into `HubError`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from huggingface_hub import HfApi, Volume, get_token
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    HfHubHTTPError,
    HFValidationError,
    HTTPError,  # from httpx or its successor, depending on the release
    OfflineModeIsEnabled,
)
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

ADDRESS = "https://huggingface.co"
TOKENS = f"{ADDRESS}/settings/tokens"
REASONS = {
    401: f"the Hub does not accept the token; make one that may write at {TOKENS} and run `hf auth login`",
    402: "the Hub wants to be paid for that",
    403: f"the token may not do that; see its rights at {TOKENS}, and whether you may write for that owner",
    404: "it is not there, or the token may not see it",
    429: "that were too many requests; try again later",
}
"""Why the Hub refused, by the HTTP status of its answer."""


class HubError(RuntimeError):
    """Something could not be sent to the Hub; the message says why, in a sentence for people."""


class Client(Protocol):
    """The methods of `huggingface_hub.HfApi` that the tools use."""

    def space_info(self, repo_id: str) -> Any: ...
    def model_info(self, repo_id: str, *, revision: str | None = None) -> Any: ...
    def create_repo(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        repo_type: str | None = None,
        exist_ok: bool = False,
        space_sdk: str | None = None,
        space_hardware: Any = None,
        space_variables: list[dict[str, str]] | None = None,
        space_volumes: list[Volume] | None = None,
    ) -> Any: ...
    def update_repo_settings(
        self, repo_id: str, *, private: bool | None = None, repo_type: str | None = None
    ) -> None: ...
    def add_space_variable(self, repo_id: str, key: str, value: str) -> Any: ...
    def set_space_volumes(self, repo_id: str, volumes: list[Volume]) -> Any: ...
    def request_space_hardware(self, repo_id: str, hardware: Any) -> Any: ...
    def list_repo_files(self, repo_id: str, *, repo_type: str | None = None) -> list[str]: ...
    def create_commit(
        self, repo_id: str, operations: Any, *, commit_message: str, repo_type: str | None = None
    ) -> Any: ...


def sign_in() -> HfApi:
    """Returns the Hub's client with this machine's token. Does not ask the Hub whether the token is valid.

    Raises:
        HubError: This machine has no token.
    """
    token = get_token()
    if token is None:
        raise HubError(
            "There is no token for the Hub: run `hf auth login`, "
            f"or set HF_TOKEN to one that may write ({TOKENS})."
        )
    return HfApi(token=token)


def repo_id(text: str) -> str:
    """Returns `text` if it is a name of the form owner/name that the Hub allows; a type for `argparse`.

    Raises:
        argparse.ArgumentTypeError: `text` is not such a name.
    """
    try:
        validate_repo_id(text)
    except HFValidationError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if not all(text.partition("/")):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form owner/name")
    return text


@contextmanager
def plainly(failed: str, reasons: Mapping[int, str] = REASONS) -> Iterator[None]:
    """Turns an error of the Hub's client into a `HubError`.

    The message consists of `failed`, a colon and the reason. Other errors pass unchanged, because they are
    bugs.

    Args:
        reasons: Why the Hub refuses this, by the HTTP status of its answer.
    """
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        reason = reasons.get(status, "the Hub has a fault; try again later" if status >= 500 else "refused")
        said = " ".join((error.server_message or "").split()).rstrip(".")
        raise HubError(f"{failed}: {reason} ({status}{', ' if said else ''}{said}).") from error
    except OfflineModeIsEnabled as error:
        raise HubError(f"{failed}: HF_HUB_OFFLINE is set, which forbids it; unset it.") from error
    except HTTPError as error:
        raise HubError(f"{failed}: no connection to the Hub ({type(error).__name__}).") from error
    except ValueError as error:
        if not str(error).startswith("Invalid metadata in README.md"):
            raise
        raise HubError(f"{failed}: {' '.join(str(error).split())}") from error
