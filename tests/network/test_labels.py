"""The names of the kinds of object that come with a weights file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from network.labels import LabelsError, as_json, checked, from_json, read_labels

LEAVES = ["leaf", "rust", "mildew"]


def test_the_background_may_come_first_and_is_no_kind() -> None:
    for names in (LEAVES, ["__background__", *LEAVES], ["Background", *LEAVES]):
        assert checked(names, 4, "labels.txt") == tuple(LEAVES)


def test_a_kind_may_be_called_background_where_it_is_one_of_them() -> None:
    assert checked(["background", "leaf"], 3, "labels.txt") == ("background", "leaf")


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\n\n", ""])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_text_file_is_read_as_any_editor_writes_it(ending: str, mark: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    between = "\r\n" if ending == "\r\n" else "\n"
    path.write_bytes((mark + between.join(["Blatt, grün", "葉", "🌱 one"]) + ending).encode())
    assert checked(read_labels(path), 4, path.name) == ("Blatt, grün", "葉", "🌱 one")


def test_names_come_back_from_metadata() -> None:
    names = ['"quoted"', "<b>bold</b>", "Blatt, grün", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"]
    assert from_json(as_json(names)) == names
    assert checked(names, 5, "the file") == tuple(names)


def test_two_ways_to_write_one_letter_are_one_name() -> None:
    assert checked(["gru\u0308n"], 2, "the file") == ("gr\u00fcn",)
    with pytest.raises(LabelsError, match="gives the labels 1 and 2 the same name"):
        checked(["gru\u0308n", "gr\u00fcn"], 3, "the file")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (LEAVES[:2], "holds 2 names, but the network knows 3 kinds of object. Expected one name for each"),
        ([*LEAVES, "more"], "holds 4 names, but the network knows 3 kinds"),
        ([], "holds 0 names"),
        (["leaf", " ", "rust"], "has no name for label 2"),
        (["leaf", "x" * 10_000, "rust"], "has a name of 10,000 characters for label 2. Expected at most 100"),
        (["leaf", "rust", "leaf "], "gives the labels 1 and 3 the same name"),
        (["leaf", "ru\x1b[31mst", "x"], "has a character that is not printed in the name of label 2"),
        (["leaf", "ru\nst", "x"], "not printed in the name of label 2"),
        (["leaf", "\u202etsur", "x"], "not printed in the name of label 2"),
        (["leaf", "\ud800", "x"], "not printed in the name of label 2"),
    ],
)
def test_names_that_cannot_be_used_are_refused_in_one_sentence(names: list[str], words: str) -> None:
    with pytest.raises(LabelsError) as caught:
        checked(names, 4, "labels.txt")
    assert str(caught.value).startswith("labels.txt ") and words in str(caught.value)
    assert len(str(caught.value)) < 250 and str(caught.value).isprintable()


@pytest.mark.parametrize(
    "text", ["", "leaf", '{"1": "leaf"}', '["leaf", 2]', '["leaf"', "[" * 100_000, json.dumps([["leaf"]])]
)
def test_damaged_metadata_is_refused(text: str) -> None:
    with pytest.raises(LabelsError, match=r'metadata "labels" is damaged\. Expected a JSON list'):
        from_json(text)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"leaf\xff", "is no text in UTF-8"),
        ("leaf".encode("utf-16"), "is no text in UTF-8"),
        (b"leaf\n" * 300_000, "is larger than 1000 kB"),
    ],
)
def test_what_is_no_list_of_names_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(LabelsError, match=rf"^labels.txt {words}"):
        read_labels(tmp_path / "labels.txt")


def test_a_folder_is_no_list_of_names(tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match="cannot be read"):
        read_labels(tmp_path)
