from __future__ import annotations

import argparse

import huggingface_hub.constants
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from tests.fake_hub import answer
from tools import hub


@pytest.mark.parametrize("name", ["me/objects", "My-Org.x/a_b.c-1"])
def test_a_name_that_the_hub_allows_is_taken(name: str) -> None:
    assert hub.repo_id(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "objects", "/objects", "me/", "a/b/c", "me/a b", "me/a--b", "me/objects.git", "https://x/y", "../x"],
)
def test_a_name_that_the_hub_does_not_allow_is_refused(name: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        hub.repo_id(name)


def test_without_a_token_it_is_said_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "get_token", lambda: None)
    with pytest.raises(hub.HubError, match=r"no token .* `hf auth login`.*HF_TOKEN"):
        hub.sign_in()


def test_with_a_token_the_client_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "get_token", lambda: "hf_mine")
    assert hub.sign_in().token == "hf_mine"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (400, "refused"),
        (401, "does not accept the token; .*hf auth login"),
        (402, "wants to be paid"),
        (403, "the token may not do that"),
        (404, "not there, or the token may not see it"),
        (429, "too many requests"),
        (500, "has a fault; try again later"),
        (503, "has a fault; try again later"),
    ],
)
def test_each_refusal_is_one_sentence_with_what_the_hub_said(status: int, reason: str) -> None:
    error = HfHubHTTPError("long\nstory", response=answer(status), server_message="So it\nis.")
    with pytest.raises(hub.HubError) as caught, hub.plainly("It failed"):
        raise error
    assert caught.match(rf"^It failed: .*{reason}.* \({status}, So it is\)\.$")
    assert "\n" not in str(caught.value)


def test_a_refusal_without_a_word_of_the_hub_has_only_its_number() -> None:
    with (
        pytest.raises(hub.HubError, match=r"^It failed: .*paid for that \(402\)\.$"),
        hub.plainly("It failed"),
    ):
        raise HfHubHTTPError("story", response=answer(402))


def test_a_connection_that_cannot_be_made_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(hub.HubError, match=r"^It failed: no connection to the Hub"), hub.plainly("It failed"):
        HfApi(endpoint="http://127.0.0.1:9", token="hf_x").space_info("me/objects")


def test_the_offline_switch_is_said() -> None:
    with pytest.raises(hub.HubError, match="HF_HUB_OFFLINE is set"), hub.plainly("It failed"):
        HfApi(endpoint="http://127.0.0.1:9", token="hf_x").space_info("me/objects")


def test_front_matter_that_the_hub_refuses_is_told_in_its_words() -> None:
    with pytest.raises(hub.HubError, match=r"Invalid metadata .* - colour is not"), hub.plainly("It failed"):
        raise ValueError("Invalid metadata in README.md.\n- colour is not a colour")


@pytest.mark.parametrize("bug", [ValueError("a bug"), TypeError("a bug"), KeyError("a bug")])
def test_a_bug_stays_loud(bug: Exception) -> None:
    with pytest.raises(type(bug), match="a bug"), hub.plainly("It failed"):
        raise bug
